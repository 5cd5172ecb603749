"""Finished tests as rows: plain data, Markdown, and a table in the terminal."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxrec.config import to_json
from jaxrec.evaluate.compare import cell, compare, finite, short
from jaxrec.evaluate.evaluator import Evaluation
from jaxrec.study.run import described
from jaxrec.study.stored import Folder, Tested, Trial
from jaxrec.study.study import Study, keyed, match

KINDS = (
    "ndcg",
    "recall",
    "hit_rate",
    "mrr",
    "coverage",
    "novelty",
    "diversity",
    "miscalibration",
    "popularity",
    "popularity_lift",
)
Z = 1.96


def shown_metrics(result: Evaluation, deciding: str) -> list[str]:
    """The metrics of a row: every kind at the shortest list; ndcg and recall at the others too; and what decides."""
    k = result.ks[0]
    names = [f"{kind}@{k}" for kind in KINDS] + [f"{kind}@{k}" for k in result.ks[1:] for kind in ("ndcg", "recall")]
    return [name for name in dict.fromkeys((*names, deciding)) if name in result.means]


def one_of_seeds(results: Sequence[Evaluation]) -> Evaluation:
    """Tests of the same users with several seeds as one: every user's mean. The lists are those of the first."""
    first = results[0]
    if len(results) == 1:
        return first
    return replace(
        first,
        values={name: np.mean([r.values[name] for r in results], axis=0) for name in first.values},
        item_values={name: np.mean([r.item_values[name] for r in results], axis=0) for name in first.item_values},
        totals={name: float(np.mean([r.totals[name] for r in results])) for name in first.totals},
    )


def one_of_draws(results: Sequence[Evaluation]) -> Evaluation:
    """Tests of several draws as one: every user once, with the mean over the draws in which the user is judged, since
    what is asked of one user in several draws tells little more of other users. The lists are those of the first."""
    first = results[0]
    if len(results) == 1:
        return first

    def joined(get):
        return np.concatenate([get(result) for result in results])

    user_rows, earliest, place = np.unique(joined(lambda r: r.user_rows), return_index=True, return_inverse=True)

    def mean(values: np.ndarray) -> np.ndarray:
        known = ~np.isnan(values)
        total = np.bincount(place, np.where(known, values, 0.0), len(user_rows))
        count = np.bincount(place, known, len(user_rows))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    return replace(
        first,
        user_rows=user_rows,
        lengths=np.rint(mean(joined(lambda r: r.lengths))).astype(np.int64),
        positives=np.bincount(place, joined(lambda r: r.positives), len(user_rows)).astype(np.int64),
        rows=joined(lambda r: r.rows)[earliest],
        scores=joined(lambda r: r.scores)[earliest],
        values={name: mean(joined(lambda r, n=name: r.values[n])) for name in first.values},
        item_values={name: mean(joined(lambda r, n=name: r.item_values[n])) for name in first.item_values},
        item_positives={n: sum(r.item_positives[n] for r in results) for n in first.item_positives},
        totals={name: float(np.mean([r.totals[name] for r in results])) for name in first.totals},
    )


def table_of(
    study: Study, folders: Mapping[str, Sequence[Folder]], left_out: Mapping[str, str], about: dict, command: str
) -> dict[str, Any]:
    """All that is told of a study, as plain data. folders: of each method that is tested, one a draw.

    {"study", "protocol", "counts", "metric", "trials", "reference", "rows", "notes", ...about}; rows stand in the order
    of the metric in the test. A row: "method", "name", "options" (one dict a draw), "validation", "metrics" (name ->
    {"mean", "standard_error", "low", "high"} and, but for the reference, "difference", "difference_low",
    "difference_high", "users_better", "users_worse"), "spread" (name -> standard deviation over draws, or seeds),
    "segments", "tuning" (the trials), "fit_seconds", "score_seconds", "peak_gigabytes", "peak_of", "command".
    """
    trials = {key: [folder.trials() for folder in found] for key, found in folders.items()}
    tests = {key: [folder.tests() for folder in found] for key, found in folders.items()}
    by_seed = {
        key: [[f.evaluation(t.seed) for t in of_draw] for f, of_draw in zip(found, tests[key], strict=True)]
        for key, found in folders.items()
    }
    by_draw = {key: [one_of_seeds(of_draw) for of_draw in of_key] for key, of_key in by_seed.items()}
    results = {key: replace(one_of_draws(of_key), name=key) for key, of_key in by_draw.items()}
    chosen = {key: [_best(of_draw) for of_draw in of_key] for key, of_key in trials.items()}
    reference = None if study.reference is None else match(study.reference, keyed(study.methods))
    if reference not in results:
        reference = max(chosen, key=lambda key: np.mean([t.value for t in chosen[key]])) if chosen else None
    rows = [
        _row(key, results, reference, chosen[key], trials[key], tests[key], study.metric)
        | {"spread": _spread(by_draw[key] if study.draws > 1 else by_seed[key][0], study.metric)}
        | {"command": f"{command} --methods {json.dumps(key)}" if command else ""}
        for key in results
    ]
    names = Counter(row["name"] for row in rows)
    for row in rows:
        row["name"] = row["name"] if names[row["name"]] == 1 else f"{row['name']} ({row['method']})"
    metric = study.metric
    first = next(iter(results.values()), None)
    if first is not None and metric not in first.means:
        metric = shown_metrics(first, metric)[0]
    rows.sort(key=lambda row: -(row["metrics"].get(metric, {}).get("mean") or 0))
    return {
        "study": study.name,
        "config": json.loads(to_json(study)),
        "metric": metric,
        "chosen_by": study.metric,
        "trials": study.trials,
        "seeds": study.seeds,
        "draws": study.draws,
        "reference": reference,
        "rows": rows,
        "left_out": dict(left_out),
        "notes": [f"{key}: left out: {why}" for key, why in left_out.items()] + about.get("notes", []),
        "command": command,
    } | {name: value for name, value in about.items() if name != "notes"}


