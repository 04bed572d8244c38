"""Ways in which a file can be wrong, by name: functions that change one in place."""

import io
import json
import os
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np


def no_file(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def link_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


def written(content: str | bytes):
    def change(path: Path) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


ANY = {f.__name__: f for f in (no_file, folder, fifo, device, link_loop, link_to_nothing, empty, half, noise)}
TEXT = ANY | {
    "no_text": no_text,
    "nulls": written(b"\0" * 100),
    "a_byte_too_many": lambda p: p.write_bytes(p.read_bytes() + b"\xff"),
}
JSON = TEXT | {
    "brackets": written("[" * 100_000),
    "nested_objects": written('{"a":' * 100_000),
    "closed_brackets": written("[" * 100_000 + "]" * 100_000),
    "list": written("[]"),
    "null": written("null"),
    "number": written("1e999"),
    "huge_number": written('{"a": ' + "9" * 10_000 + "}"),
    "lone_surrogate": written('{"format": "\\ud800"}'),
    "empty_object": written("{}"),
    "nan": written("NaN"),
}
YAML = TEXT | {
    "brackets": written("[" * 100_000),
    "indents": written("".join(" " * i + "a:\n" for i in range(1500))),
    "aliases": written("a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))),
    "loop": written("a: &a [*a]\n"),
    "words": written("just words"),
    "list": written("- 1"),
    "number": written("5"),
    "tag": written("!!python/object/apply:os.system [exit]"),
    "documents": written("a: 1\n---\nb: 2\n"),
    "interpolation": written("a: ${b}\nb: ${a}\nsteps: ${a}\n"),
    "tab": written("a:\n\t- b"),
    "twice": written("steps: 1\nsteps: 2\n"),
}


def change_json(**entries):
    """The same object with other entries; `...` takes one out."""

    def change(path: Path) -> None:
        found = json.loads(path.read_text()) | entries
        path.write_text(json.dumps({k: v for k, v in found.items() if v is not ...}))

    return change


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, content: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content:
            archive.writestr(name, data)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def header(text: str, version: int = 1) -> bytes:
    """A header of NumPy's format with this text."""
    size = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + b"\n"


def shaped(shape: str, dtype: str = "<f4") -> bytes:
    return header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}")


def first_member(data: bytes):
    """The archive with these bytes in place of its first member."""

    def change(path: Path) -> None:
        zipped(path, list((members(path) | {next(iter(members(path))): data}).items()))

    return change


def one_more(name: str, data: bytes, method: int = zipfile.ZIP_STORED):
    def change(path: Path) -> None:
        zipped(path, [*members(path).items(), (name, data)], method)

    return change


def bomb(path: Path) -> None:
    """300 MiB of zeros in 300 kB, with a header that fits."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.npy", "w") as stream:
        stream.write(shaped(f"({300 << 20},)", "|u1"))
        for _ in range(300):
            stream.write(b"\0" * (1 << 20))


def twice(path: Path) -> None:
    content = list(members(path).items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about what is meant here
        zipped(path, [*content, content[0]])


def flipped(path: Path) -> None:
    """One byte in the middle of the first member's data."""
    data = bytearray(path.read_bytes())
    data[400] ^= 255
    path.write_bytes(bytes(data))


def lying(path: Path) -> None:
    """The directory of the archive says that the first member is larger than it is."""
    data = bytearray(path.read_bytes())
    place = data.find(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 1 << 31)
    path.write_bytes(bytes(data))


def encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + place] |= 1
    path.write_bytes(bytes(data))


ZIP = ANY | {"lying": lying, "twice": twice, "encrypted": encrypted}
NPZ = ZIP | {
    "flipped": flipped,
    "no_array": one_more("notes.txt", b"hello"),
    "empty_member": one_more("notes.npy", b""),
    "objects": first_member(npy(np.array([{}], object))),
    "text": first_member(npy(np.array(["a"]))),
    "structured": first_member(npy(np.zeros(3, [("a", "f4")]))),
    "big_endian": first_member(npy(np.zeros(3, ">f4"))),
    "complex": first_member(npy(np.zeros(3, "c8"))),
    "long_double": first_member(npy(np.zeros(3, "g"))),
    "dates": first_member(npy(np.zeros(3, "M8[s]"))),
    "none_of_it": first_member(npy(np.zeros(()))),
    "no_rows": first_member(npy(np.zeros((0, 3), "f4"))),
    "many_dimensions": first_member(npy(np.zeros((1,) * 20, "f4"))),
    "rows_claimed": first_member(shaped("(1000000000000, 3)") + b"\0" * 12),
    "overflow_claimed": first_member(shaped(f"({1 << 62}, {1 << 62})")),
    "nothing_of_much": first_member(shaped(f"(0, {1 << 80})")),
    "negative_claimed": first_member(shaped("(-1, -3)") + b"\0" * 12),
    "wide_claimed": first_member(shaped("(3,)", f"|S{1 << 30}")),
    "brackets_in_header": first_member(header("(" * 9000)),
    "code_in_header": first_member(header("__import__('os').getcwd()")),
    "header_too_long": first_member(header(" " * 60000)),
    "newer_format": first_member(b"\x93NUMPY\x09\x00" + b"\0" * 100),
    "header_cut": first_member(b"\x93NUMPY\x01\x00\xff\xff{"),
    "one_array_alone": lambda p: p.write_bytes(npy(np.zeros(3))),
    "no_members": lambda p: zipped(p, []),
    "name_of_control_characters": one_more("a\nb\x1b[1m.npy", b"no"),
}
EMPTY = {name: NPZ[name] for name in ("none_of_it", "no_rows", "no_members", "objects")}
