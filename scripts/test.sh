#!/usr/bin/env bash
# Sets up .venv and runs the tests, from any folder: scripts/test.sh [pytest arguments]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

set_up test
cd -- "$root"
exec "$python" -m pytest -n auto --dist loadfile "$@"  # files side by side, one process per core
