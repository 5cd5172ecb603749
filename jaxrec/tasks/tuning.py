"""Train the text encoder along with the towers: all of it, its upper layers, or low-rank adapters alone."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrec.data.examples import Batch, ExampleSource
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.models.encoders.bert import Bert, merged, trainable_mask, with_adapters
from jaxrec.models.encoders.tuned import TunedBert
from jaxrec.models.towers import ItemTable
from jaxrec.tasks.item_table import item_table
from jaxrec.tasks.ranker import TwoTowerRanker
from jaxrec.tasks.retrieval import ITEM_RULES, Retrieval
from jaxrec.tasks.task import Sizes

PyTree = Any
ROWS = 256  # texts encoded at a time once training is done
HOW_TRAINED = ("dropout", "attention_dropout", "dtype", "remat", "init_scale")  # what a config may say otherwise


@dataclass(frozen=True, eq=False)
class Tuned:
    """A task whose item tower reads tokens through a trained encoder, and the way in and out of it.

    tokens: int32 [items, tokens]. loaded: the text encoder as it was pretrained.
    """

    task: Retrieval
    tokens: np.ndarray
    loaded: Any

    constant_rules: ClassVar = ITEM_RULES
    reads_text: ClassVar[bool] = False

    def constants(self, data: TrainingData) -> ItemTable:
        nothing = np.zeros((len(self.tokens), 0), np.float32)  # the tower reads tokens
        features = data.dataset.catalog.features.values
        return item_table(data.train, nothing, features, self.task.neighbourhood, self.tokens)

    def source(self, data: TrainingData) -> ExampleSource:
        return self.task.source(data)

    def init(self, key: jax.Array, constants: ItemTable, batch: Batch) -> PyTree:
        return self.task.init(key, constants, batch)

    def gradients(
        self, params: PyTree, constants: ItemTable, batch: Batch, key: jax.Array, *, axis_name: str | None = None
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        return self.task.gradients(params, constants, batch, key, axis_name=axis_name)

    def ranker(self, params: PyTree, constants: ItemTable) -> TwoTowerRanker:
        """Reads the trained encoder's vectors, and brings that encoder along for the artifact."""
        plain, kept, table = self.frozen(params, constants)
        return replace(plain.ranker(kept, table), encoder=self.trained(params))

    def shapes(self, sizes: Sizes, batch_size: int) -> tuple[ItemTable, Batch]:
        return self.task.shapes(sizes, batch_size)

    @property
    def _encoder(self) -> TunedBert:
        return self.task.model.item.content.encoder

    def warm_start(self, params: PyTree) -> PyTree:
        """Fresh parameters with the pretrained encoder in its place; adapters stay fresh."""
        fresh = params["item"]["content"]["encoder"]["bert"]
        return _with_encoder(params, {"bert": with_adapters(self.loaded.params, fresh)})

    def trainable(self, params: PyTree) -> PyTree:
        """Booleans shaped like the parameters: False for the layers that stay."""
        everything = jax.tree.map(lambda _: True, params)
        bert = params["item"]["content"]["encoder"]["bert"]
        how = self.task.fine_tune
        mask = trainable_mask(bert, train="adapters" if how.lora_rank else "all", freeze_lower=how.freeze_lower)
        return _with_encoder(everything, {"bert": mask})

    def encode_all(self, params: PyTree) -> jax.Array:
        """The catalog's text vectors by the trained encoder, float32 [items, dim], some rows at a time. Each device of
        the parameters' data axis encodes its part of the rows.
        """
        encoder = params["item"]["content"]["encoder"]
        where = getattr(jax.tree.leaves(encoder)[0], "sharding", None)
        mesh = where.mesh if isinstance(where, NamedSharding) and ROWS % where.mesh.shape["data"] == 0 else None
        padded = np.zeros((-(-len(self.tokens) // ROWS) * ROWS, self.tokens.shape[1]), np.int32)
        padded[: len(self.tokens)] = self.tokens
        starts = range(0, len(padded), ROWS)
        blocks = [_encoded(self._encoder, encoder, padded[start : start + ROWS], mesh) for start in starts]
        return jnp.concatenate(blocks)[: len(self.tokens)].astype(jnp.float32)

    def trained(self, params: PyTree) -> Any:
        """The loaded encoder with the trained weights in it, for export."""
        return replace(self.loaded, params=merged(params["item"]["content"]["encoder"]["bert"]))

    def frozen(self, params: PyTree, table: ItemTable) -> tuple[Retrieval, PyTree, ItemTable]:
        """The same model reading vectors again: the trained encoder's."""
        text = self.encode_all(params)
        content = {name: value for name, value in params["item"]["content"].items() if name != "encoder"}
        plain = params | {"item": params["item"] | {"content": content}}
        return _with_module(self.task, None), plain, table._replace(text=text, tokens=table.tokens[:, :0])


@partial(jax.jit, static_argnames=("module", "mesh"))
def _encoded(module: TunedBert, params: PyTree, tokens: jax.Array, mesh: Mesh | None) -> jax.Array:
    """float32 [rows, dim], whole on every device of the mesh."""
    if mesh is None:
        return module.apply({"params": params}, tokens)
    tokens = jax.lax.with_sharding_constraint(tokens, NamedSharding(mesh, PartitionSpec("data")))
    return jax.lax.with_sharding_constraint(
        module.apply({"params": params}, tokens), NamedSharding(mesh, PartitionSpec())
    )


def tuned_for(task: Retrieval, encoder: Any, texts: Sequence[str]) -> Tuned | None:
    """What fine-tuning needs, or None where the task does not ask for it.

    encoder: the loaded BERT (module, pool, normalize behind `encode`). Raises UserError for a job that reads the frozen
    vectors elsewhere: they and the trained ones would differ.
    """
    if task.fine_tune is None:
        return None
    module = getattr(getattr(encoder, "encode", None), "module", None)
    if not isinstance(module, Bert):
        raise UserError(
            "method.task.fine_tune needs a BERT encoder: set encoder to a TextEncoder, and give the catalog texts"
        )
    if task.model.item.content is None or task.model.item.use_neighbours or task.model.history.content is not None:
        raise UserError(
            "method.task.fine_tune trains the text that the item tower reads: it needs model.item.content, and "
            "model.item.use_neighbours=false and model.history.content=none, which read the frozen vectors"
        )
    if task.fine_tune.lora_rank < 0:
        raise UserError(
            f"method.task.fine_tune.lora_rank={task.fine_tune.lora_rank}: a rank is 1 or more, 0 trains no adapters"
        )
    tokens = encoder.tokenizer.tokenize(texts).ids
    if task.fine_tune.max_tokens < tokens.shape[1]:
        raise UserError(
            f"item texts have up to {tokens.shape[1]} tokens, method.task.fine_tune.max_tokens is "
            f"{task.fine_tune.max_tokens}: raise it, or set encoder.max_length to it"
        )
    tuned = TunedBert(module, encoder.encode.pool, encoder.encode.normalize, encoder.tokenizer.pad_id)
    stated = task.model.item.content.encoder
    if stated is not None:
        tuned = _as_stated(stated, tuned)
    if task.fine_tune.lora_rank:
        tuned = tuned.clone(bert=tuned.bert.clone(lora_rank=task.fine_tune.lora_rank))
    return Tuned(_with_module(task, tuned), tokens.astype(np.int32), encoder)


def _as_stated(stated: TunedBert, loaded: TunedBert) -> TunedBert:
    """What the config puts into the item tower, so that its shapes are known without weights; it decides how the
    encoder is trained (dropout, dtype, remat). Raises UserError where the loaded one is another encoder.
    """
    for where, ours, theirs in (("", stated, loaded), ("bert.", stated.bert, loaded.bert)):
        for name in (f.name for f in fields(ours) if f.name not in ("parent", "name", "bert", *HOW_TRAINED)):
            if getattr(ours, name) != getattr(theirs, name):
                raise UserError(
                    f"method.task.model.item.content.encoder.{where}{name} is {getattr(ours, name)!r}, and the loaded "
                    f"encoder has {getattr(theirs, name)!r}: make it that, or none, which takes the loaded encoder "
                    "as it is"
                )
    return stated


def _with_module(task: Retrieval, encoder: TunedBert | None) -> Retrieval:
    item = task.model.item
    return replace(task, model=task.model.clone(item=item.clone(content=item.content.clone(encoder=encoder))))


def _with_encoder(params: PyTree, encoder: PyTree) -> PyTree:
    item = params["item"]
    return params | {"item": item | {"content": item["content"] | {"encoder": encoder}}}
