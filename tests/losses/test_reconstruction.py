import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from beartype.roar import BeartypeException
from jaxtyping import TypeCheckError, jaxtyped

from jaxrec.losses import reconstruction

mean_squared_error, multinomial, gaussian_kl = (
    jaxtyped(typechecker=beartype)(getattr(reconstruction, name))
    for name in ("mean_squared_error", "multinomial", "gaussian_kl")
)


def test_mean_squared_error_is_a_mean_over_the_width():
    loss = mean_squared_error(jnp.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]), jnp.array([[1.0, 0.0, 1.0]] * 2))
    np.testing.assert_allclose(loss, [(0 + 4 + 9) / 3, (1 + 0 + 1) / 3])


def test_multinomial_is_the_log_likelihood_per_event():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    counts = jnp.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    expected = [-(2 * np.log(0.5) + np.log(0.25)) / 3, -np.log(0.8)]
    np.testing.assert_allclose(multinomial(jnp.asarray(logits, jnp.float32), counts), expected, rtol=1e-6)
    shifted = jnp.asarray(logits + 7, jnp.float32)  # logits, not probabilities
    np.testing.assert_allclose(multinomial(shifted, counts), expected, rtol=1e-5)


def test_multinomial_of_no_events_is_zero_with_a_zero_gradient():
    nothing = jnp.zeros((1, 3))
    loss, gradient = jax.value_and_grad(lambda x: multinomial(x, nothing).sum())(jnp.array([[1.0, 2.0, 3.0]]))
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_gaussian_kl_equals_its_integral():
    """One dimension, by the trapezoid rule: integral of q log(q / p)."""
    mean, variance = 0.7, 0.4
    x = np.linspace(-12, 12, 200_001)
    log_q = -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    log_p = -0.5 * (x**2 + np.log(2 * np.pi))
    expected = np.trapezoid(np.exp(log_q) * (log_q - log_p), x)
    ours = gaussian_kl(jnp.array([[mean, 0.0]]), jnp.array([[np.log(variance), 0.0]], jnp.float32))
    np.testing.assert_allclose(ours, [expected], rtol=1e-5)


def test_shapes_are_checked():
    with pytest.raises((TypeCheckError, BeartypeException)):
        multinomial(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
