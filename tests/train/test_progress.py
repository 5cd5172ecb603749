import json

import pytest

from jaxrec.errors import UserError
from jaxrec.train.progress import Progress, first_difference, pack_position, unpack_position


def test_a_window_closes_into_means_and_the_last_rate():
    progress = Progress()
    progress.window = [
        {"loss": 1.0, "learning_rate": 0.1, "finite": 1.0},
        {"loss": 3.0, "learning_rate": 0.2, "finite": 1.0},
    ]
    assert progress.close_window(7) == {"step": 7, "split": "train", "loss": 2.0, "learning_rate": 0.2}
    assert progress.window == [] and progress.close_window(8) is None


def test_best_and_stale_and_an_unmeasurable_value():
    progress = Progress()
    judged = [progress.judge(s, {"m": v}, "m", higher_is_better=True) for s, v in enumerate([0.1, 0.3, 0.2, 0.3, 0.4])]
    assert judged == [True, True, False, False, True]
    assert (progress.best_step, progress.best_metrics, progress.stale) == (4, {"m": 0.4}, 0)
    assert not progress.judge(5, {"m": float("nan")}, "m", higher_is_better=True)
    assert progress.history[-1]["m"] is None and progress.stale == 1
    falling = Progress()
    assert [falling.judge(s, {"rmse": v}, "rmse", higher_is_better=False) for s, v in enumerate([3, 2, 4])] == [
        True,
        True,
        False,
    ]
    with pytest.raises(UserError, match="train.metric='hr@10' is not evaluated; there are: m, n"):
        progress.judge(6, {"n": 1.0, "m": 1.0}, "hr@10", higher_is_better=True)


def test_json_round_trip_is_exact():
    progress = Progress(window=[{"loss": 0.1 + 0.2}])
    progress.judge(1, {"m": 1 / 3}, "m", higher_is_better=True)
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress
    for state in ({"next_index": 5}, b"\x00\xff", 7):
        assert unpack_position(json.loads(json.dumps(pack_position(state)))) == state
    with pytest.raises(UserError, match="cannot be saved as JSON"):
        pack_position({"generator": object()})


def test_the_first_difference_is_named_by_its_path():
    saved = {"seed": 0, "train": {"num_steps": 5, "log_every": 1}, "mesh": {"data": 8}}
    assert first_difference(saved, saved) is None
    now = {"seed": 0, "train": {"num_steps": 6, "log_every": 2}, "mesh": {"data": 1}}
    assert first_difference(saved, now) == ("train.num_steps", 5, 6)
    now["train"]["num_steps"] = 5
    assert first_difference(saved, now) is None  # how it runs may differ
    assert first_difference(saved, now | {"extra": 1}) == ("extra", None, 1)
    assert first_difference({"head": {"$class": "a:A"}}, {"head": {"$class": "b:B"}}) == ("head", "a:A", "b:B")
    assert first_difference({"head": {"dim": 4}}, {"head": None}) == ("head", {"dim": 4}, None)
