"""results/offline/lqr.md: how near CPL comes to the best gain of a regulator, by labels and their number.

python scripts/results_lqr.py > results/offline/lqr.md        ten seconds
"""

from __future__ import annotations

import numpy as np

from pbrl.tabular.lqr import LQR, fit_bc, fit_cpl

SIZES, SEEDS, LENGTH, NOISE = (50, 200, 500, 2000, 10_000), range(20), 16, 0.5
HEAD = """# CPL on a regulator where everything is known

`python scripts/results_lqr.py > results/offline/lqr.md`: the largest relative error of an entry of the gain, median of
{n} seeds (lowest to highest). A double integrator, segments of {length} steps of a behaviour that does half of what is
best, with noise. Labels are Boltzmann-rational; CPL has lambda 1 and the alpha with which the best gain satisfies its
assumption.

| comparisons | CPL, regret labels | CPL, return labels | cloning |
| --- | --- | --- | --- |"""


def main() -> None:
    lqr = LQR.double_integrator()
    alpha = float(lqr.curvature[0, 0])
    print(HEAD.format(n=len(SEEDS), length=LENGTH))
    for size in SIZES:
        errors = np.array([_errors(lqr, alpha, size, seed) for seed in SEEDS])
        cells = [f"{np.median(e):.3f} ({e.min():.3f} to {e.max():.3f})" for e in errors.T]
        print(f"| {size} | {' | '.join(cells)} |")


def _errors(lqr: LQR, alpha: float, size: int, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    left, right = (lqr.roll_out(lqr.gain / 2, NOISE, size, LENGTH, rng) for _ in range(2))
    scores = (lqr.negated_regret, lqr.partial_return)
    labels = [rng.random(size) < 1 / (1 + np.exp(np.clip(score(left) - score(right), -500, 500))) for score in scores]
    gains = [fit_cpl(left, right, y.astype(float), alpha=alpha, bias=1.0) for y in labels]
    return [lqr.gain_error(gain) for gain in (*gains, fit_bc(left))]


if __name__ == "__main__":
    main()
