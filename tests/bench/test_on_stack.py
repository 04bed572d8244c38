"""A bench whose updates are made by one stack of seeds."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pbrl.bench.executors import stack_server
from pbrl.cli import main
from pbrl.reading import read_csv
from pbrl.training.saved import load_run

GRID = """
seeds: 2
common: [steps=240, +env.make.max_episode_steps=30,
  "agent.hidden=[16,16]", agent.batch_size=16, agent.learning_starts=60,
  feedback.first=100, feedback.every=60, feedback.per_session=6, feedback.segment_length=10, feedback.candidates=3,
  "method.model.hidden=[8]", method.fit.max_epochs=3, method.explore.reference=64, method.critic_updates=3,
  evaluation.every=120, evaluation.episodes=2, checkpoint.every=80, report=false, agent.backend=torch]
budgets: [12]
envs:
  point_reach:
methods:
  pebble:
grids:
  - {envs: [point_reach], methods: [pebble]}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """`bench(executor, *more)`: the runs of such a bench, by seed."""
    folder = tmp_path_factory.mktemp("stack")
    grid = folder / "grid.yaml"
    grid.write_text(GRID)

    def run(executor, *more):
        out = folder / executor
        assert (
            main(["bench", f"grid={grid}", f"out={out}", f"executor={executor}", "workers=2", "probe_s=0", *more]) == 0
        )
        return sorted(file.parent for file in out.rglob("summary.json"))

    return run


def test_each_seed_of_a_stack_ends_as_it_does_alone(bench, monkeypatch):
    servers = []
    begin = stack_server.StackServer.start
    monkeypatch.setattr(stack_server.StackServer, "start", lambda self: (servers.append(self), begin(self)))
    alone, stacked = bench("local"), bench("stack")
    assert len(alone) == len(stacked) == 2
    assert servers[0].joined == 2
    for one, other in zip(alone, stacked, strict=True):
        seeds = [json.loads((run / "summary.json").read_text())["seed"] for run in (one, other)]
        assert seeds[0] == seeds[1]
        for row, same in zip(*(read_csv(run / "evaluations.csv") for run in (one, other)), strict=True):
            assert float(same["return_mean"]) == pytest.approx(float(row["return_mean"]), rel=1e-3)
            assert same["labels"] == row["labels"]
        weights = [load_file(run / "reward.safetensors") for run in (one, other)]
        for name, value in weights[0].items():
            torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
        obs = np.linspace(-1, 1, 4 * load_run(one).obs_shape[0], dtype=np.float32).reshape(4, -1)
        np.testing.assert_allclose(load_run(other).act(obs), load_run(one).act(obs), rtol=1e-2, atol=1e-3)


def test_a_method_that_no_stack_covers_begins_nothing(tmp_path, capsys):
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID.replace("common: [", "common: [agent=sac_sb3, "))
    assert main(["bench", f"grid={grid}", f"out={tmp_path / 'out'}", "executor=stack", "probe_s=0"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("the agent is SAC; it covers methods that drive an agent, with agent=sac")
    assert not list((tmp_path / "out").rglob("config.yaml"))