def _best(trials: Sequence[Trial]) -> Trial:
    return max((t for t in trials if t.value is not None), key=lambda t: (t.value, -t.number))


def _row(
    key: str,
    results: Mapping[str, Evaluation],
    reference: str,
    chosen: Sequence[Trial],
    trials: Sequence[Sequence[Trial]],
    tests: Sequence[Sequence[Tested]],
    deciding: str,
) -> dict[str, Any]:
    result, every = results[key], [test for of_draw in tests for test in of_draw]
    cells = {metric: cell(result, metric) for metric in shown_metrics(result, deciding)}
    row: dict[str, Any] = {
        "method": key,
        "name": every[0].name if len({test.name for test in every}) == 1 else key,
        "options": [json.loads(to_json(trial.options)) for trial in chosen],
        "described": "; ".join(dict.fromkeys(described(trial.options) for trial in chosen)),
        "validation": _validation(chosen),
        "metrics": cells,
        "users": len(result.user_rows),
        "positives": int(result.positives.sum()),
        "tests": len(every),
        "segments": {
            "users": result.by_user_segment(f"ndcg@{result.ks[0]}"),
            "items": result.by_item_segment(f"recall@{result.ks[0]}"),
        },
        "tuning": [[{"value": t.value, "error": t.error, "seconds": t.seconds} for t in of_draw] for of_draw in trials],
        "fit_seconds": float(np.mean([test.fit_seconds for test in every])),
        "score_seconds": float(np.mean([test.score_seconds for test in every])),
        "tuning_seconds": sum(trial.seconds for of_draw in trials for trial in of_draw),
        "peak_gigabytes": max((test.peak for test in every if test.peak), default=0) / 1e9 or None,
        "peak_of": every[0].peak_of,
    }
    if key != reference:
        for metric in cells.keys() & result.values.keys():
            paired = compare(result, results[reference], metric)
            cells[metric] |= {
                "difference": finite(paired.difference),
                "difference_low": finite(paired.interval.low),
                "difference_high": finite(paired.interval.high),
                "users_better": paired.wins,
                "users_worse": paired.losses,
            }
    return row


def _validation(chosen: Sequence[Trial]) -> dict[str, float | None]:
    """The value of the best trial, its standard error over users and the normal interval; the mean over draws."""
    mean = float(np.mean([trial.value for trial in chosen]))
    errors = [trial.standard_error for trial in chosen]
    if None in errors:
        return {"mean": mean, "standard_error": None, "low": None, "high": None}
    error = float(np.sqrt(np.square(errors).sum()) / len(errors))
    return {"mean": mean, "standard_error": error, "low": mean - Z * error, "high": mean + Z * error}


def _spread(results: Sequence[Evaluation], deciding: str) -> dict[str, float]:
    """Standard deviation of each metric over draws, or over seeds; nothing where there is one, or none is defined."""
    if len(results) < 2:
        return {}
    names = shown_metrics(results[0], deciding)
    found = {name: finite(float(np.std([r.means[name] for r in results], ddof=1))) for name in names}
    return {name: value for name, value in found.items() if value is not None}


# --- to read -------------------------------------------------------------------------------------------------------

