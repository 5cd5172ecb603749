"""Keywords: words and pairs that a few texts share."""

import pyarrow as pa

from jaxrec.data.words import find_keywords, keywords

SAID = ["The Star Trek Voyage", "The Star Trek Return (1996)", "Night of the Return", "the WAR night"]
TEXTS = pa.array([*SAID, None, "", "the star"])


def rows(tags) -> list[set[str]]:
    return [set(tags.of(row)) for row in range(len(tags.offsets) - 1)]


def test_words_and_pairs_by_hand():
    found = rows(keywords(TEXTS, most=0.5))
    # "the" is everywhere, "voyage" stands once, "trek" goes with "star" always; "star" also stands alone, in 1 of 3
    said = [{"star trek", "star"}, {"star trek", "star", "return"}, {"night", "return"}, {"night"}]
    assert found == [*said, set(), set(), {"star"}]


def test_words_of_known_tags_are_left_out():
    assert "night" not in keywords(TEXTS, most=0.5, known=("Night-Life",)).names


def test_the_rarest_come_first_and_no_more_than_asked_for():
    tags = keywords(TEXTS, most=0.5, at_most=1)
    assert tags.of(0) == ["star trek"] and all(len(tags.of(row)) <= 1 for row in range(7))


def test_other_scripts():
    assert rows(keywords(pa.array(["любовь и голуби", "Любовь зла", "да"]))) == [{"любовь"}, {"любовь"}, set()]


def test_nothing_to_read():
    assert rows(keywords(pa.array([], pa.string()))) == []
    assert rows(keywords(pa.array([None, ""], pa.string()))) == [set(), set()]


def test_the_vocabulary_reads_later_texts():
    names = keywords(TEXTS, most=0.5).names
    assert rows(find_keywords(TEXTS, names)) == rows(keywords(TEXTS, most=0.5))
    assert rows(find_keywords(pa.array(["A new star trek!", "nothing"]), names)) == [{"star", "star trek"}, set()]
