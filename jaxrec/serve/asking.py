"""What a person gives (ids, weights, words, features) to what a ranker reads."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jaxrec.data.ids import NO_ROW, IdMap
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import QueryArrays
from jaxrec.errors import UserError
from jaxrec.serve.functions import ArtifactWarning

Event = str | tuple[str, float] | tuple[str, float, int]


class Asked(NamedTuple):
    """What one asker asks. query: fields [1, ...]; seen: int32 [1, any], never answered, -1 for padding; allowed: bool
    [items], of the ranker's arrays."""

    query: QueryArrays
    seen: np.ndarray
    allowed: np.ndarray

    @property
    def known(self) -> bool:
        """Whether there is an event to go by."""
        return bool((self.query.history >= 0).any())


def known_rows(items: IdMap, ids: Sequence[str] | pa.Array, what: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the ids that are in the catalog, mask of those); the others are named in one ArtifactWarning.

    Raises UserError when one is not a string.
    """
    if not isinstance(ids, pa.Array):
        odd = next((i for i in ids if not isinstance(i, str)), None)
        if odd is not None:
            raise UserError(f"{what}: ids are strings, and {odd!r} is a {type(odd).__name__}; write {str(odd)!r}")
    rows = items.find(ids)
    known = rows != NO_ROW
    if not known.all():
        unknown = list(dict.fromkeys(str(ids[int(i)]) for i in np.flatnonzero(~known)))
        named = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        warnings.warn(f"{what}: {len(unknown)} ids are not in the catalog and are ignored: {named}", ArtifactWarning, 4)
    return rows[known], known


def events(items: IdMap, history: Sequence[Event], *, default_weight: float, now: int) -> Interactions:
    """Events of one asker, in the order given: an id, (id, weight) or (id, weight, UTC seconds); see `known_rows`.

    An event without a time happened `now`, one without a weight weighs default_weight. Raises UserError for a weight
    or time that is no finite number.
    """
    if isinstance(history, str):
        raise UserError(f"history: a list of item ids is expected, not the text {history!r}; write [{history!r}]")
    full = [(e,) if isinstance(e, str) or not isinstance(e, Sequence) else tuple(e) for e in history]
    odd = next((e for e in full if not 1 <= len(e) <= 3), None)
    if odd is not None:
        raise UserError(f"history: {odd!r} is neither an id nor (id, weight) nor (id, weight, UTC seconds)")
    rows, known = known_rows(items, [e[0] for e in full], "history")
    kept = [e for e, k in zip(full, known, strict=True) if k]
    weights = _part(kept, 1, "weight", default_weight, np.float32)
    if not np.isfinite(weights).all():
        raise UserError(
            f"history: the weight of {kept[int(np.flatnonzero(~np.isfinite(weights))[0])][0]!r} is not finite"
        )
    times = _part(kept, 2, "time", now, np.int64)
    return Interactions(np.zeros(len(kept), np.int32), rows, times, weights)


def _part(events: Sequence[tuple], place: int, name: str, missing: float, dtype: type) -> np.ndarray:
    """What stands at one place of each event, `missing` where nothing does; UserError for what is no number."""
    given = [e[place] if len(e) > place and e[place] is not None else missing for e in events]
    for event, value in zip(events, given, strict=True):
        if not isinstance(value, (int, float, np.number)):
            raise UserError(f"history: the {name} of {event[0]!r} is {value!r}, a number is expected")
    try:
        return np.array(given, dtype)
    except (ValueError, OverflowError) as error:
        raise UserError(f"history: a {name} cannot be used: {error}") from None


def of_user(histories: Histories, row: int) -> Interactions:
    """The stored events of one user, as those of asker 0."""
    part = slice(int(histories.offsets[row]), int(histories.offsets[row + 1]))
    rows = histories.item_rows[part]
    return Interactions(np.zeros(len(rows), np.int32), rows, histories.timestamps[part], histories.weights[part])


def feature_row(features: Mapping[str, Any], encoder) -> np.ndarray:
    """Raw values by column name, as float32 [1, dim]; what is not given is that of the average user.

    Raises UserError for a column that the encoder does not read.
    """
    known = [c.name for c in (*encoder.numbers, *encoder.categories, *encoder.tags)]
    unknown = [name for name in features if name not in known]
    if unknown:
        there = ", ".join(map(repr, known)) or "none"
        raise UserError(f"features: this artifact reads no user feature {unknown[0]!r}; those it reads: {there}")
    given = {name: [value] for name, value in features.items() if value is not None}
    row, places = encoder.average()[None], encoder.places()
    encoded = encoder.encode(pa.table({encoder.id_name: ["asker"], **given}))
    for name in given:
        row[:, places[name]] = encoded[:, places[name]]
    return row