LEFT_TO_THE_PAGE = (
    "options",
    "hit_rate",
    "mrr",
    "diversity",
    "miscalibration",
    "popularity_lift",
    "score s",
    "peak GB",
)
SHORT = ("ndcg", "recall", "hit_rate", "mrr", "coverage", "novelty", "diversity", "miscalibration", "popularity_lift")


def columns(table: Mapping[str, Any]) -> list[str]:
    """The metrics that people are shown: at the shortest list."""
    there = list(table["rows"][0]["metrics"]) if table["rows"] else []
    k = there[0].partition("@")[2] if there else ""
    names = [f"{kind}@{k}" for kind in SHORT if f"{kind}@{k}" in there]
    metric = table["metric"]
    return [metric, *(name for name in names if name != metric)]


def figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def with_error(found: Mapping[str, float | None], spread: float | None = None) -> str:
    """The mean, its standard error, and in brackets the spread over draws or seeds, where there is one."""
    text = figure(found["mean"])
    if found.get("standard_error") is not None:
        text += f" ±{short(found['standard_error'])}"
    return text if spread is None else f"{text} [{spread:.3f}]"


def difference(found: Mapping[str, float | None]) -> str:
    """Beside the reference, with its interval."""
    if found.get("difference") is None:
        return "–"
    text = f"{found['difference']:+.3f}"
    if found["difference_low"] is not None:
        text += f" ({found['difference_low']:+.3f} to {found['difference_high']:+.3f})"
    return text


def headings(table: Mapping[str, Any]) -> list[str]:
    beside = f"{table['metric']} beside {table['reference']}"
    return [
        "method",
        "options",
        f"validation {table['chosen_by']}",
        *columns(table),
        beside,
        "fit s",
        "score s",
        "peak GB",
    ]


def cells(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    found = row["metrics"]
    return [
        row["name"],
        row["described"],
        with_error(row["validation"]),
        *(with_error(found[metric], row["spread"].get(metric)) for metric in columns(table)),
        difference(found[table["metric"]]),
        figure(row["fit_seconds"], 1),
        figure(row["score_seconds"], 1),
        figure(row["peak_gigabytes"], 1),
    ]


def summary(table: Mapping[str, Any]) -> str:
    """What was compared, in a sentence."""
    counts = table["counts"]
    draws = f", {table['draws']} draws, the counts being of the first" if table["draws"] > 1 else ""
    seeds = f", {table['seeds']} seeds where a method is random" if table["seeds"] > 1 else ""
    return (
        f"{table['study']}, protocol {table['protocol']}: {counts['users']:,} users and {counts['positives']:,} "
        f"positives among {counts['candidates']:,} candidates, full ranking. Up to {table['trials']} settings of each "
        f"method tried on validation ({table['chosen_by']}), the best refitted to train and validation and tested "
        f"once{draws}{seeds}. Mean ± standard error over users; differences are paired, with 95 % bootstrap intervals."
        + (
            " In brackets: the standard deviation over draws or seeds."
            if any(r["spread"] for r in table["rows"])
            else ""
        )
    )


def to_markdown(table: Mapping[str, Any]) -> str:
    """The table with what it rests on, and how to make it again."""
    lines = [f"# {table['study']}", "", summary(table), ""]
    if table["rows"]:
        head = headings(table)
        lines += ["| " + " | ".join(head) + " |", "| --- | --- " + "| ---: " * (len(head) - 2) + "|"]
        lines += [
            "| " + " | ".join(text.replace("|", "\\|") for text in cells(table, row)) + " |" for row in table["rows"]
        ]
        lines += [
            "",
            f"Peak: {table['rows'][0]['peak_of']}. Fit: the refit, compilation included; score: the whole test.",
        ]
    lines += ["", *(f"- {note}" for note in table["notes"])] if table["notes"] else []
    lines += ["", f"Again: `{table['command']}`"] if table["command"] else []
    return "\n".join(lines) + "\n"


def print_table(table: Mapping[str, Any]) -> None:
    """In the terminal: the figures of the test; options and costs stand in table.md and the report."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if _wide() else 130)
    if table["rows"]:
        shown = Table(title=summary(table), title_justify="left")
        metric = table["metric"]
        names = [n for n in headings(table) if n.partition("@")[0] not in LEFT_TO_THE_PAGE or n.startswith(metric)]
        for name in names:
            shown.add_column(name, justify="left" if name == "method" else "right")
        for row in table["rows"]:
            text = dict(zip(headings(table), cells(table, row), strict=True))
            style = "bold" if row["method"] == table["reference"] else ""
            shown.add_row(*(Text(text[name], style=style) for name in names))
        console.print(shown)
    for note in table["notes"]:
        console.print(Text(note))


def _wide() -> bool:
    import shutil

    return shutil.get_terminal_size().columns >= 130
