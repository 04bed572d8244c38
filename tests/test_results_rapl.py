"""scripts/results_rapl.py, on tiny data."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import collect, from_videos, train

from pbrl.data.datasets import load_dataset
from pbrl.reading import read_object

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
SWEEPING = ["env=sweep_avoiding", "labels=return", "policies=expert:1,naive:1,random", "episodes=24"]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    sys.modules.pop("results_rapl", None)
    return importlib.import_module("results_rapl")


def test_transport_of_features_costs_their_shift_in_any_order_of_moments(script):
    solver = {"epsilon": 0.02, "iterations": 5000, "tolerance": 1e-6}
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [5.0, 4.0]])
    costs = script.transport_cost(torch.stack([x] * 3), torch.stack([x.flip(0), x + 1, x - 2]), **solver)
    assert costs.tolist() == pytest.approx([0, 1, 4], abs=1e-3)


def test_features_that_stay_as_they_are_answer_every_triplet_as_the_teacher(script, monkeypatch):
    monkeypatch.setattr(script, "TRIPLETS", 100)
    still = torch.rand(12, 1, 1, generator=torch.Generator().manual_seed(0)).expand(12, 4, 1)
    assert script.triplets_answered(still, epsilon=0.1, iterations=50, tolerance=1e-3) == 1


def test_of_a_run_it_measures_the_reference_and_draws_the_figure(script, monkeypatch, tmp_path, gl_backend):
    """A likeness that is the true return of the episode correlates perfectly with it; demonstrations are the best."""
    data, run = collect(tmp_path / "data", *SWEEPING), tmp_path / "run"
    given = [word for word in from_videos("rapl", data) if not word.startswith("env=")]
    code, _, err = train(run, *given, SWEEPING[0], "method.heldout=0.5", method=None)
    assert code == 0, err
    script.figure(tmp_path / "figure.png", {"RAPL": run})
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    true, given = iter(read_object(run / "reward.json")["true_returns"]), []

    def cost(episode, demos, **solver):
        given.append(demos)
        return -torch.tensor([next(true)])

    monkeypatch.setattr(script, "transport_cost", cost)
    monkeypatch.setattr(script, "triplets_answered", lambda features, **solver: float(len(features)))
    config, dataset, seen = script.read_run(run)
    assert script.agreement(config, dataset, seen) == (pytest.approx(1), len(seen))
    assert next(true, None) is None
    episodes = load_dataset(data).episodes
    best = episodes[max(set(range(24)) - set(seen.tolist()), key=lambda k: episodes[k].true_reward.sum())]
    distance = best.factors[:, best.factor_names.index("distance")]
    first = given[0][0][:, 0].numpy()  # moments of the best episode, `distance` being the first feature
    shown = np.linspace(0, len(distance) - 1, len(first)).round().astype(int)
    assert first * distance[0] == pytest.approx(distance[shown] * first[0], rel=1e-4)
