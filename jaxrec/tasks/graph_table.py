"""The graph as models read it, made once from the training events and what is known of items."""

import numpy as np

from jaxrec.data.ids import NO_ROW
from jaxrec.data.interactions import distinct_pairs
from jaxrec.data.knowledge import Knowledge
from jaxrec.data.training import TrainingData
from jaxrec.models.graphs.knowledge import Facts
from jaxrec.models.graphs.lightgcn import Graph

SMALL_GRAPH = 2**25  # cells of users x items; up to here the graph is spelt out (134 MB): a product is faster than sums


def graph_of(data: TrainingData, facts: int = 0) -> Graph:
    """The graph of the training events, each pair once; on the host. facts: entities of an item at most."""
    users, items = data.dataset.num_users, data.dataset.num_items
    edge_users, edge_items = distinct_pairs(data.train, items)
    matrix = np.zeros((users, 0), np.float32)
    degrees = [np.bincount(edge_users, minlength=users), np.bincount(edge_items, minlength=items)]
    of_users, of_items = (np.where(d > 0, 1 / np.sqrt(np.maximum(d, 1)), 0).astype(np.float32) for d in degrees)
    if users * items <= SMALL_GRAPH:
        matrix = np.zeros((users, items), np.float32)
        matrix[edge_users, edge_items] = 1
        edge_users = edge_items = np.zeros(0, np.int32)
    known = facts_of(data.dataset.knowledge if facts else None, items, facts)
    return Graph(of_users, of_items, matrix, edge_users, edge_items, degrees[1] > 0, known)


def facts_of(knowledge: Knowledge | None, num_items: int, most: int) -> Facts:
    """The entities that each item shares with another, the most shared first, `most` of an item at most."""
    if knowledge is None:
        nothing, one = np.zeros((num_items, 0), np.int32), np.zeros(1, np.float32)
        return Facts(nothing, nothing, one, one)
    rows, relations, entities = knowledge.neighbours()
    having = np.bincount(
        np.unique(rows.astype(np.int64) * knowledge.num_entities + entities) % knowledge.num_entities,
        minlength=knowledge.num_entities,
    )
    shared = having[entities] >= 2
    rows, relations, entities = rows[shared], relations[shared], entities[shared]
    order = np.lexsort((entities, -having[entities], rows))
    rows, relations, entities = rows[order], relations[order], entities[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < most
    table = np.full((2, num_items, min(most, int(place.max(initial=0)) + 1)), NO_ROW, np.int32)
    table[:, rows[kept], place[kept]] = entities[kept], relations[kept]
    rarity = np.log(max((knowledge.items >= 0).sum(), 2) / np.maximum(having, 1))
    sizes = np.bincount(relations, minlength=knowledge.num_relations)
    return Facts(table[0], table[1], rarity.astype(np.float32), sizes.astype(np.float32))
