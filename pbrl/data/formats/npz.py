"""The names in an npz file, found without reading the arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

from pbrl.errors import UserError
from pbrl.reading import require_file


def npz_names(path: Path) -> set[str]:
    """Return the names of the arrays in an npz file; none for anything else."""
    if path.suffix.lower() != ".npz":
        return set()
    try:
        require_file(path)
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (UserError, OSError, zipfile.BadZipFile):
        return set()
