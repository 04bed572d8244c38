#!/usr/bin/env bash
# Sets up .venv and runs the tests, from any folder: scripts/test.sh [pytest arguments]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

set_up test
cd -- "$root"
# Files side by side, one process per core; one that a test without end has ended begins anew once.
exec "$python" -m pytest -n auto --dist loadfile --max-worker-restart 1 "$@"
