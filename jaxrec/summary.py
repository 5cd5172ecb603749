"""What a person sees of a finished job: the table, the recommendations, the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import jaxrec
from jaxrec.evaluate.compare import comparison, short
from jaxrec.evaluate.evaluator import Evaluation
from jaxrec.evaluate.item_map import item_map
from jaxrec.evaluate.report import Card, Dial, MapItem, Pick, Point, Profile, Report, Row, Segment, Spread, Tag
from jaxrec.ranker import Share
from jaxrec.run import Prepared, known_histories
from jaxrec.serve.recommender import Recommendation, Recommender
from jaxrec.train.trained import Trained

SHOWN = ("ndcg@10", "recall@10", "hit_rate@10", "mrr@10", "coverage@10", "novelty@10")
MAP_ITEMS = 2_000

PROTOCOLS = {
    "T": "one cut in time: the oldest events train, the next validate, the newest test",
    "TU": "each user's own timeline cut, the latest to test",
    "L": "each user's last event is test, the one before validation",
    "G": "one cut in time: the newest events are the test, and each of its users' last one is to be found",
    "R": "each user's events divided at random",
    "C": "items that training never saw, ranked by their content alone",
    "U": "users that training never saw, known by their first events alone",
    "C-all": "items that training never saw, ranked among all others",
    "given": "ready splits, as given",
}


def metrics_shown(results: Mapping[str, Evaluation]) -> tuple[str, ...]:
    """The headline metrics that the list lengths of this job give."""
    means = next(iter(results.values())).means
    return tuple(name for name in SHOWN if name in means) or tuple(means)[:6]


def table_rows(results: Mapping[str, Evaluation]) -> list[dict]:
    """Plain data for the table: every ranker beside ours, which stands first, with paired differences."""
    return comparison(results, metrics_shown(results), against=next(iter(results)))


def print_table(rows: Sequence[dict], protocol: str) -> None:
    """The comparison as a terminal table; ours first, then by the first metric."""
    from rich.console import Console
    from rich.table import Table

    first = rows[0]
    metrics = list(first["metrics"])
    people = f"{first['users']:,} users, {first['positives']:,} positives"
    part = {"test": "Test", "valid": "Validation"}[first["part"]]
    table = Table(title=f"{part}, full ranking ({protocol}; {people}); mean ± standard error", title_justify="left")
    table.add_column("ranker")
    for metric in metrics:
        table.add_column(metric, justify="right")
    best = {m: max(r["metrics"][m]["mean"] or 0 for r in rows) for m in metrics if m != "novelty@10"}
    for row in sorted(rows, key=lambda r: -(r["metrics"][metrics[0]]["mean"] or 0)):
        cells = []
        for metric in metrics:
            cell = row["metrics"][metric]
            text = "–" if cell["mean"] is None else f"{cell['mean']:.3f}"
            if cell["standard_error"] is not None:
                text += f" ±{short(cell['standard_error'])}"
            cells.append(f"[bold]{text}[/bold]" if cell["mean"] == best.get(metric) else text)
        table.add_row(f"[bold]{row['name']}[/bold]" if row is first else row["name"], *cells)
    Console(highlight=False, width=None if _wide() else 140).print(table)


def _wide() -> bool:
    import shutil

    return shutil.get_terminal_size().columns >= 120


def print_recommendations(asker: str, history: Sequence[str], recommendations: Sequence[Recommendation]) -> None:
    """Ten lines with titles and reasons, below what the asker had last."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"Recommendations for {asker}"), style="bold")
    if history:
        console.print(Text("  lately: " + "; ".join(history[-5:])))
    for item in recommendations:
        tags = f"  [{', '.join(item.tags)}]" if item.tags else ""
        console.print(Text(f"  {item.rank:2d}. {item.title or item.item_id}{tags}  {item.score:.2f}"))
        if item.reason and item.reason.text:
            console.print(Text(f"      {item.reason.text}", style="dim"))


def history_titles(prepared: Prepared, user: str) -> list[str]:
    """Titles of what a user has, oldest first: of the whole log, as the artifact knows it."""
    known = known_histories(prepared)
    row = int(prepared.dataset.user_map.rows([user])[0])
    rows = known.item_rows[known.offsets[row] : known.offsets[row + 1]]
    titles, ids = prepared.dataset.catalog.titles, prepared.dataset.item_map
    return [titles[int(r)].as_py() or str(ids.take(r)) for r in rows]


