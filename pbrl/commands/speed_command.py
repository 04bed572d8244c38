"""`pbrl speed`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import new_file, whole_number
from pbrl.errors import UserError, choices

if TYPE_CHECKING:
    from pbrl.speed.parts import Row

HELP = """usage: pbrl speed [parts=update,loop] [repeats=5] [seconds=1] [loop_steps=4000] [out=FILE]

Measures this machine in one go: what it can multiply and add at most, SAC updates and whole runs beside plain
Stable-Baselines3, reward fits, relabelling, acting, simulation, and what share of that most each of them uses. Ours and
the other alternate, so that a ratio holds also where other work disturbs both. One thread is timed by the CPU time it
takes, several by the clock. Each figure is a median with its range.

  parts=       of limit, update, act, reward, relabel, env, loop (default: all, which takes about half an hour)
  repeats=     turns of each
  seconds=     about how long one turn lasts
  loop_steps=  environment steps of each whole run, at least 4000
  out=FILE     where the figures go as JSON (default: speed.json, speed_2.json, ...; nothing is overwritten)

example: pbrl speed parts=limit,update repeats=3"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(("parts", "repeats", "seconds", "loop_steps", "out"))
    if parsed.words:
        raise UserError(f"unknown word {parsed.words[0]!r}; {HELP.splitlines()[0]}")
    repeats = whole_number(parsed, "repeats", 5, 1)
    loop_steps = whole_number(parsed, "loop_steps", LOOP_STEPS, LOOP_STEPS)
    seconds = _seconds(parsed.values.get("seconds", "1"))
    out = new_file(parsed, "out", Path("speed.json"))

    from pbrl.nets.precision import choose_float32_products
    from pbrl.speed.parts import PARTS, Effort, cores

    chosen = parsed.values.get("parts", ",".join(PARTS)).split(",")
    for part in chosen:
        if part not in PARTS:
            raise UserError(f"parts={part}: {choices(part, PARTS)}")
    effort = Effort(repeats, seconds, loop_steps, threads=(1, 2) if cores() > 1 else (1,))
    rows: list[Row] = []
    command = shlex.join(["pbrl", "speed", *args])
    print(f"float32 products: computed {choose_float32_products()}\n")
    print(" | ".join(HEADER), " | ".join(["---"] * len(HEADER)), sep="\n")  # a Markdown table
    for part in chosen:
        for row in PARTS[part](effort):
            rows.append(row)
            print(" | ".join(cells(row)), flush=True)
        write(out, command, effort, rows)  # whoever stops here keeps what was measured
    print(f"\npeak memory {peak_rss() / 2**20:.0f} MiB; written to {out}")
    return 0


LOOP_STEPS = 4000  # four episodes of walker-walk: shorter runs would have no finished one to ask about in time
HEADER = ("part", "setting", "threads", "ours", "other", "times faster", "floor", "share of the limit")


def cells(row: Row) -> list[str]:
    """The cells of one line; an empty one where there is nothing to compare with."""
    from pbrl.speed.timing import speed_up

    other = faster = floor = share = ""
    if row.other is not None:
        other = f"{_figure(row, row.other.median)} ({row.other_name})"
        faster = "{:.2f} ({:.2f} to {:.2f})".format(*speed_up(row.ours, row.other))
    if row.floor_s is not None:
        floor, share = _figure(row, row.floor_s), f"{row.floor_s / row.ours.median:.0%}"
    low, high = sorted((_amount(row, row.ours.low), _amount(row, row.ours.high)))
    ours = f"{_figure(row, row.ours.median)} ({low:.4g} to {high:.4g})"
    return [row.part, row.setting, str(row.threads), ours, other, faster, floor, share]


def write(out: Path, command: str, effort: Any, rows: list[Row]) -> None:
    from dataclasses import asdict

    from pbrl.files import write_json
    from pbrl.native.binding import load
    from pbrl.nets.precision import choose_float32_products, has_bfloat16_hardware
    from pbrl.training.run_dir import versions

    kernel = load()[0]
    machine = versions(max(effort.threads)) | {
        "bfloat16": has_bfloat16_hardware(),
        "float32_products": choose_float32_products(),
        "sac_kernel": None if kernel is None else kernel.kind,
    }
    measured = [asdict(row) for row in rows]  # the seconds of each repeat: whoever doubts a median can make their own
    write_json(out, {"command": command, "machine": machine, "peak_rss_bytes": peak_rss(), "rows": measured})


def peak_rss() -> int:
    """Return how many bytes of memory this process held at most."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _amount(row: Row, seconds: float) -> float:
    return seconds * 1000 if row.unit == "ms" else 1 / seconds


def _figure(row: Row, seconds: float) -> str:
    return f"{_amount(row, seconds):.4g} {row.unit}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise UserError(f"seconds={text}: expected a number above 0 and up to 600")
    return seconds
