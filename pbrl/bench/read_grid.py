"""Read the grid of a bench from a short YAML, which docs/bench.md explains. Each part is checked where it is read."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pbrl.bench.bench_file import CIRCUMSTANCES, SCORES, Published, read_published
from pbrl.bench.grid import DATA, NO_TEACHER, OWN_TEACHER, Cell, EnvEntry, Grid, MethodEntry, of_env
from pbrl.building import maker_of
from pbrl.config import compose_any, config_dir, find_yaml, options
from pbrl.data.env_of_data import env_overrides
from pbrl.errors import UserError, choices
from pbrl.files import expand_home
from pbrl.methods.method import Method
from pbrl.reading import read_yaml, reading

OF_THE_BENCH = {  # of `pbrl train`; `pbrl collect` has a seed of its own
    "seed": "the seeds of a bench are its key `seeds`",
    "run_dir": "each run has a folder in out=",
    "data": "a data set is named by its env, as data: DIR or collect: [episodes=60]",
}
KEYS = ("about", "seeds", "budgets", "common", "envs", "methods", "teachers", "grids", "published")


def load_grid(name: str, extra_dir: Path | None = None) -> Grid:
    """Read a grid. name: of a YAML in configs/bench, or a file's path."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        found = find_yaml("bench", name, extra_dir)
        if found is None:
            raise UserError(f"grid={name}: {choices(name, options('bench'), also='the path of a YAML file')}")
        path = found
    if not path.exists():
        raise UserError(f"grid={name}: no such file")
    config = read_yaml(path)
    with reading(path, "a grid"):
        tree = OmegaConf.to_container(config, resolve=True)
    return _Reader(path, tree, extra_dir).grid()


