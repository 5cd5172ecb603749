"""Checks without training: the machine, the cache, a job's data, a config's shapes."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from jaxrec.config import load_config, override
from jaxrec.data.fetch import available, cache_dir, check
from jaxrec.errors import DataError, UserError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "transformers", "numpy", "pyarrow")


def examine() -> None:
    """Print versions, devices and caches, one line each. Raises UserError for what keeps jaxrec from running."""
    print(f"python    {platform.python_version()} on {platform.platform()}")
    for name in ("jaxrec", *PACKAGES):
        try:
            print(f"{name:<18}{importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            raise UserError(f"{name} is not installed: pip install -e . in the checkout") from None
    import jax
    import jax.numpy as jnp

    print(
        f"devices   {jax.device_count()} {jax.devices()[0].platform}, "
        f"process {jax.process_index()} of {jax.process_count()}"
    )
    total = float(jax.jit(lambda x: (x @ x).sum())(jnp.ones((8, 8))))
    print(f"compiles  {'yes' if total == 512 else f'wrongly: 8x8 ones give {total}'}")
    print(f"cores     {os.cpu_count()}, {shutil.disk_usage('.').free / 1e9:.0f} GB free here")
    check_cache()


def check_cache() -> None:
    """One line for each resource: absent, whole, or damaged. Raises DataError where one is damaged."""
    damaged = []
    print(f"cache     {cache_dir()}")
    for resource in available():
        folder = cache_dir() / resource.name
        if not folder.exists():
            print(f"  {resource.name:<10}not fetched ({resource.megabytes} MB; jaxrec data get {resource.name})")
            continue
        problems = check(resource.name)
        damaged += problems
        print(f"  {resource.name:<10}{'; '.join(problems) or 'whole'}")
    if damaged:
        raise DataError(f"{cache_dir()} is damaged: {damaged[0]}. Remove the folder and get it again")


def check_data(config: Path, overrides: Sequence[str]) -> None:
    """Load, clean, index and hold out the data of a config, and print what that gives."""
    from dataclasses import replace

    from jaxrec.run import prepare

    prepared = prepare(replace(override(load_config(config), overrides), encoder=None), print)
    for line in prepared.dataset.catalog.features.encoder.lines():
        print(f"  items: {line}")
    for line in prepared.dataset.users.features.encoder.lines():
        print(f"  users: {line}")


def check_config_shapes(config: Path, overrides: Sequence[str]) -> None:
    """Trace a config at the size its SIZES names, and print what it holds."""
    import runpy

    from jaxrec.experiment import check_shapes

    sizes = runpy.run_path(str(config)).get("SIZES") if config.is_file() else None
    experiment = override(load_config(config), overrides)
    if sizes is None:
        raise UserError(f"{config} names no SIZES, so its real size is not known")
    found = check_shapes(experiment, sizes)
    if not found:
        print(f"{experiment.method.name} is in closed form: nothing is trained, so there are no shapes to check")
    for part in found:
        print(f"trained            {part.name}")
        print(f"mesh               {part.mesh[0]} x {part.mesh[1]} (data x model)")
        print(f"parameters         {part.parameters:,}")
        print(f"constants          {part.constants / 1e9:.2f} GB")
        print(
            f"on each device     {part.bytes_per_device / 1e9:.2f} GB (parameters, gradients, Adam's moments, "
            "constants; what a step computes comes on top)"
        )
