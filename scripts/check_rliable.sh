#!/usr/bin/env bash
# Runs tests/statistics/test_against_rliable.py with rliable 1.2.0, in an environment of its own that is thrown away.
#   scripts/check_rliable.sh [FOLDER]        FOLDER: where the environment stays, to be used again
# rliable needs pandas before 3, through arch; numpy and scipy are the versions of constraints.txt.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

if [[ -n ${1:-} ]]; then
    theirs=$(realpath -m -- "$1")
else
    theirs=$(mktemp -d)
    trap 'rm -rf "$theirs"' EXIT
fi
cd -- "$root"

if ! "$theirs/bin/python" -c 'import rliable.library, pytest' 2>/dev/null; then
    say "making an environment with rliable in $theirs (some 400 MB)"
    "$(find_python)" -m venv --clear "$theirs"
    "$theirs/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
        rliable==1.2.0 arch==7.2.0 "pandas<3" numpy scipy matplotlib pytest
fi

# Without the conftest of the tests, which needs torch; nothing else of pbrl is installed there.
PYTHONPATH=$root "$theirs/bin/python" -m pytest --noconftest -p no:cacheprovider -rs tests/statistics/test_against_rliable.py
