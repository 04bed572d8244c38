"""The comparisons of a bench: methods at one teacher and budget, on tasks that all of them have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from pbrl.bench.bench_file import Env
from pbrl.bench.records import Cell, Results
from pbrl.statistics.runs import Scores, fewest

ENOUGH_SEEDS = 5  # fewer are marked: their intervals are far too narrow, docs/report.md says by how much
CONTROLS = ("random_labels", "shuffled")  # in the name of a method that learns from labels without information


class Arm(NamedTuple):
    """A method as it was run."""

    method: str
    teacher: str
    budget: int  # 0: without labels
    source: str  # empty: ours

    @property
    def is_control(self) -> bool:
        return any(word in self.method for word in CONTROLS)

    @property
    def name(self) -> str:
        """Within its setting."""
        return f"{self.method} ({self.source})" if self.source else self.method

    @property
    def full_name(self) -> str:
        return f"{self.name}, {self.teacher} {self.budget}" if self.budget else self.name


class Setting(NamedTuple):
    """A teacher and how often it answers."""

    teacher: str
    budget: int

    def __str__(self) -> str:
        return f"{self.budget} labels by {self.teacher}" if self.budget else "without labels"

    @property
    def slug(self) -> str:
        """A name for files."""
        return re.sub(r"[^\w.-]", "_", f"{self.teacher}_{self.budget}")


class Group(NamedTuple):
    """Arms that have all of these tasks. Only on them are they compared."""

    setting: Setting
    tasks: tuple[str, ...]
    arms: tuple[Arm, ...]
    subset: bool  # of an earlier group's tasks, for arms that lack the others
    number: int  # within its setting

    @property
    def slug(self) -> str:
        """A name for files."""
        return f"{self.setting.slug}_{self.number + 1}" if self.number else self.setting.slug


class Runs:
    """The runs that have a result, by arm and task."""

    def __init__(self, results: Results) -> None:
        self.envs: Mapping[str, Env] = results.bench.envs
        self.cells: dict[Arm, dict[str, list[Cell]]] = {}
        for cell in results.cells:
            if cell.counts:
                arm = Arm(cell.method, cell.teacher, cell.budget, cell.source)
                self.cells.setdefault(arm, {}).setdefault(cell.env, []).append(cell)

    def scores(self, arm: Arm, tasks: Sequence[str], name: str = "normalised") -> Scores:
        """One array of runs per task."""
        return [np.array([cell.numbers[name] for cell in self.cells[arm][task]]) for task in tasks]

    def known(self, arm: Arm, task: str, name: str) -> np.ndarray:
        """Return what is known of a number that not every run has."""
        return np.array([c.numbers[name] for c in self.cells[arm].get(task, []) if name in c.numbers])

    def unit(self, arm: Arm, task: str) -> str:
        """Return the unit its steps are counted in: an offline method makes none in the environment."""
        return "updates" if len(self.known(arm, task, "updates")) else "env_steps"

    def few(self, arm: Arm, tasks: Sequence[str]) -> bool:
        return fewest(self.scores(arm, tasks, "score")) < ENOUGH_SEEDS

    def is_true_reward(self, arm: Arm, task: str) -> bool:
        return arm.method == self.envs[task].high_method and not arm.budget and not arm.source

    def is_reference(self, arm: Arm) -> bool:
        """Return whether it is in every panel: the upper end of the scale, and what cannot have learned anything."""
        return arm.is_control or any(self.is_true_reward(arm, task) for task in self.cells[arm])

    def settings(self) -> list[Setting]:
        """Return the settings in the order of the table; without labels only if nothing learns from any."""
        found = list(dict.fromkeys(Setting(a.teacher, a.budget) for a in self.cells if a.budget))
        return found or ([Setting("none", 0)] if self.cells else [])

    def arms(self, setting: Setting) -> list[Arm]:
        """Return the arms of a setting, and those without labels, which stand beside each."""
        return [arm for arm in self.cells if not arm.budget or (arm.teacher, arm.budget) == setting]

    def scaled_tasks(self, arm: Arm) -> frozenset[str]:
        return frozenset(task for task in self.cells[arm] if self.envs[task].scale is not None)

    def groups(self, setting: Setting) -> list[Group]:
        """Sets of tasks, largest comparison first, until every arm has a place.

        Of the sets of tasks that arms have, the one with most arms times tasks is next; so an arm that has done half of
        its tasks does not take the other half from everybody, and is still compared on the tasks it has.
        """
        tasks_of = {arm: tasks for arm in self.arms(setting) if (tasks := self.scaled_tasks(arm))}
        if setting.budget:  # what learns without labels is compared where something learned from them
            asked = frozenset[str]().union(*(tasks for arm, tasks in tasks_of.items() if arm.budget))
            tasks_of = {arm: tasks & asked for arm, tasks in tasks_of.items() if tasks & asked}
        left, groups = set(tasks_of), list[Group]()
        while left:
            candidates = dict.fromkeys(tasks_of[arm] for arm in tasks_of if arm in left)
            best = max(candidates, key=partial(_size, [tasks_of[arm] for arm in left]))
            placed = [arm for arm in tasks_of if best <= tasks_of[arm]]
            ordered = tuple(task for task in self.envs if task in best)
            subset = any(best <= set(group.tasks) for group in groups)
            groups.append(Group(setting, ordered, tuple(placed), subset, len(groups)))
            left -= set(placed)
        return groups


def _size(sets: Sequence[frozenset[str]], tasks: frozenset[str]) -> tuple[int, int]:
    """Return the size of a comparison on these tasks: arms times tasks, then tasks."""
    return len(tasks) * sum(tasks <= one for one in sets), len(tasks)


def version_notes(results: Results) -> list[str]:
    """Note runs of one arm and task that differ in more than their seed, and code and packages that differ at all."""
    found: dict[tuple[str, str], dict[tuple[Arm, str], set[str]]] = {}
    for cell in results.cells:
        if cell.counts:
            arm = Arm(cell.method, cell.teacher, cell.budget, cell.source)
            for name in ("config", "code", "agent", "label_kind"):
                if value := cell.described[name]:
                    found.setdefault((arm.name, name), {}).setdefault((arm, cell.env), set()).add(value)
    notes = []
    for (arm_name, name), seen in found.items():
        if mixed := {place: values for place, values in seen.items() if len(values) > 1}:
            several, tasks = sorted(set().union(*mixed.values())), dict.fromkeys(env for _, env in mixed)
            what = f"runs of the same task and budget differ in {name} ({', '.join(several)})"
            notes.append(f"{arm_name}: {what}, on {', '.join(tasks)}.")
    codes = {c.described["code"] for c in results.cells if c.counts and not c.source} - {""}
    if len(codes) > 1:
        notes.append(f"Our runs were made by {len(codes)} versions of the code: {', '.join(sorted(codes))}.")
    ours = [c.described["versions"] for c in results.cells if c.counts and not c.source]
    packages = [set(text.split()) for text in ours if text]
    if unlike := sorted({name for one in packages for name in one if any(name not in other for other in packages)}):
        notes.append(f"Our runs were made with different packages: {', '.join(unlike)}.")
    return notes
