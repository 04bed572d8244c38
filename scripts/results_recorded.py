"""Memory that big imports take: the figures of results/recorded/big.csv.

python scripts/results_recorded.py FOLDER [out.csv]

Makes in FOLDER a LeRobotDataset v3 of 100,000 episodes with 50 GB of video (sparse files: what is behind the frames
takes no room on the disk) and a table of a million comparisons, and a tenth of both; imports each in a process of its
own, whose memory is looked at 20 times a second; and draws clips from the videos. It takes some minutes and 4 GB.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pbrl.data.datasets import load_dataset
from pbrl.data.stored_videos import StoredFrames, StoredVideos
from pbrl.reports.video import write_mp4

FPS, STEPS, EPISODES, LABELS = 10, 20, 100_000, 1_000_000
OBS, ACTIONS, LENGTH, CAMERA = 8, 3, 10, "observation.images.top"
PER_VIDEO, VIDEO_BYTES = 400, 200_000_000  # episodes of a video file, and bytes of one, most of them not written
LEVELS = 200  # grey levels that tell frames apart
VIDEO, FRAMES = f"videos/{CAMERA}", PER_VIDEO * STEPS


def make_video(path: Path) -> None:
    """Write a video in which a frame's grey level says its number, and behind it a large empty box."""
    write_mp4(path, (np.full((64, 64, 3), 20 + k % LEVELS, np.uint8) for k in range(FRAMES)), FPS, encoder={"g": "10"})
    size = VIDEO_BYTES - path.stat().st_size
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(size.to_bytes(4, "big") + b"free")
        file.truncate(VIDEO_BYTES)


def make_lerobot(root: Path, episodes: int) -> None:
    for name in ("meta/episodes/chunk-000", "data/chunk-000", f"{VIDEO}/chunk-000"):
        (root / name).mkdir(parents=True)
    columns = {"observation.state": OBS, "action": ACTIONS}
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "robot_type": "made",
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {name: {"dtype": "float32", "shape": [n]} for name, n in columns.items()}
        | {CAMERA: {"dtype": "video", "shape": [64, 64, 3]}},
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    first = root / f"{VIDEO}/chunk-000/file-000.mp4"
    make_video(first)
    for number in range(1, -(-episodes // PER_VIDEO)):
        subprocess.run(["cp", "--sparse=always", first, first.with_name(f"file-{number:03d}.mp4")], check=True)
    rng, per_file = np.random.default_rng(0), 5_000
    for number in range(-(-episodes // per_file)):
        index = np.arange(number * per_file, min((number + 1) * per_file, episodes))
        rows = len(index) * STEPS
        steps = {
            "observation.state": list(rng.normal(size=(rows, OBS)).astype("f4")),
            "action": list(rng.uniform(-1, 1, (rows, ACTIONS)).astype("f4")),
            "episode_index": np.repeat(index, STEPS),
            "frame_index": np.tile(np.arange(STEPS), len(index)),
            "index": np.arange(rows) + index[0] * STEPS,
        }
        pq.write_table(pa.table(steps), root / f"data/chunk-000/file-{number:03d}.parquet", row_group_size=20_000)
        places = {
            "episode_index": index,
            "length": np.full(len(index), STEPS),
            "tasks": [["reach"]] * len(index),
            f"{VIDEO}/chunk_index": np.zeros(len(index), int),
            f"{VIDEO}/file_index": index // PER_VIDEO,
            f"{VIDEO}/from_timestamp": index % PER_VIDEO * STEPS / FPS,
        }
        pq.write_table(pa.table(places), root / f"meta/episodes/chunk-000/file-{number:03d}.parquet")


def make_comparisons(path: Path, labels: int, episodes: int) -> None:
    rng, columns = np.random.default_rng(1), {}
    for side in ("left", "right"):
        columns[f"{side}_episode"] = rng.integers(episodes, size=labels)
        columns[f"{side}_start"] = rng.integers(STEPS - LENGTH - 1, size=labels)
        columns[f"{side}_length"] = np.full(labels, LENGTH)
    columns["choice"] = rng.choice(["left", "right", "equal"], labels)
    columns["annotator"] = rng.choice(["ann", "bob"], labels)
    pa.csv.write_csv(pa.table(columns), path)


def measure(*command: str) -> dict[str, float | str]:
    """Run a command of pbrl; return its seconds, the most memory of its own (not of mapped files), and what it said."""
    begun, most = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, "-m", "pbrl", *command], stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        with suppress(OSError):  # it has just ended
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            most = max([most, *(int(line.split()[1]) for line in status if line.startswith("RssAnon"))])
        time.sleep(0.05)
    if process.returncode or process.stdout is None:
        raise SystemExit(f"{' '.join(command)} failed")
    took, said = round(time.perf_counter() - begun, 1), process.stdout.read().strip().split("; see")[0]
    return {"seconds": took, "peak_mb": round(most / 1024), "said": said}


def draw(folder: Path, clips: int = 100) -> float:
    """Seconds per clip of 10 steps somewhere in the videos, each of which must show the frames that it should."""
    data, rng = load_dataset(folder), np.random.default_rng(2)
    frames = StoredFrames(StoredVideos.of(data.meta["videos"], folder), folder)
    begun = time.perf_counter()
    for k in rng.integers(len(data.episodes), size=clips):
        start = int(rng.integers(STEPS - LENGTH - 1))
        seen = [f.mean() for f in frames.frames(data.episodes[k].states[start : start + LENGTH + 1], CAMERA)]
        number = k % PER_VIDEO * STEPS + start + np.arange(LENGTH + 1)
        np.testing.assert_allclose(seen, 20 + number % LEVELS, atol=4)
    return (time.perf_counter() - begun) / clips


def main(folder: Path, out: Path) -> None:
    rows = []
    for share in (10, 1):
        episodes, labels = EPISODES // share, LABELS // share
        here = folder / f"share_{share}"
        here.mkdir(parents=True)
        make_lerobot(here / "lerobot", episodes)
        make_comparisons(here / "answers.csv", labels, episodes)
        size = f"{-(-episodes // PER_VIDEO) * VIDEO_BYTES / 1e9:g} GB"
        found = measure("data", "import", f"from={here}/lerobot", f"out={here}/set", f"segment_length={LENGTH}")
        rows.append({"what": f"{episodes:,} episodes, {size} of video", **found})
        found = measure("data", "import", f"from={here}/answers.csv", f"data={here}/set", f"out={here}/labels")
        rows.append({"what": f"{labels:,} comparisons", **found})
        rows.append({"what": f"a clip of {LENGTH} steps from {size}", "seconds": round(draw(here / "set"), 4)})
        shutil.rmtree(here)
    with out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["what", "seconds", "peak_mb", "said"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(out.read_text())


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "results/recorded/big.csv"))
