"""What benchmarks of an artifact share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def artifact():
    """The artifact that JAXREC_ARTIFACT names."""
    path = os.environ.get("JAXREC_ARTIFACT")
    if not path:
        pytest.skip("set JAXREC_ARTIFACT to an artifact, such as that of MovieLens-1M")
    return Path(path)
