"""Errors a person can act on, each with the exit code of the `jaxrec` command."""

import difflib
from collections.abc import Iterable


class JaxrecError(Exception):
    """What went wrong, where, and how to mend it, in one message."""

    exit_code = 2


class UserError(JaxrecError):
    """A wrong option, path or config value."""

    exit_code = 2


class DivergedError(JaxrecError):
    """The loss is no longer finite."""

    exit_code = 3


class DataError(JaxrecError):
    """The input data cannot be used as it is."""

    exit_code = 4


class CheckpointError(JaxrecError):
    """No checkpoint can be used."""

    exit_code = 5


class Preempted(JaxrecError):
    """Stopped by a signal after saving; start the same command again to go on."""

    exit_code = 42


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant, whatever its case and underscores; None where none is near.

    cutoff: the least likeness, from 0 to 1.
    """
    folded = {_folded(name): name for name in known}
    near = difflib.get_close_matches(_folded(word), folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None


def _folded(word: str) -> str:
    return word.lower().replace("_", "")
