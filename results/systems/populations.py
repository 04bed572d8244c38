"""Three populations judge HalfCheetah, each by one thing, and their majority, which goes in a circle, answers.

PYTHONPATH=results/systems python results/systems/populations.py RUN RUN ...     what each run wins against the others

One looks at speed, one at effort, one at how level the body is. A fast policy may win against a calm one, this one
against a level one and that against the fast one, so that no reward explains the answers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from pbrl.data.episodes import whole_episodes
from pbrl.training.saved import load_run
from pbrl.types import Segments

PITCH, SPEED = 1, 8  # in the observation
EPISODES, SEED = 20, 1000


def majority(left: Segments, right: Segments) -> Tensor:
    """(n,) 1 where at least two of the three prefer the right one."""
    gains = [of(right) - of(left) for of in (speed, calm, level)]
    return (sum((gain > 0).long() for gain in gains) >= 2).float()


def speed(segments: Segments) -> Tensor:
    return _mean(segments.obs[:, 1:, SPEED], segments.mask)


def calm(segments: Segments) -> Tensor:
    return -_mean(segments.actions.square().mean(2), segments.mask)


def level(segments: Segments) -> Tensor:
    return -_mean(segments.obs[:, 1:, PITCH].abs(), segments.mask)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(1) / mask.sum(1)


def main(folders: list[str]) -> None:
    """Print a row for each run: what it wins against each, in episodes from the same starts, and the least of these."""
    runs = [load_run(Path(folder)) for folder in folders]
    acted = [run.roll_out(run.act, EPISODES, SEED) for run in runs]
    played = [whole_episodes(episodes, range(EPISODES)) for episodes in acted]
    for folder, own in zip(folders, played, strict=True):
        wins = [float(majority(other, own).mean()) for other in played if other is not own]
        print(folder, *(f"{share:.2f}" for share in wins), f"least {min(wins):.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:]) if sys.argv[2:] else print(__doc__)
