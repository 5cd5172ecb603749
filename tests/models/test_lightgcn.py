"""Smoothing over the graph against the dense formula, and attention over entities against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.graphs.knowledge import Facts, KnowledgeTower
from jaxrec.models.graphs.lightgcn import Graph, LightGCN, propagate

USERS, ITEMS, DIM = 7, 9, 4
NO_FACTS = Facts(np.zeros((ITEMS, 0), np.int32), np.zeros((ITEMS, 0), np.int32), np.ones(1), np.ones(1))


def having() -> np.ndarray:
    """Nobody has the last item, and the last user has nothing."""
    has = np.random.default_rng(0).random((USERS, ITEMS)) < 0.4
    has[:, -1] = has[-1] = False
    has[np.arange(6), np.arange(6)] = True
    return has


def graph(spelt_out: bool, facts: Facts = NO_FACTS) -> Graph:
    has = having()
    with np.errstate(divide="ignore"):
        scales = [np.where(has.any(axis), has.sum(axis) ** -0.5, 0).astype(np.float32) for axis in (1, 0)]
    users, items = (np.array(x, np.int32) for x in np.nonzero(has))
    nothing = np.zeros(0, np.int32)
    if spelt_out:
        made = Graph(*scales, has.astype(np.float32), nothing, nothing, has.any(0), facts)
    else:
        made = Graph(*scales, np.zeros((USERS, 0), np.float32), users, items, has.any(0), facts)
    return jax.tree.map(jnp.asarray, made)


def dense(users: np.ndarray, items: np.ndarray, layers: int) -> np.ndarray:
    """Equations 7 and 8 of the paper: float64 [users + items, dim]."""
    has = having().astype(np.float64)
    whole = np.block([[np.zeros((USERS, USERS)), has], [has.T, np.zeros((ITEMS, ITEMS))]])
    degrees = np.maximum(whole.sum(1), 1e-30)
    normalised = np.where(whole > 0, whole / np.sqrt(degrees[:, None] * degrees[None, :]), 0)
    vectors = [np.concatenate([users, items])]
    for _ in range(layers):
        vectors.append(normalised @ vectors[-1])
    return np.mean(vectors, axis=0)


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("spelt_out", [True, False])
@pytest.mark.parametrize("own_users", [True, False])
def test_propagation_is_the_dense_formula(layers, spelt_out, own_users):
    random = np.random.default_rng(1)
    users, items = random.normal(size=(USERS, DIM)), random.normal(size=(ITEMS, DIM))
    given = jnp.asarray(users, jnp.float32) if own_users else None
    found = propagate(graph(spelt_out), given, jnp.asarray(items, jnp.float32), layers)
    expected = dense(users if own_users else 0 * users, items, layers)
    np.testing.assert_allclose(found.items, expected[USERS:], atol=1e-6)
    if own_users or layers:
        np.testing.assert_allclose(found.users, expected[:USERS], atol=1e-6)
    lengths = np.maximum(having().sum(1, keepdims=True), 1)
    from_history = having() @ np.asarray(found.read) / np.sqrt(lengths)
    own = users / (layers + 1) if own_users else 0
    np.testing.assert_allclose(from_history + own, expected[:USERS], atol=1e-6)


def test_items_that_nobody_has_start_from_nothing():
    model = LightGCN(dim=DIM)
    params = model.init(jax.random.key(0), graph(True))["params"]
    vectors = model.apply({"params": params}, graph(True))
    assert np.abs(vectors.items[:-1]).min(axis=1).max() > 0 and not np.any(vectors.items[-1])


def facts() -> Facts:
    random = np.random.default_rng(2)
    entities = random.integers(0, 5, (ITEMS, 3)).astype(np.int32)
    entities[0], entities[1, 1:] = -1, -1
    relations = np.where(entities < 0, -1, random.integers(0, 2, (ITEMS, 3))).astype(np.int32)
    return Facts(entities, relations, random.uniform(0.5, 3, 5).astype(np.float32), np.ones(2, np.float32))


@pytest.mark.parametrize("attention", ["entity", "relation"])
def test_attention_is_the_sum_written_out(attention):
    known, tower = facts(), KnowledgeTower(attention)
    items = np.random.default_rng(3).normal(size=(ITEMS, DIM)).astype(np.float32)
    params = tower.init(jax.random.key(0), items, known)["params"]
    params = jax.tree.map(lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    tables = {name: np.asarray(leaf["embedding"], np.float64) for name, leaf in params.items() if name != "scale"}
    expected = items.astype(np.float64)
    for item in range(ITEMS):
        there = [(e, r) for e, r in zip(known.entities[item], known.relations[item], strict=True) if e >= 0]
        if not there:
            continue
        logits = []
        for entity, relation in there:
            if attention == "entity":
                scale, tail = tables["relation_scales"][relation], tables["entities"][entity]
                logits.append((scale * tail) @ np.tanh(scale * items[item] + tables["relations"][relation]))
            else:
                rarity = float(params["scale"]) * np.log(known.entity_rarity[entity])
                logits.append(tables["relations"][relation, 0] + rarity)
        weights = np.exp(logits) / np.exp(logits).sum()
        expected[item] += sum(w * tables["entities"][e] for w, (e, _) in zip(weights, there, strict=True))
    np.testing.assert_allclose(tower.apply({"params": params}, items, known), expected, atol=1e-5)


def test_what_is_known_places_items_that_nobody_has():
    model, made = LightGCN(dim=DIM, knowledge=KnowledgeTower()), graph(True, facts())
    params = model.init(jax.random.key(0), made)["params"]
    assert np.abs(model.apply({"params": params}, made).items[-1]).max() > 1e-3
