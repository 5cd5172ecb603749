"""A sentence as a wish: what is wanted and what is not, the tags and years that it names, and the words that are left.

Rules, for English. A negation ("no", "not", "without", "nothing with", "except", "avoid", ...) reaches to the end of
its clause: a comma, a full stop, "but", "and with". A tag of the catalog is meant by its name, by a word that
shares its stem ("romantic", "animated"), and by the everyday words below. Tags that a sentence names are required,
those it rules out are forbidden; years and decades are a range.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

EVERYDAY = {
    "comedy": ("funny", "hilarious", "humorous", "laugh", "laughs", "comic", "comedies"),
    "children": ("family", "kid", "kids", "child"),
    "horror": ("scary", "frightening", "terrifying", "slasher"),
    "thriller": ("suspense", "suspenseful", "tense"),
    "romance": ("love story", "love stories"),
    "animation": ("cartoon", "cartoons"),
    "sci fi": ("science fiction", "scifi"),
    "film noir": ("noir",),
    "mystery": ("whodunit", "detective", "mysteries"),
    "western": ("cowboy", "cowboys"),
    "crime": ("gangster", "gangsters", "heist"),
    "documentary": ("documentaries",),
    "musical": ("musicals",),
}
"""Everyday words by the tag that they mean, where the catalog has it; tags in small letters without punctuation."""

_NEGATION = re.compile(
    r"\b(?:nothing (?:with|about|like|from)|anything but|other than|do(?:n'?t| not) (?:want|like)|(?:but )?not?\b"
    r"(?: too)?|without|except(?: for)?|never|avoid|hate|minus|neither|nor)\b"
)
_END = re.compile(r"[,;.!?]|\bbut\b|\band with\b|\binstead\b|\bplease\b")
_DECADES = {
    "twenties": 1920,
    "thirties": 1930,
    "forties": 1940,
    "fifties": 1950,
    "sixties": 1960,
    "seventies": 1970,
    "eighties": 1980,
    "nineties": 1990,
}
_YEAR = r"((?:18|19|20)\d\d)"
_FILLER = re.compile(
    r"\b(?:a|an|the|some|any|something|film|films|movie|movies|show|me|i|i'd|want|would|like|to|see|watch|find|give|"
    r"please|and|or|for|with|of|in|from|about|that|is|are|it|good|great|best|made|released|set|by|on|at|my|we|us)\b"
)


@dataclass(frozen=True)
class Wish:
    """text: the words of what is wanted, but without what is ruled out; unwanted: the words of that, "" for none.

    tags: required, no_tags: forbidden, as the catalog spells them. year_from, year_to: None where not said. rest: the
    words of `text` that are neither a tag nor a year nor filler: where there are none, the filters say it all.
    """

    text: str
    unwanted: str = ""
    tags: tuple[str, ...] = ()
    no_tags: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None
    rest: str = ""


def read_wish(sentence: str, tags: Iterable[str]) -> Wish:
    """What a sentence says, given the tags of the catalog."""
    wanted, unwanted = _parted(" ".join(sentence.lower().replace("’", "'").split()))
    wanted_years, first, last = _years(wanted)
    names = _names(tags)
    meant, rest = _meant(wanted_years, names)
    against = _meant(unwanted, names)[0]
    rest = " ".join(re.findall(r"[\w'-]+", _FILLER.sub(" ", rest)))
    required = tuple(tag for tag in meant if tag not in against)
    return Wish(wanted.strip(" ,;.!?"), unwanted, required, tuple(against), first, last, rest)


_ANEW = re.compile(
    r"^(?:now|instead|actually|forget|i(?:'d| would)? (?:want|like)|show me|give me|find me|start over)\b"
)


def heard(turns: Iterable[str], tags: Iterable[str]) -> Wish:
    """The wish at the end of a conversation, from what the person said, oldest first.

    A turn adds to the wish before it, and what it says overrules what was said before: tags that are now ruled out are
    required no longer, and the other way round. One that begins like a new request ("I want ...", "show me ...",
    "now ...") and names something begins anew.
    """
    tags, wish = tuple(tags), Wish("")
    for turn in turns:
        new = read_wish(turn, tags)
        if _ANEW.match(" ".join(turn.lower().split())) and (new.tags or new.rest):
            wish = new
            continue
        years = (new.year_from, new.year_to) if new.year_from or new.year_to else (wish.year_from, wish.year_to)
        kept = [tag for tag in wish.tags if tag not in new.no_tags]
        barred = [tag for tag in wish.no_tags if tag not in new.tags]
        wish = Wish(
            text=", ".join(filter(None, (wish.text, new.text))),
            unwanted=", ".join(filter(None, (wish.unwanted, new.unwanted))),
            tags=tuple(dict.fromkeys((*kept, *new.tags))),
            no_tags=tuple(dict.fromkeys((*barred, *new.no_tags))),
            year_from=years[0],
            year_to=years[1],
            rest=" ".join(filter(None, (wish.rest, new.rest))),
        )
    return wish


def _parted(sentence: str) -> tuple[str, str]:
    """(what is wanted, what is not)."""
    wanted, unwanted = [], []
    while found := _NEGATION.search(sentence):
        wanted.append(sentence[: found.start()])
        rest = sentence[found.end() :]
        end = _END.search(rest)
        unwanted.append(rest[: end.start() if end else len(rest)].strip())
        sentence = rest[end.start() :] if end else ""
    return " ".join([*wanted, sentence]), ", ".join(filter(None, unwanted))


def _years(text: str) -> tuple[str, int | None, int | None]:
    """(the text without its years, the first year, the last)."""
    patterns = (
        (rf"\bbetween {_YEAR} and {_YEAR}\b", lambda m: (int(m[1]), int(m[2]))),
        (rf"\b{_YEAR} ?(?:-|to) ?{_YEAR}\b", lambda m: (int(m[1]), int(m[2]))),
        (rf"\b(?:before|older than|earlier than) {_YEAR}\b", lambda m: (None, int(m[1]) - 1)),
        (rf"\b(?:after|newer than|later than) {_YEAR}\b", lambda m: (int(m[1]) + 1, None)),
        (rf"\b(?:since|from) {_YEAR} on(?:wards?)?\b", lambda m: (int(m[1]), None)),
        (rf"\bsince {_YEAR}\b", lambda m: (int(m[1]), None)),
        (r"\b((?:18|19|20)\d)0'?s\b", lambda m: (int(m[1]) * 10, int(m[1]) * 10 + 9)),
        (r"(?:\b|')([2-9])0'?s\b", lambda m: (1900 + int(m[1]) * 10, 1909 + int(m[1]) * 10)),
        (rf"\b({'|'.join(_DECADES)})\b", lambda m: (_DECADES[m[1]], _DECADES[m[1]] + 9)),
        (rf"\b{_YEAR}\b", lambda m: (int(m[1]), int(m[1]))),
    )
    for pattern, read in patterns:
        if found := re.search(pattern, text):
            return text[: found.start()] + " " + text[found.end() :], *read(found)
    return text, None, None


def _names(tags: Iterable[str]) -> dict[str, str]:
    """What a tag is called, to the tag: its name and the everyday words for it, longest first."""
    names: dict[str, str] = {}
    for tag in tags:
        plain = _plain(tag)
        for name in (plain, *EVERYDAY.get(plain, ())):
            names.setdefault(name, tag)
    return dict(sorted(names.items(), key=lambda pair: -len(pair[0])))


def _plain(tag: str) -> str:
    """In small letters, without punctuation and possessive: "Children's" is "children", "Sci-Fi" is "sci fi"."""
    return " ".join(re.findall(r"\w+", re.sub(r"'s\b", "", tag.lower())))


def _meant(text: str, names: dict[str, str]) -> tuple[list[str], str]:
    """(the tags that a text names, in the catalog's spelling; the words that name none)."""
    plain, found = f" {_plain(text)} ", []
    for name, tag in names.items():
        if f" {name} " in plain or f" {name}s " in plain:
            found.append(tag)
            plain = plain.replace(f" {name}s ", " ").replace(f" {name} ", " ")
    left = []
    for word in plain.split():
        tag = next((tag for name, tag in names.items() if _one_stem(word, name)), None)
        if tag is None:
            left.append(word)
        else:
            found.append(tag)
    return list(dict.fromkeys(found)), " ".join(left)


def _one_stem(word: str, name: str) -> bool:
    """Whether they begin alike for at least five letters and seven tenths of the shorter."""
    alike = 0
    for a, b in zip(word, name, strict=False):
        if a != b:
            break
        alike += 1
    return alike >= 5 and alike >= 0.7 * min(len(word), len(name)) and abs(len(word) - len(name)) <= 4
