"""Check that all of pbrl that can use a GPU does on this one, and how fast: `python scripts/check_gpu.py`.

Takes under 8 minutes of one GPU: checks against the CPU, the updates of 1, 16 and 64 seeds at two sizes, and a run that
learns for five minutes. Prints one table; the exit code is 1 if a check fails and 2 where there is no GPU.
`--device cpu --small` tries the script itself.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import gymnasium as gym
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pbrl.agents.captured import Updates, updates
from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.sac_update import Batch
from pbrl.agents.seed_stack import Problem, SeedStack
from pbrl.cli import main as pbrl
from pbrl.errors import UserError
from pbrl.nets.devices import chosen_device, move
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Comparisons, Segments

Row = tuple[str, str, str]  # what, the number, what it is held against
OFFLINE = ("bc", "cpl", "piql", "ipl", "paws", "regret", "preference_transformer")
ADAM = {"lr": 3e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
SIZES = ((256, 256), (1024, 1024))  # hidden units, and steps in a batch
SEEDS = (1, 16, 64)
TOLERANCE = 2e-3  # relative, of weights after 20 updates: TF32 is off, but sums are made in another order
STOPPED = (0, 130)  # exit codes of a run that Ctrl-C ended, or that was over before
SLOW_S = 40.0  # in which each size is measured, at most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="small networks, and a run of some seconds")
    given = parser.parse_args()
    try:
        device = chosen_device(given.device)
    except UserError as error:
        print(f"check_gpu: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    begun = time.monotonic()
    rows: list[Row] = []
    for part in (checks(device), speeds(device, given.small), learning(given.device, 10 if given.small else 300)):
        for row in part:
            print(*row, sep=" | ", file=sys.stderr, flush=True)
            rows.append(row)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
    table = Table(title=f"pbrl on {name}, torch {torch.__version__}, {time.monotonic() - begun:.0f} s in all")
    for title in ("what", "measured", "held against"):
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
    return 1 if any(row[1].startswith("FAILED") for row in rows) else 0


def checks(device: torch.device) -> Iterator[Row]:
    """Yield each thing that may live on the device, against the same on the CPU."""
    made: dict[str, Callable[[], tuple[float, float]]] = {
        "SAC: weights after 20 updates": partial(sac_distance, device),
        "SAC: K updates captured as one graph, and one by one": partial(graph_distance, device),
        "SeedStack: 3 seeds, and each alone": partial(stack_distance, device),
        "reward model: weights after 20 updates": partial(reward_distance, device),
    }
    for name, measure in made.items():
        yield measured(name, measure)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        run_quietly("collect", "env=pendulum", "episodes=12", "comparisons=60", f"out={data}")
        for method in OFFLINE:
            yield measured(f"{method}: 50 updates", partial(offline_distance, method, device.type, data))
        yield measured(
            "pebble: a run that was stopped and resumed", partial(resume_distance, device.type, Path(folder))
        )


def measured(name: str, measure: Callable[[], tuple[float, float]]) -> Row:
    """Measure a row. measure: gives a relative distance, and the greatest that is right."""
    try:
        distance, greatest = measure()
    except Exception as error:  # the other checks say more about what is wrong
        return name, f"FAILED: {type(error).__name__}: {error}".splitlines()[0][:70], ""
    return name, f"{'' if distance <= greatest else 'FAILED: '}{distance:.1e} apart", f"at most {greatest:.0e}"


def make_sac(seed: int, device: str) -> FastSAC:
    model = FastSAC(
        "MlpPolicy",
        gym.make("Pendulum-v1"),
        learning_starts=100,
        batch_size=64,
        seed=seed,
        device=device,
        backend="torch",
    )
    model.learn(101)
    return model


def sac_distance(device: torch.device) -> tuple[float, float]:
    ends = []
    for where in ("cpu", str(device)):
        model = make_sac(0, "cpu")  # from the same weights and steps
        other = make_sac(0, where)
        other.set_parameters(model.get_parameters(), device=where)
        other.replay_buffer = model.replay_buffer
        torch.manual_seed(1)
        other.train(20, 64)
        ends.append(torch.cat([p.detach().cpu().flatten() for p in other.policy.parameters()]))
    return apart(*ends), TOLERANCE


def graph_distance(device: torch.device) -> tuple[float, float]:
    ends = []
    for captured in (False, True):
        stack, batch, noise = filled(problem(64, 64), 2, device)
        whole = (True,) * 8
        make = Updates(stack.nets) if captured else partial(updates, stack.nets)
        with torch.no_grad():
            for _ in range(3):
                make(*on(device, batch, noise), whole)
        ends.append(stack.get(0)["critic"])
    return apart(*ends), 1e-5


def stack_distance(device: torch.device) -> tuple[float, float]:
    stack, batch, noise = filled(problem(64, 64), 3, device)
    states = [stack.get(seed) for seed in range(3)]
    stack.update(batch, noise)
    worst = 0.0
    for seed, state in enumerate(states):
        alone = SeedStack(stack.problem, 1, device)
        alone.put(0, state)
        alone.update(Batch(*(part[:, seed : seed + 1] for part in batch)), noise[:, seed : seed + 1])
        worst = max(worst, apart(alone.get(0)["critic"], stack.get(seed)["critic"]))
    return worst, TOLERANCE


def reward_distance(device: torch.device) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    sides = [
        Segments(
            torch.randn(60, 26, 3, generator=generator), torch.rand(60, 25, 1, generator=generator),
            torch.ones(60, 25), torch.zeros(60, 25), torch.zeros(60, 25), torch.arange(60),
        )
        for _ in range(2)
    ]  # fmt: skip
    batch = Comparisons(*sides, torch.randint(2, (60,), generator=generator).float(), torch.zeros(60, dtype=torch.long))
    ends = []
    for where in (torch.device("cpu"), device):
        model = PartialReturn(
            obs_size=3, action_size=1, members=3, hidden=[64, 64], activation="leaky_relu", head="tanh", normalise=True,
            lr=1e-3, smoothing=0.0, crop=None, precision="float32", rng=torch.Generator().manual_seed(0),
        )  # fmt: skip
        move(model, where)
        model.observe(sides[0].obs.flatten(0, 1).numpy())
        for _ in range(20):
            model.update(batch)
        ends.append(torch.cat([p.detach().cpu().flatten() for p in model.parameters()]))
    return apart(*ends), TOLERANCE


def offline_distance(method: str, device: str, data: Path) -> tuple[float, float]:
    from safetensors.torch import load_file

    ends = []
    for where in ("cpu", device):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            numbers = ("steps=50", "evaluation.every=null", "report=false", "method.policy.hidden=[64,64]")
            run_quietly("train", f"method={method}", f"data={data}", f"device={where}", f"run_dir={run}", *numbers)
            ends.append(torch.cat([v.flatten().double() for v in load_file(run / "policy.safetensors").values()]))
    return apart(*ends), TOLERANCE


def resume_distance(device: str, folder: Path) -> tuple[float, float]:
    """Return how far a resumed run is from a whole one: 0 where the kernels that sum are deterministic."""
    from safetensors.torch import load_file

    numbers = [
        "env=pendulum", "method=pebble", f"device={device}", "agent.backend=torch", "feedback.first=400",
        "feedback.every=400", "feedback.budget=20", "feedback.per_session=10", "agent.learning_starts=200",
        "evaluation.every=null", "report=false", "checkpoint.every=500", "agent.hidden=[64,64]",
    ]  # fmt: skip
    whole, parted = folder / "whole", folder / "parted"
    run_quietly("train", *numbers, "steps=1000", f"run_dir={whole}")
    run_quietly("train", *numbers, "steps=500", f"run_dir={parted}")
    run_quietly("train", f"resume={parted}", "steps=1000")
    ends = [torch.cat([v.flatten() for v in load_file(run / "reward.safetensors").values()]) for run in (whole, parted)]
    return apart(*ends), 1e-5


def speeds(device: torch.device, small: bool) -> Iterator[Row]:
    """Time updates of S seeds, and the same one by one."""
    for hidden, batch_size in ((16, 16),) if small else SIZES:
        alone = None
        for seeds in (1, 3) if small else SEEDS:
            stack, batch, noise = filled(problem(hidden, batch_size, obs=17, actions=6), seeds, device)
            parts = on(device, batch, noise)
            ms = milliseconds(lambda s=stack, p=parts: s.update(*p), device) / len(noise)
            alone = alone or ms
            what = f"2 x {hidden}, batch {batch_size}: an update of {seeds} seed{'s' * (seeds > 1)}"
            yield what, f"{ms:.3f} ms", f"{seeds * alone / ms:.1f} times as many as one at a time"
            del stack


def milliseconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the median of calls, after some that warm up."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    end, times = time.monotonic() + SLOW_S, []
    for _ in range(3):
        call()
    while len(times) < 20 and time.monotonic() < end:
        wait()
        begun = time.perf_counter()
        call()
        wait()
        times.append(1e3 * (time.perf_counter() - begun))
    return sorted(times)[len(times) // 2]


def learning(device: str, seconds: float) -> Iterator[Row]:
    """Stop a run with a scripted teacher after so many seconds, as by Ctrl-C; yield what it came to."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        numbers = ["env=pendulum", "method=pebble", "steps=1000000", "feedback.first=2000", "feedback.every=2000"]
        often = [
            "evaluation.every=2000",
            "evaluation.episodes=10",
            "report=false",
            f"device={device}",
            f"run_dir={run}",
        ]
        command = [sys.executable, "-m", "pbrl", "train", *numbers, *often]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=120)[1]
        if process.returncode not in STOPPED or not (run / "evaluations.csv").exists():
            said = errors.strip().splitlines() or [f"exit code {process.returncode}"]
            yield f"pebble on pendulum for {seconds:g} s", f"FAILED: {said[-1][:60]}", ""
            return
        with (run / "evaluations.csv").open() as file:
            rows = list(csv.DictReader(file))
        last = rows[-1]
        made = f"return {float(last['return_mean']):.0f} after {last['env_steps']} steps, {last['labels']} labels"
        yield f"pebble on pendulum for {seconds:g} s", made, f"{float(rows[0]['return_mean']):.0f} at the start"


