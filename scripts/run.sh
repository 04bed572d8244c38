#!/usr/bin/env bash
# Sets up .venv and runs `pbrl demo`, from any folder: scripts/run.sh [key=value ...]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

set_up suites
exec "$python" -m pbrl demo "$@"
