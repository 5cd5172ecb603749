"""What a language model says and chooses, held to the catalog: reasons from given facts, an order of candidates."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxrec.models.language.decoding import Decoder
from jaxrec.serve.rerank import standard

PLAIN = re.compile(r" ?[a-z']+|[,.]")  # what may be written outside of names: no digit, no capital, no markup
LONGEST = 48  # tokens of a reason
RERANKED = 20  # candidates at most
LANGUAGE = 0.3  # the share of the model's own likelihoods in an order


@dataclass(frozen=True)
class Facts:
    """What a reason may speak of. because: titles of past items, strongest first; tags: shared."""

    title: str
    because: tuple[str, ...]
    tags: tuple[str, ...]
    wish: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.title, *self.because)))


@dataclass(eq=False)
class Assistant:
    """tags: the catalog's, so that one that is not among the facts is noticed."""

    decoder: Decoder
    tags: tuple[str, ...]
    _plain: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        tokenizer = self.decoder.model.tokenizer
        words = (tokenizer.decode([token]) for token in range(tokenizer.get_vocab_size()))
        self._plain = {token: word for token, word in enumerate(words) if PLAIN.fullmatch(word)}
        self._plain |= dict.fromkeys(self.decoder.model.end, "")

    def reason(self, facts: Facts) -> tuple[str, bool]:
        """(a sentence, whether it says nothing but the facts). Names come from the facts alone, by construction: what
        an item's text tells the model to do cannot be done, as there are no words for it. See `faithful`."""
        shown = "; ".join(
            filter(
                None,
                (
                    f"They liked {' and '.join(map(_quiet, facts.because))}" if facts.because else "",
                    f"It shares {', '.join(facts.tags)}" if facts.tags else "",
                    f"They asked for {_quiet(facts.wish)}" if facts.wish else "",
                ),
            )
        )
        prompt = _turns(
            "You write one short, friendly sentence that says why an item fits. Use the facts alone.",
            f"Item: {_quiet(facts.title)}. Facts: {shown}. Why does it fit?",
        )
        start = f"{_quiet(facts.title)} fits because"
        said = self.decoder.write(prompt + start, at_most=LONGEST, allowed=self._names_of(facts))
        sentence = (start + " " + said.strip()).split(".\n")[0].strip()
        cut = re.search(r"^.{20,}?\.(?= |$)", sentence[len(start) :])
        sentence = start + cut[0] if cut else sentence
        return sentence, self.faithful(sentence, facts)

    def faithful(self, sentence: str, facts: Facts) -> bool:
        """Whether every capitalised name is one of the facts, and every tag of the catalog that is named."""
        rest = sentence
        for name in sorted(map(_quiet, facts.names), key=len, reverse=True):
            rest = rest.replace(name, " ")
        told = {tag.lower() for tag in facts.tags} | set(re.findall(r"\w+", facts.wish.lower()))
        for tag in self.tags:
            if tag.lower() not in told and re.search(rf"\b{re.escape(tag.lower())}\b", rest.lower()):
                return False
        return not re.search(r"\b[A-Z]\w+|\d", re.sub("|".join(map(re.escape, facts.tags)) or "(?!)", " ", rest))

    def _names_of(self, facts: Facts):
        """What may come next: a plain word, or the next piece of a name or tag that has been begun."""
        names = [self.decoder.encode(" " + _quiet(name)) for name in (*facts.names, *facts.tags)]
        starts = [own[0] for own in names]
        told = {tag.lower() for tag in facts.tags}
        others = [tag.lower() for tag in self.tags if tag.lower() not in told]  # tags that are no facts cannot be begun
        plain = [
            token
            for token, word in self._plain.items()
            if len(word.strip()) < 3 or not any(tag.startswith(word.strip()) for tag in others)
        ]

        def allowed(written: list[int]) -> list[int]:
            at, open_names = 0, []
            while at < len(written):  # names are read whole, so that none is left half said
                open_names = [own for own in names if written[at : at + len(own)] == own[: len(written) - at]]
                done = [own for own in open_names if len(own) <= len(written) - at]
                if done:
                    at += max(map(len, done))
                    open_names = []
                elif open_names:
                    return [own[len(written) - at] for own in open_names]
                else:
                    at += 1
            return [*plain, *starts]

        return allowed

    def order(self, titles: Sequence[str], scores: np.ndarray, liked: Sequence[str], wish: str = "") -> np.ndarray:
        """Places of the candidates, best first, int64: the score and how likely the model finds each title after what
        was liked, both standardised. It can name nothing but the candidates."""
        told = f"I liked {', '.join(map(_quiet, liked[-8:]))}." if liked else ""
        asked = f" I want {_quiet(wish)}." if wish else ""
        prompt = _turns("You recommend one item by its title.", f"{told}{asked} What do you recommend next?")
        own = standard(self.decoder.likelihoods(prompt, [_quiet(title) for title in titles]).astype(np.float64))
        both = (1.0 - LANGUAGE) * standard(np.asarray(scores, np.float64)) + LANGUAGE * own
        return np.argsort(-both, kind="stable")


def _turns(system: str, user: str) -> str:
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def _quiet(text: str) -> str:
    """Text of others in a prompt: one line, without what opens or ends a turn, and not long."""
    return re.sub(r"<\|.*?\|>|<\|", " ", " ".join(text.split()))[:160]
