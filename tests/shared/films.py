"""Videos whose frames say by their grey which they are, and tables of their steps."""

import csv

import numpy as np

from pbrl.reports.video import write_mp4

LENGTHS = {"ep_1": 7, "ep_2": 5, "ep_10": 9}


def table(lengths=LENGTHS, last=True):
    """A row per step; with `last` one more per episode, without an action: the observation after the end."""
    rows = []
    for k, (name, length) in enumerate(lengths.items()):
        for t in range(length + last):
            there = t < length
            rows.append(
                {
                    "episode": name,
                    "obs_x": k,
                    "obs_t": t,
                    "act_0": t / 10 if there else "",
                    "act_1": -k / 10 if there else "",
                    "reward": 2 * t if there else "",
                    "terminated": int(k == 1 and t == length - 1),
                }
            )
    return rows


def write_csv(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def film(path, frames, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = (np.full((32, 48, 3), (level + 10 * t) % 256, np.uint8) for t in range(frames))
    if path.suffix == ".gif":
        import imageio

        imageio.mimsave(path, list(pictures), duration=100)
    else:
        write_mp4(path, pictures, 10.0, encoder={"crf": "5", "bf": "2"})


def films(folder, lengths=LENGTHS):
    """A folder with a video of each episode, 20 k + 10 t grey, and their table."""
    for k, (name, length) in enumerate(lengths.items()):
        film(folder / f"{name}.mp4", length + 1, 20 * k)
    write_csv(folder / "steps.csv", table(lengths))
    return folder