def problem(hidden: int, batch_size: int, obs: int = 3, actions: int = 1) -> Problem:
    sizes = ((obs, hidden), (hidden, hidden), (hidden, 2 * actions))
    critic = ((obs + actions, hidden), (hidden, hidden), (hidden, 1))
    return Problem(sizes, critic, batch_size, 0.99, 0.005, -float(actions), True, (ADAM, ADAM, ADAM))


def filled(made: Problem, seeds: int, device: torch.device) -> tuple[SeedStack, Batch, Tensor]:
    """Make a stack with random weights, and 8 updates' worth of random steps."""
    generator = torch.Generator().manual_seed(0)
    stack = SeedStack(made, seeds, device)
    for seed in range(seeds):
        state = {k: 0.05 * torch.randn(n, generator=generator) for k, n in made.state_sizes().items()}
        state |= {k: v.abs() for k, v in state.items() if k.endswith("square")}
        stack.put(seed, state | {"steps": torch.full((3,), 10.0), "alpha": torch.tensor([-1.0, 0.0, 0.01])})
    shapes = made.batch_sizes().values()
    *batch, noise = (torch.randn(8, seeds, *shape, generator=generator).clamp(-1, 1) for shape in shapes)
    batch[3].zero_()  # nothing ends
    return stack, Batch(*batch), noise


def on(device: torch.device, batch: Batch, noise: Tensor) -> tuple[Batch, Tensor]:
    return Batch(*(part.to(device) for part in batch)), noise.to(device)


def apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm() / one.double().norm())


def run_quietly(*command: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = pbrl(list(command))
    if code:
        raise RuntimeError(said.getvalue().strip())


if __name__ == "__main__":
    sys.exit(main())
