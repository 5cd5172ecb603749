"""What a fit costs: seconds, and memory at its peak."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

PROCESS = "resident memory of the process at its peak, data and libraries included"
PROCESS_SO_FAR = "resident memory of the process at its peak so far, data, libraries and earlier methods included"
DEVICE = "memory of the first device at its peak so far, earlier methods included"


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    """What `make` gives, its arrays computed, and the seconds that took."""
    began = time.perf_counter()
    made = make()
    jax.block_until_ready(getattr(made, "arrays", made))
    return made, time.perf_counter() - began


def forget_peak() -> bool:
    """Memory is measured anew from here; False where the system cannot do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak(anew: bool) -> tuple[int | None, str]:
    """(bytes, of what). anew: what `forget_peak` said."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        statistics = device.memory_stats() or {}
        return statistics.get("peak_bytes_in_use"), DEVICE
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(
            next(line for line in lines if line.startswith("VmHWM:")).split()[1]
        ), PROCESS if anew else PROCESS_SO_FAR
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return None, PROCESS_SO_FAR
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024), PROCESS_SO_FAR
