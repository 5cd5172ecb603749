"""LightGCN as a task: the same gradients on every mesh, planted communities, and the ranker without a user table."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
import pytest
from on_meshes import gradients_on

from jaxrec.data.batches import make_batches
from jaxrec.data.dataset import Dataset, index_ids
from jaxrec.data.examples import Examples
from jaxrec.data.interactions import Histories
from jaxrec.data.queries import gather_queries
from jaxrec.data.tables import KnowledgeTables, Tables
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError, UserError
from jaxrec.models.graphs.knowledge import KnowledgeTower
from jaxrec.models.graphs.lightgcn import LightGCN
from jaxrec.parallel.mesh import MeshShape
from jaxrec.ranker import Query, rank, score_all
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.tasks import graph_table
from jaxrec.tasks.graph import GraphRetrieval
from jaxrec.tasks.graph_table import facts_of, graph_of
from jaxrec.tasks.retrieval import Bpr, FullSoftmax, InBatchSoftmax
from jaxrec.tasks.task import Sizes, first_batch
from jaxrec.train.step import init_key

USERS, EACH = 40, 12
ITEMS = 2 * EACH + 2  # the last two are new: nobody has them
KIND = np.array([0] * EACH + [1] * EACH + [0, 1])
WITHHELD = 5 + np.arange(USERS) % 4  # the place, among the items of the user's community, of the one that is withheld
EXAMPLES = Examples(hidden=0.3, history_length=32, num_targets=8)


def planted() -> Dataset:
    """Two communities, each with its own dozen films and its own studio's people; a user has all of them but one."""
    pairs = [(f"u{u}", f"i{EACH * (u % 2) + i}") for u in range(USERS) for i in range(EACH) if i != WITHHELD[u]]
    users, items = (list(column) for column in zip(*pairs, strict=True))
    times = np.random.default_rng(0).permutation(len(pairs))
    catalog = pa.table({"item_id": [f"i{i}" for i in range(ITEMS)], "title": [f"Film {i}" for i in range(ITEMS)]})
    people = [(f"e{i}", "actor", f"person {KIND[i]}-{(i + j) % 5}") for i in range(ITEMS) for j in range(3)]
    heads, relations, tails = (list(column) for column in zip(*people, strict=True))
    triples = pa.table({"head_id": heads, "relation_id": relations, "tail_id": tails})
    links = pa.table({"item_id": [f"i{i}" for i in range(ITEMS)], "entity_id": [f"e{i}" for i in range(ITEMS)]})
    log = pa.table({"user_id": users, "item_id": items, "timestamp": times})
    return index_ids(Tables(log, catalog, None, "planted", KnowledgeTables(triples, links, "planted")))


@pytest.fixture(scope="module")
def data() -> TrainingData:
    made = planted()
    return TrainingData(made, made.interactions)


def queries(data: TrainingData) -> Query:
    histories = Histories.of(data.train, USERS)
    return Query(*gather_queries(histories, np.arange(USERS), 32, 10**6))


def trained(task: GraphRetrieval, data: TrainingData, steps=60, rate=0.05):
    constants, source = jax.device_put(task.constants(data)), task.source(data)
    batches = make_batches(source, 20, 0)
    params = jax.jit(task.init)(jax.random.key(0), constants, next(batches))
    optimizer = optax.adam(rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch, key):
        grads, metrics = task.gradients(params, constants, batch, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, metrics

    for number in range(steps):
        params, state, _ = step(params, state, next(batches), jax.random.fold_in(jax.random.key(1), number))
    return params, constants


TASKS = {
    "user table": GraphRetrieval(LightGCN(dim=8), examples=EXAMPLES),
    "histories": GraphRetrieval(LightGCN(dim=8, own_users=False), examples=EXAMPLES),
    "bpr": GraphRetrieval(LightGCN(dim=8, layers=2), Bpr(negatives=16), examples=EXAMPLES),
    "knowledge": GraphRetrieval(LightGCN(dim=8, knowledge=KnowledgeTower(), id_dropout=0.3), examples=EXAMPLES),
    "relations": GraphRetrieval(LightGCN(dim=8, knowledge=KnowledgeTower("relation")), examples=EXAMPLES),
}


@pytest.mark.parametrize("name", TASKS)
def test_each_community_is_recommended_its_own(data, name, quick_compile):
    task = TASKS[name]
    ranker = task.ranker(*trained(task, data))
    query, warm = queries(data), jnp.arange(ITEMS) < 2 * EACH
    first = np.asarray(rank(ranker, ranker.arrays, query, query.history, warm, k=1).rows[:, 0])
    assert (first == EACH * (np.arange(USERS) % 2) + WITHHELD).mean() == 1
    if task.model.knowledge is not None:  # new films stand with their studio's
        scores = np.asarray(score_all(ranker, ranker.arrays, query))[:, 2 * EACH :]
        assert (scores.argmax(axis=1) == np.arange(USERS) % 2).all()


def gradients(task: GraphRetrieval, data: TrainingData, shape: MeshShape):
    constants, batch = task.constants(data), first_batch(task.source(data), 16)
    return gradients_on(shape, task, jax.jit(task.init)(init_key(0), constants, batch), constants, batch)


@pytest.mark.parametrize(
    ("loss", "own_users"), [(FullSoftmax(), False), (InBatchSoftmax(), True)], ids=["full", "in-batch"]
)
def test_gradients_are_equal_on_every_mesh(data, loss, own_users, quick_compile):
    model = LightGCN(dim=8, own_users=own_users, knowledge=KnowledgeTower(), id_dropout=0.3)
    task = GraphRetrieval(model, loss, examples=EXAMPLES)
    expected, expected_metrics = gradients(task, data, MeshShape(data=1))
    assert max(float(np.abs(g).max()) for g in jax.tree.leaves(expected)) > 1e-4
    for shape in (MeshShape(), MeshShape(model=2), MeshShape(strategy="pmap")):
        grads, metrics = gradients(task, data, shape)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), grads, expected)
        np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-5)


