"""Does a bounded fit of the reward order segments as well as PEBBLE's? The runs behind results/speed/fits.csv.

python scripts/results_fit.py run OUT [NAME ...]    makes what is missing, of the arms whose names begin so
python scripts/results_fit.py table OUT             writes fits.csv and prints the comparison

An agent learns from the true reward, and its episodes are kept: behaviour that gets better, as in a run. Sessions
follow each other as in one: each asks about segments of the episodes so far, and the model, warm from the session
before, is fitted to all answers. The teacher knows the true reward; a teacher who makes mistakes says the opposite in
a tenth of its answers (B-Pref's), so that the members hardly ever order 97 % right, which is what ends PEBBLE's fits
early. Held out are pairs from every second episode, about which nobody is asked, answered without mistakes. Seeds
share the episodes and differ in questions, mistakes and weights.
"""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.agents.sb3 import SACAgent
from pbrl.building import build, maker_of
from pbrl.config import compose_config
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.feedback.fit import Fit, heldout_metrics
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.nets.precision import prepare_torch
from pbrl.statistics.runs import t_interval
from pbrl.types import Answers, Comparisons

TASKS, SEEDS = ("halfcheetah", "walker-walk"), range(3)
BOUNDS = ("none", "100")  # updates of a session; none: 50 epochs or 97 % alone, as in B-Pref
TEACHERS = {"mistake": (0.1, 25, (200, 500, 1000, 1500, 2000)), "oracle": (0.0, 50, tuple(range(100, 2001, 100)))}
"""Share of mistakes, steps of a segment, and answers after each session."""
STEPS, HELDOUT = 20_000, 1000
FILE = Path(__file__).resolve().parent.parent / "results" / "speed" / "fits.csv"
COLUMNS = ("env", "teacher", "seed", "max_updates", "labels", "updates", "cpu_s", "train_accuracy", "heldout_accuracy")


def episodes(out: Path, env: str) -> list[Episode]:
    """Return the episodes of a SAC agent that learns from the true reward, made once."""
    file = out / f"{env}.npz"
    if not file.exists():
        config = compose_config([f"env={env}", "method=true_reward", "agent.precision=auto"])
        maker = maker_of(config.agent, "agent")
        agent: SACAgent = maker.make(make_env=lambda: build(config.env.make), steps=STEPS, seed=0, device="cpu")
        made = agent.learn(STEPS)
        np.savez(file, **{k: np.stack([getattr(e, k) for e in made]) for k in ("obs", "actions", "true_reward")})
        agent.close()
    stored = np.load(file)
    columns = zip(stored["obs"], stored["actions"], stored["true_reward"], strict=True)
    return [Episode(obs=o, actions=a, true_reward=r, terminated=False) for o, a, r in columns]


def compared(store: EpisodeStore, n: int, length: int, mistakes: float, rng: torch.Generator) -> Comparisons:
    """n random pairs of segments, answered by the true reward but for some."""
    left, right = store.sample_pairs(n, length, rng)
    answers = (right.true_reward.sum(1) > left.true_reward.sum(1)).float()
    wrong = torch.rand(n, generator=rng) < mistakes
    return Comparisons(left, right, torch.where(wrong, 1 - answers, answers), torch.zeros(n, dtype=torch.int64))


