#!/usr/bin/env bash
# Times preference comparisons with SAC on Hopper: ours beside imitation 1.0.1, one thread each, in turn.
#   scripts/compare_imitation.sh [OUT]        OUT: a folder for the runs and times.csv (default: runs/imitation)
# imitation needs packages of 2023, so it gets an environment of its own: .venv-imitation.
# STEPS=5000 LABELS=60 SESSIONS=4 REPEATS=5 can be set, for a quick look or a longer one.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

out=${1:-$root/runs/imitation}
steps=${STEPS:-5000} labels=${LABELS:-60} sessions=${SESSIONS:-4} repeats=${REPEATS:-5}
theirs=$root/.venv-imitation
export OMP_NUM_THREADS=1

if [[ -e $out ]]; then fail "$out exists and is not overwritten; choose another: $0 OUT"; fi
if ((sessions < 2 || labels % sessions || steps % sessions)); then
    fail "SESSIONS=$sessions must be at least 2 and divide LABELS=$labels and STEPS=$steps: both ask in equal sessions"
fi

set_up suites
if ! "$theirs/bin/python" -c 'import imitation, imageio' 2>/dev/null; then
    say "making $theirs"
    "$python" -m venv --clear "$theirs"
    "$theirs/bin/pip" install --quiet ${PBRL_TORCH_INDEX:+--extra-index-url "$PBRL_TORCH_INDEX"} "torch==$(pin torch)"
    # What imitation 1.0.1 asks for; these know Hopper-v4, from which v5 differs in details.
    "$theirs/bin/pip" install --quiet imitation==1.0.1 stable-baselines3==2.2.1 gymnasium==0.29.1 mujoco==3.2.7 \
        "imageio<3" "numpy<3" "datasets<6"
fi

mkdir -p "$out"
echo "repeat,ours_s,imitation_s" | tee "$out/times.csv"
for repeat in $(seq "$repeats"); do
    run=$out/ours_$repeat
    "$python" -m pbrl train env=hopper method=pebble queries=uniform "steps=$steps" "seed=$repeat" "run_dir=$run" \
        "feedback.budget=$labels" "feedback.per_session=$((labels / sessions))" feedback.segment_length=20 \
        "feedback.first=1000" "feedback.every=$(((steps - 1000) / sessions))" \
        method.explore=null method.reset_critic=false method.critic_updates=0 \
        method.fit.batch_size=32 method.fit.max_epochs=3 method.fit.stop_accuracy=null \
        "evaluation.every=$steps" evaluation.episodes=1 "checkpoint.every=$steps" report=false >"$run.log" 2>&1 ||
        fail "pbrl train failed, see $run.log"
    ours=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["wall_s"])' "$run/summary.json")
    other=$("$theirs/bin/python" "$root/scripts/imitation_run.py" "$steps" "$labels" "$sessions" "$repeat" \
        2>"$out/imitation_$repeat.log" | sed -n 's/^seconds //p') || fail "see $out/imitation_$repeat.log"
    echo "$repeat,$ours,$other" | tee -a "$out/times.csv"
done
"$python" - "$out/times.csv" <<'PY'
import csv, statistics, sys

rows = list(csv.DictReader(open(sys.argv[1])))
ratios = [float(r["imitation_s"]) / float(r["ours_s"]) for r in rows]
print("ours: bfloat16 products where the processor has them; imitation: float32")
print(f"imitation takes {statistics.median(ratios):.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)})")
PY
