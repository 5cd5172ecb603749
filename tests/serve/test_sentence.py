"""What a sentence asks for, and what it rules out."""

import pytest

from jaxrec.serve.sentence import Wish, heard, read_wish

TAGS = ("Action", "Animation", "Children's", "Comedy", "Film-Noir", "Horror", "Romance", "Sci-Fi", "Thriller", "War")


@pytest.mark.parametrize(
    "sentence, tags, no_tags, years",
    [
        ("a funny film for a family evening, nothing with war", {"Comedy", "Children's"}, {"War"}, (None, None)),
        ("romantic films of the 1930s", {"Romance"}, set(), (1930, 1939)),
        ("a scary film from the 80s", {"Horror"}, set(), (1980, 1989)),
        ("thrillers from the sixties without action", {"Thriller"}, {"Action"}, (1960, 1969)),
        ("film noir before 1950", {"Film-Noir"}, set(), (None, 1949)),
        ("sci-fi since 1990", {"Sci-Fi"}, set(), (1990, None)),
        ("science fiction between 1965 and 1972", {"Sci-Fi"}, set(), (1965, 1972)),
        ("I don't want a comedy, give me horror", {"Horror"}, {"Comedy"}, (None, None)),
        ("a thriller, but not too scary", {"Thriller"}, {"Horror"}, (None, None)),
        (
            "an animated film that is not for kids and with action",
            {"Animation", "Action"},
            {"Children's"},
            (None, None),
        ),
        ("in 1994", set(), set(), (1994, 1994)),
        ("something warm", set(), set(), (None, None)),
        ("", set(), set(), (None, None)),
    ],
)
def test_rules(sentence, tags, no_tags, years):
    wish = read_wish(sentence, TAGS)
    assert (set(wish.tags), set(wish.no_tags), (wish.year_from, wish.year_to)) == (tags, no_tags, years)


def test_a_catalog_without_the_tag_is_asked_by_words_alone():
    assert read_wish("a funny film", ("Poetry",)) == Wish("a funny film", rest="funny")


def test_what_is_ruled_out_is_no_part_of_what_is_wanted():
    wish = read_wish("a film about dogs, no zombies", TAGS)
    assert "zombies" not in wish.text and wish.unwanted == "zombies"


def test_a_conversation_adds_up_and_later_words_overrule():
    wish = heard(["a funny film", "from the 80s", "without romance"], TAGS)
    assert wish.tags == ("Comedy",) and wish.no_tags == ("Romance",) and wish.year_from == 1980
    wish = heard(["a film, no comedy", "and yet a funny one"], TAGS)
    assert wish.tags == ("Comedy",) and wish.no_tags == ()
    wish = heard(["a funny film from the 80s", "I want a thriller"], TAGS)
    assert wish.tags == ("Thriller",) and wish.year_from is None
