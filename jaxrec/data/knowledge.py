"""What is known of items beyond their own columns: triples of entities (a knowledge graph), and vectors of them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ids import NO_ROW, IdMap
from jaxrec.data.tables import KnowledgeTables, require_columns
from jaxrec.errors import DataError


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Triples as rows. heads, relations, tails: int32 [triples], each triple once; of two relations that say the same
    in opposite directions the first in the file stays. items: int32 [items], the item's entity, -1 where it has none.
    """

    heads: np.ndarray
    relations: np.ndarray
    tails: np.ndarray
    items: np.ndarray
    entity_map: IdMap
    relation_map: IdMap

    @property
    def num_entities(self) -> int:
        return len(self.entity_map)

    @property
    def num_relations(self) -> int:
        return len(self.relation_map)

    def neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(item rows, relations, entities), int32 [n]: what each item is one triple away from, in either direction, by
        item; each (item, relation, entity) once."""
        rows_of = _grouped(self.items, self.num_entities)
        parts = []
        for here, there in ((self.heads, self.tails), (self.tails, self.heads)):
            at, rows = rows_of(here)
            parts.append(np.stack([rows, self.relations[at], there[at]]))
        found = np.unique(np.concatenate(parts, axis=1), axis=1)
        return tuple(found.astype(np.int32))


def index_knowledge(tables: KnowledgeTables, items: IdMap) -> Knowledge:
    """Dense rows. Links of items that nobody knows are left out.

    Raises DataError for a missing column, an empty field, an item that is linked twice, a link to an entity that no
    triple names, and where no item is linked.
    """
    triples, links, where = tables
    require_columns(triples, ("head_id", "relation_id", "tail_id"), f"the triples of {where}")
    require_columns(links, ("item_id", "entity_id"), f"the links of {where}")
    for table, name in ((triples, "triple"), (links, "link")):
        _refuse_empty(table, name, where)
    heads, relations, tails = (triples[name].combine_chunks() for name in ("head_id", "relation_id", "tail_id"))
    entity_map, relation_map = IdMap.of(pa.concat_arrays([heads, tails]), "entity"), IdMap.of(relations, "relation")
    linked, entity_ids = links["item_id"].combine_chunks(), links["entity_id"].combine_chunks()
    rows, entities = items.find(linked), entity_map.find(entity_ids)
    unknown = np.flatnonzero(entities == NO_ROW)
    if unknown.size:
        raise DataError(
            f"{where}: {unknown.size} links name entities that no triple has, first item {linked[int(unknown[0])]} -> "
            f"{entity_ids[int(unknown[0])]}. Add triples of them or leave these links out"
        )
    counts = np.bincount(rows[rows >= 0], minlength=len(items))
    if not counts.any():
        raise DataError(f"{where}: none of its {len(rows)} linked items is in the data; do the item ids fit?")
    if counts.max() > 1:
        raise DataError(f"{where}: item {items.take(counts.argmax())} is linked to {counts.max()} entities; keep one")
    of_items = np.full(len(items), NO_ROW, np.int32)
    of_items[rows[rows >= 0]] = entities[rows >= 0]
    columns = np.stack([entity_map.find(heads), relation_map.find(relations), entity_map.find(tails)])
    columns = np.unique(columns, axis=1)
    doubled = _inverses(*columns, len(entity_map), len(relation_map))
    columns = columns[:, ~np.isin(columns[1], doubled)]
    return Knowledge(*columns, of_items, entity_map, relation_map)


def entity_vectors(knowledge: Knowledge, num_items: int, dim: int = 256) -> np.ndarray:
    """Unit vectors of what items have in common: float32 [items, at most dim], zero for an item without entities.

    Each item is the set of entities one triple away. An entity that n of the N linked items have weighs log(N / n), one
    that a single item or all have nothing; rows have length 1, and a truncated SVD keeps the `dim` directions that hold
    most.
    Raises DataError where no two items share an entity.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import svds

    rows, _, entities = knowledge.neighbours()
    pairs = np.unique(np.stack([rows, entities]), axis=1)
    having = np.bincount(pairs[1], minlength=knowledge.num_entities)
    linked = max(int((knowledge.items >= 0).sum()), 1)
    shared = (having[pairs[1]] >= 2) & (having[pairs[1]] < linked)
    rows, entities = pairs[:, shared]
    if not len(rows):
        raise DataError("no two items share an entity of the knowledge graph, so it says nothing of likeness")
    weights = np.log(linked / having[entities])
    norms = np.sqrt(np.bincount(rows, weights=weights**2, minlength=num_items))
    columns = np.unique(entities, return_inverse=True)[1]
    matrix = csr_array((weights / norms[rows], (rows, columns)), shape=(num_items, columns.max() + 1))
    size = min(dim, min(matrix.shape) - 1)
    if size < 1:
        raise DataError("the knowledge graph needs two items and two entities that are shared")
    start = np.full(min(matrix.shape), 1.0)
    left, values, _ = svds(matrix, k=size, v0=start)
    order = np.argsort(-values, kind="stable")
    left, values = left[:, order], values[order]
    left = left * np.where(left[np.abs(left).argmax(axis=0), np.arange(size)] < 0, -1, 1)
    vectors = left * values
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(norms[:, None] > 0, vectors / np.maximum(lengths, 1e-9), 0)
    return vectors.astype(np.float32)


def _refuse_empty(table: pa.Table, name: str, where: str) -> None:
    for column in table.column_names:
        empty = pc.or_kleene(pc.is_null(table[column]), pc.equal(table[column], ""))
        first = pc.index(empty, True).as_py()
        if first >= 0:
            raise DataError(f"{where}: the {column} of {name} {first + 1} is empty; mend or leave out that line")


def _grouped(items: np.ndarray, num_entities: int):
    """A function from entities [n] to (positions, item rows), all pairs of a position and an item of its entity."""
    order = np.argsort(items, kind="stable")[(items < 0).sum() :]
    counts = np.bincount(items[order], minlength=num_entities)
    offsets = np.concatenate([[0], np.cumsum(counts)])

    def rows_of(entities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        times = counts[entities]
        at = np.repeat(np.arange(len(entities)), times)
        within = np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
        return at, order[offsets[entities[at]] + within]

    return rows_of


def _inverses(heads, relations, tails, num_entities: int, num_relations: int) -> np.ndarray:
    """Relations whose triples are those of an earlier one, turned round."""
    forward, backward = heads.astype(np.int64) * num_entities + tails, tails.astype(np.int64) * num_entities + heads
    earlier: dict[bytes, int] = {}
    doubled = []
    for relation in range(num_relations):
        own = relations == relation
        if np.sort(backward[own]).tobytes() in earlier:
            doubled.append(relation)
        else:
            earlier[np.sort(forward[own]).tobytes()] = relation
    return np.array(doubled, np.int32)
