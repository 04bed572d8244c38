"""The grid of a bench: methods x environments x teachers x budgets x seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbrl.bench.bench_file import Published
from pbrl.errors import UserError

OWN_TEACHER = "own"  # the one that the method's YAML chooses
DATA = "data"  # in place of a teacher: the labels of a data set
NO_TEACHER = "none"


@dataclass(frozen=True)
class EnvEntry:
    """A task, with what all its runs are given."""

    name: str
    overrides: tuple[str, ...]  # those of `common` that are of the environment come first
    score: str = "return"  # what is compared, of SCORES
    high: str = "true_reward"  # the method that stands for 1; random actions stand for 0
    collect: tuple[str, ...] | None = None  # makes the data set of its offline runs: arguments of `pbrl collect`
    data: str | None = None  # or where it lies
    about: str | None = None

    @property
    def collecting(self) -> tuple[str, ...]:
        """The arguments of `pbrl collect`, but out: of a run's overrides a data set takes those of its environment."""
        return (*of_env(self.overrides), *(self.collect or ()))


@dataclass(frozen=True)
class MethodEntry:
    name: str
    overrides: tuple[str, ...]
    labels: bool  # whether it reads any; else it stands for every budget
    offline: bool  # learns from a data set without asking anybody
    data: bool  # reads a data set
    about: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    env: str
    method: str
    teacher: str
    budget: int | None  # 0 where the method reads no labels; None: the budget of the YAMLs
    seed: int
    arguments: tuple[str, ...]  # of `pbrl train`, all but data and run_dir
    reads_data: bool

    @property
    def name(self) -> str:
        budget = "default" if self.budget is None else self.budget
        return f"{self.env}/{self.method}/{self.teacher}/{budget}/s{self.seed}"


@dataclass(frozen=True)
class Grid:
    name: str
    about: str
    seeds: tuple[int, ...]
    envs: dict[str, EnvEntry]
    methods: dict[str, MethodEntry]
    cells: tuple[Cell, ...]  # seeds outermost: a bench that is cut short has seen every arm
    published: tuple[Published, ...] = ()

    def choose(self, beginnings: Sequence[str]) -> tuple[Cell, ...]:
        """Return the cells whose names begin with any of these, all for none; UserError where one chooses no cell."""
        for beginning in beginnings:
            if not any(c.name.startswith(beginning) for c in self.cells):
                names = ", ".join(f"{env}/" for env in self.envs)
                raise UserError(f"only={beginning} chooses no cell; names begin with {names}")
        return tuple(c for c in self.cells if not beginnings or c.name.startswith(tuple(beginnings)))


def of_env(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text in overrides if text.lstrip("+").startswith(("env=", "env.")))
