"""DeformPAM on one decision with three modes: what choosing among samples by the implied reward is worth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pbrl.nets.diffusion import DiffusionPolicy
from pbrl.nets.networks import adam, descend
from pbrl.rewards.denoising import LOSSES, best_of_samples, implied_reward, preference_loss, score_samples
from pbrl.tabular.beds import Bed, Measured

MODES = torch.tensor([[0.6, 0.0], [-0.3, 0.5], [-0.3, -0.5]])
WORTH = torch.tensor([1.0, 0.4, 0.0])  # of each mode
SPREAD, FALL = 0.1, 2.0  # of demonstrations around a mode; lost per square of the distance to it
DEMONSTRATIONS, PAIRS, JUDGED = 600, 200, 500
LEVELS, HIDDEN, BATCH = 40, (96, 96), 128
CLONE_UPDATES, CLONE_LR, TUNE_UPDATES, TUNE_LR, BETA = 1500, 1e-3, 800, 3e-4, 20.0
SAMPLES, SHARE, DRAWS = 8, 0.25, 16


def value(actions: Tensor) -> Tensor:
    """Return the value (...) of actions (..., 2): that of the nearest mode, less what the distance to it costs."""
    distance, mode = (actions[..., None, :] - MODES).norm(dim=-1).min(-1)
    return WORTH[mode] - FALL * distance.square()


def nothing(m: int) -> Tensor:
    """Return observations (M, 1), which say nothing."""
    return torch.zeros(m, 1)


def make_network(rng: torch.Generator) -> DiffusionPolicy:
    sizes = {"obs_size": 1, "action_size": 2, "levels": LEVELS}
    return DiffusionPolicy(**sizes, hidden=HIDDEN, dropout=0.0, normalise=False, rng=rng)


def clone_demonstrations(rng: torch.Generator) -> DiffusionPolicy:
    chosen = torch.randint(len(MODES), (DEMONSTRATIONS,), generator=rng)
    shown = MODES[chosen] + SPREAD * torch.randn(DEMONSTRATIONS, 2, generator=rng)
    clone = make_network(rng)
    optimizer = adam(clone.parameters(), CLONE_LR)
    for _ in range(CLONE_UPDATES):
        batch = shown[torch.randint(DEMONSTRATIONS, (BATCH,), generator=rng)]
        descend(optimizer, clone.denoising_loss(nothing(BATCH), batch, rng))
    return clone


def tune(clone: DiffusionPolicy, loss: str, rng: torch.Generator, shuffled: bool = False) -> DiffusionPolicy:
    """Tune a copy of the clone on answers about pairs of its own samples. shuffled: the answers are of other pairs."""
    tuned = make_network(torch.Generator())
    tuned.load_state_dict(clone.state_dict())
    optimizer = adam(tuned.parameters(), TUNE_LR)
    left, right = clone.sample(nothing(2 * PAIRS), rng).chunk(2)
    told = (value(right) > value(left)).float()
    told = told[torch.randperm(PAIRS, generator=rng)] if shuffled else told
    for _ in range(TUNE_UPDATES):
        rows = torch.randint(PAIRS, (BATCH,), generator=rng)
        level, noise = torch.randint(LEVELS, (BATCH,), generator=rng), torch.randn(BATCH, 2, generator=rng)
        worth = [implied_reward(tuned, clone, nothing(BATCH), side[rows], level, noise) for side in (left, right)]
        descend(optimizer, preference_loss(BETA * (worth[1] - worth[0]), told[rows], loss))
    return tuned


class Reached(NamedTuple):
    """The measures of a tuned policy."""

    chosen: float  # mean value of the best of the clone's samples
    sampled: float  # of its own samples
    right: float  # share of pairs that its implied reward orders rightly


def measure(clone: DiffusionPolicy, tuned: DiffusionPolicy, rng: torch.Generator) -> Reached:
    obs = nothing(JUDGED)
    options = {"samples": SAMPLES, "share": SHARE, "draws": DRAWS, "rng": rng}
    chosen = best_of_samples(tuned, clone, obs, **options)  # type: ignore[arg-type]
    pairs = clone.sample(nothing(2 * JUDGED), rng).view(JUDGED, 2, 2)
    scores = score_samples(tuned, clone, obs, pairs, share=SHARE, draws=DRAWS, rng=rng)
    worth = value(pairs)
    right = ((scores[:, 1] > scores[:, 0]) == (worth[:, 1] > worth[:, 0])).float().mean()
    return Reached(float(value(chosen).mean()), float(value(tuned.sample(obs, rng)).mean()), float(right))


def run(seed: int) -> list[Measured]:
    rng = torch.Generator().manual_seed(seed)
    clone = clone_demonstrations(rng)
    alone = float(value(clone.sample(nothing(JUDGED), rng)).mean())
    best = value(clone.sample(nothing(JUDGED * SAMPLES), rng)).view(JUDGED, SAMPLES).max(1).values
    found = []
    for loss in LOSSES:
        of = measure(clone, tune(clone, loss, rng), rng)
        of_nobody = measure(clone, tune(clone, loss, rng, shuffled=True), rng)
        name = f"loss -{loss.replace('_', ' ')}"
        found += [
            Measured(f"{name}: value", f"best of {SAMPLES} samples", of.chosen),
            Measured(f"{name}: value", "one sample of the clone", alone),
            Measured(f"{name}: value", "one sample of the tuned policy", of.sampled),
            Measured(f"{name}: value", f"best of {SAMPLES}, answers shuffled", of_nobody.chosen),
            Measured(f"{name}: value", f"best of {SAMPLES} by the true value", float(best.mean())),
            Measured(f"{name}: pairs ordered rightly", f"best of {SAMPLES} samples", of.right),
            Measured(f"{name}: pairs ordered rightly", f"best of {SAMPLES}, answers shuffled", of_nobody.right),
        ]
    return found


BED = Bed(
    claim="Choosing among samples of the clone by the reward that the tuned policy implies is better than acting by "
    "the clone, whatever becomes of the tuned policy itself.",
    task=f"actions in the plane with three modes of value 1, 0.4 and 0; {DEMONSTRATIONS} demonstrations, {PAIRS} "
    "answered pairs of the clone's own samples",
    measure="mean value of the action; and share of pairs of samples that the implied reward orders rightly",
    run=run,
)
