"""Runs what a page tells its reader to type, cut short: `python scripts/readme_commands.py README.md`.

Lines of ```sh blocks that call pbrl or a script of scripts/ are run in order in one temporary folder, so a command can
use what an earlier one made; RUN_DIR stands for the latest run. Other lines are only named, other blocks not read.
Ends with exit code 1 at the first command that fails, and if there is none to run.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 900.0
BLOCK = re.compile(r"^[ \t]*```sh\b[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)

# A run is long enough for an episode of 1000 steps, a feedback session and some updates with the learned reward.
TRAIN = (
    "steps=1300",
    "log_every=500",
    "feedback.first=1000",
    "feedback.every=1000",
    "feedback.budget=10",
    "feedback.per_session=10",
    "evaluation.every=1300",
    "evaluation.episodes=1",
)
OFFLINE = ("steps=200", "feedback.budget=10", "evaluation.episodes=1", "report=false")  # `pbrl train` with data=
SHORT: dict[str, Sequence[str]] = {
    "train": (*TRAIN, "report=false"),  # the demo makes one
    "demo": TRAIN,
    "eval": ("episodes=1",),
    "collect": ("episodes=10", "segments=100", "comparisons=20", "heldout=5"),
    "bench": ("probe_s=1",),  # smoke, as it is
    "tune": (*TRAIN, "trials=1", "seeds=100"),
    "tabular": ("mdps=2", "sizes=3,10", "iterations=20"),
    "speed": ("parts=act,env,reward", "repeats=1", "seconds=0.02"),
    "scripts/run.sh": TRAIN,
    "scripts/test.sh": ("--collect-only",),
}


class Command(NamedTuple):
    line: str  # as the page has it
    environment: dict[str, str]
    program: list[str]
    name: str  # the verb of pbrl, or the script
    arguments: list[str]


def main(pages: Sequence[str]) -> int:
    for page in pages or [str(ROOT / "README.md")]:
        found = [read_command(line) for line in lines(Path(page).read_text())]
        if not any(isinstance(item, Command) for item in found):
            print(f"{page}: no ```sh block has a command to run")
            return 1
        with tempfile.TemporaryDirectory(prefix="pbrl_readme_") as folder:
            for item in found:
                if isinstance(item, str):
                    print(f"not run: {item}", flush=True)
                elif not run(item, Path(folder)):
                    return 1
    return 0


def lines(page: str) -> Iterator[str]:
    """Yield the commands of a page, lines that end with a backslash joined."""
    for block in BLOCK.findall(page):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            text = line.strip().removeprefix("$ ")
            if text and not text.startswith("#"):
                yield text


def read_command(line: str) -> Command | str:
    """Return what to run, or the line itself if it is not ours to run."""
    words = shlex.split(line, comments=True)
    environment = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if words[:3] == ["python", "-m", "pbrl"]:
        words = words[2:]
    if words[:1] == ["bash"]:
        words = words[1:]
    if not words or not (words[0] == "pbrl" or words[0].removeprefix("./").startswith("scripts/")):
        return line
    if any(set(word) & set("|;&<>$`") for word in words):
        raise SystemExit(f"{line}: more than one plain command; write it simpler or put it into a ```text block")
    if words[0] == "pbrl":
        program, (name, *arguments) = [sys.executable, "-m", "pbrl"], words[1:] or ["--help"]
        return Command(line, environment, [*program, name], name, arguments)
    script = words[0].removeprefix("./")
    interpreter = sys.executable if script.endswith(".py") else "bash"
    return Command(line, environment, [interpreter, str(ROOT / script)], script, words[1:])


def shorten(command: Command) -> list[str]:
    """Return its arguments, with the settings that make it quick instead of those of the same key."""
    if any(word.startswith("resume=") or (word.startswith("-") and word != "--human") for word in command.arguments):
        return command.arguments
    offline = command.name == "train" and any(word.startswith("data=") for word in command.arguments)
    short = OFFLINE if offline else SHORT.get(command.name, ())
    keys = {word.split("=")[0] for word in short}
    return [word for word in command.arguments if word.split("=")[0] not in keys] + list(short)


def run(command: Command, folder: Path) -> bool:
    arguments = [word.replace("RUN_DIR", latest_run(folder)) for word in shorten(command)]
    for word in arguments:
        if word.startswith("resume="):
            # A short run is over before anybody could stop it; without its summary it counts as cut off at the end.
            (folder / word.removeprefix("resume=") / "summary.json").unlink(missing_ok=True)
    print(f"run: {command.line}\n     {shlex.join([command.name, *arguments])}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        try:
            process = subprocess.Popen(
                [*command.program, *arguments],
                cwd=folder,
                env=os.environ | command.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            if command.name == "label":
                stop_when_open(process, output.fileno())
            if (code := process.wait(TIMEOUT_S)) != 0:
                raise subprocess.CalledProcessError(code, command.line)
        except subprocess.SubprocessError as error:
            output.seek(0)
            print(f"{output.read()}\nfailed: {command.line}\n{error}", flush=True)
            return False
    print(f"     {time.monotonic() - started:.1f} s", flush=True)
    return True


def stop_when_open(process: subprocess.Popen, output: int) -> None:
    """Stop the viewer, which runs until Ctrl-C, when it has said its address."""
    end = time.monotonic() + TIMEOUT_S
    while process.poll() is None and b"label at:" not in os.pread(output, 10_000, 0):
        if time.monotonic() > end:
            process.kill()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)


def latest_run(folder: Path) -> str:
    configs = sorted(folder.glob("**/config.yaml"), key=lambda path: path.stat().st_mtime)
    return str(configs[-1].parent.relative_to(folder)) if configs else "RUN_DIR"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
