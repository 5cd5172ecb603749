"""The page of a comparison: its table and charts in one HTML file, which loads nothing from anywhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrec.evaluate import report
from jaxrec.evaluate.charts import Spec, intervals
from jaxrec.evaluate.report import inert_json, library, metric_label, page_environment
from jaxrec.files import write_atomically
from jaxrec.study import charts
from jaxrec.study.table import cells, headings, summary

Table = Mapping[str, Any]
BARS = 6
TEMPLATE = "comparison.html.j2"


def write_page(path: Path, table: Table) -> Path:
    """Writes the page (about 1 MB, most of it the chart library) and returns its path."""
    page = to_html(table).encode("utf-8", "replace")
    write_atomically(path, lambda file: file.write(page))
    return path


def to_html(table: Table) -> str:
    """The page as text. table: see `jaxrec.study.table.table_of`; every text in it is untrusted, and escaped."""
    drawn = drawings(table)
    environment = page_environment(Path(__file__).parent, report.TEMPLATE.parent)
    return environment.get_template(TEMPLATE).render(
        t=table,
        summary=summary(table),
        verdict=verdict(table),
        headings=[_heading(name) for name in _without_options(headings(table))],
        rows=[(row, _without_options(cells(table, row))) for row in table["rows"]],
        best=table["rows"][0]["method"],
        charts=drawn,
        data=inert_json(drawn),
        library=library(),
    )


def verdict(table: Table) -> str:
    """Which method is best in the test, and whether the others are surely worse."""
    metric, best = table["metric"], table["rows"][0]
    text = f"{best['name']} is best with {metric_label(metric)} {best['metrics'][metric]['mean']:.3f}"
    if best["method"] == table["reference"]:
        rest = table["rows"][1:]
        unsure = [row["name"] for row in rest if not _surely_worse(row["metrics"][metric])]
        if not rest:
            return text + "."
        text += ", as it was on validation"
        return text + (f"; not surely better than {', '.join(unsure)}." if unsure else "; all others are surely worse.")
    cell = best["metrics"][metric]
    low, high = cell.get("difference_low"), cell.get("difference_high")
    if low is None or cell.get("difference") is None:
        return text + "."
    sure = "surely" if low > 0 or high < 0 else "not surely"
    return f"{text}, {cell['difference']:+.3f} beside {table['reference']}: {sure} another."


def _surely_worse(cell: Mapping[str, float | None]) -> bool:
    """Whether the interval of the difference, where there is one, lies below 0."""
    high = cell.get("difference_high")
    return high is not None and high < 0


def drawings(table: Table) -> dict[str, Spec]:
    """The charts by name."""
    metric, rows = table["metric"], table["rows"]
    label, best = metric_label(metric), rows[0]["method"]
    found = [row for row in rows if row["metrics"][metric]["mean"] is not None]
    cell = {row["method"]: row["metrics"][metric] for row in found}
    drawn = {
        "comparison": intervals(
            [
                (r["name"], c["mean"], c["low"], c["high"], r["method"] == best)
                for r in found
                if (c := cell[r["method"]])
            ],
            label,
        )
    }
    against = [(r["name"], cell[r["method"]]) for r in found if cell[r["method"]].get("difference") is not None]
    if against:
        entries = [(name, c["difference"], c["difference_low"], c["difference_high"], False) for name, c in against]
        drawn["forest"] = charts.forest(entries, f"{label} minus that of {table['reference']}")
    k = metric.partition("@")[2]
    costs = [(r["name"], max(r["fit_seconds"], 1e-3), cell[r["method"]]["mean"], r["method"] == best) for r in found]
    drawn["cost"] = charts.named_points(costs, "seconds to fit", label, log=True)
    for kind in ("coverage", "novelty", "diversity", "miscalibration"):
        points = [
            (r["name"], c["mean"], cell[r["method"]]["mean"], r["method"] == best)
            for r in found
            if (c := r["metrics"].get(f"{kind}@{k}")) and c["mean"] is not None
        ]
        if points:
            drawn[kind] = charts.named_points(points, metric_label(f"{kind}@{k}"), label)
    for side, name in (("users", "of users"), ("items", "of items")):
        bars = [
            (f"{part['segment']} {side}", row["name"], part["mean"])
            for place in range(len(rows[0]["segments"][side]))
            for row in rows[:BARS]
            if (part := row["segments"][side][place])["mean"] is not None
        ]
        if bars:
            drawn[f"segments-{side}"] = charts.grouped_bars(bars, f"{'NDCG' if side == 'users' else 'Recall'} {name}")
    lines = [line for row in rows for line in _best_so_far(row)]
    if lines:
        drawn["tuning"] = charts.tuning(lines, f"best validation {metric_label(table['chosen_by'])} so far")
    return drawn


def _best_so_far(row: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Of the first draw."""
    best, lines = None, []
    for number, trial in enumerate(row["tuning"][0], start=1):
        if trial["value"] is not None:
            best = trial["value"] if best is None else max(best, trial["value"])
        if best is not None:
            lines.append((row["name"], number, best))
    return lines


def _without_options(texts: list[str]) -> list[str]:
    """They have a table of their own."""
    return [texts[0], *texts[2:]]


def _heading(name: str) -> str:
    first, _, rest = name.partition(" ")
    if "@" in first:
        return f"{metric_label(first)} {rest}".strip()
    second = rest.partition(" ")[0]
    return f"{first.capitalize()} {metric_label(second)}" if "@" in second else name[0].upper() + name[1:]
