#!/usr/bin/env bash
# From a fresh clone to the tests' verdict: sets up .venv with what the tests need, then runs pytest.
#   bash launch/test.sh [options of pytest]              PYTHON=/path/to/python chooses another Python
# Two processes share the work, a file of tests each: compiling is most of it, and keeps one core busy.
set -euo pipefail
# shellcheck source=launch/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
setup_venv test
cd -- "$root"
PATH=$venv/bin:$PATH exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
