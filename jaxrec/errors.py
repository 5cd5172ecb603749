"""Errors a person can act on, each with the exit code of the `jaxrec` command."""


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
