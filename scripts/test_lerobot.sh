#!/usr/bin/env bash
# Tries what pbrl writes for LeRobot with lerobot itself, which needs Python 3.12 and older packages than the tests do:
# scripts/test_lerobot.sh FOLDER_FOR_THE_ENVIRONMENT
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:?name a folder for the environment}

[[ -x $folder/bin/python ]] || "${PYTHON:-python3.12}" -m venv "$folder"
"$folder/bin/python" -m pip install -q "lerobot[dataset]>=0.6.1" "$root[data]" pytest pytest-timeout
cd -- "$root"
exec "$folder/bin/python" -m pytest -q -p no:cacheprovider tests/optional/lerobot_reads.py