class _Reader:
    """The reader of one file, so that errors say where in it."""

    def __init__(self, path: Path, tree: Any, extra_dir: Path | None) -> None:
        self.path, self.extra_dir = path, extra_dir
        self.tree = self._mapping(tree, "the file", KEYS)

    def grid(self) -> Grid:
        tree = self.tree
        self.common = self._settings(tree.get("common", []), "common")
        self.envs = {k: self._env(k, v) for k, v in self._entries("envs").items()}
        self.methods = {k: self._method(k, v) for k, v in self._entries("methods").items()}
        given = self._entries("teachers", optional=True)
        self.teachers = {k: self._teacher(k, v) for k, v in given.items()} or {OWN_TEACHER: ()}
        self.seeds = self._seeds(tree.get("seeds", [0]))
        blocks = tree.get("grids", [{}])
        if not isinstance(blocks, list) or not blocks:
            raise self._error("grids", "expected a list of blocks, each with envs, methods, teachers, budgets, seeds")
        chosen = [c for number, block in enumerate(blocks) for c in self._block(block, f"grids[{number}]")]
        cells = {c.name: c for c in chosen}  # a cell that two blocks ask for is one
        if different := [c.name for c in chosen if cells[c.name] != c]:
            raise self._error("grids", f"{different[0]} is asked for twice, with different settings")
        arms = {c.name.rsplit("/", 2)[0] for c in chosen if c.budget is None}
        if mixed := [c.name for c in chosen if c.budget and c.name.rsplit("/", 2)[0] in arms]:
            # They may be the same run, which only its YAML or its data set could tell.
            raise self._error("grids", f"{mixed[0]} is asked for without a budget too; give all its blocks budgets")
        order = sorted(cells.values(), key=lambda c: c.seed)  # stable: blocks keep their order within a seed
        for env in {c.env for c in order}:
            self._check_high(self.envs[env])
        return Grid(
            name=self.path.stem,
            about=self._text(tree, "about", "the file") or "",
            seeds=tuple(sorted({c.seed for c in order})),
            envs={k: v for k, v in self.envs.items() if any(c.env == k for c in order)},
            methods={k: v for k, v in self.methods.items() if any(c.method == k for c in order)},
            cells=tuple(order),
            published=tuple(self._published(tree.get("published", []))),
        )

    def _block(self, block: Any, where: str) -> Iterable[Cell]:
        block = self._mapping(block, where, ("envs", "methods", "teachers", "budgets", "seeds"))
        envs = [self.envs[n] for n in self._chosen(block, "envs", self.envs, where)]
        methods = [self.methods[n] for n in self._chosen(block, "methods", self.methods, where)]
        teachers = self._chosen(block, "teachers", self.teachers, where)
        budgets = self._numbers(block.get("budgets", self.tree.get("budgets", [])), f"{where}.budgets", 1)
        seeds = self._seeds(block["seeds"]) if "seeds" in block else self.seeds
        for env, method in itertools.product(envs, methods):
            answered = [DATA] if method.offline else teachers
            paid: list[tuple[str, int | None]] = [(NO_TEACHER, 0)]
            if method.labels:
                paid = [(t, b) for t in answered for b in (budgets or (None,))]
            if method.data and env.collect is None and env.data is None:
                why = f"method {method.name} learns from a data set; give the env collect: [episodes=60] or data: DIR"
                raise self._error(f"envs.{env.name}", why)
            for (teacher, budget), seed in itertools.product(paid, seeds):
                yield self._cell(env, method, teacher, budget, seed)

    def _cell(self, env: EnvEntry, method: MethodEntry, teacher: str, budget: int | None, seed: int) -> Cell:
        asked = self.teachers.get(teacher, ())
        money = [f"feedback.budget={budget}"] if budget else []
        given = _last(*self.common, *env.overrides, *method.overrides, *asked, *money, f"seed={seed}")
        return Cell(env.name, method.name, teacher, budget, seed, given, method.data)

    def _env(self, name: str, value: Any) -> EnvEntry:
        entry = self._entry("envs", name, value, ("set", "score", "high", "collect", "data", "about"))
        if (data := self._text(entry, "data", f"envs.{name}")) is not None:
            entry["data"] = expand_home(data)
        if (score := entry.get("score", "return")) not in SCORES:
            raise self._error(f"envs.{name}.score", f"{score!r}: {choices(score, SCORES)}")
        collect = entry.get("collect")
        if collect is not None and "data" in entry:
            raise self._error(f"envs.{name}", "has both collect and data; one of them says what to learn from")
        return EnvEntry(
            name=name,
            overrides=_last(*of_env(self.common), *self._env_overrides(name, entry)),
            score=score,
            high=str(entry.get("high", "true_reward")),
            collect=None if collect is None else self._words(collect, f"envs.{name}.collect"),
            data=self._text(entry, "data", f"envs.{name}"),
            about=self._text(entry, "about", f"envs.{name}"),
        )

    def _env_overrides(self, name: str, entry: dict[str, Any]) -> tuple[str, ...]:
        """Return what is set; an entry with data that names no environment has that of the data."""
        data, given = self._text(entry, "data", f"envs.{name}"), self._settings(entry.get("set", []), f"envs.{name}")
        named = any(text.startswith(("env=", "experiment=")) for text in given)
        if data is None or named or find_yaml("env", name, self.extra_dir) is not None:
            return self._overrides("env", name, entry)
        folders = [config_dir()] if self.extra_dir is None else [self.extra_dir, config_dir()]
        try:
            return (*env_overrides(Path(data), folders), *given)
        except UserError as error:
            raise self._error(f"envs.{name}", str(error)) from error

    def _method(self, name: str, value: Any) -> MethodEntry:
        entry = self._entry("methods", name, value, ("set", "labels", "about"))
        overrides = self._overrides("method", name, entry)
        method = self._class_of(overrides)
        labels = entry.get("labels", method.reads_labels)
        if not isinstance(labels, bool):
            raise self._error(f"methods.{name}.labels", f"{labels!r}: expected true or false")
        if method.needs_data and (of_task := of_env(overrides)):
            raise self._error(
                f"methods.{name}", f"{of_task[0]}: its data are made without that; set it in envs or common"
            )
        about = self._text(entry, "about", f"methods.{name}")
        return MethodEntry(name, overrides, labels, not method.agents, method.needs_data, about)

    def _class_of(self, overrides: Sequence[str]) -> type[Method]:
        """Return the class of the method that these choose, directly or by an experiment."""
        chosen = [text for text in overrides if text.startswith(("method=", "experiment="))]
        node = compose_any(chosen, None if self.extra_dir is None else str(self.extra_dir)).method
        method: type[Method] = maker_of(node, "method").target
        return method

    def _teacher(self, name: str, value: Any) -> tuple[str, ...]:
        entry = self._entry("teachers", name, value, ("set", "about"))
        self._text(entry, "about", f"teachers.{name}")
        if name == OWN_TEACHER and entry.get("set"):
            raise self._error(f"teachers.{name}", "is each method's own and takes no settings; choose another name")
        if name == OWN_TEACHER or entry.get("set") == []:
            return ()  # each method's own, under a name for all of them
        return self._overrides("teacher", name, entry)

    def _overrides(self, group: str, name: str, entry: dict[str, Any]) -> tuple[str, ...]:
        """Return what is set; an entry that names no YAML of its group is the YAML of its own name."""
        given = self._settings(entry.get("set", []), f"{group}s.{name}")
        if any(text.startswith((f"{group}=", "experiment=")) for text in given):
            return given
        if find_yaml(group, name, self.extra_dir) is None:
            close = difflib.get_close_matches(name, options(group), n=3, cutoff=0.5) or options(group)
            raise self._error(f"{group}s.{name}", f"is no {group} and sets no {group}=; such are {', '.join(close)}")
        return (f"{group}={name}", *given)

    def _entry(self, section: str, name: str, value: Any, valid: Sequence[str]) -> dict[str, Any]:
        if not re.fullmatch(r"[\w.+-]+", str(name)):
            raise self._error(section, f"{name!r}: names are of letters, digits and any of _ . + -")
        if value is None:
            return {}
        return {"set": value} if isinstance(value, list) else self._mapping(value, f"{section}.{name}", valid)

    def _entries(self, section: str, optional: bool = False) -> dict[str, Any]:
        """A mapping of entries, or a plain list of names."""
        value = self.tree.get(section, {} if optional else None)
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return dict.fromkeys(value)
        if not isinstance(value, dict) or not (value or optional):
            raise self._error(section, "expected names, or a mapping of names to overrides such as [steps=1000]")
        return {str(k): v for k, v in value.items()}

    def _chosen(self, block: dict[str, Any], section: str, known: dict[str, Any], where: str) -> list[str]:
        names = list(self._words(block.get(section, list(known)), f"{where}.{section}"))
        for name in names:
            if name not in known:
                raise self._error(f"{where}.{section}", f"{name!r} is not among the {section}: {', '.join(known)}")
        return names

    def _check_high(self, env: EnvEntry) -> None:
        if env.high not in self.methods and env.high != "true_reward":
            raise self._error(f"envs.{env.name}.high", f"{env.high!r} is not among the methods")

    def _seeds(self, value: Any) -> tuple[int, ...]:
        """A list, or how many."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return tuple(range(value))
        seeds = self._numbers(value, "seeds", 0)
        if not seeds:
            raise self._error("seeds", "expected at least one")
        return tuple(seeds)

    def _published(self, value: Any) -> Iterable[Published]:
        need = ("env", "method", "value", "measure", "source")
        more = dict.fromkeys(("labels", "steps", "low", "high")) | dict.fromkeys(("sure", *CIRCUMSTANCES), "")
        if not isinstance(value, list):
            raise self._error("published", f"expected a list of mappings with {', '.join(need)}")
        for number, row in enumerate(value):
            row = self._mapping(row, f"published[{number}]", (*need, *more))
            if missing := [key for key in need if key not in row]:
                raise self._error(f"published[{number}]", f"lacks {missing[0]}")
            yield read_published(f"{self.path}, published[{number}]", more | row)

    def _numbers(self, value: Any, where: str, low: int) -> list[int]:
        whole = isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
        if not whole or any(n < low for n in value) or len(set(value)) < len(value):
            raise self._error(where, f"{value!r}: expected different whole numbers of at least {low}, as a list")
        return value

    def _text(self, entry: dict[str, Any], key: str, where: str) -> str | None:
        if not isinstance(text := entry.get(key), str | None):
            raise self._error(where, f"{key} is {text!r}: expected a text")
        return text

    def _settings(self, value: Any, where: str) -> tuple[str, ...]:
        """Words for `pbrl train`, without what the bench gives it itself."""
        words = self._words(value, where)
        for word in words:
            if own := OF_THE_BENCH.get(word.lstrip("+").partition("=")[0]):
                raise self._error(where, f"{word}: {own}")
        return words

    def _words(self, value: Any, where: str) -> tuple[str, ...]:
        """A list; lists in it, such as a YAML anchor stands for, are read as their words."""
        if not isinstance(value, list) or not all(isinstance(text, str | list) for text in value):
            raise self._error(where, f"{value!r}: expected a list of words, such as [steps=1000, report=false]")
        return tuple(word for text in value for word in ([text] if isinstance(text, str) else self._words(text, where)))

    def _mapping(self, value: Any, where: str, valid: Sequence[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(where, f"expected a mapping with any of {', '.join(valid)}")
        for key in value:
            if key not in valid:
                raise self._error(where, f"unknown key {key!r}: {choices(key, valid)}")
        return value

    def _error(self, where: str, what: str) -> UserError:
        return UserError(f"{self.path}, {where}: {what}")


def _last(*overrides: str) -> tuple[str, ...]:
    """Keep the later of two values of a key."""
    return tuple({text.split("=", 1)[0]: text for text in overrides}.values())
