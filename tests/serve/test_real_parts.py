"""The classic rankers, the two-tower model and the text encoders go through the artifact as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import planted
import pyarrow as pa
import pytest

from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.content_ridge import ContentRidge
from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.next_visit import NextVisit
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.classic.slist import Slist
from jaxrec.classic.user_neighbours import UserNeighbours
from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.queries import gather_queries
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.text_vectors import unit_text_vectors
from jaxrec.data.tokens import HashedWords
from jaxrec.data.training import TrainingData
from jaxrec.evaluate.ranking import rank_users
from jaxrec.item_axis import item_axis, take_items
from jaxrec.models.encoders.bert import Bert
from jaxrec.models.two_tower import TwoTower
from jaxrec.ranker import Query, rank
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.tasks.item_table import Neighbourhood, item_table
from jaxrec.tasks.ranker import two_tower_ranker
from jaxrec.text_encoder import BagOfWords, BertEncode, LoadedEncoder

pytestmark = pytest.mark.usefixtures("quick_compile_all")

RANKERS = [
    Popular(),
    RecentPopular(),
    ItemNeighbours(k=5),
    Ease(l2=10.0),
    Ease(l2=10.0, tau=5.0),
    ContentNeighbours(),
    Ease(l2=10.0, content=5.0),
    RandomWalk(k=5),
    Slim(l1=0.1, l2=1.0),
    Slist(l2=10.0),
    NextVisit(l2=10.0),
    UserNeighbours(k=5),
    ImplicitAls(dim=4),
    ImplicitAls(dim=4, tau=5.0),
]


NEIGHBOURS = ItemNeighbours | ContentNeighbours | RandomWalk


def text_vectors(data) -> np.ndarray:
    encoder = BagOfWords(dim=64).load()
    table = encoder.tokenizer.tokenize(data.catalog.texts.to_pylist())
    return np.asarray(encoder.encode(encoder.params, jnp.asarray(table.ids), jnp.asarray(table.mask())))


@pytest.mark.parametrize("config", RANKERS, ids=lambda c: c.name)
def test_classic_rankers(data, config, tmp_path):
    ranker = config.fit(TrainingData(data, data.interactions, text_vectors(data)))
    histories = planted.histories(data)
    export(ranker, data, tmp_path / "a", histories=histories, encoder=BagOfWords(dim=64).load())
    recommender = Recommender.load(tmp_path / "a")
    everybody = np.arange(data.num_users)
    everything = np.ones(data.num_items, bool)
    asked_at = np.full(data.num_users, histories.timestamps.max())
    expected = rank_users(ranker, histories, everybody, everything, k=5, asked_at=asked_at)
    blocks = rank_users(ranker, histories, everybody, everything, k=5, asked_at=asked_at, item_block=7)
    np.testing.assert_allclose(blocks.scores, expected.scores, rtol=1e-5, atol=1e-6)
    table = recommender.recommend_many(k=5)
    assert table["item_id"].to_pylist() == data.item_map.take(expected.rows.ravel()).tolist()
    np.testing.assert_allclose(table["score"], expected.scores.ravel(), rtol=1e-5, atol=1e-6)
    answer = recommender.recommend(history=["i1", "i2"], k=3)
    assert recommender.manifest.max_items is None and recommender.manifest.any_history
    assert len(answer) == 3 and all(r.reason.text for r in answer)
    assert len(recommender.similar("i1", k=3)) == 3 and recommender.profile(user="u0").tags[0].tag == "Comedy"


@pytest.mark.parametrize(
    "config", [ContentNeighbours(), Ease(l2=10.0, content=5.0), ContentRidge()], ids=lambda config: config.name
)
def test_new_items_come_behind_the_known_ones(data, config, tmp_path, monkeypatch):
    """Five, placed in batches of two: as the ranker itself makes them, and the known ones stay as they are."""
    monkeypatch.setattr("jaxrec.serve.new_items.BATCH", 2)
    text = unit_text_vectors(text_vectors(data))
    ranker = config.fit(TrainingData(data, data.interactions, text))
    export(ranker, data, tmp_path / "a", item_text=text.shape[1])
    before = Recommender.load(tmp_path / "a")
    new = pa.table({"item_id": [f"n{i}" for i in range(5)], "title": ["Film"] * 5, "genres": [["Drama"]] * 5})
    after = before.with_room(9).with_new_items(new, text_vectors=text[:5])
    assert after.loaded.room == data.num_items + 9
    features = jnp.asarray(data.catalog.features.encoder.encode(new))
    placed = ranker.embed_items(ranker.arrays.shared, jnp.asarray(text[:5]), features)
    for name, leaf in placed.items():
        held = take_items({name: after.loaded.items[name]}, slice(data.num_items + 5))[name]
        expected = np.concatenate([ranker.arrays.items[name], leaf], item_axis(name))
        np.testing.assert_allclose(held, expected, atol=1e-5)
    known = [f"i{i}" for i in range(10)]
    old, now = (r.recommend(history=["i11", "i12"], candidates=known, k=10) for r in (before, after))
    assert [(item.item_id, pytest.approx(item.score)) for item in old] == [(item.item_id, item.score) for item in now]


@pytest.mark.parametrize("config", [c for c in RANKERS if isinstance(c, NEIGHBOURS)], ids=lambda c: c.name)
def test_neighbours_of_a_large_catalog_are_exported_as_lists(data, config, tmp_path, monkeypatch):
    histories, given = planted.histories(data), TrainingData(data, data.interactions, text_vectors(data))
    tables = []
    for place, small in enumerate((data.num_items, 0)):
        monkeypatch.setattr("jaxrec.classic.neighbours.SMALL_CATALOG", small)
        export(config.fit(given), data, tmp_path / str(place), histories=histories)
        recommender = Recommender.load(tmp_path / str(place))
        tables.append(recommender.recommend_many(k=5))
    assert recommender.manifest.max_items == 4 * data.num_items  # it chooses its way by the size of a block
    np.testing.assert_allclose(tables[0]["score"], tables[1]["score"], rtol=1e-5, atol=1e-6)


def test_all_users_of_movielens_get_the_same_ten(tmp_path):
    data = index_ids(clean(MovieLens().load())[0])
    ranker = Ease().fit(TrainingData(data, data.interactions))
    histories = planted.histories(data)
    export(ranker, data, tmp_path / "a", histories=histories)
    asked_at = np.full(data.num_users, histories.timestamps.max())
    everybody, all_items = np.arange(data.num_users), np.ones(data.num_items, bool)
    expected = rank_users(ranker, histories, everybody, all_items, k=10, asked_at=asked_at)
    table = Recommender.load(tmp_path / "a").recommend_many(k=10)
    assert data.num_users == 943
    assert table["item_id"].to_pylist() == data.item_map.take(expected.rows.ravel()).tolist()


def test_content_neighbours_place_new_items(data, tmp_path):
    ranker = ContentNeighbours().fit(TrainingData(data, data.interactions, text_vectors(data)))
    export(ranker, data, tmp_path / "a", encoder=BagOfWords(dim=64).load())
    table = pa.table({"item_id": ["n1", "n2"], "title": ["Funny film", "Sad film"], "genres": [["Comedy"], ["Drama"]]})
    more = Recommender.load(tmp_path / "a").with_new_items(table)
    assert [r.item_id for r in more.recommend(history=["i1"], candidates=["n1", "n2"])] == ["n1", "n2"]
    assert [r.item_id for r in more.recommend(history=["i13"], candidates=["n1", "n2"])] == ["n2", "n1"]


def test_the_two_tower_model(data, tmp_path):
    text = text_vectors(data)
    near = Neighbourhood(count=5)
    table = item_table(data.interactions, text, data.catalog.features.values, near)
    histories = planted.histories(data)
    asked_at = int(histories.timestamps.max())
    everybody = np.arange(data.num_users)
    words = np.zeros((data.num_users, text.shape[1]), np.float32)
    query = Query(*gather_queries(histories, everybody, 8, asked_at, data.users.features.values, words))
    model = TwoTower()
    params = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, table, query)["params"]
    ranker = two_tower_ranker(model, params, jax.tree.map(jnp.asarray, table), near, history_length=8)
    export(ranker, data, tmp_path / "a", histories=histories, encoder=BagOfWords(dim=64).load(), user_text=64)
    recommender = Recommender.load(tmp_path / "a")
    seen = gather_queries(histories, everybody, 16, asked_at).history
    expected = rank(ranker, ranker.arrays, query, seen, jnp.ones(data.num_items, bool), k=5)
    answers = recommender.recommend_many(k=5)
    np.testing.assert_allclose(answers["score"], np.asarray(expected.scores).ravel(), rtol=1e-4, atol=1e-6)
    same = np.array(answers["item_id"].to_pylist()) == data.item_map.take(np.asarray(expected.rows).ravel())
    assert same.mean() > 0.98  # parameters are random, so a few scores nearly tie
    more = recommender.with_new_items(pa.table({"item_id": ["n1"], "title": ["Funny film"], "genres": [["Comedy"]]}))
    assert more.recommend(history=["n1"], text="funny", k=3)[0].reason.text


def tiny_bert(normalize: bool = True) -> LoadedEncoder:
    module = Bert(vocab_size=50, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, max_positions=20)
    ids = jnp.ones((1, 4), jnp.int32)
    params = module.init(jax.random.key(0), ids, ids > 0)["params"]

    class Modulo(HashedWords):
        def _ids(self, text):
            return [i % 50 for i in super()._ids(text)]

    return LoadedEncoder(Modulo(20), params, BertEncode(module, "mean", normalize), None, 16, 20, 512, "")


@pytest.mark.parametrize(
    "encoder", [BagOfWords(dim=64).load(), tiny_bert(), tiny_bert(False)], ids=["words", "bert", "raw"]
)
def test_encoders(data, ranker, encoder, tmp_path):
    export(ranker, data, tmp_path / "a", encoder=encoder, item_text=planted.TEXT, user_text=planted.TEXT)
    loaded = Recommender.load(tmp_path / "a").loaded
    ids = np.random.default_rng(0).integers(0, 50, (3, 7)).astype(np.int32)
    mask = np.arange(7)[None, :] < np.array([[7], [3], [1]])
    expected = encoder.encode(encoder.params, jnp.asarray(ids), jnp.asarray(mask))
    found = loaded.functions["encode_text"](loaded._text[1], ids, mask)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    loaded.__dict__["_text"] = encoder.tokenizer, loaded._text[1]  # the tiny BERT knows 50 words only
    texts = ["one", "two words and a few more", "", "three " * 40]
    said = loaded.encode_text(texts)
    assert said.shape == (4, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(said, axis=1), [1, 1, 0, 1], atol=1e-6)  # as training read them
    np.testing.assert_allclose(loaded.encode_text(texts)[1], loaded.encode_text(texts[1:2])[0], atol=1e-6)


class Talkative(planted.Words):
    """Says something of an empty text too, as a BERT does, and nothing of length 1."""

    def encode(self, params, token_ids, mask):
        return 3 * super().encode(params, token_ids, mask) + 1


def test_a_new_item_is_placed_as_one_of_the_catalog_with_the_same_text(data, ranker, tmp_path):
    encoder = Talkative(planted.words().params)
    films = pa.table({"item_id": ["n1", "n2"], "title": ["Funny film", None]})
    texts = data.catalog.features.encoder.describe(films)[1].to_pylist()
    assert texts[1] == ""
    table = encoder.tokenizer.tokenize(texts)
    raw = np.asarray(encoder.encode(encoder.params, jnp.asarray(table.ids), jnp.asarray(table.mask())))
    assert np.abs(raw[1]).min() == 1
    trained = ranker.embed_items(ranker.arrays.shared, unit_text_vectors(raw, texts), None)
    path = tmp_path / "a"
    export(ranker, data, path, encoder=encoder, item_text=planted.TEXT, user_text=planted.TEXT)
    recommender = Recommender.load(path)
    placed = recommender.with_new_items(films).loaded.items["vector"][-2:]
    np.testing.assert_allclose(placed, trained["vector"], atol=1e-5)
    assert recommender.recommend(history=["i1"], text="", k=3) == recommender.recommend(history=["i1"], k=3)