def report_of(
    prepared: Prepared,
    results: Mapping[str, Evaluation],
    history: Sequence[Mapping[str, Any]],
    recommender: Recommender,
    vectors: np.ndarray | None,
    *,
    users: Sequence[str],
    shares: Sequence[Share] = (),
    dials: Sequence[Dial] = (),
    command: str,
    notice: str = "",
) -> Report:
    """Everything the HTML report shows, as plain data.

    results: ours first. history: of training, as `jaxrec.train.logs.read_metrics` gives it; empty where nothing was
    trained. vectors: float32 [items, dim], for the map; None leaves it out.
    """
    experiment, dataset, holdout = prepared.experiment, prepared.dataset, prepared.holdout
    counts = holdout.counts()
    name, ours = next(iter(results.items()))
    metric, method = metrics_shown(results)[0], experiment.method
    watched = method.watched(dataset.num_items) if isinstance(method, Trained) else metric
    rows = tuple(
        Row(
            row["name"],
            {name: (c["mean"], c["low"], c["high"]) for name, c in row["metrics"].items() if c["mean"] is not None},
            ours=row["name"] == name,
            behind=_behind(row["metrics"][metric]),
        )
        for row in table_rows(results)
    )
    protocol = PROTOCOLS.get(holdout.name, holdout.name)
    summary = (
        f"{name} learned from {counts['train']:,} of "
        f"{len(dataset.interactions):,} events of {dataset.num_users:,} users and {dataset.num_items:,} items "
        f"({experiment.name}), and judged on {counts['positives']:,} held-out choices of {counts['users']:,} users: "
        f"{protocol}. Every item of {counts['candidates']:,} candidates is ranked; what a user has is left out.",
    )
    return Report(
        title=experiment.name,
        summary=summary,
        notice=notice,
        facts=(
            ("Protocol", f"{holdout.name}: {protocol}"),
            ("Train, validation, test", f"{counts['train']:,}, {counts['valid']:,}, {counts['test']:,} rows"),
            ("Candidates", f"{counts['candidates']:,} of {dataset.num_items:,} items"),
            ("Trained on", "train and validation (refit)" if experiment.holdout.refit else "train"),
            ("Versions", f"jaxrec {jaxrec.__version__}, jax {jax.__version__}"),
            ("Devices", f"{jax.device_count()} {jax.devices()[0].platform}"),
            ("Command", command),
        ),
        cleaning=tuple(prepared.report.lines()),
        comparison=rows,
        curves=_points(history, watched),
        curve_metric=watched,
        segments=_segments(ours, metric),
        shares=tuple(shares),
        spread=tuple(_spread(other, result, other == name) for other, result in results.items()),
        dials=tuple(dials),
        items=() if vectors is None else _map_items(prepared, vectors),
        cards=tuple(_card(prepared, recommender, user) for user in users),
        profiles=tuple(_profile(recommender, user) for user in users[:1]),
    )


def _behind(cell: Mapping[str, float | None]) -> tuple[float, float, float] | None:
    """The paired difference of a table's cell as the lead of ours."""
    found = [cell.get(name) for name in ("difference", "difference_high", "difference_low")]
    return None if None in found else tuple(-value for value in found)


def _points(history: Sequence[Mapping[str, Any]], metric: str) -> tuple[Point, ...]:
    points = []
    for entry in history:
        if entry["split"] == "train":
            points.append(Point(entry["step"], loss=entry.get("loss")))
        else:
            points.append(Point(entry["step"], metric=entry.get(metric)))
    return tuple(points)


def _segments(result: Evaluation, metric: str) -> tuple[Segment, ...]:
    found = []
    for row in result.by_user_segment(metric):
        if row["users"]:
            found.append(Segment(f"{row['segment']} users ({row['cut']})", row["users"], {metric: _interval(row)}))
    k = result.ks[0]
    for row in result.by_item_segment(f"recall@{k}"):
        if row["users"]:
            name = f"{row['segment']} items ({row['cut']})"
            found.append(Segment(name, row["users"], {f"recall@{k}": _interval(row)}))
    return tuple(found)


def _interval(row: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    mean, error = row["mean"], row["standard_error"]
    return (mean, None, None) if error is None else (mean, mean - 1.96 * error, mean + 1.96 * error)


def _spread(name: str, result: Evaluation, ours: bool) -> Spread:
    k = result.ks[0]
    miscalibration = result.means.get(f"miscalibration@{k}")
    return Spread(name, result[f"coverage@{k}"], result[f"popularity@{k}"], ours, miscalibration)


def _map_items(prepared: Prepared, vectors: np.ndarray) -> tuple[MapItem, ...]:
    """The items with most events, on the map of their vectors."""
    counts = np.bincount(prepared.dataset.interactions.item_rows, minlength=len(vectors))
    rows = np.sort(np.argsort(-counts, kind="stable")[:MAP_ITEMS])
    places, catalog = item_map(vectors[rows]), prepared.dataset.catalog
    ids = prepared.dataset.item_map.take(rows)
    found = []
    for row, (x, y), item_id in zip(rows, places, ids, strict=True):
        tags = catalog.tags.of(int(row))
        found.append(MapItem(float(x), float(y), catalog.titles[int(row)].as_py() or item_id, tags[0] if tags else ""))
    return tuple(found)


def _card(prepared: Prepared, recommender: Recommender, user: str) -> Card:
    picks = tuple(
        Pick(r.rank, r.title or r.item_id, r.tags, r.reason.text if r.reason else "", r.score)
        for r in recommender.recommend(user, k=min(10, recommender.manifest.k_max))
    )
    return Card(f"user {user}", tuple(history_titles(prepared, user)[-8:]), picks)


def _profile(recommender: Recommender, user: str) -> Profile:
    found = recommender.profile(user=user)
    tags = tuple(Tag(t.tag, t.weight, tuple(e.title or e.item_id for e in t.evidence[:3]), t.kind) for t in found.tags)
    return Profile(f"user {user}", tags)
