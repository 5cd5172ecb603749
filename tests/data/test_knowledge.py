"""Triples to rows, what they say of likeness, and the files they come from."""

import numpy as np
import pyarrow as pa
import pytest

from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.ids import IdMap
from jaxrec.data.knowledge import entity_vectors, index_knowledge
from jaxrec.data.sources.atomic import Atomic
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.sources.movielens_links import relinked
from jaxrec.data.tables import KnowledgeTables
from jaxrec.errors import DataError, UserError

ITEMS = IdMap.of(["a", "b", "c", "d"])
TRIPLES = [
    ("A", "directed_by", "Ann"),
    ("Ann", "directed", "A"),
    ("B", "directed_by", "Ann"),
    ("Ann", "directed", "B"),
    ("B", "actor", "Bob"),
    ("C", "actor", "Bob"),
    ("A", "actor", "Eve"),
    ("A", "actor", "Eve"),
    ("A", "country", "X"),
    ("B", "country", "X"),
    ("C", "country", "X"),
]
LINKS = [("a", "A"), ("b", "B"), ("c", "C"), ("elsewhere", "Ann")]


def tables(triples=TRIPLES, links=LINKS) -> KnowledgeTables:
    heads, relations, tails = zip(*triples, strict=True)
    items, entities = zip(*links, strict=True)
    columns = {"head_id": list(heads), "relation_id": list(relations), "tail_id": list(tails)}
    return KnowledgeTables(pa.table(columns), pa.table({"item_id": list(items), "entity_id": list(entities)}), "k.kg")


def test_each_fact_stands_once_and_items_are_linked():
    knowledge = index_knowledge(tables(), ITEMS)
    names = knowledge.entity_map.take
    told = set(zip(names(knowledge.heads), names(knowledge.tails), strict=True))
    assert len(knowledge.heads) == 8  # one double, and "directed" turned round
    assert ("A", "Ann") in told and ("Ann", "A") not in told
    assert [names(e) if e >= 0 else None for e in knowledge.items] == ["A", "B", "C", None]


def test_neighbours_are_found_in_both_directions():
    triples = [*TRIPLES, ("Series", "has_part", "C")]
    knowledge = index_knowledge(tables(triples), ITEMS)
    rows, relations, entities = knowledge.neighbours()
    found = {
        (ITEMS.take(i), knowledge.relation_map.take(r), knowledge.entity_map.take(e))
        for i, r, e in zip(rows, relations, entities, strict=True)
    }
    forward = {(h.lower(), r, t) for h, r, t in TRIPLES if r != "directed"}
    assert found == forward | {("c", "has_part", "Series")}


def test_entity_vectors_are_the_cosines_of_weighted_sets():
    vectors = entity_vectors(index_knowledge(tables(), ITEMS), 4)
    rare = np.log(3 / 2)
    matrix = np.array([[rare, 0], [rare, rare], [0, rare], [0, 0]])  # of Ann and Bob; all have X, only one Eve
    units = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
    left, values, _ = np.linalg.svd(units)
    one = left[:, 0] * values[0]
    assert vectors.shape == (4, 1) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[:, 0], np.where(np.abs(one) > 1e-9, np.sign(one * one[1]), 0), atol=1e-6)


def test_entity_vectors_keep_planted_kinds_apart():
    """Two studios of ten films, each film with four of its studio's twelve people."""
    random = np.random.default_rng(0)
    triples = [
        (f"F{film}", "actor", f"P{film // 10}-{person}")
        for film in range(20)
        for person in random.choice(12, 4, replace=False)
    ]
    items = IdMap.of([f"f{film}" for film in range(21)])
    knowledge = index_knowledge(tables(triples, [(f"f{film}", f"F{film}") for film in range(20)]), items)
    vectors = entity_vectors(knowledge, 21, dim=8)
    kind = np.arange(20) // 10
    likeness = vectors[:20] @ vectors[:20].T
    assert np.abs(likeness[kind[:, None] != kind[None, :]]).max() < 1e-5
    assert likeness[kind[:, None] == kind[None, :]].min() > -0.5
    assert likeness[kind[:, None] == kind[None, :]].mean() > 0.3
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1] * 20 + [0], atol=1e-6)


