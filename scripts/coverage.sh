#!/usr/bin/env bash
# Runs the tests and says which lines none of them runs: a table, and pages in htmlcov/. Takes longer than the tests alone.
#   scripts/coverage.sh [pytest arguments]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

set_up dev
exec "$root/scripts/test.sh" --cov --cov-report=term --cov-report="html:$root/htmlcov" "$@"
