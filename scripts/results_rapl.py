"""The runs behind results/rapl: what a reward learned from 150 triplets of videos is worth.

python scripts/results_rapl.py collect OUT             the data sets, in OUT/data
python scripts/results_rapl.py rewards OUT [NAME ...]  learns and measures rewards without an agent, in OUT/rewards
python scripts/results_rapl.py agents OUT [NAME ...]   then SAC on each of them and on the true one, in OUT/agents
python scripts/results_rapl.py table OUT               writes rewards.csv and agents.csv, prints the tables
python scripts/results_rapl.py figure OUT FILE.png     frames of held-out videos with the learned rewards under them
python scripts/rapl_true_features.py OUT               how well transport between true features would do

What is finished is never repeated; NAME, such as sweep_avoiding/rapl, chooses cells; as many go on at once as the
machine has cores; the tables keep the rows of cells that are not in OUT.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import rapl_tables
from rapl_figure import draw_figure
from run_many import finished, run_all

from pbrl.cli import main as pbrl
from pbrl.methods.video import FACTS_FILE

SEEDS = (0, 1, 2)
SWEEPING = "policies=expert:1,naive:1,expert:0.5,naive:0.5,random"
TABLETOP = "policies=expert:1,expert:0.75,expert:0.5,expert:0.25,random"
TASKS = {"sweep_avoiding": SWEEPING, "sweep_grouping": SWEEPING, "tabletop_clutter": TABLETOP}
BODIES = ("medium", "gripper")  # the encoder is aligned on the first and used on the second
EPISODES = 200
# Every episode goes to its end, as those of the agents do; comparisons of segments are not used.
COLLECT = [
    *("other_goal=0", "stop_after_success=never", "labels=return", "seed=0"),
    *("segments=100", "segment_length=16", "comparisons=50", "heldout=10"),
]
UNALIGNED = "method.model.align=false"
METHODS = {
    "rapl": ["method=rapl", "feedback.budget=150"],
    "unaligned": ["method=rapl", "feedback.budget=150", UNALIGNED],
    "video_return-150": ["method=video_return", "feedback.budget=150"],
    "video_return-300": ["method=video_return", "feedback.budget=300"],
}
TRAIN = [
    # Three times the steps a minute of 2 x 256, and in trials no worse at this rate. On the true reward of Avoiding the
    # return of another seed was 105 after 20,000 steps, 117 after 60,000 and 118 after 80,000.
    *("agent.hidden=[64,64]", "agent.lr=1e-3", "steps=40000"),
    *("evaluation.every=20000", "evaluation.episodes=20", "report=false"),
]
REPEATS = 20  # of what is timed
SHOWN = "sweep_avoiding"  # in the figure


def data_sets(out: Path) -> dict[Path, list[str]]:
    """Folder of each data set and the arguments that say what acts where."""
    sets = {out / "data" / task: [f"env={task}", policies] for task, policies in TASKS.items()}
    for task, body in ((task, BODIES[1]) for task in TASKS if task.startswith("sweep")):
        sets[out / "data" / f"{task}-{body}"] = [f"env={task}", f"env.embodiment={body}", SWEEPING]
    return sets


def collect(out: Path) -> int:
    """Makes the data sets that are missing."""
    missing = {folder: own for folder, own in data_sets(out).items() if not folder.exists()}
    return max(
        (pbrl(["collect", *own, *COLLECT, f"episodes={EPISODES}", f"out={f}"]) for f, own in missing.items()), default=0
    )


def reward_cells(out: Path) -> dict[str, list[str]]:
    """Name of each reward, TASK/METHOD/sSEED, and the arguments of a run that would learn it."""
    cells = {}
    for seed in SEEDS:
        for task in TASKS:
            given = [f"env={task}", f"seed={seed}", f"data={out / 'data' / task}"]
            cells |= {f"{task}/{name}/s{seed}": [*given, *own] for name, own in METHODS.items()}
        for task in (task for task in TASKS if task.startswith("sweep")):
            there = out / "data" / f"{task}-{BODIES[1]}"
            used = [f"env={task}", f"env.embodiment={BODIES[1]}", f"seed={seed}"]
            for name, own in {
                "own": ["method=rapl", f"data={there}"],
                "unaligned": ["method=rapl", f"data={there}", UNALIGNED],
                "transfer": ["method=rapl", f"data={out / 'data' / task}", f"method.demos_data={there}"],
            }.items():
                cells[f"{task}-{BODIES[1]}/{name}/s{seed}"] = [*used, *own, "feedback.budget=150"]
    return cells


def agent_cells(out: Path) -> dict[str, list[str]]:
    """Name of each run, TASK/METHOD/sSEED, and the arguments of its `pbrl train`."""
    rewards = {name: own for name, own in reward_cells(out).items() if name.split("/")[0] in TASKS}
    learned = {
        name: [*(word for word in own if not word.startswith("data=")), f"method.learned={out}/rewards/{name}"]
        for name, own in rewards.items()
    }
    true = {
        f"{task}/true_reward/s{seed}": [f"env={task}", f"seed={seed}", "method=true_reward"]
        for seed in SEEDS
        for task in TASKS
    }
    return {name: [*own, *TRAIN] for name, own in (true | learned).items()}


def rewards(out: Path, chosen: Sequence[str]) -> int:
    """Learns what is missing; returns how many cells failed."""
    wanted = {name: own for name, own in reward_cells(out).items() if name.startswith(tuple(chosen) or "")}
    missing = [(f, own) for name, own in wanted.items() if not ((f := out / "rewards" / name) / FACTS_FILE).exists()]
    with get_context("spawn").Pool(cpu_count(), maxtasksperchild=1) as pool:
        return sum(pool.starmap(learn, missing, chunksize=1))


def learn(folder: Path, arguments: Sequence[str]) -> bool:
    """Learns one reward as a run with these arguments does, and saves it with its measurements; True if it failed."""
    import torch
    from safetensors.torch import save_file

    from pbrl.config import compose_config
    from pbrl.errors import UserError
    from pbrl.files import write_json
    from pbrl.training.build import fit_video_reward
    from pbrl.training.parts import stream_seed

    torch.set_num_threads(1)
    config = compose_config(arguments)
    try:
        fit = fit_video_reward(config, stream_seed(config.seed, "reward"))  # as in a run
    except UserError as error:
        print(f"{folder}: {error}", flush=True)
        return True
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in fit.model.state_dict().items()}, folder / "reward.safetensors")
    facts = fit.facts | {"episodes": fit.episodes.tolist(), "arguments": list(arguments)}
    write_json(folder / FACTS_FILE, facts | _times(fit.model, fit.heldout.frames[0]))
    print(f"{folder}: Spearman {fit.facts['spearman']}, {fit.facts['wall_s']} s", flush=True)
    return False


def _times(model: Any, frames: Any) -> dict[str, float]:
    """Median milliseconds for the frames of one episode, once drawn: to encode them, and what transport adds to it.

    Both are timed in turn, so that what else the machine does falls on both.
    """
    import torch

    def ms(function: Callable[[Any], Any]) -> float:
        started = time.perf_counter()
        function(frames)
        return 1000 * (time.perf_counter() - started)

    with torch.no_grad():
        encode, whole = np.array([(ms(model.encoder), ms(model.reward)) for _ in range(REPEATS)]).T
    return {"encode_ms": float(np.median(encode)), "transport_ms": float(np.median(whole - encode))}


def table(out: Path) -> int:
    found = {name: out / "rewards" / name / FACTS_FILE for name in reward_cells(out)}
    learned = {name: json.loads(file.read_text()) for name, file in found.items() if file.exists()}
    runs = {name: out / "agents" / name for name in agent_cells(out)}
    trained = {n: json.loads((f / "summary.json").read_text()) for n, f in runs.items() if finished(f)}
    print("\n".join([*rapl_tables.rewards(learned), "", *rapl_tables.agents(trained)]))
    return 0


def figure(out: Path, file: Path) -> int:
    shown = {
        name: out / "rewards" / SHOWN / name / f"s{SEEDS[0]}" for name in ("rapl", "unaligned", "video_return-150")
    }
    draw_figure({rapl_tables.NAMES[name]: folder for name, folder in shown.items()}, ("expert:1", "naive:1"), file)
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rewards", out, *names]:
            sys.exit(rewards(Path(out), names))
        case ["agents", out, *names]:
            sys.exit(run_all(Path(out) / "agents", agent_cells(Path(out)), names))
        case ["figure", out, file]:
            sys.exit(figure(Path(out), Path(file)))
        case [("collect" | "table") as action, out]:
            sys.exit({"collect": collect, "table": table}[action](Path(out)))
        case _:
            sys.exit(__doc__)
