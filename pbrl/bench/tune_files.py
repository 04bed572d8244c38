"""The files of a tuning: what was asked for, the table of trials, and the best settings as an experiment."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from pbrl.bench.tune import Confirming, Plan
from pbrl.bench.tune_study import Trial, best_of
from pbrl.config import config_dir
from pbrl.errors import UserError
from pbrl.files import make_folder, replacing, write_json
from pbrl.reading import read_object
from pbrl.training.run_dir import versions

SETTINGS = "tune.json"


class TuningFiles:
    """A folder, of one process at a time."""

    def __init__(self, folder: Path, plan: Plan, command: str) -> None:
        """Make a new folder, or take one that was begun with the same settings."""
        self.folder, self.plan = folder, plan
        begun = folder / SETTINGS
        if not begun.exists() and _is_taken(folder):
            raise UserError(f"out={folder} exists and is no tuning; choose another")
        try:
            make_folder(folder)
        except OSError as error:
            raise UserError(f"out={folder} cannot be made: {error.strerror}") from error
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"out={folder} is being tuned by another process") from None
        settings = _settings(plan)
        self.commands = [command]
        if begun.exists():
            self.commands = _read_commands(begun, settings, folder)
            self.commands += [command] if command not in self.commands else []
        write_json(begun, {"commands": self.commands, **settings, "versions": versions(plan.config.threads)})

    @property
    def journal(self) -> Path:
        return self.folder / "journal.log"

    @property
    def experiment(self) -> Path:
        return self.folder / "experiment" / "best.yaml"

    def write(self, trials: Sequence[Trial]) -> None:
        """Write trials.csv, and the best of them so far."""
        seeds = self.plan.seeds
        rows = [
            {
                "trial": trial.number,
                "state": trial.state,
                **{key: v if isinstance(v, (float, str)) else json.dumps(v) for key, v in trial.values.items()},
                "score": trial.score,
                **{f"score_s{seed}": (trial.scores or {}).get(seed) for seed in seeds},
                "wall_s": trial.wall_s,
                "reason": trial.reason,
            }
            for trial in trials
        ]
        _write_csv(self.folder / "trials.csv", rows)
        if (best := best_of(trials)) is not None:
            self.experiment.parent.mkdir(exist_ok=True)
            with replacing(self.experiment) as partial:
                partial.write_text(experiment(self.plan, trials, best, self.commands), encoding="utf-8")

    def write_confirmation(self, found: Confirming) -> None:
        rows = [
            {"trial": number, "settings": "best" if number else "defaults", "seed": seed, "score": score}
            for number, scores in found.scores.items()
            for seed, score in sorted(scores.items())
        ]
        _write_csv(self.folder / "confirm.csv", rows)


def experiment(plan: Plan, trials: Sequence[Trial], best: Trial, commands: Sequence[str]) -> str:
    """A YAML for configs/experiment that chooses what was tuned, with the best settings."""
    seeds = ", ".join(map(str, plan.seeds))
    default = "failed" if trials[0].score is None else f"{trials[0].score:.4g}"
    finished = sum(trial.score is not None for trial in trials)
    lines = [
        "# @package _global_",
        f"# The best of {finished} trials on seeds {seeds}: {plan.objective} {best.score:.4g}, the defaults {default}.",
        "# The highest of many noisy scores is optimistic: trust what fresh seeds say (confirm=).",
        *(f"# {command}" for command in commands),
    ]
    overrides = [*plan.overrides, *(knob.override(best.values[knob.key]) for knob in plan.space.knobs)]
    groups = {p.name for root in (config_dir(), plan.config_dir) if root for p in root.iterdir() if p.is_dir()}
    choices: list[str] = []
    values = OmegaConf.create()
    for text in overrides:
        key, value = text.lstrip("+").split("=", 1)
        if key == "experiment":
            choices.insert(0, f"  - {value}")
        elif key in groups:
            choices.append(f"  - override /{key}: {value}")
        else:
            tuned = best.values.get(key, OmegaConf.select(plan.config, key))
            OmegaConf.update(values, key, tuned, force_add=True)
    return "\n".join([*lines, "defaults:", *choices, "", OmegaConf.to_yaml(values)])


def overrides_text(plan: Plan, trial: Trial) -> str:
    """The knobs of a trial as words of a shell."""
    return shlex.join(knob.override(trial.values[knob.key]) for knob in plan.space.knobs)


def _is_taken(folder: Path) -> bool:
    if not folder.exists():
        return False
    return not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())


def _settings(plan: Plan) -> dict[str, Any]:
    config = OmegaConf.to_container(plan.config)
    assert isinstance(config, dict)
    if plan.data is not None:
        config["data"] = str(plan.data.resolve())
    settings = {
        "method": plan.config.method.name,
        "env": plan.config.env.name,
        "space": plan.space.name,
        "objective": plan.objective,
        "seeds": list(plan.seeds),
        "sampler_seed": plan.sampler_seed,
        "knobs": {knob.key: {knob.kind: list(knob.values)} for knob in plan.space.knobs},
        "config": config,
    }
    return json.loads(json.dumps(settings))


def _read_commands(file: Path, settings: dict[str, Any], folder: Path) -> list[str]:
    """Return the commands of earlier times, if they asked for the same."""
    try:
        before = read_object(file)
        commands = list(before["commands"])
        found = _difference({key: before[key] for key in settings}, settings, "")
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f"{file} is not what pbrl tune writes; choose another out") from error
    if found is not None:
        raise UserError(f"out={folder} was begun with {found}; give the same settings, or another out")
    return commands


def _difference(before: Any, now: Any, key: str) -> str | None:
    """Return the first entry that differs, in words."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else f"{key}={json.dumps(before)}, not {json.dumps(now)}"
    for name in [*before, *(name for name in now if name not in before)]:
        path = f"{key}.{name}" if key else str(name)
        if name not in now or name not in before:
            return f"{path}, which is not here now" if name in before else f"no {path}"
        if (found := _difference(before[name], now[name], path)) is not None:
            return found
    return None


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
