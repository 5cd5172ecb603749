"""Items that training never saw."""

import jax.numpy as jnp
import numpy as np
import planted
import pyarrow as pa
import pytest

from jaxrec.errors import DataError, UserError
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender

NEW = pa.table(
    {
        "item_id": ["n1", "n2"],
        "title": ["A funny comedy", "A sad drama"],
        "genres": [["Comedy"], ["Drama"]],
    }
)


def test_new_items_are_ranked_by_their_words(recommender):
    more = recommender.with_new_items(NEW)
    comedies = [r.item_id for r in more.recommend(history=["i1", "i2"], candidates=["n1", "n2"])]
    dramas = [r.item_id for r in more.recommend(history=["i13", "i14"], candidates=["n1", "n2"])]
    assert comedies == ["n1", "n2"] and dramas == ["n2", "n1"]
    answer = more.recommend(history=["i1"], candidates=["n1"])[0]
    assert answer.title == "A funny comedy" and answer.tags == ("Comedy",) and answer.reason.tags == ("Comedy",)
    many = more.recommend_many(pa.table({"user_id": ["a"], "item_id": ["n2"]}), k=3)
    assert set(many["item_id"].to_pylist()) <= {f"i{i}" for i in range(12, 24)}
    assert more.profile(item="n1").tags[0].tag == "Comedy"


def test_the_old_items_keep_their_scores(recommender):
    more = recommender.with_new_items(NEW)
    old = [f"i{i}" for i in range(24)]
    before = recommender.recommend(history=["i1", "i2"], candidates=old, k=20)
    after = more.recommend(history=["i1", "i2"], candidates=old, k=20)
    assert [r.item_id for r in before] == [r.item_id for r in after]
    assert [r.score for r in before] == pytest.approx([r.score for r in after])
    assert len(recommender.loaded.catalog) == 24, "the first recommender is as it was"


def test_the_row_is_what_the_ranker_itself_makes(recommender, ranker, data):
    more = recommender.with_new_items(NEW)
    texts = data.catalog.features.encoder.describe(NEW)[1].to_pylist()
    encoder = planted.words()
    table = encoder.tokenizer.tokenize(texts)
    text = encoder.encode(encoder.params, jnp.asarray(table.ids), jnp.asarray(table.mask()))
    rows = ranker.embed_items(ranker.arrays.shared, text, None)
    np.testing.assert_allclose(more.loaded.items["vector"][-2:], rows["vector"], atol=1e-5)
    assert more.loaded.items["bias"].dtype == jnp.bfloat16
    given = recommender.with_new_items(NEW, text_vectors=np.asarray(text))
    np.testing.assert_allclose(given.loaded.items["vector"], more.loaded.items["vector"], atol=1e-5)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["i3", "n1"], "1 ids are in the catalog already, first: 'i3'"),
        (["n1", "n1"], "the id 'n1' stands more than once"),
        (["n1", None], "an item_id is empty"),
    ],
)
def test_bad_ids(recommender, ids, said):
    with pytest.raises(DataError, match=said):
        recommender.with_new_items(NEW.set_column(0, "item_id", pa.array(ids)))


def test_what_is_missing_is_said(recommender, data, ranker, tmp_path):
    with pytest.raises(DataError, match="no column 'item_id'"):
        recommender.with_new_items(NEW.drop_columns(["item_id"]))
    with pytest.raises(DataError, match="new items: the table has no rows"):
        recommender.with_new_items(NEW.slice(0, 0))
    with pytest.raises(UserError, match=r"text_vectors: shape \(2, 3\), expected \(2, 32\)"):
        recommender.with_new_items(NEW, np.zeros((2, 3)))
    export(ranker, data, tmp_path / "a")
    bare = Recommender.load(tmp_path / "a")
    with pytest.raises(UserError, match="no function 'embed_items'"):
        bare.with_new_items(NEW)
    with pytest.raises(UserError, match="this artifact's ranker reads no words"):
        bare.recommend(text="funny")
    with pytest.raises(UserError, match="this artifact keeps no users"):
        bare.recommend(user="u1")


def test_a_column_that_is_not_there_counts_as_missing(recommender):
    more = recommender.with_new_items(pa.table({"item_id": ["n9"]}))
    assert more.recommend(history=["i1"], candidates=["n9"])[0].title == "n9"


def test_an_item_without_words_is_placed_as_training_would(recommender, ranker):
    """In the catalog an empty text is a vector of zeros, whatever the encoder says of it."""
    more = recommender.with_new_items(pa.table({"item_id": ["n9"]}))
    rows = ranker.embed_items(ranker.arrays.shared, jnp.zeros((1, planted.TEXT)), None)
    np.testing.assert_allclose(more.loaded.items["vector"][-1:], rows["vector"], atol=1e-6)


def test_given_vectors_are_brought_to_length_one(recommender):
    given = np.random.default_rng(3).normal(size=(2, planted.TEXT)).astype(np.float32)
    one, ten = (recommender.with_new_items(NEW, text_vectors=given * size).loaded for size in (1, 10))
    np.testing.assert_allclose(one.items["vector"], ten.items["vector"], atol=1e-5)


def test_empty_words_say_nothing(recommender):
    silent = recommender.recommend(history=["i1", "i13"], k=5)
    assert recommender.recommend(history=["i1", "i13"], k=5, text="") == silent
    assert recommender.recommend(history=["i1", "i13"], k=5, text=" ") == silent
    assert recommender.recommend(history=["i1", "i13"], k=5, text="sad drama") != silent
