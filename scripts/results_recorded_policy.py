"""Time from a folder of videos to a reward and a policy, as a new user would go: FOLDER [GIF].

A point is pushed about and filmed: every other time to the green place, else to somewhere else. Nothing but the films
and their table is used. A script stands in for a person: it answers twenty questions through the viewer's HTTP
interface, by what it is shown.
"""

from __future__ import annotations

import csv
import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from results_recorded import measure

from pbrl.reading import read_object
from pbrl.reports.video import write_mp4
from pbrl.training.saved import load_run
from pbrl.viewer.client import ViewerClient

EPISODES, STEPS, ANSWERS = 30, 60, 20
SIZE, GOAL = 96, np.array([0.5, 0.5])
SETTINGS = ("steps=3000", "method.policy.dropout=0", "method.iql.gamma=0.95", "method.iql.tau=0.02")
Controller = Callable[[np.ndarray], np.ndarray]


def roll_out(controller: Controller, rng: np.random.Generator, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (steps+1, 2) and actions (steps, 2) in [-1, 1]."""
    positions, actions = [rng.uniform(0.1, 0.9, 2)], []
    for _ in range(steps):
        actions.append(np.clip(controller(positions[-1]), -1, 1))
        positions.append(np.clip(positions[-1] + 0.04 * actions[-1], 0.03, 0.97))
    return np.array(positions), np.array(actions)


def recorded(k: int, rng: np.random.Generator) -> Controller:
    """Make a controller that goes to the goal if k is odd, and else to a place of its own."""
    place = GOAL if k % 2 else rng.uniform(0.1, 0.9, 2)
    return lambda position: 4 * (place - position) + 0.3 * rng.normal(size=2)


def picture(position: np.ndarray) -> np.ndarray:
    """Draw a picture (SIZE, SIZE, 3): the goal is green, the point red."""
    shown = np.full((SIZE, SIZE, 3), 40, np.uint8)
    for at, half, colour in ((GOAL, 7, (0, 110, 0)), (position, 4, (230, 60, 30))):
        row, column = (at[::-1] * SIZE).astype(int)
        shown[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = colour
    return shown


def make_films(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "steps.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["episode", "obs_x", "obs_y", "act_0", "act_1"])
        for k in range(EPISODES):
            positions, actions = roll_out(recorded(k, rng), rng)
            write_mp4(folder / f"ep_{k}.mp4", map(picture, positions), 20)
            acted = [*actions.round(4).tolist(), ["", ""]]  # the last row is what was seen in the end
            table.writerows([f"ep_{k}", *p, *a] for p, a in zip(positions.round(4).tolist(), acted, strict=True))


def distance(clip: bytes) -> float:
    """Return how far the red point is from the goal in the mean over a clip, in sides of the picture."""
    frames = iio.imread(io.BytesIO(clip), plugin="pyav").astype(int)
    red = (frames[..., 0] > 130) & (frames[..., 1] < 110)
    middles = [np.argwhere(mask).mean(0) / frames.shape[1] for mask in red if mask.any()]
    return float(np.mean([np.linalg.norm(m - GOAL[::-1]) for m in middles]))


def label(*args: str) -> float:
    """Answer all questions; return the seconds that passed in answering."""
    command = [sys.executable, "-m", "pbrl", "label", *args, "open_browser=false"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http\S+", process.stdout.readline())
    assert found is not None
    client, began, done = ViewerClient(found[0], "ann"), time.monotonic(), 0
    client.enter()
    while done < ANSWERS:
        for pair in client.next(1):
            left, right = (distance(client.fetch(f"/clips/{pair[side]['clip']}.mp4")) for side in ("left", "right"))
            client.answer(pair, "left" if left < right else "right")
            done += 1
        time.sleep(0.02)
    took = time.monotonic() - began
    process.send_signal(signal.SIGINT)
    process.wait(60)
    return took


def last_distance(controller: Controller, n: int = 100) -> float:
    """Return the distance from the goal at the end of an episode, averaged over n starts that no film has."""
    rng = np.random.default_rng(1)
    return float(np.mean([np.linalg.norm(roll_out(controller, rng)[0][-1] - GOAL) for _ in range(n)]))


def policy(folder: Path) -> Controller:
    act = load_run(folder).act
    return lambda position: act(position[None].astype(np.float32))[0]


def film_both(file: Path, learned: Controller) -> None:
    """Film recordings on the left, what was learned from them on the right, from the same starts."""
    frames = []
    for k in (2, 5, 8):
        one, other = (roll_out(c, np.random.default_rng(k)) for c in (recorded(k, np.random.default_rng(k)), learned))
        gap = np.full((SIZE, 6, 3), 255, np.uint8)
        shown = [np.hstack([picture(a), gap, picture(b)]) for a, b in zip(one[0][::2], other[0][::2], strict=True)]
        frames += [np.kron(s, np.ones((2, 2, 1), np.uint8)) for s in shown]
    iio.imwrite(file, np.stack(frames), duration=80, loop=0)


def main(folder: Path, gif: Path | None) -> None:
    folder.mkdir()
    make_films(folder / "films")
    data, train = f"data={folder}/data", ("train", f"data={folder}/data", "env=none", "report=false")
    took = {"import": measure("data", "import", f"from={folder}/films", f"out={folder}/data", "segment_length=20")}
    began = time.monotonic()
    answering = label(data, f"out={folder}/labels", f"pairs={ANSWERS}", "queries=disagreement", "repeats=0")
    took["open and close the viewer"] = {"seconds": round(time.monotonic() - began - answering, 1)}
    took["export"] = measure("labels", "export", f"{folder}/labels", f"out={folder}/people")
    learned = ("method=piql", f"labels={folder}/people", f"run_dir={folder}/piql", "feedback.heldout=0.2")
    took["reward and policy"] = measure(*train, *learned, *SETTINGS)
    measure(*train, "method=bc", f"run_dir={folder}/bc", "steps=1500", "method.lr=1e-3", SETTINGS[1])
    seconds = {name: float(found["seconds"]) for name, found in took.items()}
    print("\nstep,seconds", *(f"{name},{value:.1f}" for name, value in seconds.items()), sep="\n")
    print(f"answer {ANSWERS} pairs,{answering:.1f}\nall but answering,{sum(seconds.values()):.1f}")
    shown = [last_distance(recorded(k, np.random.default_rng(k)), 10) for k in range(20)]
    ends = {"recordings": np.mean(shown)} | {name: last_distance(policy(folder / name)) for name in ("bc", "piql")}
    print("distance at the end:", {name: round(float(value), 3) for name, value in ends.items()})
    summary = read_object(folder / "piql" / "summary.json")
    print({key: summary[key] for key in ("labels", "validation_accuracy", "action_error", "action_error_on")})
    if gif is not None:
        film_both(gif, policy(folder / "piql"))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
