"""The report of a run: plain data in, one self-contained HTML file out, which loads nothing from anywhere.

All text is untrusted: titles come from catalogs. In the page it is escaped, in the charts' data "<" is written \\u003c,
and a content security policy lets no script run but the page's own.
"""

import base64
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jaxrec.evaluate import charts
from jaxrec.files import write_atomically
from jaxrec.ranker import Share

Metrics = dict[str, tuple[float, float | None, float | None]]
TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Row:
    """A ranker's figures: metric -> (mean, low and high end of its interval, None where it has none).

    behind: by how much ours is ahead of it in the first metric on the same users, with the interval of that.
    """

    ranker: str
    metrics: Metrics
    ours: bool = False
    behind: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Point:
    """Training at a step: the loss, the validation metric, or both."""

    step: int
    loss: float | None = None
    metric: float | None = None


@dataclass(frozen=True)
class Segment:
    """Our ranker's figures on a part of the users or items."""

    name: str
    users: int
    metrics: Metrics


@dataclass(frozen=True)
class Spread:
    """coverage: share of the catalog recommended to anyone. popularity: mean share of users who know what is shown.
    miscalibration: how far the tags of lists are from those of what users have, None where there are no tags."""

    ranker: str
    coverage: float
    popularity: float
    ours: bool = False
    miscalibration: float | None = None


@dataclass(frozen=True)
class Dial:
    """Lists chosen with a dial turned: NDCG@10, and what `Spread` says; diversity: mean 1 - cosine within a list."""

    name: str
    ndcg: float
    coverage: float
    diversity: float
    miscalibration: float | None
    popularity: float


@dataclass(frozen=True)
class MapItem:
    """An item in the plane (see item_map), with its first genre."""

    x: float
    y: float
    title: str
    genre: str


@dataclass(frozen=True)
class Pick:
    rank: int
    title: str
    tags: tuple[str, ...] = ()
    reason: str = ""
    score: float | None = None


@dataclass(frozen=True)
class Card:
    """What a user knows, latest first, and what is recommended."""

    user: str
    history: tuple[str, ...]
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class Tag:
    """weight: any scale, larger is stronger. evidence: the titles or words it comes from.

    kind: "tag" of the catalog, or "word" of the texts.
    """

    name: str
    weight: float
    evidence: tuple[str, ...] = ()
    kind: str = "tag"


@dataclass(frozen=True)
class Profile:
    """Tags of a user or an item, strongest first."""

    name: str
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Report:
    """Everything the page shows. Parts that are empty are left out.

    summary: what was run; the first paragraph is followed by how good it is (`verdict`).
    notice: a warning that stands above all, such as "The data is generated." facts: (name, value): protocol, counts,
    versions, command. comparison: its first row's first metric is the headline. shares: of a blend.
    """

    title: str
    summary: tuple[str, ...] = ()
    notice: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    cleaning: tuple[str, ...] = ()
    comparison: tuple[Row, ...] = ()
    curves: tuple[Point, ...] = ()
    curve_metric: str = "ndcg@10"
    segments: tuple[Segment, ...] = ()
    shares: tuple[Share, ...] = ()
    spread: tuple[Spread, ...] = ()
    dials: tuple[Dial, ...] = ()
    items: tuple[MapItem, ...] = ()
    cards: tuple[Card, ...] = ()
    profiles: tuple[Profile, ...] = ()

    @property
    def headline(self) -> str:
        """The metric that the first screen names."""
        return next(iter(self.comparison[0].metrics), "") if self.comparison else ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)


def metric_label(metric: str) -> str:
    """`ndcg@10` as a heading: NDCG@10, Hit rate@10."""
    name, at, k = metric.partition("@")
    return (name.upper() if name in ("ndcg", "mrr", "map") else name.replace("_", " ").capitalize()) + at + k


