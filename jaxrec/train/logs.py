"""What a run says while it goes: console, metrics.jsonl, TensorBoard. Only the first process speaks."""

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class RunLog:
    """Progress bar on a terminal, plain lines elsewhere; one JSON object per line of metrics.jsonl.

    speaks: False on every process but the first; then nothing is written. quiet: files only.
    """

    def __init__(
        self, workdir: Path, num_steps: int, *, speaks: bool, quiet: bool = False, stream: TextIO | None = None
    ):
        self._workdir, self._num_steps = workdir, num_steps
        self._speaks, self._quiet = speaks, quiet
        self._bar = self._file = self._tensorboard = None
        self._stream = stream or sys.stderr
        self._began = self._last_time = time.monotonic()
        self._last_step = 0
        self._drawn = 0.0

    def start(self, step: int) -> None:
        """Open the files after `step` steps: lines of later steps are dropped, so that each stands there once."""
        self._began = self._last_time = time.monotonic()
        self._last_step = step
        if not self._speaks:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        _drop_after(self._workdir / METRICS_FILE, step)
        self._file = open(self._workdir / METRICS_FILE, "a", encoding="utf-8")
        from tensorboardX import SummaryWriter

        purge = step + 1 if step else None
        self._tensorboard = SummaryWriter(str(self._workdir / TENSORBOARD_FOLDER), purge_step=purge)
        if self._stream.isatty() and not self._quiet:
            self._bar = _progress_bar(self._stream, self._num_steps, step)

    def line(self, text: str) -> None:
        """One line for a person."""
        if not self._speaks or self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._stream, flush=True)

    def tick(self, step: int) -> None:
        """Move the bar, at most ten times a second."""
        if self._bar is not None and time.monotonic() - self._drawn > 0.1:
            self._drawn = time.monotonic()
            self._bar.update(0, completed=step)

    def write(self, entry: dict[str, Any]) -> None:
        """Record a history entry {"step", "split", metric: value}."""
        if not self._speaks:
            return
        now, step, split = time.monotonic(), entry["step"], entry["split"]
        timing = {}
        if split == "train":
            timing["steps_per_second"] = round((step - self._last_step) / max(now - self._last_time, 1e-9), 3)
            self._last_time, self._last_step = now, step
        self._file.write(json.dumps(entry | timing | {"seconds": round(now - self._began, 3)}) + "\n")
        self._file.flush()
        values = {name: value for name, value in entry.items() if name not in ("step", "split")}
        for name, value in (values | timing).items():
            if value is not None:
                self._tensorboard.add_scalar(f"{split}/{name}", value, step)
        if split == "valid":
            self.line(f"step {step}: " + "  ".join(f"{name} {_short(value)}" for name, value in values.items()))
        elif self._bar is not None:
            self._bar.update(0, completed=step, loss=_short(values.get("loss")))
        else:
            left = (self._num_steps - step) / max(timing["steps_per_second"], 1e-9)
            self.line(
                f"step {step}/{self._num_steps}  loss {_short(values.get('loss'))}  "
                f"{timing['steps_per_second']:.1f} steps/s  {left:.0f} s left"
            )

    def pause(self) -> None:
        """Do not count what follows (an evaluation) as training time; call `resume` after it."""
        self._paused = time.monotonic()

    def resume(self) -> None:
        self._last_time += time.monotonic() - self._paused

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            self._file.close()
            self._tensorboard.close()


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The entries of metrics.jsonl, oldest first; a half-written last line is left out. None where there is no file."""
    path, entries = Path(workdir) / METRICS_FILE, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [entry for entry in read_metrics(path.parent) if entry["step"] <= step]
    partial = path.with_suffix(".tmp")
    partial.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
    partial.replace(path)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _progress_bar(stream: TextIO, num_steps: int, start_step: int):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import ProgressColumn as Column
    from rich.text import Text

    class Speed(Column):
        def render(self, task):
            return Text(f"{task.speed or 0:.1f} steps/s")

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        Speed(),
        TimeRemainingColumn(),
    )
    bar = Progress(TextColumn("train"), *columns, console=Console(file=stream))
    bar.start()
    bar.add_task("train", total=num_steps, completed=start_step, loss="-")
    return bar
