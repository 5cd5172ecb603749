"""Compiled programs on the disk: what one call has compiled, the next finds."""

import jax

from jaxrec.data.fetch import cache_dir

LEAST_SECONDS = 0.1  # of compiling; what is compiled sooner is not kept
MOST_BYTES = 1 << 30  # those asked for longest ago make room


def keep_programs() -> None:
    """From here on compiled programs are kept in the cache folder, where it can be written and jax was told no other
    place. Not for a job of several processes: where one finds a program that another has to compile, they may wait for
    each other."""
    folder = cache_dir() / "programs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
        jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