def verdict(report: Report) -> str:
    """How good our best ranker is beside the best of the others, by the headline metric, in one or two sentences."""
    metric = report.headline
    ranked = sorted((r for r in report.comparison if metric in r.metrics), key=lambda r: -r.metrics[metric][0])
    ours = next((row for row in ranked if row.ours), None)
    other = next((row for row in ranked if not row.ours), None)
    if ours is None:
        return ""
    mean, low, high = ours.metrics[metric]
    between = "" if low is None or high is None else f" (95 % interval {low:.3f} to {high:.3f})"
    text = f"{ours.ranker} reaches {metric_label(metric)} {mean:.3f}{between}."
    if other is None:
        return text
    best = other.metrics[metric][0]
    side = "below" if mean < best else "above" if mean > best else "equal to"
    text += f" That is {side} {other.ranker}, the best of the simple methods on the same split, with {best:.3f}"
    if other.behind is not None:
        lead, low, high = other.behind
        text += f": {lead:+.3f} on the same users ({low:+.3f} to {high:+.3f})"
    return text + "."


def write_report(path: str | Path, report: Report) -> Path:
    """Writes the report as one HTML file (about 1 MB, most of it the chart library) and returns its path."""
    path = Path(path)
    page = to_html(report).encode("utf-8", "replace")
    write_atomically(path, lambda file: file.write(page))
    return path


def page_environment(*folders: Path) -> Any:
    """Where pages are made: every value is escaped. folders: of the templates, the first one first."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"label": metric_label, "figure": _figure, "percent": _percent, "digest": _digest}
    return environment


def to_html(report: Report) -> str:
    """The page as text."""
    environment = page_environment(TEMPLATE.parent)
    drawn = _charts(report)
    return environment.get_template(TEMPLATE.name).render(
        r=report,
        verdict=verdict(report),
        metrics=list(dict.fromkeys(m for row in report.comparison for m in row.metrics)),
        segment_metrics=list(dict.fromkeys(m for part in report.segments for m in part.metrics)),
        best=_best(report.comparison),
        charts=drawn,
        data=inert_json(drawn),
        library=library() if drawn else "",
    )


def _charts(report: Report) -> dict[str, charts.Spec]:
    metric, drawn = report.headline, {}
    rows = [(r.ranker, *r.metrics[metric], r.ours) for r in report.comparison if metric in r.metrics]
    if rows:
        drawn["comparison"] = charts.intervals(sorted(rows, key=lambda row: -row[1]), metric_label(metric))
    parts = [(s.name, *s.metrics[metric], True) for s in report.segments if metric in s.metrics]
    if parts:
        drawn["segments"] = charts.intervals(parts, metric_label(metric))
    losses = [(p.step, p.loss) for p in report.curves if p.loss is not None and math.isfinite(p.loss)]
    if len(losses) > 1:
        drawn["loss"] = charts.curve(*zip(*losses, strict=True), "training loss", dots=False, colour="var(--hue-2)")
    metrics = [(p.step, p.metric) for p in report.curves if p.metric is not None and math.isfinite(p.metric)]
    if len(metrics) > 1:
        title = f"validation {metric_label(report.curve_metric)}"
        drawn["metric"] = charts.curve(*zip(*metrics, strict=True), title, dots=True, colour="var(--accent)")
    if report.items:
        drawn["items"] = charts.scatter([(i.x, i.y, i.title, i.genre) for i in report.items])
    return drawn


def _best(rows: tuple[Row, ...]) -> dict[str, float]:
    """The largest mean of each metric where larger is better."""
    better = ("ndcg", "recall", "hit_rate", "mrr", "map", "precision", "f1")
    names = {metric for row in rows for metric in row.metrics if metric.partition("@")[0] in better}
    return {metric: max(row.metrics[metric][0] for row in rows if metric in row.metrics) for metric in names}


def _figure(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def inert_json(value: Any) -> Any:
    """JSON that stands in a script element and cannot end it, whatever the strings in it say."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _digest(script: str) -> str:
    """The script's SHA-256 as a content security policy writes it."""
    return base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()


@cache
def library() -> Any:
    """Vega, Vega-Lite and vega-embed in one script that needs nothing else."""
    import vl_convert
    from markupsafe import Markup

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("the chart library cannot stand in a page: it holds the end of a script element")
    return Markup(script)
