"""How well do reward models predict people? 10-fold cross-validation behind results/offline/human.md.

python scripts/results_human.py LABEL_SET ...     folders made by `pbrl data import FILE out=FOLDER format=pairs`

Accuracy counts decided pairs, cross-entropy all of them (a tie is half). Segments overlap, so folds are made of groups:
pairs that share a step, directly or through others, stay together. Each repeat shuffles the groups anew: three, but one
of the Preference Transformer, which takes ten minutes. Figures are means over pairs of the means over repeats, with
95 % bootstrap intervals over groups.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import optimize, sparse

from pbrl.labels.sets import load_label_set
from pbrl.rewards.partial_return import PartialReturn
from pbrl.rewards.preference_transformer import PreferenceTransformer
from pbrl.types import Comparisons, Segments

FOLDS, DRAWS = 10, 10_000
UPDATES, BATCH = 100, 32  # a hundred pairs are learned by heart soon after
Predictor = Callable[[Comparisons], np.ndarray]  # comparisons -> P(right is preferred), (B,)


def majority(train: Comparisons, seed: int) -> Predictor:
    """The mean answer."""
    share = float(train.prefers_right.mean())
    return lambda held: np.full(len(held), share)


def one_feature(train: Comparisons, seed: int) -> Predictor:
    """The one feature that orders the training pairs best: an observation, effort or change."""
    gains, target = _gains(train), train.prefers_right.numpy()
    decided = target != 0.5
    agreement = ((gains[decided] > 0) == (target[decided, None] > 0.5)).mean(0)
    best = int(np.argmax(np.abs(agreement - 0.5)))
    scale = _logistic_scale(gains[:, best], target)
    return lambda held: _sigmoid(scale * _gains(held)[:, best])


def linear(train: Comparisons, seed: int) -> Predictor:
    """Logistic regression on the same features, standardised, ridge 1."""
    gains, target = _gains(train), train.prefers_right.numpy()
    spread = gains.std(0) + 1e-8

    def loss(weights: np.ndarray) -> float:
        return _cross_entropy(_sigmoid(gains / spread @ weights), target).sum() + 0.5 * float(weights @ weights)

    weights = optimize.minimize(loss, np.zeros(gains.shape[1])).x
    return lambda held: _sigmoid(_gains(held) / spread @ weights)


def mlp(train: Comparisons, seed: int) -> Predictor:
    """The reward ensemble of PEBBLE and P-IQL, 3 x 64-64."""
    obs_size, action_size = train.left.obs.shape[-1], train.left.actions.shape[-1]
    return _fitted(
        PartialReturn(
            obs_size=obs_size, action_size=action_size, members=3, hidden=[64, 64], activation="relu", head="tanh",
            normalise=True, lr=3e-4, smoothing=0.0, crop=None, precision="float32",
            rng=torch.Generator().manual_seed(seed),
        ),
        train,
        seed,
    )  # fmt: skip


def transformer(head: str) -> Callable[[Comparisons, int], Predictor]:
    def fit(train: Comparisons, seed: int) -> Predictor:
        obs_size, action_size = train.left.obs.shape[-1], train.left.actions.shape[-1]
        return _fitted(
            PreferenceTransformer(
                obs_size=obs_size, action_size=action_size, head=head, width=32, attention_heads=4, blocks=1,
                dropout=0.1, max_steps=train.left.steps, lr=1e-3,
                rng=torch.Generator().manual_seed(seed),
            ),
            train,
            seed,
        )  # fmt: skip

    return fit


MODELS = {  # and repeats
    "majority": (majority, 3),
    "one feature": (one_feature, 3),
    "linear": (linear, 3),
    "reward ensemble (MLP)": (mlp, 3),
    "Preference Transformer, attention": (transformer("attention"), 1),
    "Preference Transformer, mean": (transformer("mean"), 1),
}


def main(folders: list[str]) -> int:
    torch.set_num_threads(1)
    print("| people's answers | model | accuracy | cross-entropy |\n| --- | --- | --- | --- |")
    for folder in folders:
        comparisons = load_label_set(Path(folder)).comparisons
        group = groups(comparisons)
        for name, (fit, repeats) in MODELS.items():
            predicted = [cross_validate(comparisons, group, fit, repeat) for repeat in range(repeats)]
            right, loss = (np.mean(column, 0) for column in zip(*predicted, strict=True))
            decided = comparisons.prefers_right.numpy() != 0.5
            n = f"{Path(folder).name} ({decided.sum()} decided of {len(loss)}, {group.max() + 1} groups)"
            accuracy = interval(right[decided], group[decided])
            print(f"| {n} | {name} | {accuracy} | {interval(loss, group)} |", flush=True)
    return 0


def groups(comparisons: Comparisons) -> np.ndarray:
    """(B,) number of the group that each pair belongs to: pairs of one group share steps with each other alone."""
    seen: dict[bytes, int] = {}
    rows, columns = [], []
    for pair in range(len(comparisons)):
        for side in (comparisons.left, comparisons.right):
            steps = torch.cat([side.obs[pair, :-1], side.actions[pair]], 1).numpy()
            for step in steps:
                rows.append(pair)
                columns.append(seen.setdefault(step.tobytes(), pair))
    links = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(comparisons),) * 2)
    return sparse.csgraph.connected_components(links, directed=False)[1]


def cross_validate(
    comparisons: Comparisons, group: np.ndarray, fit: Callable[[Comparisons, int], Predictor], repeat: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pair was predicted right when held out (B,), a toss-up counting half, and its cross-entropy (B,)."""
    probability = predict_held_out(comparisons, group, fit, repeat)
    target = comparisons.prefers_right.numpy()
    right = np.where(probability == 0.5, 0.5, (probability > 0.5) == (target > 0.5))
    return right, _cross_entropy(probability, target)


