"""The two towers and the model: what an item and an asker are made of."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.errors import UserError
from jaxrec.models.profiles.autoencoder import Autoencoder
from jaxrec.models.profiles.gan import Gan
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.profiles.transformer import Transformer
from jaxrec.models.scorers.cosine import Cosine
from jaxrec.models.towers import Content, ItemTable, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.ranker import Query
from jaxrec.similarity import all_nearest, nearest, spelt_out

pytestmark = pytest.mark.usefixtures("quick_compile")
ITEMS, TEXT, FEATURES, DIM, KEEP = 12, 6, 3, 4, 5
COLD = np.array([2, 7])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@cache
def item_table(spelt=True) -> ItemTable:
    rng = np.random.default_rng(0)
    text = unit(rng.normal(size=(ITEMS, TEXT))).astype(np.float32)
    warm = ~np.isin(np.arange(ITEMS), COLD)
    near = all_nearest(text, warm, count=KEEP, power=3.0)
    neighbours = (np.zeros((ITEMS, 0), np.int32), spelt_out(near, ITEMS)) if spelt else near
    features = rng.normal(size=(ITEMS, FEATURES)).astype(np.float32)
    return ItemTable(text, features, warm, *neighbours, np.zeros((ITEMS, 0), np.int32))


def randomised(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: np.asarray(0.5 * rng.normal(size=p.shape), p.dtype), shapes)


KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def shapes(module, *args):
    return jax.eval_shape(partial(module.init, train=True), KEYS, *args)["params"]


@cache
def start(tower: ItemTower):
    return randomised(shapes(tower, item_table()))


@partial(jax.jit, static_argnames=("tower", "train", "unseen"))
def vectors(tower, table, rows=None, train=False, unseen=False, seed=0):
    return tower.apply(
        {"params": start(tower)}, table, rows, train=train, unseen=unseen, rngs={"dropout": jax.random.key(seed)}
    ).vector


CONTENT = Content(DIM, Identity(DIM))
PLAIN = ItemTower(DIM, alpha=0.3, id_dropout=0.0, content=CONTENT)


def content_of(tower, table):
    content = start(tower)["content"]
    return table.text @ content["text"]["kernel"] + table.features @ content["features"]["kernel"]


def test_a_warm_item_mixes_id_and_content_by_alpha_and_a_cold_one_is_its_content():
    table, content = item_table(), content_of(PLAIN, item_table())
    expected = np.where(table.warm[:, None], 0.7 * start(PLAIN)["embedding"] + 0.3 * content, content)
    np.testing.assert_allclose(vectors(PLAIN, table), expected, rtol=1e-5, atol=1e-6)


def test_alpha_0_is_the_id_and_alpha_1_is_the_content():
    table = item_table()
    for alpha, expected in ((0.0, start(PLAIN)["embedding"]), (1.0, content_of(PLAIN, table))):
        ours = vectors(PLAIN.clone(alpha=alpha), table)
        np.testing.assert_allclose(ours[table.warm], expected[table.warm], rtol=1e-5, atol=1e-6)


def test_some_rows_are_the_rows_of_the_whole():
    for tower in (PLAIN, PLAIN.clone(use_neighbours=True)):
        for rows in (jnp.array([3, 7, 3]), jnp.arange(3 * ITEMS) % ITEMS):  # fewer and more than there are items
            for table in (item_table(), item_table(spelt=False)):
                whole = vectors(tower, table)
                np.testing.assert_allclose(vectors(tower, table, rows), whole[rows], rtol=1e-5, atol=1e-6)


def test_id_dropout_gives_a_share_of_the_items_their_content_alone_in_training_only():
    tower = PLAIN.clone(id_dropout=0.25)
    table, many = item_table(), jnp.tile(jnp.arange(ITEMS), 500)
    kept, dropped = vectors(PLAIN, table), content_of(PLAIN, table)
    np.testing.assert_array_equal(vectors(tower, table), kept)
    trained = np.asarray(vectors(tower, table, many, train=True)).reshape(500, ITEMS, DIM)
    is_kept = np.isclose(trained, kept[None], atol=1e-5).all(-1)
    is_dropped = np.isclose(trained, dropped[None], atol=1e-5).all(-1)
    assert (is_kept | is_dropped).all()  # one or the other, neither scaled
    assert is_dropped[:, COLD].all()
    share = is_dropped[:, np.asarray(table.warm)].mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / (500 * 10))


def test_neighbours_add_their_mean_id_and_the_sparse_form_equals_the_spelt_out():
    tower = PLAIN.clone(use_neighbours=True)
    table = item_table()
    expected = content_of(PLAIN, table) + table.neighbour_weights @ start(tower)["embedding"]
    np.testing.assert_allclose(vectors(tower, table)[COLD], expected[COLD], rtol=1e-5, atol=1e-6)
    sparse = vectors(tower, item_table(spelt=False))
    np.testing.assert_allclose(sparse, vectors(tower, table), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(table.neighbour_weights)[:, COLD]).max() == 0  # a cold id was never learned


def test_without_text_there_are_no_neighbours_to_use():
    table = item_table()
    table = table._replace(neighbours=table.neighbours[:, :0], neighbour_weights=table.neighbour_weights[:, :0])
    np.testing.assert_array_equal(vectors(PLAIN.clone(use_neighbours=True), table), vectors(PLAIN, table))


@pytest.mark.parametrize("head", [Identity(DIM), Autoencoder(DIM, 3), Gan(DIM, 5), Transformer(DIM, 1, causal=False)])
def test_a_new_item_is_placed_as_a_cold_item_of_the_catalog_that_is_the_same(head):
    tower = PLAIN.clone(use_neighbours=True, content=Content(DIM, head))
    table = item_table()
    nobody = jnp.full((len(COLD),), -1)
    near = nearest(table.text[COLD], nobody, table.text, table.warm, count=KEEP, power=3.0)
    new = ItemTable(table.text[COLD], table.features[COLD], jnp.zeros(2, bool), *near, jnp.zeros((2, 0), jnp.int32))
    np.testing.assert_allclose(vectors(tower, new, unseen=True), vectors(tower, table)[COLD], rtol=1e-5, atol=1e-6)


def test_an_item_without_anything_is_zero_and_costs_no_parameters():
    tower = ItemTower(DIM, content=None)
    assert set(start(tower)) == {"embedding"}
    np.testing.assert_array_equal(vectors(tower, item_table())[COLD], 0)
    bare = item_table()
    bare = bare._replace(text=bare.text[:, :0], features=bare.features[:, :0])
    assert set(shapes(PLAIN, bare)) == {"embedding"}


def query(seed=0, lengths=(5, 3, 1, 0), width=5, features=2, equal_ages=False) -> Query:
    rng = np.random.default_rng(seed)
    shape = (len(lengths), width)
    mask = np.arange(width)[None, :] < np.array(lengths)[:, None]
    ages = np.sort(rng.uniform(0, 90, shape))[:, ::-1] * (not equal_ages)
    return Query(
        np.where(mask, rng.integers(0, ITEMS, shape), -1).astype(np.int32),
        np.where(mask, rng.integers(1, 6, shape), 0).astype(np.float32),
        np.where(mask, ages, 0).astype(np.float32),
        rng.normal(size=(len(lengths), features)).astype(np.float32),
        unit(rng.normal(size=(len(lengths), TEXT))).astype(np.float32),
    )


def longer(asked: Query, more: int) -> Query:
    """The same with more padding."""
    wide = partial(np.pad, pad_width=((0, 0), (0, more)))
    return replace(
        asked,
        history=wide(asked.history, constant_values=-1),
        weights=wide(asked.weights),
        ages=wide(asked.ages),
    )


TOKENS = np.random.default_rng(5).normal(size=(ITEMS, DIM)).astype(np.float32)
WORDS = np.zeros((4, DIM), np.float32)


@cache
def user_start(tower: UserTower):
    return randomised(shapes(tower, query(), TOKENS, WORDS), seed=1)


@partial(jax.jit, static_argnames="tower")
def _users(tower, *args):
    return tower.apply({"params": user_start(tower)}, *args).vector


def users(tower, asked, tokens=TOKENS, words=WORDS):
    return _users(tower, asked, tokens, words)


def read(asked: Query):
    """Tokens event by event, [batch, length, dim]."""
    return TOKENS[np.maximum(asked.history, 0)]


USERS = {
    "identity": UserTower(DIM, Identity(DIM)),
    "transformer": UserTower(DIM, Transformer(DIM, 1)),
    "interactions": UserTower(DIM, Autoencoder(DIM, 3, rebuild="interactions")),
    "gan": UserTower(DIM, Gan(DIM, 5)),
}


@pytest.mark.parametrize("name", USERS)
def test_reading_from_the_catalog_equals_reading_event_by_event(name):
    tower = USERS[name]
    one_by_one = users(tower, query(), read(query()))
    np.testing.assert_allclose(users(tower, query()), one_by_one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", USERS)
def test_padding_of_a_history_is_not_read(name):
    tower, asked = USERS[name], query()
    np.testing.assert_allclose(users(tower, longer(asked, 3)), users(tower, asked), rtol=1e-5, atol=1e-6)
    nothing = asked.history < 0
    junk = replace(asked, weights=asked.weights + 77 * nothing, ages=asked.ages - 5 * nothing)
    np.testing.assert_allclose(users(tower, junk), users(tower, asked), rtol=1e-5, atol=1e-6)


def test_the_plain_reading_is_attention_times_a_power_of_the_length():
    tower = UserTower(DIM, Identity(DIM), length_power=0.5)
    params, asked = user_start(tower), query()
    for user, length in enumerate((5, 3, 1, 0)):
        rows = asked.history[user, :length]
        strength = np.log1p(asked.weights[user, :length])
        since = asked.ages[user, :length]
        since = since - since.min(initial=np.inf)
        logits = TOKENS[rows] @ params["importance"]["kernel"][:, 0] - params["recency"] * np.log1p(since)
        logits = logits + params["rating"] * (strength - strength.mean() if length else 0)
        weights = np.exp(logits) / max(np.exp(logits).sum(), 1e-9) * length**0.5
        expected = weights @ TOKENS[rows]
        expected = expected + asked.features[user] @ params["features"]["kernel"]
        expected = expected + params["features"]["bias"]
        np.testing.assert_allclose(users(tower, asked)[user], expected, rtol=1e-4, atol=1e-5)


def test_only_time_differences_within_a_history_count():
    asked = query()
    later = replace(asked, ages=asked.ages + 30 * (asked.history >= 0))
    np.testing.assert_allclose(users(USERS["identity"], later), users(USERS["identity"], asked), rtol=1e-4, atol=1e-5)


def test_order_does_not_count_without_ages_unless_a_transformer_reads():
    asked, order = query(equal_ages=True), np.array([4, 2, 0, 1, 3])
    full = [x[:1, order] for x in (asked.history, asked.weights, asked.ages)]
    flipped = Query(*full, asked.features[:1], asked.text[:1])
    same, moved = (np.asarray(users(USERS[name], flipped, TOKENS, WORDS[:1])) for name in ("identity", "transformer"))
    np.testing.assert_allclose(same, users(USERS["identity"], asked)[:1], rtol=1e-4, atol=1e-5)
    assert np.abs(moved - users(USERS["transformer"], asked)[:1]).max() > 1e-2


def test_whoever_says_and_has_nothing_is_zero():
    nobody = query(lengths=(0, 0), features=0)
    tower = UserTower(DIM, Identity(DIM))
    params = {name: value for name, value in user_start(tower).items() if name != "features"}
    np.testing.assert_array_equal(tower.apply({"params": params}, nobody, TOKENS, WORDS[:2]).vector, 0)


MODEL = TwoTower(
    ItemTower(DIM, content=CONTENT, use_neighbours=True, id_dropout=0.2),
    ItemTower(DIM, id_dropout=0.0, content=CONTENT),
    UserTower(DIM, Identity(DIM)),
    Cosine(),
)


@cache
def model_start(model: TwoTower):
    return randomised(shapes(model, item_table(), query()), seed=2)


@partial(jax.jit, static_argnames=("model", "train"))
def scores(model, asked, rows=None, train=False):
    rngs = {"dropout": jax.random.key(0)}
    return model.apply({"params": model_start(model)}, item_table(), asked, rows, train=train, rngs=rngs)


def test_no_words_are_as_words_never_were_and_a_sentence_moves_towards_its_item():
    asked = query(lengths=(5, 3, 1, 0), features=0)
    silent = replace(asked, text=np.zeros_like(asked.text))
    deaf = replace(asked, text=asked.text[:, :0])
    np.testing.assert_array_equal(scores(MODEL, silent)[0], scores(MODEL, deaf)[0])
    spoken = scores(MODEL, asked)[0]
    assert np.abs(spoken - scores(MODEL, silent)[0]).max(axis=1).min() > 1e-3
    tokens = item_table().text @ model_start(MODEL)["history"]["content"]["text"]["kernel"]
    sentence = replace(asked, text=item_table().text[:4])
    read = MODEL.apply({"params": model_start(MODEL)}, sentence, TOKENS, method="users").vector
    plain = MODEL.apply({"params": model_start(MODEL)}, silent, TOKENS, method="users").vector
    np.testing.assert_allclose(read - plain, tokens[:4], rtol=1e-4, atol=1e-5)


def test_equal_parts_are_not_shared_parts():
    """One and the same object in two places is two parts: a config read back from JSON would make two."""

    def made(content, head):
        return TwoTower(ItemTower(DIM, content=content()), ItemTower(DIM, content=content()), UserTower(DIM, head()))

    one, other = Content(DIM, Autoencoder(DIM, 3)), Autoencoder(DIM, 3)
    shared = made(lambda: one, lambda: other)
    apart = made(lambda: Content(DIM, Autoencoder(DIM, 3)), lambda: Autoencoder(DIM, 3))
    assert shared == apart and hash(shared) == hash(apart)
    ours, theirs = (jax.tree.map(np.shape, shapes(model, item_table(), query())) for model in (shared, apart))
    assert ours == theirs
    defaults = shapes(TwoTower(), item_table(), query())
    assert "content" in defaults["item"] and "content" in defaults["history"]


def test_widths_that_differ_are_named():
    with pytest.raises(UserError, match="an item tower's content gives 64 numbers and its tower has dim=4: give the"):
        shapes(ItemTower(DIM), item_table())
    with pytest.raises(UserError, match="the history tower gives 4 numbers and its tower has dim=8"):
        shapes(UserTower(8, Identity(8)), query(), TOKENS, WORDS)
    with pytest.raises(UserError, match="the user tower's head gives 8 numbers"):
        shapes(UserTower(DIM, Transformer(8, 1)), query(), TOKENS, WORDS)


def test_each_part_names_its_losses():
    model = TwoTower(
        ItemTower(DIM, content=Content(DIM, Gan(DIM, 5))),
        ItemTower(DIM, content=None),
        UserTower(DIM, Autoencoder(DIM, 3, rebuild="interactions", variational=True)),
    )
    _, losses = scores(model, query(), train=True)
    expected = {"item/match": ITEMS, "item/critic": ITEMS, "item/generator": ITEMS, "user/kl": 4}
    assert {name: len(value) for name, value in losses.items()} == expected | {"user/reconstruction": 4}
    assert scores(model, query())[1] == {}
    some, losses = scores(model, query(), rows=jnp.array([1, 4]), train=True)
    assert some.shape == (4, 2) and losses["item/match"].shape == (2,)


def test_interactions_are_rebuilt_over_the_whole_catalog_however_small_the_batch():
    model = TwoTower(history=ItemTower(content=None), user=UserTower(head=Autoencoder(64, 3, rebuild="interactions")))
    few = query(lengths=(2, 1), width=2)
    assert ITEMS > few.history.size
    params = shapes(model, item_table(), few)
    assert params["user"]["head"]["decode"]["kernel"].shape == (3, ITEMS)
    _, losses = jax.eval_shape(partial(model.apply, train=True, rngs=KEYS), {"params": params}, item_table(), few)
    assert losses["user/reconstruction"].shape == (2,)


def test_scores_of_some_rows_are_columns_of_all_scores():
    rows = jnp.array([7, 0, 7])
    np.testing.assert_allclose(
        scores(MODEL, query(), rows)[0], scores(MODEL, query())[0][:, rows], rtol=1e-4, atol=1e-5
    )
    few = query(lengths=(1, 2), width=2)  # fewer events than items: the history is read event by event
    np.testing.assert_allclose(scores(MODEL, few)[0], scores(MODEL, longer(few, 9))[0], rtol=1e-4, atol=1e-5)
