"""Boards of the delivery domain as small JSON files, those that come with the package among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pbrl.errors import UserError, choices
from pbrl.reading import read_json
from pbrl.tabular.grid_world import BRICK, Cell, GridWorld, delivery_world

FOLDER = Path(__file__).with_name("boards")
KEYS = ("name", "rows")
CODES = ", ".join(f"{cell.value} {cell.name.lower().replace('_', ' ')}" for cell in Cell) + f", +{BRICK} on brick"


def board_names() -> list[str]:
    """The boards that come with the package, for `load_board(name)`."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_board(path: str | Path) -> GridWorld:
    """The world of a JSON file, or of one of `board_names()`; its weights are those of the delivery domain.

    The file holds rows of codes, 0 road, 1 goal, 2 house, 3 sheep, 4 coin, 5 road block, each +6 on brick, alone or as
    {"name": ..., "rows": [...]}. UserError: no such board, or a malformed one: what, where, and what would be valid.
    """
    file = FOLDER / f"{path}.json" if str(path) in board_names() else Path(path)
    try:
        content = read_json(file)
    except UserError as error:
        raise UserError(f"board {error}; {choices(path, board_names(), also='a JSON file')}") from None
    name, rows = _name_and_rows(content, file)
    return delivery_world(_codes(rows, path), name=name)


def _name_and_rows(content: Any, file: Path) -> tuple[str, Any]:
    if isinstance(content, list):
        return file.stem, content
    if not isinstance(content, dict) or "rows" not in content:
        raise UserError(f'board {file} holds no rows; valid is [[0, 4, 1], ...] or {{"name": ..., "rows": [...]}}')
    for key in content:
        if key not in KEYS:
            raise UserError(f"board {file}: unknown key {key!r}, {choices(key, KEYS)}")
    name = content.get("name", file.stem)
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"board {file}: name is {name!r}, expected text")
    return name, content["rows"]


def _codes(rows: Any, where: str | Path) -> np.ndarray:
    if not isinstance(rows, list) or not rows:
        raise UserError(f"board {where}: rows is {rows!r}, expected a list of at least one row of codes")
    for r, row in enumerate(rows):
        if not isinstance(row, list) or not row:
            raise UserError(f"board {where}: row {r} is {row!r}, expected a list of at least one code")
        if len(row) != len(rows[0]):
            raise UserError(f"board {where}: row {r} has {len(row)} cells, expected {len(rows[0])} as in row 0")
        for c, code in enumerate(row):
            if type(code) not in (int, float) or code not in range(2 * BRICK):  # published ones have 1.0; true is none
                raise UserError(f"board {where}: row {r}, column {c} is {code!r}, expected {CODES}")
    return np.array(rows, int)
