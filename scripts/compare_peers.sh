#!/usr/bin/env bash
# CPU seconds of a peer's run beside ours, one thread each, in turn: what steps STEPS/2 to STEPS take, so that start-up
# and compilation are in neither.
#   scripts/compare_peers.sh imitation|sbx [OUT]     OUT: a folder for the runs and times.csv (default: runs/PEER)
# imitation: preference comparisons with SAC on Hopper, 15 labels each 2,500 steps. sbx: SAC in JAX on the true reward of HalfCheetah.
# Each peer gets an environment of its own: .venv-PEER. STEPS=10000 and REPEATS=3 can be set.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

peer=${1:-}
case $peer in
    imitation) packages=(imitation==1.0.1 stable-baselines3==2.2.1 gymnasium==0.29.1 mujoco==3.2.7 "imageio<3" "numpy<3" "datasets<6") ;;
    sbx) packages=(sbx-rl==0.28.0 jax==0.10.2 gymnasium==1.4.0 "mujoco==$(pin mujoco)" "imageio<3") ;;
    *) fail "the peer is '$peer'; valid are imitation and sbx" ;;
esac
out=${2:-$root/runs/$peer} steps=${STEPS:-10000} repeats=${REPEATS:-3}
theirs=$root/.venv-$peer
export OMP_NUM_THREADS=1 XLA_FLAGS="--xla_cpu_multi_thread_eigen=false"

if [[ -e $out ]]; then fail "$out exists and is not overwritten; choose another: $0 $peer OUT"; fi
if ((steps % 10000)); then fail "STEPS=$steps must be a multiple of 10000: each half has two equal sessions or more"; fi

set_up suites
if ! "$theirs/bin/python" -c "import ${peer}" 2>/dev/null; then
    say "making $theirs"
    "$python" -m venv --clear "$theirs"
    "$theirs/bin/pip" install --quiet ${PBRL_TORCH_INDEX:+--extra-index-url "$PBRL_TORCH_INDEX"} "torch==$(pin torch)"
    "$theirs/bin/pip" install --quiet "${packages[@]}"
fi

ours() { # STEPS SEED PRECISION
    local chosen=(env=halfcheetah method=true_reward) sessions=$(($1 / 2500))
    if [[ $peer = imitation ]]; then
        chosen=(env=hopper method=pebble queries=uniform "feedback.budget=$((15 * sessions))"
            feedback.per_session=15 feedback.segment_length=20 feedback.first=1000
            "feedback.every=$((($1 - 1000) / sessions))" method.explore=null method.reset_critic=false
            method.critic_updates=0 method.fit.batch_size=32 method.fit.max_epochs=3 method.fit.stop_accuracy=null)
    fi
    "$python" -m pbrl train "${chosen[@]}" "steps=$1" "seed=$2" "agent.precision=$3" evaluation.every=null \
        "checkpoint.every=$1" report=false "run_dir=$out/ours_$1_$2_$3"
}
other() { # STEPS SEED
    if [[ $peer = imitation ]]; then
        "$theirs/bin/python" "$root/scripts/imitation_run.py" "$1" $((15 * $1 / 2500)) $(($1 / 2500)) "$2"
    else
        "$theirs/bin/python" "$root/scripts/sbx_run.py" "$1" "$2"
    fi
}
cpu_seconds() { # COMMAND...
    local log=$out/log TIMEFORMAT='%U %S'
    { time "$@" >"$log" 2>&1; } 2>"$out/time" || fail "$* failed, see $log"
    awk '{ print $1 + $2 }' "$out/time"
}
later_half() { # SIDE ARGUMENTS...
    local side=$1 all half
    shift
    half=$(cpu_seconds "$side" $((steps / 2)) "$@")
    all=$(cpu_seconds "$side" "$steps" "$@")
    awk "BEGIN { print $all - $half }"
}

mkdir -p "$out"
echo "repeat,ours_float32,ours_bfloat16,$peer" | tee "$out/times.csv"
for repeat in $(seq "$repeats"); do
    float=$(later_half ours "$repeat" float32)
    half=$(later_half ours "$repeat" bfloat16)
    they=$(later_half other "$repeat")
    echo "$repeat,$float,$half,$they" | tee -a "$out/times.csv"
done
"$python" - "$out/times.csv" <<'PY'
import csv, statistics, sys

rows = list(csv.DictReader(open(sys.argv[1])))
peer = list(rows[0])[-1]
for ours in ("ours_float32", "ours_bfloat16"):
    ratios = [float(r[peer]) / float(r[ours]) for r in rows]
    print(f"{peer} takes {statistics.median(ratios):.2f} times the CPU time of {ours} ({min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)})")
PY
