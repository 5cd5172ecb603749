"""A tiny random BERT trained along with the towers: what moves, what stays, and the way back to frozen vectors."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import planted_tastes as planted
import pytest

from jaxrec.data.tokens import TokenTable
from jaxrec.errors import UserError
from jaxrec.models.encoders.bert import Bert, merged
from jaxrec.models.encoders.tuned import TunedBert
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.partition import PARAM_RULES, partition_shardings
from jaxrec.parallel.placement import place
from jaxrec.ranker import score_all
from jaxrec.tasks import tuning
from jaxrec.tasks.item_table import Neighbourhood, item_table
from jaxrec.tasks.ranker import two_tower_ranker
from jaxrec.tasks.retrieval import FineTune, Retrieval
from jaxrec.tasks.tuning import tuned_for
from jaxrec.text_encoder import BagOfWords, BertEncode
from jaxrec.train.optimizers import SGD
from jaxrec.train.state import TrainState
from jaxrec.train.step import make_step

pytestmark = pytest.mark.usefixtures("quick_compile")
D, TOKENS, PAD = planted.DIM, 5, 3
NONE = Neighbourhood(count=0)
BERT = Bert(
    vocab_size=20, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=12, max_positions=8, dropout=0.0,
    attention_dropout=0.0,
)  # fmt: skip
JOB = planted.job()
TEXTS = ["space robots", "kitchen", ""] * 20


def plain_task(**options) -> Retrieval:
    options = {"content": Content(D, Identity(D)), "id_dropout": 0.0} | options
    model = TwoTower(ItemTower(D, **options), ItemTower(D, 0.5, 0.0, None), UserTower(D, Identity(D)))
    return Retrieval(model, fine_tune=FineTune(max_tokens=8))


class Letters:
    """One token a letter, at most TOKENS; padded with an id that is not 0."""

    pad_id = PAD

    def tokenize(self, texts):
        return TokenTable.of([[1, *(4 + ord(c) % 16 for c in text[: TOKENS - 2]), 2] for text in texts], PAD)


def encoder(bert=BERT, **encode):
    params = bert.init(jax.random.key(4), jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool))["params"]
    encode = BertEncode(bert, **({"pool": "mean", "normalize": True} | encode))
    return SimpleNamespace(tokenizer=Letters(), params=jax.tree.map(np.asarray, params), encode=encode)


ENCODER = encoder()


def tuned(freeze_lower=0, **options):
    task = replace(plain_task(**options), fine_tune=FineTune(freeze_lower, 8))
    return tuned_for(task, ENCODER, TEXTS[: planted.ITEMS])


def table_of(made):
    return item_table(JOB.log, JOB.text[:, :0], JOB.features, NONE, made.tokens)


def start(made, seed=0):
    table, batch = table_of(made), JOB.source.gather(np.arange(8), np.random.default_rng(0))
    params = made.task.init(jax.random.key(seed), table, batch)
    return params, table, batch


def test_nothing_is_tuned_where_nothing_asks_for_it():
    assert tuned_for(replace(plain_task(), fine_tune=None), BagOfWords().load(), TEXTS) is None


def test_the_item_tower_reads_tokens_through_the_loaded_encoder():
    made = tuned()
    assert made.task.model.item.content.encoder == TunedBert(BERT, "mean", True, PAD)
    assert made.tokens.shape == (planted.ITEMS, TOKENS) and made.tokens.dtype == np.int32
    params = made.warm_start(start(made)[0])
    for ours, theirs in zip(
        jax.tree.leaves(params["item"]["content"]["encoder"]["bert"]), jax.tree.leaves(ENCODER.params), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    expected = ENCODER.encode(ENCODER.params, made.tokens, made.tokens != PAD)
    np.testing.assert_allclose(made.encode_all(params), expected, rtol=1e-4, atol=1e-5)
    assert set(params["history"]) == {"embedding"}


@pytest.mark.parametrize("freeze_lower", [0, 1, 2])
def test_frozen_layers_do_not_move_and_all_else_does(freeze_lower):
    made = tuned(freeze_lower)
    params, table, batch = start(made)
    params = made.warm_start(params)
    trainable = made.trainable(params)
    optimizer = SGD(1.0).build(10, trainable)
    state = TrainState.of(params, optimizer.transform)
    after, metrics = jax.jit(make_step(made.task, optimizer, seed=0, trainable=trainable))(state, table, batch)
    assert metrics["finite"] == 1
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()) > 0, params, after.params)
    bert = moved["item"]["content"]["encoder"]["bert"]
    frozen = {"embeddings", *(f"layer_{n}" for n in range(freeze_lower))} if freeze_lower else set()
    for part, leaves in bert.items():
        # the bias of an attention key adds the same to all logits of a query: no gradient by mathematics
        moving = [v for name, v in jax.tree_util.tree_leaves_with_path(leaves) if "'key'" not in str(name)]
        assert any(moving) == (part not in frozen), part
        assert part not in frozen or not any(jax.tree.leaves(leaves))
    assert moved["item"]["embedding"] and moved["history"]["embedding"]
    assert moved["item"]["content"]["text"]["kernel"]


def adapted():
    return tuned_for(replace(plain_task(), fine_tune=FineTune(0, 8, lora_rank=3)), ENCODER, TEXTS[: planted.ITEMS])


def test_adapters_start_from_the_encoder_as_it_is_and_move_alone():
    made = adapted()
    params, table, batch = start(made)
    params = made.warm_start(params)
    np.testing.assert_array_equal(made.encode_all(params), tuned().encode_all(tuned().warm_start(start(tuned())[0])))
    params = jax.tree_util.tree_map_with_path(  # as long as B is zero A has no gradient
        lambda path, p: p + 0.1 if "lora_b" in jax.tree_util.keystr(path) else p, params
    )
    trainable = made.trainable(params)
    optimizer = SGD(100.0).build(10, trainable)
    state = TrainState.of(params, optimizer.transform)
    state, metrics = jax.jit(make_step(made.task, optimizer, seed=0, trainable=trainable))(state, table, batch)
    moved = jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 0), params, state.params)
    bert = jax.tree_util.tree_leaves_with_path(moved["item"]["content"]["encoder"]["bert"])
    assert all(change == ("lora_" in jax.tree_util.keystr(path)) for path, change in bert)
    assert sum(change for _, change in bert) == 2 * 2 * 2  # layers x (query, value) x (A, B)
    assert moved["item"]["content"]["text"]["kernel"] and metrics["finite"] == 1


def test_adapters_are_merged_into_the_encoder_that_is_exported():
    made = adapted()
    params = made.warm_start(start(made)[0])
    params = jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    kept = merged(params["item"]["content"]["encoder"]["bert"])
    assert jax.tree.structure(kept) == jax.tree.structure(ENCODER.params)
    vectors = ENCODER.encode(kept, made.tokens, made.tokens != PAD)
    np.testing.assert_allclose(vectors, made.encode_all(params), rtol=1e-4, atol=1e-5)


def test_more_frozen_layers_than_there_are_is_refused():
    made = tuned(3)
    with pytest.raises(ValueError, match="freeze_lower=3, but this BERT has 2 layers"):
        made.trainable(start(made)[0])


def test_frozen_again_it_scores_the_same_without_an_encoder():
    made = tuned()
    params, table, _ = start(made)
    params = jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    expected, _ = made.task.model.apply({"params": params}, table, JOB.queries())
    task, plain, frozen = made.frozen(params, table)
    assert task.model == plain_task().model
    assert frozen.tokens.shape == (planted.ITEMS, 0) and frozen.text.shape == (planted.ITEMS, 8)
    assert "encoder" in params["item"]["content"] and "encoder" not in plain["item"]["content"]
    ranker = two_tower_ranker(task.model, plain, frozen, NONE, 2 * planted.EACH)
    np.testing.assert_allclose(score_all(ranker, ranker.arrays, JOB.queries()), expected, rtol=1e-4, atol=1e-5)


def test_all_texts_are_encoded_in_blocks_with_one_program(monkeypatch):
    made = tuned()
    params = start(made)[0]
    whole = made.encode_all(params)
    monkeypatch.setattr(tuning, "ROWS", 7)
    before = tuning._encoded._cache_size()
    blocks = made.encode_all(params)
    made.encode_all(params)
    np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-6)
    assert tuning._encoded._cache_size() == before + 1


def test_all_texts_are_encoded_by_the_devices_of_the_data_axis_each_its_part():
    made = tuned()
    params = start(made)[0]
    mesh = MeshShape(model=2).make()
    placed = place(params, partition_shardings(params, PARAM_RULES, mesh))
    np.testing.assert_allclose(made.encode_all(placed), made.encode_all(params), rtol=1e-5, atol=1e-6)
    encoder = placed["item"]["content"]["encoder"]
    program = tuning._encoded.lower(made._encoder, encoder, np.zeros((tuning.ROWS, TOKENS), np.int32), mesh).compile()
    assert f"[{tuning.ROWS // 4},{TOKENS},8]" in program.as_text()  # hidden states of a quarter of the rows


def test_padding_is_not_read_whatever_its_id():
    made = tuned()
    params = start(made)[0]["item"]["content"]["encoder"]
    module = made.task.model.item.content.encoder
    wide = np.pad(made.tokens, ((0, 0), (0, 2)), constant_values=PAD)
    short, long = (module.apply({"params": params}, tokens) for tokens in (made.tokens, wide))
    np.testing.assert_allclose(short, long, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, rtol=1e-5)


def test_the_encoder_learns_what_tells_the_tastes_apart():
    """Texts of two letters, one for each taste: the loss falls, and the vectors of the tastes part."""
    task = replace(plain_task(alpha=1.0), fine_tune=FineTune())
    texts = ["a" if taste else "b" for taste in planted.TASTE]
    made = tuned_for(task, ENCODER, texts)
    job = replace(JOB, text=JOB.text[:, :0])
    job.__dict__["table"] = item_table(JOB.log, JOB.text[:, :0], JOB.features, NONE, made.tokens)
    params, _ = planted.trained(made.task, job, steps=40, rate=0.02)
    vectors = np.asarray(made.encode_all(params))
    fresh = np.asarray(made.encode_all(made.warm_start(params)))
    apart = [v[planted.TASTE == 0][0] @ v[planted.TASTE == 1][0] for v in (fresh, vectors)]
    assert apart[1] < apart[0] - 0.3


REFUSED = {
    "a rank below 0": (
        replace(plain_task(), fine_tune=FineTune(0, 8, lora_rank=-1)),
        ENCODER,
        "fine_tune.lora_rank=-1: a rank is 1 or more",
    ),
    "no BERT": (plain_task(), BagOfWords().load(), "task.fine_tune needs a BERT encoder: set encoder to a TextEncoder"),
    "no encoder": (plain_task(), None, "task.fine_tune needs a BERT encoder"),
    "no content": (plain_task(content=None), ENCODER, "it needs model.item.content"),
    "neighbours": (plain_task(use_neighbours=True), ENCODER, "model.item.use_neighbours=false"),
    "history reads text": (
        replace(plain_task(), model=plain_task().model.clone(history=ItemTower(D, content=Content(D, Identity(D))))),
        ENCODER,
        "model.history.content=none, which read the frozen vectors",
    ),
    "long texts": (
        replace(plain_task(), fine_tune=FineTune(max_tokens=4)),
        ENCODER,
        "have up to 5 tokens, method.task.fine_tune.max_tokens is 4: raise it, or set encoder.max_length to it",
    ),
    "another encoder": (
        plain_task(content=Content(D, Identity(D), encoder=TunedBert(BERT.clone(num_layers=3), pad_id=PAD))),
        ENCODER,
        "task.model.item.content.encoder.bert.num_layers is 3, and the loaded encoder has 2: make it that, or none",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_jobs_that_cannot_be_tuned_say_what_to_set(name):
    task, loaded, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        tuned_for(task, loaded, TEXTS)


def test_a_stated_encoder_decides_how_it_is_trained():
    stated = TunedBert(BERT.clone(dropout=0.4, remat=True), pad_id=PAD)
    made = tuned(content=Content(D, Identity(D), encoder=stated))
    assert made.task.model.item.content.encoder == stated
