"""What is told of finished tests: the metric that decides, ties, draws and seeds as one, digits."""

from dataclasses import replace

import numpy as np
import pytest
from test_study import STUDY, quiet

from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.holdout import RandomPerUser
from jaxrec.evaluate.evaluator import Judged
from jaxrec.study import run
from jaxrec.study.compare import compare_all
from jaxrec.study.page import verdict
from jaxrec.study.stored import Folder
from jaxrec.study.table import columns, one_of_draws, one_of_seeds, with_error

pytestmark = pytest.mark.usefixtures("quick_compile_all")


@pytest.mark.parametrize("metric", ["map@10", "precision@20", "mrr@20", "ndcg@5"])
def test_whatever_metric_decides_is_shown(metric, tmp_path, capsys):
    (table,) = compare_all(replace(STUDY, metric=metric, methods=(Popular(), RecentPopular())), tmp_path, say=quiet)
    deciding = table["metric"]
    assert deciding == ("ndcg@10" if metric == "ndcg@5" else metric) and table["chosen_by"] == metric
    means = [row["metrics"][deciding]["mean"] for row in table["rows"]]
    assert means == sorted(means, reverse=True) and columns(table)[0] == deciding
    assert deciding in capsys.readouterr().out and deciding in (tmp_path / "planted/table.md").read_text()


def test_a_tie_is_not_surely_worse(tmp_path):
    study = replace(STUDY, methods=(Popular(), RecentPopular(days=1e6)), trials=1, reference="Popular")
    (table,) = compare_all(study, tmp_path, say=quiet)
    assert "not surely better than Popular, last" in verdict(table), "both count everything"


def test_draws_and_seeds_are_pooled(tmp_path):
    study = replace(STUDY, methods=(Popular(), RecentPopular()), draws=2, trials=1, holdout=RandomPerUser(seed=3))
    (table,) = compare_all(study, tmp_path, say=quiet)
    first, second = (Folder(tmp_path / "planted" / place / "popular").evaluation(0) for place in ("", "draw-1"))
    row = next(row for row in table["rows"] if row["method"] == "Popular")
    both = np.concatenate([first.values["ndcg@10"], second.values["ndcg@10"]])
    assert row["metrics"]["ndcg@10"]["mean"] == pytest.approx(both.mean())
    assert row["spread"]["ndcg@10"] == pytest.approx(np.std([first["ndcg@10"], second["ndcg@10"]], ddof=1))
    assert not np.array_equal(first.rows, second.rows) and row["tests"] == 2
    data = run.load(study.drawn(1), quiet)
    assert np.array_equal(second.user_rows, Judged.of(data.data.dataset, data.refit.holdout, "test").user_rows)
    mean = one_of_seeds([first, replace(first, values={n: v + 1 for n, v in first.values.items()})])
    np.testing.assert_allclose(mean.values["ndcg@10"], first.values["ndcg@10"] + 0.5)
    assert one_of_draws([first, second])["coverage@10"] == pytest.approx(
        (first["coverage@10"] + second["coverage@10"]) / 2
    )
    again = one_of_draws([first] * 4)  # the same said four times is no surer
    assert again.standard_errors == pytest.approx(first.standard_errors, nan_ok=True)
    np.testing.assert_array_equal(again.user_rows, first.user_rows)
    np.testing.assert_array_equal(again.positives, 4 * first.positives)
    few = replace(
        second,
        user_rows=second.user_rows[1:],
        lengths=second.lengths[1:],
        positives=second.positives[1:],
        rows=second.rows[1:],
        scores=second.scores[1:],
        values={name: values[1:] for name, values in second.values.items()},
        item_values={name: values[1:] for name, values in second.item_values.items()},
    )
    both = one_of_draws([first, few]).values["ndcg@10"]
    assert both[0] == first.values["ndcg@10"][0], "judged in the first alone"
    np.testing.assert_allclose(both[1:], (first.values["ndcg@10"] + second.values["ndcg@10"])[1:] / 2)


def test_figures_keep_their_digits():
    assert with_error({"mean": 12.5, "standard_error": 10.234}) == "12.500 ±10.234"
    assert with_error({"mean": 0.25, "standard_error": 0.0123}) == "0.250 ±.012"
