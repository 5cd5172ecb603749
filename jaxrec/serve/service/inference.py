"""The Open Inference Protocol (version 2, REST) over the exported `recommend` function."""

from typing import Any

import numpy as np

from jaxrec.data.queries import QueryArrays
from jaxrec.errors import UserError
from jaxrec.serve.loaded import width_of
from jaxrec.serve.service.live import BATCHES, WIDTHS, Live
from jaxrec.serve.service.wire import Infer, Tensor

INPUTS = {"history": np.int32, "weights": np.float32, "ages": np.float32, "features": np.float32, "text": np.float32}
OF_ASKER = ("features", "text", "context")  # one row an asker, whatever the history
TYPES = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64, "BOOL": np.bool_}


def _inputs(live: Live) -> dict[str, type]:
    return INPUTS | ({"context": np.float32} if live.recommender.manifest.context else {})


def metadata(live: Live) -> dict[str, Any]:
    """Of the model: its inputs and outputs; -1 for a size that is free."""
    m = live.recommender.manifest
    wide = {"features": m.user_features, "text": m.user_text, "context": m.context}
    named = {np.int32: "INT32", np.float32: "FP32"}
    inputs = [
        {"name": n, "datatype": named[kind], "shape": [-1, wide.get(n, -1)], "parameters": {"optional": n != "history"}}
        for n, kind in _inputs(live).items()
    ]
    outputs = [{"name": "scores", "datatype": "FP32", "shape": [-1, m.k_max]}]
    outputs.append({"name": "rows", "datatype": "INT32", "shape": [-1, m.k_max]})
    return {
        "name": m.name,
        "versions": [m.created],
        "platform": "jax_export",
        "inputs": inputs,
        "outputs": outputs,
    }


def arrays_of(live: Live, request: Infer) -> tuple[QueryArrays, np.ndarray, np.ndarray, int]:
    """(query, seen, allowed, askers): item rows in, as the exported function reads them; what is in the history is
    seen. Raises UserError for tensors that do not fit."""
    names, inputs = [tensor.name for tensor in request.inputs], _inputs(live)
    if set(names) - set(inputs) or "history" not in names:  # before a name stands in a message
        raise UserError(f"inputs: history is needed, beside it may stand {', '.join(list(inputs)[1:])}; no others")
    if len(set(names)) < len(names):
        raise UserError("inputs: a name stands twice")
    given = {tensor.name: _array(tensor) for tensor in request.inputs}
    history, manifest = given["history"], live.recommender.manifest
    if history.ndim != 2 or not 1 <= history.shape[0] <= BATCHES[-1] or history.shape[1] > WIDTHS[-1]:
        raise UserError(f"history: a shape of 1 to {BATCHES[-1]} askers and up to {WIDTHS[-1]} events is expected")
    if ((history < -1) | (history >= len(live.catalog))).any():
        raise UserError(f"history: item rows from 0 to {len(live.catalog) - 1} are expected, -1 for padding")
    askers = history.shape[0]
    size = next(size for size in BATCHES if size >= askers)
    width = width_of(history.shape[1])
    length = min(manifest.history_length, width) if manifest.any_history else manifest.history_length
    widths = dict.fromkeys(inputs, length)
    widths |= {"features": manifest.user_features, "text": manifest.user_text, "context": manifest.context}
    latest = _latest(history, length)
    found = {}
    for name, kind in inputs.items():
        found[name] = np.full((size, widths[name]), -1 if name == "history" else 0, kind)
        if name == "weights" and name not in given:
            given[name] = np.where(history >= 0, manifest.default_weight, 0.0)
        if name in given:
            exact = name in OF_ASKER
            rows = given[name]
            if rows.shape != (askers, widths[name] if exact else history.shape[1]):
                raise UserError(f"{name}: its shape does not go with that of history, see the model's metadata")
            if not np.isfinite(rows).all():
                raise UserError(f"{name}: a number is not finite")
            kept = rows if exact else np.take_along_axis(rows, latest, axis=1)
            found[name][:askers, : kept.shape[1]] = kept
    seen = np.full((size, width), -1, np.int32)
    seen[:askers, : history.shape[1]] = history
    return QueryArrays(**found), seen, live.everything, askers


def _latest(history: np.ndarray, length: int) -> np.ndarray:
    """Where the last `length` events of each asker stand, int [askers, up to length]: events first, padding after them,
    wherever it stood."""
    at = np.argsort(history >= 0, axis=1, kind="stable")[:, -length:]
    padding = np.take_along_axis(history, at, axis=1) < 0
    return np.take_along_axis(at, np.argsort(padding, axis=1, kind="stable"), axis=1)


def outputs_of(live: Live, request: Infer, scores: np.ndarray, rows: np.ndarray, askers: int) -> dict[str, Any]:
    scores, rows = scores[:askers], rows[:askers]
    scores = np.where(rows >= 0, scores, 0.0)  # JSON knows no -inf
    named = (("scores", "FP32", scores), ("rows", "INT32", rows))
    outputs = [{"name": n, "datatype": d, "shape": list(x.shape), "data": x.ravel().tolist()} for n, d, x in named]
    answer = {"model_name": live.recommender.manifest.name, "outputs": outputs}
    return answer if request.id is None else answer | {"id": request.id}


def _array(tensor: Tensor) -> np.ndarray:
    kind = TYPES[tensor.datatype]
    wanted = (bool,) if kind is np.bool_ else (int,) if np.issubdtype(kind, np.integer) else (int, float)
    data = _flat(tensor.data)
    odd = any(isinstance(x, bool) != (kind is np.bool_) or not isinstance(x, wanted) for x in data)
    size = int(np.prod(tensor.shape)) if tensor.shape else 1
    if odd or len(data) != size:
        raise UserError(f"{tensor.name}: data is not {size} values of {tensor.datatype}")
    try:
        return np.array(data, kind).reshape(tensor.shape)
    except (OverflowError, ValueError):
        raise UserError(f"{tensor.name}: a value is too large for {tensor.datatype}") from None


def _flat(data: list[Any]) -> list[Any]:
    """Values of nested lists, which the protocol allows, in row-major order; deeper than four is no tensor."""
    for _ in range(4):
        if not any(isinstance(x, list) for x in data):
            return data
        data = [y for x in data for y in (x if isinstance(x, list) else [x])]
    return data
