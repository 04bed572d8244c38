"""What results/rapl was made with, on tiny data."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from tiny import collect, from_videos, train

from pbrl.reading import read_object

ROOT = Path(__file__).resolve().parents[1]
SWEEPING = ["env=sweep_avoiding", "labels=return", "policies=expert:1,naive:1,random", "episodes=24"]


@pytest.fixture
def imported(monkeypatch):
    def of(folder, name):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return of


def test_features_reward_a_demonstration_more_than_anything_else_and_runs_are_drawn(imported, tmp_path, gl_backend):
    of_features = imported("results/rapl", "of_features")
    data, run = collect(tmp_path / "data", *SWEEPING), tmp_path / "run"
    given = [word for word in from_videos("rapl", data) if not word.startswith(("env=", "method="))]
    target = "method._target_=of_features.OfFeatures"
    code, _, err = train(run, "method=rapl", target, *given, SWEEPING[0], "method.model.align=false", method=None)
    assert code == 0, err
    assert -1 <= read_object(run / "reward.json")["spearman"] <= 1

    solver = {"epsilon": 0.01, "iterations": 2000, "tolerance": 1e-4}
    demos = torch.tensor([[[0.0], [1.0], [2.0]], [[5.0], [6.0], [7.0]]])
    there, shifted = torch.tensor([[6.0], [5.0], [7.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    assert of_features.likeness(there, demos, **solver).tolist() == pytest.approx([0, 0, 0], abs=1e-3)  # in any order
    assert float(of_features.likeness(shifted, demos, **solver).sum()) == pytest.approx(-1, abs=1e-2)  # a shift by 1

    strips = imported("scripts", "results_strips")
    strips.draw({"an agent": run, "the same": run}, tmp_path / "strips.png")
    assert (tmp_path / "strips.png").stat().st_size > 10_000
