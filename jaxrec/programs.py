"""Compiled programs on the disk: what one call has compiled, the next finds."""

import hashlib
import platform
from pathlib import Path

import jax

from jaxrec.data.fetch import cache_dir

LEAST_SECONDS = 0.1  # of compiling; what is compiled sooner is not kept
MOST_BYTES = 1 << 30  # those asked for longest ago make room
CPUINFO = Path("/proc/cpuinfo")


def keep_programs() -> None:
    """From here on compiled programs are kept in the cache folder, where it can be written and jax was told no other
    place. Not for a job of several processes: where one finds a program that another has to compile, they may wait for
    each other."""
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = cache_dir() / "programs" / processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)


def _remove_unfinished(folder: Path) -> None:
    """jax writes a program, then the time of its use, and never writes one anew: one without its time was cut off when
    its process was killed, and would be read in vain for ever."""
    for program in folder.glob("*-cache"):
        if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
            program.unlink(missing_ok=True)


def processor() -> str:
    """A short name for what this processor can do: jax tells programs apart by much, but not by that, and machines that
    share a home may differ in it."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
