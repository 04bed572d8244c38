import os
import platform
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pbrl.commands import doctor_command as doctor
from pbrl.commands import probes
from pbrl.commands.doctor_command import Finding
from pbrl.commands.probes import attempt
from pbrl.native import binding
from pbrl_envs import gl
from pbrl_envs.registry import Suite

Run = Callable[..., str]


def test_a_machine_that_runs_these_tests_is_healthy(output: Run):
    lines = output("doctor").splitlines()
    found = {line[9:27].strip(): (line[:8].strip(), line[28:]) for line in lines if line[:8].strip() in STATES}
    assert found["Python"] == ("ok", platform.python_version())
    for needed in (*doctor.CORE, "disk", "labels", "video", "suite gym"):
        assert found[needed][0] == "ok", needed
    for name, (state, text) in found.items():
        assert text, name
        assert state != "broken"
    assert gl.probe("egl") is not None or found["rendering, egl"][0] == "ok"
    assert found["bfloat16"][0] == ("ok" if multiplies_bfloat16() else "missing")
    assert found["SAC kernel"][0] == ("ok" if binding.load()[0] is not None else "missing")


STATES = ("ok", "missing", "broken")


def multiplies_bfloat16() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))


@pytest.mark.skipif(binding.load()[0] is None, reason="no kernel")
def test_the_kernel_is_named_by_what_the_processor_has():
    [(state, _, text)] = doctor.kernel()
    assert (state, text.split(",")[0]) == ("ok", binding.load()[0].kind)


@pytest.mark.parametrize("value", ["off", "mmx"])
def test_a_kernel_that_is_switched_off_or_does_not_run_here_says_why(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("PBRL_NATIVE", value)
    [(state, _, text)] = doctor.kernel()
    assert state == "missing"
    assert f"PBRL_NATIVE={value}" in text
    assert "updates run in torch" in text


def test_something_broken_gives_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def check():
        yield Finding("broken", "heart", "stopped")

    monkeypatch.setattr(doctor, "CHECKS", (check,))
    assert doctor.main([]) == 1
    assert "broken   heart              stopped" in capsys.readouterr().out


def test_something_optional_missing_does_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("pbrl_envs.registry.suites", lambda: {"dmc": Suite(None, "pip install 'pbrl[dmc]'")})
    monkeypatch.setattr(doctor, "CHECKS", (doctor.suites,))
    assert doctor.main([]) == 0
    assert "missing  suite dmc          not installed; get it with: pip install 'pbrl[dmc]'" in capsys.readouterr().out


def test_a_check_that_fails_itself_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def gpu():
        raise RuntimeError("half installed")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (gpu,))
    assert doctor.main([]) == 1
    assert "RuntimeError: half installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("print(1); print(2)", None),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os; os.abort()", "exit code -6"),
        ("raise SystemExit(3)", "exit code 3"),
    ],
)
def test_a_crash_stays_in_its_process(script: str, problem: str | None):
    output, found = attempt(script)
    assert (output == "2") if problem is None else (problem in str(found))


def test_a_hanging_driver_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probes, "TIMEOUT_S", 0.5)
    assert attempt("import time; time.sleep(60)")[1] == "no answer within 0.5 s"


def test_a_back_end_that_does_not_exist_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "attempt", lambda script, environment=None: ("", "no driver"))
    states = {what: state for state, what, _ in doctor.rendering()}
    assert set(states.values()) == {"missing"}
    assert "clips" in states


@pytest.mark.parametrize("check", [doctor.disk, doctor.database])
def test_a_folder_that_cannot_be_written_is_broken(tmp_path: Path, check: Callable):
    (found,) = check(tmp_path / "missing")
    assert found.state == "broken"
    assert str(tmp_path / "missing") in found.text


def test_checks_leave_nothing_behind(tmp_path: Path):
    assert [f.state for check in (doctor.disk, doctor.database) for f in check(tmp_path)] == ["ok", "ok"]
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_write_ahead_log_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path: connect(":memory:"))
    (found,) = doctor.database(tmp_path)
    assert found.state == "broken"


@pytest.mark.parametrize("args", [["now"], ["gpu=true"], ["--fast"]])
def test_wrong_input_is_one_line(args: list[str], refusal: Run):
    assert args[0].split("=")[0] in refusal("doctor", *args)


def test_help_names_the_exit_code(output: Run):
    assert "exit code" in output("doctor", "--help")
    assert os.linesep in output("doctor", "--help")
