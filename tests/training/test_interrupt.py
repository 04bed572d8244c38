"""SIGTERM and SIGHUP end what runs as Ctrl-C does; only a second Ctrl-C loses something, and says what."""

import errno
import io
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from outcome import assert_same
from tiny import TINY, collect, offline, train

from pbrl.cli import main
from pbrl.data.recorder import EpisodeRecorder
from pbrl.methods.offline import OfflineMethod
from pbrl.training.interrupt import StopOnInterrupt

pytestmark = pytest.mark.usefixtures("usual_signals")

PBRL = [sys.executable, "-m", "pbrl"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
ENDLESS = [*TINY["pebble"], "steps=100000", "evaluation.every=100000"]


@pytest.fixture
def at_call(monkeypatch):
    """`at_call(owner, name, n, *signals)`: the n-th call gets them, one after another."""

    def arm(owner, name, n, *numbers):
        original, count = getattr(owner, name), iter(range(1, 100_000))

        def signalled(*args, **kwargs):
            if next(count) == n:
                for number in numbers:
                    signal.raise_signal(number)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, signalled)

    return arm


def after_a_checkpoint(folder, command, *numbers, closed=False):
    """Exit code, stdout and stderr of a process that gets these signals once a run in the folder has a checkpoint."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any(folder.glob("**/checkpoints/last")):
        assert process.poll() is None
        time.sleep(0.05)
    for stream in (process.stdout, process.stderr) if closed else ():
        stream.close()
    for number in numbers:
        process.send_signal(number)
    out, err = ("", "") if closed else process.communicate(timeout=120)
    return process.wait(120), out, err


@pytest.mark.parametrize("number", CODES)
def test_a_run_saves_says_so_and_ends_with_the_code_of_the_signal(number, at_call, run, finished, tmp_path):
    folder = tmp_path / "run"
    at_call(EpisodeRecorder, "step", 137, number)
    code, out, err = train(folder)
    assert code == CODES[number]
    assert f"stopped at step 150; go on with: pbrl train resume={folder}\n" in out
    assert f"pbrl: {NAMES[number]}: saving a checkpoint at the end of this round, then ending" in err
    assert ("another Ctrl-C" in err) == (number == signal.SIGINT)  # schedulers have no keys
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
    assert run(["train", f"resume={folder}"]) == 0
    assert_same(finished(), folder)


def test_an_offline_run_saves_and_ends_too(at_call, tmp_path):
    folder, data = tmp_path / "run", collect(tmp_path / "data")
    at_call(OfflineMethod, "step", 9, signal.SIGTERM)
    code, out, _ = train(folder, *offline("bc", data), method=None)
    assert (code, "stopped at step 9; go on with" in out) == (143, True)
    assert (folder / "checkpoints" / "last").read_text() == "9\n"


def test_a_closed_terminal_sends_several_signals_and_all_is_saved(at_call, tmp_path):
    at_call(EpisodeRecorder, "step", 137, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)
    assert train(tmp_path / "run")[0] == 129
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_second_ctrl_c_ends_at_once_and_says_what_is_lost(at_call, tmp_path):
    at_call(EpisodeRecorder, "step", 137, signal.SIGINT, signal.SIGINT)
    code, _, err = train(tmp_path / "run")
    assert code == 130
    assert "another Ctrl-C ends it at once: what came after step 75 is lost\n" in err
    assert "pbrl: ended at once: what came after step 75 is lost\n" in err
    assert not (tmp_path / "run" / "summary.json").exists()


def test_output_that_nobody_reads_any_more_ends_nothing(tmp_path):
    command = [*PBRL, "train", *ENDLESS, f"run_dir={tmp_path / 'run'}"]
    assert after_a_checkpoint(tmp_path, command, signal.SIGHUP, closed=True)[0] == 129
    assert (tmp_path / "run" / "summary.json").exists()


class Unwritable(io.StringIO):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, _):
        raise OSError(self.number, "No space left on device")


@pytest.mark.parametrize(("number", "code"), [(errno.EPIPE, 0), (errno.ENOSPC, 1)])
def test_a_run_whose_output_cannot_be_written_is_trained_and_reported(number, code, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout", Unwritable(number))
    small = [*TINY["true_reward"], "steps=60", "report=true"]
    assert main(["train", *small, f"run_dir={tmp_path / 'run'}"]) == code
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    assert (tmp_path / "run" / "report.html").exists()
    said = capsys.readouterr().err
    assert ("pbrl: standard output: No space left on device\n" in said) == (number == errno.ENOSPC)


@pytest.mark.parametrize(("output", "code"), [("/dev/full", 1), ("&-", 0)])
def test_any_command_says_that_its_output_is_full_and_none_minds_that_it_is_closed(output, code):
    command = f"exec {sys.executable} -m pbrl --help > {output}".replace("> &", ">&")
    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (code, "pbrl: standard output: No space left on device\n" * code)


def test_a_job_in_the_background_goes_on_ignoring_a_ctrl_c(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopOnInterrupt(lambda: None) as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.stopping
            signal.raise_signal(signal.SIGTERM)
            assert stop.stopping
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_nohup_goes_on_ignoring_sighup(tmp_path):
    command = ["nohup", *PBRL, "train", *ENDLESS, f"run_dir={tmp_path / 'run'}"]
    code, out, _ = after_a_checkpoint(tmp_path, command, signal.SIGHUP, signal.SIGTERM)
    assert code == 143  # not 129: it had gone on
    assert "go on with" in out


@pytest.mark.parametrize("number", CODES)
def test_a_collection_is_cleared_away(number, at_call, tmp_path, capsys):
    import numpy as np

    at_call(np, "savez_compressed", 1, number)
    small = ["env=point_reach", "+env.make.max_episode_steps=30", "episodes=4", "segments=20", "segment_length=8"]
    few = ["comparisons=10", "heldout=2", "splits=0.5,0.25,0.25", "labels=return"]
    assert main(["collect", *small, *few, f"out={tmp_path / 'set'}"]) == CODES[number]
    assert capsys.readouterr().err.splitlines()[-1] == "pbrl: stopped"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_bench_saves_its_runs_and_says_so(tmp_path):
    import yaml

    out, small = tmp_path / "out", [a for a in ENDLESS if not a.startswith(("env=", "method="))]
    tree = {"seeds": 1, "envs": {"point": ["env=point_reach"]}, "methods": {"pebble": ["method=pebble", *small]}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree | {"budgets": [6]}))
    command = [*PBRL, "bench", f"grid={tmp_path / 'tiny.yaml'}", f"out={out}", "probe_s=0", "workers=1"]
    code, _, err = after_a_checkpoint(out, command, signal.SIGHUP, signal.SIGTERM)
    assert code == 129, err
    assert "pbrl: SIGHUP: the runs save and end, and nothing more is started" in err
    assert "0 of 1 cells finished; the same command goes on" in err
    (summary,) = out.glob("runs/**/summary.json")
    assert json.loads(summary.read_text())["status"] == "interrupted"


def test_a_log_has_a_line_at_each_evaluation(tmp_path):
    _, out, err = train(tmp_path / "run")
    line = r"^\d\d:\d\d:\d\d step (\d+) of 320 \(\d+%\), return -?[\d.]+, labels (\d+), (.*)$"
    lines = re.findall(line, out, re.M)
    assert [(int(step), int(labels)) for step, labels, _ in lines] == [(0, 0), (110, 0), (220, 12), (320, 24)]
    assert lines[0][2] == "time left unknown"
    assert re.fullmatch("about .* left", lines[1][2])
    assert "step 110" not in err  # which is for what goes wrong


def test_a_log_is_never_silent_for_long(monkeypatch, capsys):
    from pbrl.training import progress

    monkeypatch.setattr(progress, "SILENCE_S", 0.2)
    with progress.Progress(1000, lambda: progress.State(7, None, 3)):
        time.sleep(0.5)  # a fit, people, an evaluation: whatever it is busy with
    out = capsys.readouterr().out
    assert re.match(r"\d\d:\d\d:\d\d step 7 of 1000 \(1%\), labels 3, time left unknown\n", out)
