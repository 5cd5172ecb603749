"""The artifact's README.md: a model card in Hugging Face's format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxrec.serve.artifact import Manifest


@dataclass(frozen=True)
class Card:
    """What a reader of the model card should know and the arrays do not tell.

    dataset: its name, as in "ml-100k". protocol: how it was split and judged, in a sentence.
    license: of the model, as Hugging Face spells it. tags: for finding it. limits: sentences on where it fails.
    """

    dataset: str = ""
    protocol: str = ""
    license: str = "other"
    tags: tuple[str, ...] = ("recommendation", "jax")
    description: str = "A recommender trained and exported with jaxrec."
    intended_use: str = "Ranking the items of its catalog for people whose past events, or whose words, are known."
    limits: tuple[str, ...] = (
        "It knows only the catalog and the log it was trained on, with their biases; popular items are favoured.",
        "A high score is no promise that a person will like an item, and scores of two artifacts do not compare.",
        "It holds no rules of safety, suitability or age: filter candidates before ranking where such rules apply.",
    )


def model_card(card: Card, manifest: Manifest, metrics: Mapping[str, Any], *, events: int) -> str:
    """YAML front matter and Markdown. Values of the front matter are written as JSON, which YAML reads.

    metrics: ranker -> metric -> number, the artifact's own ranker first; of several list lengths the shortest is shown.
    """
    shown = _shown(metrics)
    front = _front_matter(card, manifest, shown)
    return _TEXT.format(
        front="\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()),
        name=_plain(manifest.name),
        description=_plain(card.description),
        k=min(10, manifest.k_max),
        intended_use=_plain(card.intended_use),
        limits="\n".join(f"- {_plain(limit)}" for limit in card.limits),
        dataset=_plain(card.dataset) or "not named",
        protocol=_plain(card.protocol) or "not stated",
        events=events,
        table=_table(shown),
        platforms=", ".join(manifest.platforms),
        manifest=manifest,
    )


def _shown(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The numbers of each ranker, at the shortest list length."""
    found = {}
    for ranker, values in metrics.items():
        if isinstance(values, Mapping):
            numbers = {n: float(v) for n, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
            lengths = [int(name.rpartition("@")[2]) for name in numbers if name.rpartition("@")[2].isdigit()]
            end = f"@{min(lengths)}" if lengths else ""
            found[ranker] = {name: value for name, value in numbers.items() if name.endswith(end) or "@" not in name}
    return found


def _front_matter(card: Card, manifest: Manifest, shown: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    front: dict[str, Any] = {"license": card.license, "library_name": "jaxrec", "tags": list(card.tags)}
    if card.dataset:
        front["datasets"] = [card.dataset]
    if shown:
        ours, numbers = next(iter(shown.items()))
        front["metrics"] = list(numbers)
        dataset = card.dataset or manifest.name
        result = {
            "task": {"type": "recommendation", "name": "Recommendation"},
            "dataset": {"name": dataset, "type": dataset},
            "metrics": [{"type": name, "name": f"{ours} {name}", "value": value} for name, value in numbers.items()],
        }
        front["model-index"] = [{"name": manifest.name, "results": [result]}]
    return front


def _table(shown: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for numbers in shown.values() for name in numbers))
    if not names:
        return "Not measured."
    lines = [f"| ranker | {' | '.join(map(_plain, names))} |", f"| --- |{' --- |' * len(names)}"]
    for ranker, numbers in shown.items():
        cells = [f"{numbers[name]:.4g}" if name in numbers else "–" for name in names]
        lines.append(f"| {_plain(ranker)} | {' | '.join(cells)} |")
    return "\n".join(lines)


_TEXT = """---
{front}
---

# {name}

{description}

## Use

```python
from jaxrec.serve.recommender import Recommender

recommender = Recommender.load("path/to/this/directory")
recommender.recommend(history=["an item id", "another"], k={k})
```

Loading and ranking need jax, numpy and pyarrow, nothing else.

**Intended use.** {intended_use}

**Limits.**

{limits}

## Data and protocol

- data: {dataset}; {manifest.items} items, {manifest.users} users, {events} events
- protocol: {protocol}

## Metrics

{table}

## Facts

- made {manifest.created} with jaxrec {manifest.jaxrec} and jax {manifest.jax}, for {platforms}
- answers with up to {manifest.k_max} items, from the last {manifest.history_length} events
- readable until {manifest.readable_until} at least. {manifest.note}
- `manifest.json` holds the SHA-256 of every file, `experiment.json` the whole job
"""


def _plain(text: str) -> str:
    """One line of text that Markdown shows as it is: no HTML, no table cells, no line breaks."""
    text = " ".join(text.split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