def predict_held_out(
    comparisons: Comparisons,
    group: np.ndarray,
    fit: Callable[[Comparisons, int], Predictor],
    repeat: int,
    count: int = FOLDS,
) -> np.ndarray:
    """(B,) P(right is preferred) of each pair by what is learned from the other folds."""
    probability = np.empty(len(comparisons))
    for number, held in enumerate(folds(group, repeat, count)):
        rest = np.setdiff1d(np.arange(len(comparisons)), held)
        predict = fit(comparisons[torch.from_numpy(rest)], count * repeat + number)
        probability[held] = predict(comparisons[torch.from_numpy(held)])
    return probability


def folds(group: np.ndarray, seed: int, count: int) -> list[np.ndarray]:
    """Rows of each fold: groups in random order, each to the fold that has fewest pairs."""
    parts: list[list[int]] = [[] for _ in range(count)]
    for number in np.random.default_rng(seed).permutation(group.max() + 1):
        min(parts, key=len).extend(np.flatnonzero(group == number).tolist())
    return [np.array(part) for part in parts]


def _fitted(model: PartialReturn | PreferenceTransformer, train: Comparisons, seed: int) -> Predictor:
    both = Segments.cat([train.left, train.right])
    model.observe(both.obs[:, :-1].flatten(0, 1).numpy())
    rng = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(UPDATES):
        model.update(train[torch.randint(len(train), (model.members * BATCH,), generator=rng)])
    model.eval()

    @torch.no_grad()
    def predict(held: Comparisons) -> np.ndarray:
        return torch.sigmoid(model.score(held.right).mean(0) - model.score(held.left).mean(0)).double().numpy()

    return predict


def _gains(comparisons: Comparisons) -> np.ndarray:
    """(B, F) features of right minus left."""
    left, right = (_features(s) for s in (comparisons.left, comparisons.right))
    return right - left


def _features(segments: Segments) -> np.ndarray:
    """(N, F) means over the segment of observations, squared actions and the size of an observation's change."""
    obs = segments.obs[:, :-1]
    change = (obs[:, 1:] - obs[:, :-1]).norm(dim=-1).mean(1, keepdim=True)
    effort = segments.actions.square().sum(-1).mean(1, keepdim=True)
    return torch.cat([obs.mean(1), effort, change], 1).double().numpy()


def _logistic_scale(gain: np.ndarray, target: np.ndarray) -> float:
    spread = float(gain.std()) + 1e-12
    fitted = optimize.minimize_scalar(
        lambda w: _cross_entropy(_sigmoid(w * gain / spread), target).mean(), bounds=(-10, 10), method="bounded"
    )
    return float(fitted.x) / spread


def _cross_entropy(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def interval(values: np.ndarray, group: np.ndarray) -> str:
    """Mean of values (B,) and its interval, whole groups being drawn anew."""
    numbers, place = np.unique(group, return_inverse=True)
    total, count = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(0).integers(0, len(numbers), (DRAWS, len(numbers)))
    low, high = np.quantile(total[drawn].sum(1) / count[drawn].sum(1), [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