def test_edges_and_the_graph_spelt_out_say_the_same(data, monkeypatch, quick_compile):
    task = TASKS["user table"]
    batch, dense = first_batch(task.source(data), 16), task.constants(data)
    monkeypatch.setattr(graph_table, "SMALL_GRAPH", 0)
    sparse = task.constants(data)
    assert dense.matrix.shape == (USERS, ITEMS) and sparse.matrix.shape == (USERS, 0)
    params = jax.jit(task.init)(jax.random.key(0), dense, batch)
    both = [jax.jit(task.gradients)(params, graph, batch, jax.random.key(1))[0] for graph in (dense, sparse)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *both)


def test_permuted_items_give_permuted_answers(data):
    order = np.random.default_rng(0).permutation(ITEMS)  # new row -> old row
    place_of = np.argsort(order).astype(np.int32)
    task = TASKS["user table"]
    graph = task.constants(data)
    params = task.init(jax.random.key(0), graph, None)
    moved_graph = graph.__class__(
        graph.users,
        graph.items[order],
        graph.matrix[:, order],
        *[graph.edge_users, graph.edge_items],
        graph.warm[order],
        graph.facts,
    )
    moved = {"users": params["users"], "items": {"embedding": params["items"]["embedding"][order]}}
    query = queries(data)
    history = np.where(query.history >= 0, place_of[query.history], -1)
    asked = Query(history, query.weights, query.ages, query.features, query.text)
    rankers = task.ranker(params, graph), task.ranker(moved, moved_graph)
    expected, found = (score_all(r, r.arrays, q) for r, q in zip(rankers, (query, asked), strict=True))
    np.testing.assert_allclose(found, np.asarray(expected)[:, order], atol=1e-6)


def test_the_vector_of_a_known_user_is_that_of_training_but_for_the_users_own(data):
    task = TASKS["user table"]
    params, graph = trained(task, data, steps=20)
    ranker = task.ranker(params, graph)
    in_training = task.model.apply({"params": params}, graph).users
    own = params["users"]["embedding"] / (task.model.layers + 1)
    np.testing.assert_allclose(ranker.user(ranker.arrays, queries(data)) + own, in_training, atol=1e-5)
    task = TASKS["histories"]
    params, graph = trained(task, data, steps=20)
    ranker = task.ranker(params, graph)
    in_training = task.model.apply({"params": params}, graph).users
    np.testing.assert_allclose(ranker.user(ranker.arrays, queries(data)), in_training, atol=1e-5)


@pytest.mark.parametrize("name", ["user table", "knowledge"])
def test_the_artifact_answers_alike(data, name, tmp_path):
    task = TASKS[name]
    graph = task.constants(data)
    ranker = task.ranker(task.init(jax.random.key(0), graph, None), graph)
    histories = Histories.of(data.train, USERS)
    export(ranker, data.dataset, tmp_path / "a", histories=histories)
    table = Recommender.load(tmp_path / "a").recommend_many(k=5)
    query = queries(data)
    expected = rank(ranker, ranker.arrays, query, query.history, jnp.ones(ITEMS, bool), k=5)
    assert table["item_id"].to_pylist() == data.dataset.item_map.take(np.asarray(expected.rows).ravel()).tolist()
    np.testing.assert_allclose(table["score"], np.asarray(expected.scores).ravel(), rtol=1e-5, atol=1e-6)
    assert Recommender.load(tmp_path / "a").recommend(history=["i1", "i2"], k=3)


def test_shapes_are_those_of_the_data(data):
    task = TASKS["user table"]
    sizes = Sizes(items=ITEMS, users=USERS, events=len(data.train))
    constants, batch = task.shapes(sizes, 16)
    real, real_batch = task.constants(data), first_batch(task.source(data), 16)
    for told, made in ((constants, real), (batch.users, real_batch.users)):
        jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), told, made)


def test_an_item_keeps_the_entities_that_most_share(data):
    knowledge = data.dataset.knowledge
    whole, few = facts_of(knowledge, ITEMS, 64), facts_of(knowledge, ITEMS, 2)
    assert whole.entities.shape == (ITEMS, 3) and few.entities.shape == (ITEMS, 2)
    having = np.bincount(whole.entities.ravel(), minlength=knowledge.num_entities)
    for row in range(ITEMS):
        assert sorted(having[few.entities[row]]) == sorted(having[whole.entities[row]])[1:]
    shared = having > 0
    np.testing.assert_allclose(whole.entity_rarity[shared], np.log(ITEMS / having[shared]), rtol=1e-6)


def test_what_cannot_be_trained_is_refused(data):
    lonely = data.train.take(np.unique(data.train.user_rows, return_index=True)[1])
    with pytest.raises(DataError, match="no user has two training events"):
        TASKS["user table"].source(TrainingData(data.dataset, lonely))
    without = Dataset(*(getattr(data.dataset, f) for f in ("interactions", "catalog", "users", "item_map", "user_map")))
    with pytest.raises(UserError, match="knowledge=True"):
        TASKS["knowledge"].on(TrainingData(without, data.train))
    assert graph_of(TrainingData(without, data.train)).facts.entities.shape == (ITEMS, 0)
