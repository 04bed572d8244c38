"""Where the compiled kernel comes from, and what happens where there is none."""

import os
import subprocess
import sys

import pytest

from pbrl.native import build

needs_compiler = pytest.mark.skipif(build.compiler() is None, reason="no C compiler")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(build.VARIABLE, raising=False)
    return tmp_path


def find():
    return build.find.__wrapped__()


@needs_compiler
def test_it_is_compiled_once_and_then_found(empty_cache, monkeypatch):
    found = find()
    assert found.kind == build.runnable()[0]
    assert found.path.is_relative_to(empty_cache)
    monkeypatch.setattr(build, "compiler", lambda: None)
    assert find() == found


def test_without_a_compiler_the_reason_says_so(empty_cache, monkeypatch):
    monkeypatch.setattr(build, "compiler", lambda: None)
    assert find() == (None, None, "there is no C compiler (cc, gcc or clang) to build it with")


def test_a_compiler_that_fails_is_a_reason_and_leaves_nothing(empty_cache, monkeypatch):
    monkeypatch.setattr(build, "compiler", lambda: "false")
    assert find().path is None
    assert "could not be compiled" in find().reason
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_made_is_a_reason(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(build, "compiler", lambda: "cc")
    assert "could not be compiled" in find().reason


def test_the_variable_takes_a_kind_or_none(empty_cache, monkeypatch):
    monkeypatch.setenv(build.VARIABLE, "off")
    assert find() == (None, None, "PBRL_NATIVE=off")
    monkeypatch.setenv(build.VARIABLE, "mmx")
    assert find().reason.startswith("PBRL_NATIVE=mmx: valid here are off")


@needs_compiler
@pytest.mark.parametrize("kind", build.runnable())
def test_every_kind_that_runs_here_can_be_asked_for(empty_cache, monkeypatch, kind):
    monkeypatch.setenv(build.VARIABLE, kind)
    assert find().kind == kind


def test_a_processor_without_vectors_is_a_reason(monkeypatch):
    monkeypatch.setattr(build, "processor_features", frozenset)
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    assert "neither AVX2 nor NEON" in find().reason


TRAIN = """
import gymnasium as gym, numpy as np
from pbrl.agents.fast_sac import FastSAC
env = gym.make("Pendulum-v1")
model = FastSAC("MlpPolicy", env, learning_starts=10, buffer_size=100, policy_kwargs={"net_arch": [16, 16]})
model.learn(20)
print(model._native, model._n_updates)
"""


def test_without_a_compiler_agents_learn_in_torch(tmp_path):
    nowhere = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment = {k: v for k, v in os.environ.items() if k not in ("CC", build.VARIABLE)} | nowhere
    run = subprocess.run([sys.executable, "-c", TRAIN], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "None 10"