@pytest.mark.parametrize(
    ("triples", "links", "message"),
    [
        (TRIPLES, [("a", "A"), ("b", "Nobody")], "1 links name entities that no triple has, first item b -> Nobody"),
        (TRIPLES, [("a", "A"), ("a", "B")], "item a is linked to 2 entities"),
        (TRIPLES, [("x", "A")], "none of its 1 linked items is in the data"),
        ([*TRIPLES, ("A", "", "B")], LINKS, "the relation_id of triple 12 is empty"),
        (TRIPLES, [("a", "A"), ("b", "")], "the entity_id of link 2 is empty"),
    ],
)
def test_what_cannot_be_used_is_refused(triples, links, message):
    with pytest.raises(DataError, match=message):
        index_knowledge(tables(triples, links), ITEMS)


def test_sets_without_anything_in_common_are_refused():
    with pytest.raises(DataError, match="no two items share an entity"):
        entity_vectors(index_knowledge(tables([("A", "actor", "Eve"), ("B", "actor", "Bob")], LINKS[:2]), ITEMS), 4)


def folder_of(path, kg="head_id:token\trelation_id:token\ttail_id:token\nA\tactor\tEve\n", link="a\tA\n"):
    (path / "k.inter").write_text("user_id:token\titem_id:token\nu\ta\nu\tb\nv\ta\n")
    (path / "k.kg").write_text(kg)
    (path / "k.link").write_text(f"item_id:token\tentity_id:token\n{link}")
    return path


def test_atomic_files_carry_knowledge_where_asked(tmp_path):
    folder = str(folder_of(tmp_path))
    assert index_ids(clean(Atomic(folder).load())[0]).knowledge is None
    knowledge = index_ids(clean(Atomic(folder, knowledge=True).load())[0]).knowledge
    assert knowledge.num_entities == 2 and knowledge.items.tolist() == [0, -1]


def test_a_malformed_line_and_a_missing_file_are_named(tmp_path):
    folder = folder_of(tmp_path, kg="head_id:token\trelation_id:token\ttail_id:token\nA\tactor\tEve\nA\tactor\n")
    with pytest.raises(DataError, match=r"k\.kg, line 3"):
        Atomic(str(folder), knowledge=True).load()
    (folder / "k.link").unlink()
    with pytest.raises(DataError, match=r"k\.link is missing"):
        Atomic(str(folder), knowledge=True).load()


def test_films_are_found_again_by_title_and_year():
    def films(*rows):
        return pa.table({"movie_title": [t for t, _ in rows], "release_year": [y for _, y in rows]})

    older = films(("Toy Story", "1995"), ("Heat", "1995"), ("The Star: Episode I - A Hope", "1977"), ("Gone", "1990"))
    ours = films(("Heat", "1995"), ("Toy Story", "1995"), ("Star, The", "1977"), ("Heat", "1986"))
    ours = ours.append_column("item_id", pa.array(["7", "8", "9", "10"]))
    links = pa.table({"item_id": ["1", "2", "3", "4"], "entity_id": ["toy", "heat", "star", "gone"]})
    found = relinked(links, older, ours)
    pairs = dict(zip(found["item_id"].to_pylist(), found["entity_id"].to_pylist(), strict=True))
    assert pairs == {"8": "toy", "7": "heat", "9": "star"}


def test_movielens_knowledge_is_about_its_own_films():
    """Films of one genre share the genre's entity; by the links as they come, 181 would be the Power Rangers."""
    data = index_ids(clean(MovieLens("100k", knowledge=True).load())[0])
    knowledge = data.knowledge
    assert (knowledge.items >= 0).sum() > 1_450
    names = data.item_map
    entity = knowledge.entity_map.take
    assert entity(knowledge.items[names.rows(["1"])[0]]) == "m.0dyb1"  # Toy Story
    assert entity(knowledge.items[names.rows(["12"])[0]]) == "m.016fyc"  # The Usual Suspects, 50 by the file
    rows, _, entities = knowledge.neighbours()
    comedy = np.array(["Comedy" in text for text in data.catalog.texts.to_pylist()])
    funny = np.isin(np.arange(data.num_items), rows[entities == knowledge.entity_map.find(["m.05p553"])[0]])
    linked = knowledge.items >= 0
    assert np.corrcoef(comedy[linked], funny[linked])[0, 1] > 0.6


def test_only_100k_has_knowledge():
    with pytest.raises(UserError, match="only '100k' has one"):
        MovieLens("1m", knowledge=True).load()
