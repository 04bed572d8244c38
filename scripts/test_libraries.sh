#!/usr/bin/env bash
# Compares what pbrl reads and writes with what the formats' own libraries do: lerobot, ogbench and robomimic, which need
# Python 3.12 and older packages than the tests do: scripts/test_libraries.sh FOLDER_FOR_THE_ENVIRONMENT
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:?name a folder for the environment}

[[ -x $folder/bin/python ]] || "${PYTHON:-python3.12}" -m venv "$folder"
"$folder/bin/python" -m pip install -q "lerobot[dataset]>=0.6.1" "ogbench>=1.2.2" "$root[data]" pytest pytest-timeout
"$folder/bin/python" -m pip install -q --no-deps "robomimic==0.3.0" # its dependencies are of 2023
cd -- "$root"
exec "$folder/bin/python" -m pytest -q -p no:cacheprovider tests/optional/libraries_read.py
