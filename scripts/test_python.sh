#!/usr/bin/env bash
# Tries another Python than that of .venv, by default 3.13: scripts/test_python.sh FOLDER_FOR_THE_ENVIRONMENT [TESTS]
# Every file compiles without a warning, a short run trains to its end, and the tests pass: those of the rooms below, or
# those that are named. Versions are those of constraints.txt, but any torch: each Python has builds of some alone.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:?name a folder for the environment}
shift
[[ $# != 0 ]] || set -- tests/test_{types,questions,losses,seeds}.py tests/{statistics,nets,rewards}

[[ -x $folder/bin/python ]] || "${PYTHON:-python3.13}" -m venv "$folder"
python=$folder/bin/python
grep -v '^torch==' "$root/constraints.txt" >"$folder/constraints.txt"
"$python" -m pip install -q -c "$folder/constraints.txt" "$root[metaworld,robotics,objectives,data,transport,tune,onnx]" \
    pytest pytest-timeout hypothesis httpx2 hatchling
"$python" -m pip uninstall -q -y pbrl # what runs is the checkout
cd -- "$root"
export PYTHONPATH=$root:$root/envs
git ls-files -z '*.py' | "$python" -W error -c '
import pathlib, sys
names = sys.stdin.read().split("\0")[:-1]
for name in names:
    compile(pathlib.Path(name).read_text(encoding="utf-8"), name, "exec")
print(f"{len(names)} files compile with Python", sys.version.split()[0])'
short=(steps=600 feedback.budget=10 feedback.per_session=5 feedback.first=200 feedback.every=200 agent.learning_starts=100)
"$python" -m pbrl train env=point_reach method=pebble "${short[@]}" run_dir="$(mktemp -d)/run"
exec "$python" -m pytest -p no:cacheprovider -rs --timeout 600 "$@"
