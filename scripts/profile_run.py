"""Time of one run, by where it goes: `python scripts/profile_run.py env=walker-walk steps=30000 ...`.

Takes the arguments of `pbrl train`. Reads the processor time around the named parts of the loop: other work of the
machine does not count, and what is measured is the run and not a profiler. A part called inside another counts for
itself alone.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.agents.exploration import StateEntropy
from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.native_updates import NativeUpdates
from pbrl.commands import train_command
from pbrl.data.recorder import EpisodeRecorder
from pbrl.feedback.fit import Fit
from pbrl.labels.store import LabelStore
from pbrl.methods.pebble import Pebble
from pbrl.rewards.partial_return import PartialReturn
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.evaluate import Evaluator
from pbrl.training.run import Run

PARTS = {
    "SAC updates": [(NativeUpdates, "run"), (FastSAC, "_update")],
    "batches from the buffer": [(LearnedRewardBuffer, "sample_arrays"), (LearnedRewardBuffer, "draw_places")],
    "k-NN exploration reward": [(StateEntropy, "__call__")],
    "acting": [(FastSAC, "predict")],
    "simulator": [(EpisodeRecorder, "step"), (EpisodeRecorder, "reset")],
    "learned reward of new steps": [(PartialReturn, "step_reward")],
    "relabelling": [(LearnedRewardBuffer, "relabel")],
    "reward fits": [(Fit, "__call__")],
    "choosing questions": [(Pebble, "choose")],
    "reward quality for the log": [(Pebble, "quality")],
    "label store": [(LabelStore, "ask"), (LabelStore, "answer")],
    "evaluation": [(Evaluator, "__call__")],
    "checkpoints": [(Checkpoints, "save")],
    "rest of the loop": [(Run, "train")],
}


class StopWatch:
    """Exclusive time per part: entering a part pauses the one around it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.open: list[str] = []
        self.since = 0.0

    def _switch(self) -> None:
        now = time.process_time()
        if self.open:
            self.seconds[self.open[-1]] += now - self.since
        self.since = now

    def watch(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            # Evaluation and relabelling use parts of the loop; there they are not parts of it.
            nested = self.open[-1] if self.open and self.open[-1] in ("evaluation", "relabelling") else part
            self.open.append(nested)
            self.calls[nested] += 1
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self.open.pop()

        return timed


def main(arguments: list[str]) -> int:
    clock = StopWatch()
    for part, places in PARTS.items():
        for owner, name in places:
            setattr(owner, name, clock.watch(part, getattr(owner, name)))
    code = train_command.main(arguments)
    total = sum(clock.seconds.values())
    print(f"\n| part | share | CPU seconds | ms per call |\n{'|' + ' --- |' * 4}")
    for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
        print(f"| {part} | {seconds / total:.1%} | {seconds:.1f} | {1000 * seconds / clock.calls[part]:.2f} |")
    print(f"| whole run | 100 % | {total:.1f} | |")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
