"""`pbrl label` and what goes wrong with it; the viewer beside a training is started as a user starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from tiny import TINY

from pbrl.cli import main
from pbrl.labels.store import LabelStore
from pbrl.viewer.client import ViewerClient

PBRL = [sys.executable, "-m", "pbrl"]
HUMAN = ["teacher=human", "teacher.mode=block", "feedback.budget=12", "viewer.open_browser=false"]


def fails(capsys, *args):
    assert main(list(args)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)
    return found


def address(folder):
    try:
        return json.loads((folder / "viewer.json").read_text())
    except (OSError, ValueError):
        return None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], r"expected run=RUN_DIR"),
        (["run=nowhere"], r"nowhere is not a run directory"),
        (["RUN", "colour=red"], r"unknown key 'colour': valid are run, start"),
        (["RUN", "port=99999"], r"viewer.port=99999: expected a whole number from 0 to 65535"),
        (["RUN", "port=x"], r"viewer.port=x: expected a whole number"),
        (["RUN", "host=0.0.0.0"], r"viewer.host=0.0.0.0 lets other machines in; valid are 127.0.0.1"),
        (["RUN", "tls=cert.pem"], r"viewer.tls=cert.pem: expected two files, as cert.pem,key.pem"),
        (["RUN", "tls=cert.pem,key.pem"], r"viewer.tls=.*: cert.pem is no file"),
        (["RUN", "people=P01,p01"], r"viewer.people names 'P01' and 'p01', which count as one"),
        (["RUN", "people=P01,a:b"], r"annotator: expected a name of 1 to 60 characters without a colon"),
        (["RUN", "people=P01", "renew=P02"], r"renew=P02: valid are all, P01"),
        (["RUN", "width=33"], r"viewer.width=33: expected an even number"),
        (["RUN", "question="], r"viewer.question"),
        (["RUN", "slight=0.2"], r"viewer.slight=0.2; valid is above 0.5"),
        (["RUN", "slight=abc"], r"viewer.slight=abc: expected a number"),
        (["RUN", "max_fps=abc"], r"viewer.max_fps=abc: expected a number"),
        (["RUN", "hold_s=.inf"], r"viewer.hold_s=inf: expected a number"),
        (["RUN", "lease_s=.nan"], r"viewer.lease_s=nan: expected a number"),
        (["RUN", "ahead=[a"], r"viewer.ahead=\[a cannot be read"),
    ],
)
def test_a_mistake_is_one_line(capsys, finished_run, args, message):
    args = [f"run={finished_run}" if a == "RUN" else a for a in args]
    assert re.search(message, fails(capsys, "label", *args))


def test_a_store_that_is_none_is_said_before_any_address(capsys, tmp_path, finished_run):
    (tmp_path / "config.yaml").write_text((finished_run / "config.yaml").read_text())
    (tmp_path / "labels.sqlite").write_text("no database" * 100)
    assert "labels.sqlite" in fails(capsys, "label", f"run={tmp_path}")


def test_a_run_that_asked_nothing_has_nothing_to_label(capsys, tmp_path, finished_run):
    for name in ("config.yaml", "summary.json"):
        (tmp_path / name).write_text((finished_run / name).read_text())
    assert "has no questions" in fails(capsys, "label", f"run={tmp_path}")
    assert not (tmp_path / "labels.sqlite").exists()


def test_that_clips_can_be_drawn_is_tried_before_training_begins(tmp_path):
    command = [*PBRL, "train", *TINY["pebble"], *HUMAN, f"run_dir={tmp_path / 'run'}"]
    blind = dict(os.environ) | {"MUJOCO_GL": "off"}
    run = subprocess.run(command, capture_output=True, text=True, env=blind, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert run.stderr.startswith("pbrl: nobody could answer: clips cannot be drawn")
    assert not (tmp_path / "run").exists()


def test_a_view_that_is_not_there_is_said_before_training_begins(tmp_path):
    command = [*PBRL, "train", *TINY["pebble"], *HUMAN, "viewer.camera=side", f"run_dir={tmp_path / 'run'}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "viewer.camera=side: valid are default" in run.stderr
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_said(capsys, finished_run):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"viewer.port={port} on 127.0.0.1: " in fails(capsys, "label", f"run={finished_run}", f"port={port}")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label") / "run"
    assert main(["train", *TINY["pebble"], f"run_dir={folder}", "feedback.budget=6"]) == 0
    return folder


def label_all(client, folder, patience_s=60.0):
    """Answers what comes until the run is over."""
    until = time.monotonic() + patience_s
    while not (folder / "summary.json").exists():
        assert time.monotonic() < until
        try:
            for pair in client.next(3):
                client.answer(pair, "right")
        except OSError:  # the viewer ends with the training
            time.sleep(0.1)


def test_training_opens_a_viewer_and_learns_what_is_answered_there(tmp_path):
    folder = tmp_path / "run"
    command = [*PBRL, "train", *TINY["pebble"], *HUMAN, f"run_dir={folder}"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    known = wait_for(lambda: address(folder))
    assert oct((folder / "viewer.json").stat().st_mode)[-3:] == "600"  # the token lets one answer
    client = ViewerClient(known["url"], "ann")
    wait_for(lambda: _enters(client))
    assert wait_for(lambda: client.status()["trainer"] == "waiting" and client.status())["can_continue"]
    label_all(client, folder)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert f"label at: {known['url']}" in out
    assert out.count("label at:") == 1
    with LabelStore(folder, create=False) as store:
        kinds = {a.kind for a in store.standing_answers()}
        assert len(store.standing_answers()) == 12
    assert kinds == {"human"}
    assert not _runs(known["pid"])  # it ended with the training


@pytest.mark.usefixtures("usual_signals")
def test_a_viewer_that_was_killed_comes_back_at_the_same_address(finished_run):
    """So that the pages that are open go on; answers to a finished run are kept as well."""
    command = [*PBRL, "label", f"run={finished_run}", "open_browser=false"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = first.stdout.readline().removeprefix("label at: ").strip()
    client = ViewerClient(url, "ann")
    wait_for(lambda: _enters(client))
    pairs = wait_for(lambda: client.next(1))
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert second.stdout.readline().removeprefix("label at: ").strip() == url
    client.answer(pairs[0], "left", patience_s=30)  # with the cookie it has
    third = subprocess.run([*command], capture_output=True, text=True, timeout=60)
    assert (third.returncode, third.stdout.strip()) == (0, f"label at: {url} (open already)")
    third = subprocess.run([*command, "width=64"], capture_output=True, text=True, timeout=60)
    assert third.returncode == 2
    assert "is open at" in third.stderr
    second.send_signal(signal.SIGHUP)  # the terminal was closed
    assert second.wait(20) == 129
    with LabelStore(finished_run, create=False) as store:
        assert [a.annotator for a in store.standing_answers() if a.kind == "human"] == ["ann"]


@pytest.mark.usefixtures("usual_signals")
def test_ctrl_c_ends_it_well_as_soon_as_the_address_is_printed(finished_run):
    command = [*PBRL, "label", f"run={finished_run}", "open_browser=false"]
    viewer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert viewer.stdout.readline().startswith("label at: ")
    viewer.send_signal(signal.SIGINT)
    assert viewer.wait(60) == 0
    assert viewer.communicate()[1].endswith("all answers are stored\n")


@pytest.fixture
def opened(finished_run):
    """Runs `pbrl label` on a copy of a finished run; returns what it has printed once it is open."""
    running = []

    def run(folder, *words):
        shutil.copytree(finished_run, folder)
        (folder / "viewer.json").unlink(missing_ok=True)
        command = [*PBRL, "label", f"run={folder}", "open_browser=false", *words]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return running[-1].stdout

    yield run
    for process in running:
        process.terminate()
        process.wait(30)


def test_addresses_for_other_machines_work_and_say_that_they_can_be_read(tmp_path, opened):
    out = opened(tmp_path / "run", "host=0.0.0.0", "allow_remote=true")
    lines = []
    while not (lines and lines[-1].startswith("warning: http is not encrypted")):
        lines.append(out.readline())
    urls = [line.split()[2] for line in lines[0:1]] + [line.split()[1] for line in lines[1:-1]]
    assert urls
    assert lines[-2].endswith("(on this machine)\n")
    for url in urls:
        client = ViewerClient(url, "ann")
        wait_for(lambda client=client: _enters(client))


def test_https_is_printed_and_found_again(tmp_path, opened):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    folder = tmp_path / "run"
    out = opened(folder, f"tls={cert},{key}")
    url = out.readline().removeprefix("label at: ").strip()
    assert url.startswith("https://127.0.0.1:")
    client = ViewerClient(url, "ann", cert)
    wait_for(lambda: _enters(client))
    again = subprocess.run([*PBRL, "label", f"run={folder}"], capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stdout) == (0, f"label at: {url} (open already)\n")


def test_each_person_has_a_link_until_it_is_renewed(tmp_path, finished_run):
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    (folder / "labels.sqlite").chmod(0o644)  # as a copy of a run may have it

    def links(*words):
        command = [*PBRL, "label", f"run={folder}", "open_browser=false", "people=P01,P02", *words]
        viewer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert viewer.stdout.readline().startswith("label at: http")
            found = dict(viewer.stdout.readline().strip().split(": ", 1) for _ in range(2))
            for name, url in found.items():
                client = ViewerClient(url, name)
                wait_for(lambda client=client: _enters(client))
            return found
        finally:
            viewer.terminate()
            viewer.wait(30)

    first = links()
    assert list(first) == ["P01", "P02"]
    assert links() == first
    second = links("renew=P02")
    assert (second["P01"] == first["P01"], second["P02"] == first["P02"]) == (True, False)
    assert set(links("renew=all").values()) & set(second.values()) == set()
    assert oct((folder / "labels.sqlite").stat().st_mode)[-3:] == "600"


def _enters(client):
    try:
        client.enter()
    except OSError:
        return False
    return True


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
