"""A ranker's and an encoder's pure functions to StableHLO, for every platform at once."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax import ShapeDtypeStruct as Shape
from jax import export as jax_export

from jaxrec.data.tokens import TextTokenizer
from jaxrec.errors import UserError
from jaxrec.item_axis import map_items, shape_of_items, take_items
from jaxrec.ranker import Arrays, Query, Ranker, rank

PLATFORMS = ("cpu", "cuda", "tpu")
LARGE_FUNCTION = 4 << 20
GROWTH = 4


class TextEncoder(Protocol):
    """What turns texts into vectors, as plain data and one pure function.

    encode(params, token_ids int32 [batch, tokens], mask bool [batch, tokens]) -> float32 [batch, dim].
    """

    tokenizer: TextTokenizer
    params: Any
    encode: Callable[[Any, jax.Array, jax.Array], jax.Array]
    dim: int
    max_length: int


class Sizes(NamedTuple):
    """Fixed sizes of the exported functions; item_text: of the item tower, None where it is left out."""

    items: int
    k_max: int
    history_length: int
    user_features: int
    user_text: int
    item_text: int | None
    item_features: int
    context: int = 0


class Lowered(NamedTuple):
    """functions: serialised, by name. max_items: the most items they take, None without a limit.

    any_history: whether a history may be narrower than history_length.
    """

    functions: dict[str, bytes]
    max_items: int | None
    any_history: bool


def lowered(ranker: Ranker, shared: Mapping, items: Mapping, sizes: Sizes) -> Lowered:
    """The ranker's functions. All arrays are arguments, as flat dicts of named arrays; a query is a dict of its fields,
    context among them where some is read.

    b askers, n items (at least k_max), h events, s seen rows and r asked rows are symbolic:
    recommend(shared, items, query, seen int32 [b, s], allowed bool [n]) -> {scores [b, k_max], rows [b, k_max]}
    score_rows(shared, items, query, rows int32 [r]) -> float32 [b, r]; score_by_source likewise -> {source: float32
    [b, r]}, where the ranker has it
    user_profile(shared, items, query) -> [b, dim], item_profile(shared, items) -> [n, dim], where the ranker has them
    embed_items(shared, text [b, item_text], features [b, item_features]) -> items of b rows, where the ranker has it

    Where a ranker chooses its way by a size that is not known, the sizes are narrowed until it can: the history to its
    full length, of which a warning says, the items to four times the catalog, both, and at last the items to those
    there are.
    """
    problem = None
    for max_items, any_history in product((None, GROWTH * sizes.items, sizes.items), (True, False)):
        try:
            functions = _lower_all(ranker, shared, items, sizes, max_items, any_history)
        except jax.errors.InconclusiveDimensionOperation as error:
            problem = str(error).strip().partition("\n")[0]
        else:
            if not any_history:
                warnings.warn(
                    f"the artifact reads {sizes.history_length:,} events of any history, however short, and takes as "
                    f"long as for a full one: {type(ranker).__name__} needs to know how many there are ({problem})",
                    stacklevel=2,
                )
            return Lowered(functions, max_items, any_history)
    raise UserError(f"{type(ranker).__name__} cannot be exported: its functions branch on the batch size. {problem}")


def _lower_all(
    ranker: Ranker, shared: Mapping, items: Mapping, sizes: Sizes, max_items: int | None, any_history: bool
) -> dict[str, bytes]:
    to_shared, to_items = _unflatten(ranker.arrays.shared), _unflatten(ranker.arrays.items)

    def recommend(shared, items, query, seen, allowed):
        arrays = Arrays(to_shared(shared), to_items(items))
        ranking = rank(ranker, arrays, Query(**query), seen, allowed, k=sizes.k_max)
        return {"scores": ranking.scores, "rows": ranking.rows}

    def of_rows(score: Callable) -> Callable:
        def score_rows(shared, items, query, rows):
            arrays = Arrays(to_shared(shared), to_items(items))
            block = take_items(arrays.items, rows)
            return score(arrays.shared, block, ranker.user(arrays, Query(**query)))

        return score_rows

    def user_profile(shared, items, query):
        return ranker.user_profile(Arrays(to_shared(shared), to_items(items)), Query(**query))

    def item_profile(shared, items):
        return ranker.item_profile(to_shared(shared), to_items(items))

    def embed_items(shared, text, features):
        return named_leaves(ranker.embed_items(to_shared(shared), text, features))

    bounds = {"h": [f"h <= {sizes.history_length}"], "r": [f"r <= {max(128, 2 * sizes.k_max)}"]}
    bounds["n"] = [f"n >= {sizes.k_max}", *([] if max_items is None else [f"n <= {max_items}"])]
    fixed = {} if max_items != sizes.items else {"n": sizes.items}
    fixed |= {} if any_history else {"h": sizes.history_length}

    def of_items(n: Any) -> dict[str, Shape]:
        return map_items(lambda axis, leaf: Shape(shape_of_items(n, axis, leaf), leaf.dtype), items)

    def shapes(*more: str) -> tuple:
        """The arrays and the query, and sizes of those names; a constraint may only name sizes that are used."""
        free = [name for name in ("n", "b", "h", *more) if name not in fixed]
        constraints = [bound for name in free for bound in bounds.get(name, ())]
        size = fixed | dict(zip(free, jax_export.symbolic_shape(",".join(free), constraints=constraints), strict=True))
        width = {"history": np.int32, "weights": np.float32, "ages": np.float32}
        query = {name: Shape((size["b"], size["h"]), dtype) for name, dtype in width.items()}
        query |= {
            "features": Shape((size["b"], sizes.user_features), np.float32),
            "text": Shape((size["b"], sizes.user_text), np.float32),
        }
        if sizes.context:
            query["context"] = Shape((size["b"], sizes.context), np.float32)
        blocks = of_items(size["n"])
        return kept, blocks, query, size

    kept = {name: Shape(leaf.shape, leaf.dtype) for name, leaf in shared.items()}
    *arguments, size = shapes("s")
    seen, allowed = Shape((size["b"], size["s"]), np.int32), Shape((size["n"],), np.bool_)
    functions = {"recommend": lower(recommend, *arguments, seen, allowed)}
    *arguments, size = shapes("r")
    asked_rows = Shape((size["r"],), np.int32)
    functions["score_rows"] = lower(of_rows(ranker.score), *arguments, asked_rows)
    if hasattr(ranker, "score_by_source"):
        functions["score_by_source"] = lower(of_rows(ranker.score_by_source), *arguments, asked_rows)
    if hasattr(ranker, "user_profile"):
        functions["user_profile"] = lower(user_profile, *shapes()[:3])
    if hasattr(ranker, "item_profile"):
        n = fixed.get("n") or jax_export.symbolic_shape("n", constraints=bounds["n"])[0]
        blocks = of_items(n)
        functions["item_profile"] = lower(item_profile, kept, blocks)
    if hasattr(ranker, "embed_items") and sizes.item_text is not None:
        (b,) = jax_export.symbolic_shape("b")
        text, features = Shape((b, sizes.item_text), np.float32), Shape((b, sizes.item_features), np.float32)
        functions["embed_items"] = lower(embed_items, kept, text, features)
    return functions


def lower_encoder(encoder: TextEncoder) -> bytes:
    """encode_text(params, token_ids int32 [b, t], mask bool [b, t]) -> [b, dim]; b and t <= max_length are symbolic."""
    to_params, encode = _unflatten(encoder.params), encoder.encode
    params = {name: Shape(np.shape(leaf), dtype_of(leaf)) for name, leaf in named_leaves(encoder.params).items()}
    b, t = jax_export.symbolic_shape("b, t", constraints=[f"t <= {encoder.max_length}"])

    def encode_text(params, token_ids, mask):
        return encode(to_params(params), token_ids, mask)

    return lower(encode_text, params, Shape((b, t), np.int32), Shape((b, t), np.bool_))


def lower(function: Callable, *shapes: Any) -> bytes:
    """One function, serialised. Warns when it carries arrays of its own."""
    with _without_source_paths():
        data = bytes(jax_export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).serialize())
    if len(data) > LARGE_FUNCTION:
        warnings.warn(
            f"the exported function {function.__name__} is {len(data) / 1e6:.0f} MB, so it carries constants: "
            "move the arrays that the ranker closes over into ranker.arrays",
            stacklevel=2,
        )
    return data


@contextmanager
def _without_source_paths() -> Iterator[None]:
    """The exported file names no directory of the machine that wrote it."""
    option = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, option)
    jax.config.update(option, ".*/")
    try:
        yield
    finally:
        jax.config.update(option, before)


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by path, as in "tower/dense_0/kernel"; a bare array is "value"."""
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="/") or "value": leaf for path, leaf in pairs}
    if len(named) != len(pairs):
        raise ValueError("two arrays have the same path: use no '/' in the keys of a ranker's arrays")
    return named


def dtype_of(leaf: Any) -> np.dtype:
    """The dtype a leaf has on the device."""
    return jax.dtypes.canonicalize_dtype(jax.dtypes.result_type(leaf))


def _unflatten(tree: Any) -> Callable[[Mapping[str, Any]], Any]:
    """The way back from `named_leaves(tree)`."""
    names, structure = list(named_leaves(tree)), jax.tree.structure(tree)
    return lambda named: jax.tree.unflatten(structure, [named[name] for name in names])
