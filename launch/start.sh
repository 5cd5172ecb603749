#!/usr/bin/env bash
# From a fresh clone to a trained, evaluated, exported recommender: sets up .venv, then runs `jaxrec demo`.
#   bash launch/start.sh [options of jaxrec demo]        PYTHON=/path/to/python chooses another Python
set -euo pipefail
# shellcheck source=launch/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
setup_venv ""
cd -- "$root"
exec "$venv/bin/jaxrec" demo "$@"
