"""Two ways to choose questions, beside the true reward: python examples/compare_methods.py [STEPS] [SEEDS]

A bench does this for many, side by side and resumable: `pbrl bench grid=... out=...`.
"""

import sys

import pbrl

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
SEEDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5

ARMS = {
    "disagreement": {"method": "pebble", "queries": "disagreement"},
    "uniform": {"method": "pebble", "queries": "uniform"},
    "true_reward": {"method": "true_reward"},
}
QUESTIONS = {"first": 500, "every": 500, "per_session": 10, "budget": 50, "segment_length": 25}

runs = [
    pbrl.train(
        **arm,
        env="point_reach",
        steps=STEPS,
        seed=seed,
        feedback=QUESTIONS,
        evaluation__every=STEPS,
        run_dir=f"runs/compare/{name}_s{seed}",
        report=False,
        verbose=False,
    )
    for name, arm in ARMS.items()
    for seed in range(SEEDS)
]
compared = pbrl.compare(runs)
print(compared.table)
compared.figure().savefig("compared.png")
