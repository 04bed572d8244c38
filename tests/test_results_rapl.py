"""scripts/results_rapl.py and what belongs to it, on tiny data."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from pbrl.config import compose_config
from pbrl.data.datasets import load_dataset
from pbrl.training.check import check

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
TINY = [
    *("method.size=16", "method.frames=4"),
    *("method.model.epochs=1", "method.model.frames_per_video=3"),
    "+method.model.encoder.strides=[2,1,1,1]",
]


@pytest.fixture
def script(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("results_rapl", "rapl_tables", "rapl_figure", "rapl_true_features", "run_many"):
        sys.modules.pop(name, None)
    module = importlib.import_module("results_rapl")
    monkeypatch.setattr(module.rapl_tables, "RESULTS", tmp_path / "results")
    return module


def facts(learned, true=(1.0, 2.0, 3.0, 4.0)):
    made = {"episodes": [3, 5, 7, 9], "learned_returns": learned, "true_returns": list(true), "accuracy": 0.5}
    return made | {"spearman": 0.0, "labels": 150, "wall_s": 60.0, "encode_ms": 2.0, "transport_ms": 1.0}


def test_every_cell_is_a_config_that_says_its_seed_and_its_data_are_collected(script, monkeypatch, tmp_path):
    from pbrl.config import compose_config

    data = {str(folder) for folder in script.data_sets(tmp_path)}
    monkeypatch.setattr(script, "SEEDS", (101,))
    cells = {n: own for n, own in script.reward_cells(tmp_path).items() if "grouping" in n}
    for name, own in cells.items():
        config = compose_config(own)
        assert {config.data, config.method.get("demos_data") or config.data} <= data
        assert (config.seed, config.feedback.budget) == (101, 300 if "300" in name else 150)
    assert len(cells) == 4 + 3
    assert len(script.agent_cells(tmp_path)) == 3 * 5


def test_the_bootstrap_is_of_spearmans_correlation_and_a_perfect_one_has_no_width(script):
    returns = np.random.default_rng(0).normal(size=(20, 2))
    drawn = script.rapl_tables._drawn(returns, 7)
    rows = np.random.default_rng(7).integers(0, 20, (len(drawn), 20))
    for k in (0, 1, 99):
        assert math.isclose(drawn[k], stats.spearmanr(*returns[rows[k]].T).statistic, rel_tol=1e-9)
    same = np.repeat(returns[:, :1], 2, axis=1)
    value, drawn = script.rapl_tables.bootstrap({"0": same, "1": same})
    assert value == pytest.approx(1)
    assert drawn == pytest.approx(np.ones(len(drawn)))


def test_the_table_compares_with_rapl_and_keeps_what_is_no_longer_there(script):
    best, worst = facts([0.1, 0.2, 0.3, 0.4]), facts([0.4, 0.3, 0.2, 0.1])
    lines = script.rapl_tables.rewards({"t/rapl/s0": best, "t/unaligned/s0": worst})
    assert any("| 1 x 4 | -1.00" in line and "| 2.00" in line for line in lines)
    assert script.rapl_tables.rewards({"t/rapl/s0": best}) == lines
    again = script.rapl_tables.rewards({"t/rapl/s0": worst})
    assert any("RAPL, 150 triplets | 1 x 4 | -1.00" in line for line in again)


def test_agents_are_compared_by_seed(script):
    ends = {"rapl": (0.9, 0.7), "video_return-150": (0.4, 0.2)}
    found = {
        f"t/{method}/s{seed}": dict.fromkeys(script.rapl_tables.TRAINED, 60.0) | {"final_success_at_end": values[seed]}
        for method, values in ends.items()
        for seed in (0, 1)
    }
    for method, seed, value in (("rapl", 0, 62.0), ("video_return-150", 1, 50.0)):
        found[f"t/{method}/s{seed}"]["final_return"] = value
    lines = script.rapl_tables.agents(found)
    assert "| 0.90, 0.70 | 0.80 (-0.47 to 2.07) | 61.0 (48.3 to 73.7) |  |" in lines[-2]  # t(0.975, 1) = 12.706
    assert "| 0.40, 0.20 | 0.30 (-0.97 to 1.57) | 55.0 (-8.5 to 118.5) | 6.0 (-44.8 to 56.8) |" in lines[-1]
    one = script.rapl_tables.agents({"u/true_reward/s0": found["t/rapl/s0"]})[-1]
    assert "| 0.90 | 0.90 | 62.0 |  |" in one  # nothing is known of the spread of one seed


def test_transport_of_features_costs_their_shift_in_any_order_of_moments(script):
    reference = importlib.import_module("rapl_true_features")
    solver = {"epsilon": 0.02, "iterations": 5000, "tolerance": 1e-6}
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [5.0, 4.0]])
    costs = reference._cost(torch.stack([x] * 3), torch.stack([x.flip(0), x + 1, x - 2]), **solver)
    assert costs.tolist() == pytest.approx([0, 1, 4], abs=1e-3)


def test_features_that_stay_as_they_are_answer_every_triplet_as_the_teacher(script, monkeypatch):
    reference = importlib.import_module("rapl_true_features")
    monkeypatch.setattr(reference, "TRIPLETS", 100)
    still = torch.rand(12, 1, 1, generator=torch.Generator().manual_seed(0)).expand(12, 4, 1)
    assert reference._triplets_answered(still, epsilon=0.1, iterations=50, tolerance=1e-3) == 1


def check_true_features(out, monkeypatch):
    """A likeness that is the true return of the episode correlates perfectly with it; demonstrations are the best."""
    reference = importlib.import_module("rapl_true_features")
    facts = json.loads((out / "rewards" / "sweep_avoiding" / "rapl" / "s100" / "reward.json").read_text())
    true, given = iter(facts["true_returns"]), []

    def cost(episode, demos, **solver):
        given.append(demos)
        return -torch.tensor([next(true)])

    monkeypatch.setattr(reference, "_cost", cost)
    monkeypatch.setattr(reference, "_triplets_answered", lambda features, **solver: float(len(features)))
    assert reference.agreement(facts) == (pytest.approx(1), 6)
    assert next(true, None) is None
    episodes = load_dataset(out / "data" / "sweep_avoiding").episodes
    known = sorted(set(range(24)) - set(facts["episodes"]))
    best = episodes[max(known, key=lambda k: episodes[k].true_reward.sum())]
    distance = best.factors[:, best.factor_names.index("distance")]
    first = given[0][0][:, 0].numpy()  # moments of the best episode, `distance` being the first feature
    assert first * distance[0] == pytest.approx(distance[[0, 50, 99, 149]] * first[0], rel=1e-4)


def test_from_videos_to_tables_and_figure(script, monkeypatch, tmp_path, gl_backend):
    def tiny(out, cells=script.reward_cells):
        return {name: [*own, *TINY, "feedback.budget=8"] for name, own in cells(out).items()}

    monkeypatch.setattr(script, "TASKS", {"sweep_avoiding": "policies=expert:1,naive:1,random"})
    monkeypatch.setattr(script, "SWEEPING", "policies=naive:1,random")
    monkeypatch.setattr(script, "SEEDS", (100,))
    monkeypatch.setattr(script, "EPISODES", 24)
    monkeypatch.setattr(script, "reward_cells", tiny)
    assert script.collect(tmp_path) == 0
    before = {folder: (folder / "meta.json").stat().st_mtime for folder in script.data_sets(tmp_path)}
    assert script.collect(tmp_path) == 0
    assert before == {folder: (folder / "meta.json").stat().st_mtime for folder in before}
    for name, own in script.reward_cells(tmp_path).items():
        assert not script.learn(tmp_path / "rewards" / name, own)
    assert script.rewards(tmp_path, ["sweep_avoiding"]) == 0  # nothing is left to do
    for name, own in script.agent_cells(tmp_path).items():
        config = compose_config(own)
        check(config)
        if not name.startswith("sweep_avoiding/true_reward"):
            assert (Path(config.method.learned) / "reward.json").is_file()
    assert script.table(tmp_path) == 0
    assert len((tmp_path / "results" / "videos.csv").read_text().splitlines()) == 1 + 7 * 6
    check_true_features(tmp_path, monkeypatch)
    assert script.figure(tmp_path, tmp_path / "figure.png") == 0
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
