"""`pbrl data`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.commands.arguments import Arguments
from pbrl.commands.data_import import describe_formats, describe_labels, import_file
from pbrl.commands.values import required
from pbrl.errors import UserError, choices, one_line, typed
from pbrl.files import no_folder

if TYPE_CHECKING:
    from pbrl.data.datasets import Dataset

HELP = """usage: pbrl data info|import|export|render ...

  info FOLDER [--json]
      what a data set (of pbrl collect) or a label set holds: splits, sources with return and success, scores, labels
  import from=PATH out=FOLDER [format=NAME] [key=value ...]
      episodes or labels in a format of the field as a data set or a label set; which formats: pbrl data formats
  export FOLDER format=minari id=[NAMESPACE/]NAME-v0 [out=FOLDER]
      the episodes of a data set for Minari, below out (default: where Minari has its data sets)
  export LABELS format=lerobot to=LEROBOT_FOLDER [data=FOLDER]
      answers about a data set that was imported from a LeRobotDataset, as meta/preferences.parquet beside it
  export FOLDER format=lerobot to=LEROBOT_FOLDER reward=RUN_DIR
      the reward of a run for each frame of it, as pbrl_progress.parquet, for LeRobot's reward-weighted cloning
  render FOLDER out=FOLDER env=NAME [env.*=]
      the same data set with images for observations, drawn from its simulator states as an environment such as
      point_reach_pixels shows them; segments, scores and labels stay
  formats
      what import reads, and the keys that each format has of its own

keys of every import:
  check=true           reads all of it and says in one line what would come in; nothing is written, and out= not needed
  env=NAME             is noted, and checked for its sizes; with it qpos and qvel of a file become states for clips
keys of an import of episodes:
  actions=low,high     the range that becomes -1..1, or one for each number as -2:2,0:1; actions=data takes the smallest
                       and largest of the data; actions=discrete or discrete:N: choices
  clip=true            cuts off actions outside, which are refused otherwise
  frames=false         does not keep pictures that a file holds (true: as videos in FOLDER, for clips)
  segments=2000 segment_length=32 splits=0.8,0.1,0.1 seed=0
  labels=return [teacher=oracle] [comparisons=5000] [heldout=500]    comparisons by a script, where rewards are known
keys of an import of labels: annotator=NAME, clip=true

example: pbrl data import from=walker.npz out=data/walker_people env=walker2d"""

ACTIONS = ("info", "import", "export", "render", "formats")


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, flags=("--json",), options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    action, *names = parsed.words or ["nothing"]
    if action not in ACTIONS:
        raise UserError(f"pbrl data {action}: {choices(action, ACTIONS)}; {HELP.splitlines()[0]}")
    if action == "formats":
        parsed.check_keys(())
        print(describe_formats())
        return 0
    if action == "import" and not names and parsed.values.get("from"):
        names = [parsed.values["from"]]
    if len(names) != 1:
        raise UserError(f"pbrl data {action} takes one name of a file or folder, {len(names)} given")
    try:
        command = shlex.join(["pbrl", "data", *(a for a in args if a[:4] != "out=")])
        if action == "import":
            import_file(names[0], parsed, command)
        elif action == "render":
            render(names[0], parsed, command)
        else:
            {"info": info, "export": export}[action](names[0], parsed)
    except OSError as error:
        raise UserError(f"{error.filename or names[0]}: {error.strerror or one_line(error)}") from error
    return 0


def info(name: str, parsed: Arguments) -> None:
    parsed.check_keys(())
    from pbrl.labels.set_checks import FORMAT, format_of
    from pbrl.labels.sets import load_label_set
    from pbrl.reports.dataset_report import dataset_report, format_report

    if format_of(Path(name)) == FORMAT:
        labels = load_label_set(Path(name))
        meta = labels.meta | {"twins": labels.twins}
        if "--json" in parsed.flags:
            print(json.dumps(meta, indent=2))
        else:
            print(describe_labels(meta))
        return
    report = dataset_report(_load(name))
    if "--json" in parsed.flags:
        print(json.dumps(report, indent=2))
    else:
        print(format_report(report), end="")


def export(name: str, parsed: Arguments) -> None:
    keys = {"minari": ("id", "out"), "lerobot": ("to", "data", "reward")}
    if (kind := parsed.values.get("format", "")) not in keys:
        raise UserError(f"format={kind}: {choices(kind, keys)}")
    parsed.check_keys(("format", *keys[kind]))
    written = _export_minari(name, parsed) if kind == "minari" else _export_lerobot(name, parsed)
    print(f"written to {written}")


def _export_minari(name: str, parsed: Arguments) -> Path:
    dataset_id = required(parsed, "id", "the name for Minari, as id=point/mixed-v0")
    from pbrl.data.minari_files import write_minari

    root = parsed.values.get("out")
    return write_minari(_load(name), dataset_id, Path(root) if root else None)


def _export_lerobot(name: str, parsed: Arguments) -> Path:
    root = Path(required(parsed, "to", "the LeRobotDataset that the data set was imported from"))
    from pbrl.data.lerobot_files import write_preferences, write_progress
    from pbrl.labels.set_checks import FORMAT, format_of
    from pbrl.labels.sets import load_label_set

    if format_of(Path(name)) == FORMAT:
        labels = load_label_set(Path(name))
        about = parsed.values.get("data") or (labels.meta.get("data") or {}).get("path")
        if about is None:
            raise UserError(f"{name} does not say which data set it is about; data=FOLDER names it")
        return write_preferences(labels, _load(about), root)
    run = Path(required(parsed, "reward", "a run that learned one, as reward=runs/arm/piql/...; or name a label set"))
    from pbrl.training.saved import load_run

    data, saved = _load(name), load_run(run)
    if saved.reward is None:
        raise UserError(f"reward={run}: that run has learned no reward")
    sizes = data.episodes[0].obs.shape[1:], data.episodes[0].actions.shape[1]
    if sizes != (saved.obs_shape, saved.action_size):
        found = f"observations {saved.obs_shape} and {saved.action_size} numbers of an action"
        raise UserError(f"reward={run} is of {found}, {name} has {sizes[0]} and {sizes[1]}")
    return write_progress(data, saved.reward, run, root)


def render(name: str, parsed: Arguments, command: str) -> None:
    from pbrl.collection.render import render_dataset
    from pbrl.commands.collect_command import check_keys, compose
    from pbrl.files import require_new

    parsed.words.clear()  # those that named the action and the folder
    check_keys(parsed, ("out",))
    required(parsed, "env", "an environment of images, as env=point_reach_pixels")
    out = Path(required(parsed, "out", "a new folder, as out=data/point_pixels"))
    require_new(out)
    meta = render_dataset(_load(name), compose(parsed), out, command)
    print(f"{meta['counts']['steps']} steps drawn; see: {typed('data', 'info', str(out))}")


def _load(name: str) -> Dataset:
    from pbrl.data.datasets import load_dataset

    if not Path(name).is_dir():
        raise UserError(f"{name}: {no_folder(Path(name))}; `pbrl collect` makes one")
    return load_dataset(Path(name))