def sessions(made: list[Episode], teacher: str, fit: Fit, model: Any, seed: int) -> list[dict[str, float]]:
    """A row for each session of one arm; questions and answers are the same in every arm."""
    mistakes, length, labels = TEACHERS[teacher]
    asking, testing, fitting = (torch.Generator().manual_seed(1000 * k + seed) for k in (1, 2, 3))
    preferences = PreferenceDataset(0.0, torch.Generator().manual_seed(seed))
    asked, kept, rows, known = EpisodeStore(100), EpisodeStore(100), [], 0
    for n in labels:
        seen = 2 * -(-n * len(made) // (2 * labels[-1]))  # episodes so far, of which every second is to ask about
        model.observe(np.concatenate([e.obs[:-1] for e in made[known:seen]] or [made[0].obs[:0]]))
        asked.add(made[known:seen:2])
        kept.add(made[known + 1 : seen : 2])
        known, new = seen, n - len(preferences)
        pairs = compared(asked, new, length, mistakes, asking)
        preferences.add(pairs.left, pairs.right, Answers(pairs.prefers_right, torch.ones(new, dtype=torch.bool)))
        begun = time.process_time()
        fitted = fit(model, preferences, fitting)
        took = time.process_time() - begun
        right = heldout_metrics(model, compared(kept, HELDOUT, length, 0.0, testing))["heldout_accuracy"]
        row = {"labels": n, "updates": int(fitted["updates"]), "cpu_s": round(took, 3)}
        rows.append(row | {"train_accuracy": round(fitted["accuracy"], 4), "heldout_accuracy": round(right, 4)})
    return rows


def run(out: Path, names: list[str]) -> int:
    prepare_torch(1)
    out.mkdir(exist_ok=True)
    config = compose_config(["method=pebble"])
    for env, teacher, seed, bound in product(TASKS, TEACHERS, SEEDS, BOUNDS):
        name = f"{env}_{teacher}_s{seed}_{bound}"
        if (out / f"{name}.csv").exists() or not (not names or name.startswith(tuple(names))):
            continue
        made = episodes(out, env)
        sizes = {"obs_size": made[0].obs.shape[1], "action_size": made[0].actions.shape[1]}
        model = maker_of(config.method.model).make(**sizes, rng=torch.Generator().manual_seed(seed))
        fit = replace(maker_of(config.method.fit).make(), max_updates=None if bound == "none" else int(bound))
        about = {"env": env, "teacher": teacher, "seed": seed, "max_updates": bound}
        rows = [about | row for row in sessions(made, teacher, fit, model, seed)]
        write(out / f"{name}.csv", rows)
        print(rows[-1], flush=True)
    return 0


def table(out: Path) -> int:
    rows = [row for file in sorted(out.glob("*_s*_*.csv")) for row in csv.DictReader(file.read_text().splitlines())]
    rows = rows or list(csv.DictReader(FILE.read_text().splitlines()))
    write(FILE, rows)
    print("| task, teacher | updates at most | n | updates | CPU s at 200, 2,000 labels | times | held-out accuracy |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for env, teacher in product(TASKS, TEACHERS):
        both = {b: [r for r in rows if (r["env"], r["teacher"], r["max_updates"]) == (env, teacher, b)] for b in BOUNDS}
        for bound, own in both.items():
            if own:
                print(f"| {env}, {teacher} | {bound} | {describe(own)} |")
        if all(both.values()):
            print(f"\n{env}, {teacher}, {BOUNDS[1]} against none: {difference(both[BOUNDS[1]], both['none'])}\n")
    return 0


def describe(rows: list[dict[str, str]]) -> str:
    made = [int(r["updates"]) for r in rows]
    seconds = [np.median([float(r["cpu_s"]) for r in rows if r["labels"] == n]) for n in ("200", "2000")]
    right = means(rows)
    times = f"{seconds[0]:.2f}, {seconds[1]:.2f} | {seconds[1] / seconds[0]:.1f}"
    return f"{len(right)} | {min(made)} to {max(made)} | {times} | {np.mean(list(right.values())):.1%}"


def difference(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> str:
    """Compare held-out accuracy in points: mean of paired differences over seeds, with its 95 % t interval."""
    one, other = means(ours), means(theirs)
    gaps = 100 * np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])
    found = t_interval(gaps)
    interval = "no interval" if found is None else f"{found.low:+.2f} to {found.high:+.2f}"
    return f"{gaps.mean():+.2f} points ({interval}), n = {len(gaps)}"


def means(rows: list[dict[str, str]]) -> dict[str, float]:
    """Held-out accuracy over the sessions of each seed."""
    seeds = sorted({r["seed"] for r in rows})
    return {s: float(np.mean([float(r["heldout_accuracy"]) for r in rows if r["seed"] == s])) for s in seeds}


def write(file: Path, rows: list[dict]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", to, *names]:
            sys.exit(run(Path(to), names))
        case ["table", to]:
            sys.exit(table(Path(to)))
        case _:
            sys.exit(__doc__)
