"""`jaxrec compare`: from a config file or the name of a suite to the tables."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxrec
from jaxrec.config import load_config, override
from jaxrec.errors import UserError
from jaxrec.run import say_once
from jaxrec.study.compare import compare_all
from jaxrec.study.run import Say
from jaxrec.study.study import Study, Suite


def compare_config(
    config: Path | None,
    suite: str | None,
    workdir: Path,
    *,
    overrides: Sequence[str] = (),
    methods: Iterable[str] = (),
    studies: Iterable[str] = (),
    trials: int | None = None,
    workers: int = 1,
    debug: bool = False,
    command: str = "",
    say: Say = say_once,
) -> list[dict[str, Any]]:
    """What `jaxrec compare` does: the tables of the studies of a config file. See `compare_all`.

    suite: a name instead of a file, of configs/suite_NAME.py in the checkout. overrides: as for every config; in a
    suite, those that name no field of it are for every study. Raises UserError for what cannot be meant.
    """
    if (config is None) == (suite is None):
        raise UserError("give --config FILE, or --suite NAME, one of the two")
    root = load_config(config or _suite_file(suite), debug=debug)
    if not isinstance(root, (Study, Suite)):
        raise UserError(f"{config}: get_config() returns a {type(root).__name__}; compare needs a Study or a Suite")
    if isinstance(root, Study):
        root = override(root, overrides)
    else:
        ours = [text for text in overrides if text.split("=")[0].split(".")[0].strip() in ("name", "studies")]
        theirs = [text for text in overrides if text not in ours]
        root = override(root, ours)
        root = replace(root, studies=tuple(override(study, theirs) for study in root.studies))
    if trials is not None:
        root = _with_trials(root, trials)
    return compare_all(root, workdir, methods=methods, studies=studies, workers=workers, command=command, say=say)


def _with_trials(root: Study | Suite, trials: int) -> Study | Suite:
    if isinstance(root, Study):
        return replace(root, trials=trials)
    return replace(root, studies=tuple(replace(study, trials=trials) for study in root.studies))


def _suite_file(name: str | None) -> Path:
    file = Path(jaxrec.__file__).parent.parent / "configs" / f"suite_{name}.py"
    if not file.is_file():
        known = sorted(path.stem.removeprefix("suite_") for path in file.parent.glob("suite_*.py"))
        raise UserError(f"no suite {name!r}; there are: {', '.join(known) or 'none, outside a checkout of jaxrec'}")
    return file
