import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import jaxtyped

from jaxrec.losses import adversarial

critic_loss, generator_loss, gradient_penalty = (
    jaxtyped(typechecker=beartype)(getattr(adversarial, name))
    for name in ("critic_loss", "generator_loss", "gradient_penalty")
)
REAL, FAKE = jnp.array([0.0, 2.0, -1.0]), jnp.array([0.0, -3.0, 1.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def test_critic_and_generator_are_the_logs_of_goodfellow():
    np.testing.assert_allclose(critic_loss(REAL, FAKE), -np.log(sigmoid(REAL)) - np.log(1 - sigmoid(FAKE)), rtol=1e-6)
    np.testing.assert_allclose(generator_loss(FAKE), -np.log(sigmoid(FAKE)), rtol=1e-6)


def test_a_critic_that_cannot_tell_costs_two_log_two():
    np.testing.assert_allclose(critic_loss(REAL[:1], FAKE[:1]), [2 * np.log(2)], rtol=1e-6)


def test_the_generator_learns_most_where_it_is_found_out():
    slope = jax.grad(lambda x: generator_loss(x).sum())(jnp.array([-20.0, 20.0]))
    np.testing.assert_allclose(slope, [-1, 0], atol=1e-6)


def test_the_penalty_of_a_linear_critic_is_its_squared_norm():
    weights = jnp.array([3.0, -4.0, 12.0])
    penalty = gradient_penalty(lambda x: x @ weights + 5.0, jnp.zeros((4, 3)))
    np.testing.assert_allclose(penalty, np.full(4, 169.0))
    slope = jax.grad(lambda w: gradient_penalty(lambda x: x @ w, jnp.ones((1, 3))).sum())(weights)
    np.testing.assert_allclose(slope, 2 * weights)


def test_the_penalty_of_a_quadratic_critic_follows_the_place():
    real = jnp.array([[1.0, 2.0], [0.0, -3.0]])
    np.testing.assert_allclose(gradient_penalty(lambda x: jnp.square(x).sum(-1), real), [4 * 5, 4 * 9])
