"""Stopping well: SIGTERM, or the first Ctrl-C, lets the step finish and save."""

import os
import signal
import threading

import jax


class StopRequest:
    """Within this context signals are noted, not obeyed; `made(step)` says when to save and leave.

    One process: SIGTERM or SIGINT sets it; a second SIGINT interrupts at once. Several processes: a SIGTERM (or first
    SIGINT) to any of them makes all agree on the same step, by the preemption service of jax.distributed. Outside the
    main thread signals are left as they are.
    """

    def __init__(self):
        self._signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            handled = (signal.SIGINT,) if jax.process_count() > 1 else (signal.SIGINT, signal.SIGTERM)
            self._before = {number: signal.signal(number, self._note) for number in handled}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a second press means it
        self._signal = number
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)  # heard by the preemption service of all processes

    def made(self, step: int) -> bool:
        """True at the step after which all processes leave. Call at every step."""
        if jax.process_count() == 1:
            return self._signal is not None
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)
