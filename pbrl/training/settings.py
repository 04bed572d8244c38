"""The keys at the top of a config, `evaluation` and `checkpoint`: how long a run is and what is written when."""

from __future__ import annotations

from dataclasses import dataclass

from pbrl.checks import whole

MOST_THREADS = 1024  # torch ends the process where the system gives no more


@dataclass(frozen=True)
class Evaluation:
    """Times of evaluation. every: steps; None: never. envs: side by side at most. window: rows in best_window_*."""

    every: int | None
    episodes: int
    envs: int
    window: int | None

    def __post_init__(self) -> None:
        whole(1, episodes=self.episodes, envs=self.envs)
        whole(1, **{k: v for k in ("every", "window") if (v := getattr(self, k)) is not None})


@dataclass(frozen=True)
class Checkpoint:
    every: int  # steps of the run
    keep: int  # how many stay on disk

    def __post_init__(self) -> None:
        whole(1, every=self.every, keep=self.keep)


@dataclass(frozen=True)
class Settings:
    steps: int  # of the whole run: environment steps, or updates where there is no agent
    seed: int
    threads: int
    log_every: int  # steps between rows of progress.csv
    evaluation: Evaluation
    checkpoint: Checkpoint
    clips: bool = False  # a clip of the policy at each evaluation, in TensorBoard
    report: bool = True  # whether pictures are made at the end

    def __post_init__(self) -> None:
        whole(1, steps=self.steps, threads=self.threads, log_every=self.log_every)
        whole(0, seed=self.seed)
        if self.threads > MOST_THREADS:
            raise ValueError(f"threads={self.threads}: expected a number from 1 to {MOST_THREADS}")
