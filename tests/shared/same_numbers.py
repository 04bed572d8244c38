"""Whether two states of the code train to the same numbers, bit for bit, in a set of short runs of every kind.

    python tests/shared/same_numbers.py record one.json        (with one state of the code)
    python tests/shared/same_numbers.py record other.json      (with the other, on the same machine)
    python tests/shared/same_numbers.py compare one.json other.json

A record holds, per run, the rows of progress.csv and evaluations.csv without times, the labels, and a digest of the
weights of policy and reward. Half a minute on one core.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from outcome import answers, table, weights
from safetensors.torch import load_file
from tiny import COMMON, LEARNERS, PPO, VIDEOS, collect, from_videos, offline, train

from pbrl.labels.sets import export_labels

SAMPLERS = ("uniform", "disagreement", "entropy", "k_center", "k_center_disagreement", "k_center_entropy")
TEACHERS = ("oracle", "mistake", "noisy", "skip", "equal", "myopic", "random")
ONLINE: dict[str, tuple[str | None, list[str]]] = {  # name -> tiny method, changes
    **{f"pebble, {sampler}": ("pebble", [f"queries={sampler}"]) for sampler in SAMPLERS},
    **{f"pebble, {teacher}": ("pebble", [f"teacher={teacher}"]) for teacher in TEACHERS},
    "pebble, held out, crops, bootstrap": (
        "pebble",
        ["feedback.heldout=0.2", "method.model.crop=[6,9]", "method.fit.bootstrap=true", "feedback.schedule=decay"],
    ),
    "pebble, terminations, three environments": ("pebble", ["env=inverted_pendulum", "agent.n_envs=3"]),
    "pebble, SB3's SAC": ("pebble", ["agent=sac_sb3"]),
    "pebble, PPO's agent": ("prefppo", ["method.explore=null"]),
    **{name: (name, []) for name in ("prefppo", "heron", "true_reward", "factor_sum", "factor_geometric")},
    "true_reward, PPO's agent": (None, ["method=true_reward", "agent=ppo", *COMMON, *PPO]),
}


def record() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, videos = collect(folder / "data"), collect(folder / "videos", "episodes=16")
        runs: dict[str, Callable[[Path], tuple[int, str, str]]] = {}
        for run, (method, changes) in ONLINE.items():
            runs[run] = lambda to, method=method, changes=changes: train(to, *changes, method=method)
        for method in LEARNERS:
            runs[method] = lambda to, method=method: train(to, *offline(method, data), method=None)
        for method in VIDEOS:
            runs[method] = lambda to, method=method: train(to, *from_videos(method, videos), method=None)
        runs["pebble, replayed"] = lambda to: _replayed(folder, to)
        return {run: _outcome(folder / f"run{i}", make) for i, (run, make) in enumerate(runs.items())}


def compare(one: dict[str, dict], other: dict[str, dict]) -> int:
    """Print a line per run; returns how many differ."""
    different = 0
    for run in one | other:
        a, b = one.get(run), other.get(run)
        parts = [k for k in a | b if a.get(k) != b.get(k)] if a and b else ["not in both"]
        different += bool(parts)
        print(f"{run}: {'differs in ' + ', '.join(parts) if parts else 'the same'}")
    return different


def _replayed(folder: Path, to: Path) -> tuple[int, str, str]:
    source = folder / "source"
    train(source, method="pebble")
    export_labels(source, folder / "labels")
    return train(to, "teacher=replay", f"teacher.labels={folder / 'labels'}", method="pebble")


def _outcome(to: Path, make: Callable[[Path], tuple[int, str, str]]) -> dict[str, object]:
    try:
        code, _, said = make(to)
        if code:
            return {"failed": said.strip().splitlines()[-1:]}
        return {
            **{name: [_filled(row) for row in table(to / f"{name}.csv")] for name in ("progress", "evaluations")},
            "answers": answers(to) if (to / "labels.sqlite").exists() else None,
            "weights": _digest(to),
        }
    except Exception:
        return {"failed": traceback.format_exc().splitlines()[-1:]}


def _filled(row: dict[str, str]) -> dict[str, str]:
    """Columns come and go with the code, and mean nothing where they are empty."""
    return {name: value for name, value in row.items() if value}


def _digest(to: Path) -> str:
    offline_policy = to / "policy.safetensors"
    found = load_file(offline_policy) if offline_policy.exists() else weights(to)
    if offline_policy.exists() and (reward := to / "reward.safetensors").exists():
        found |= {f"reward/{k}": v for k, v in load_file(reward).items()}
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode() + found[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) == 3 and sys.argv[1] == "record":
        Path(sys.argv[2]).write_text(json.dumps(record(), indent=1))
    elif len(sys.argv) == 4 and sys.argv[1] == "compare":
        sys.exit(bool(compare(*(json.loads(Path(p).read_text()) for p in sys.argv[2:]))))
    else:
        sys.exit(__doc__)
