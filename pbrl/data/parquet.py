"""Reading and writing parquet tables, a few rows in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pbrl.errors import UserError, choices
from pbrl.install import install_extra
from pbrl.reading import reading, require_memory

ROWS = 8192  # of a batch


def pyarrow(path: Path) -> ModuleType:
    """Import pyarrow with its parquet module."""
    try:
        import pyarrow
        import pyarrow.parquet

        return pyarrow
    except ImportError as error:
        how = install_extra("data")
        raise UserError(f"{path} needs the package pyarrow ({error}); install it with: {how}") from error


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Batches of at most `ROWS` rows with these columns (all if None), as pyarrow's RecordBatch."""
    arrow = pyarrow(path)
    with reading(path, "a parquet file"), arrow.parquet.ParquetFile(path) as file:
        there = file.schema_arrow.names
        for name in columns or ():
            if name not in there:
                raise UserError(f"{path} has no column {name}; {choices(name, there)}")
        for group in range(file.metadata.num_row_groups):
            require_memory(2 * file.metadata.row_group(group).total_byte_size, path)
        yield from file.iter_batches(batch_size=ROWS, columns=None if columns is None else list(columns))


def column_names(path: Path) -> list[str]:
    arrow = pyarrow(path)
    with reading(path, "a parquet file"):
        return list(arrow.parquet.read_schema(path).names)


def to_numpy(column: Any, where: str) -> np.ndarray:
    """A column of numbers (L,), or of lists of as many numbers each (L, n, ...)."""
    import pyarrow as pa

    if column.null_count:
        raise UserError(f"{where} has {column.null_count} empty values, expected a number in each row")
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = column.flatten()
        if len(column) and len(inner) % len(column):
            raise UserError(f"{where} has lists of different lengths, expected one length")
        if not pa.types.is_fixed_size_list(kind) and len(np.unique(np.diff(column.offsets.to_numpy()))) > 1:
            raise UserError(f"{where} has lists of different lengths, expected one length")
        values = to_numpy(inner, where)
        return values.reshape(len(column), len(inner) // max(len(column), 1), *values.shape[1:])
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise UserError(f"{where} is of {kind}, expected numbers")
    return np.asarray(column.to_numpy(zero_copy_only=False))
