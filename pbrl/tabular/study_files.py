"""The files of a study: NAME.csv with a row for each fit and NAME.json with what was asked; beside them the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy

import pbrl
from pbrl.errors import UserError
from pbrl.files import replacing, sync
from pbrl.reading import read_object, read_text
from pbrl.tabular.study import COLUMNS, Row, StudySettings, to_csv

SUFFIXES = (".csv", ".json", ".md", ".png")


class StudyFiles:
    """Rows are appended world by world; what a killed study left of a world is taken back when it goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, settings: StudySettings, command: str) -> None:
        versions = {"pbrl": pbrl.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
        content = {"command": command, "settings": asdict(settings), "versions": versions}
        with replacing(self.path.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n")
        self.write([])

    def read_settings(self) -> tuple[StudySettings, str]:
        """Return what was asked for, and the command that asked. UserError: not a study."""
        file = self.path.with_suffix(".json")
        if not file.exists():
            raise UserError(f"{file} is missing; valid is the NAME.csv of a study that was stopped")
        content = read_object(file)
        try:
            chosen: dict[str, Any] = content["settings"]
            chosen |= {name: tuple(chosen[name]) for name in ("sizes", "labels")}
            return StudySettings(**chosen), content["command"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{file} does not hold the settings of a study") from None

    def read_rows(self, settings: StudySettings) -> list[Row]:
        """The rows of the worlds that are finished."""
        if not self.path.exists():
            raise UserError(f"{self.path} is missing; valid is the CSV of a study that was stopped")
        lines = read_text(self.path).splitlines(keepends=True)
        if not lines or lines[0].strip() != ",".join(COLUMNS):
            raise UserError(f"{self.path} is not the CSV of a study: its first line is not {','.join(COLUMNS)}")
        rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))  # the last may be cut off
        finished = len(rows) // settings.rows_per_mdp
        rows = rows[: finished * settings.rows_per_mdp]
        if [row["mdp"] for row in rows] != [str(i // settings.rows_per_mdp) for i in range(len(rows))]:
            raise UserError(f"{self.path} has other rows than its .json asks for: worlds are cut or out of order")
        return rows

    def write(self, rows: Sequence[Row]) -> None:
        with replacing(self.path) as partial:
            partial.write_text(to_csv(rows, header=True))

    def append(self, rows: Sequence[Row]) -> None:
        with self.path.open("a") as file:
            file.write(to_csv(rows, header=False))
        sync(self.path)
