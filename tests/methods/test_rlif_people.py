"""RLIF from people: what they said is in the replay buffer with its reward, beside the agent's own steps."""

import numpy as np
import pytest
from killed import Kill
from outcome import assert_same, table
from tiny import TINY, train
from watched import keep_watched

from pbrl.config import compose_config
from pbrl.training.build import build_run
from pbrl.training.run_dir import RunDir

#           blamed:  x                x         said: x
SIGNALS = [[0, 0, 1, 1, 0, 0, 1], [0, 2, 0]]
BLAMED = [[0, 1, 0, 0, 0, 1, 0], [0, 1, 0]]


@pytest.fixture
def people(tmp_path):
    keep_watched(tmp_path / "watched", SIGNALS)
    return [*TINY["rlif_people"], f"method.interventions={tmp_path / 'watched'}"]


def test_what_people_said_is_stored_with_its_reward(people, tmp_path):
    config = compose_config([*people, f"run_dir={tmp_path / 'run'}"])
    run = build_run(config, RunDir.create(config, []))
    run.agent.learn(5)
    assert run.method.step() == {}
    run.method.step()  # once is enough
    run.agent.learn(30)
    buffer = run.agent.buffer
    buffer.label_pending()
    n = sum(map(len, SIGNALS))
    rows = np.arange(len(buffer) - n - 30, len(buffer) - 30)
    assert buffer.rewards[rows, 0].tolist() == [-float(x) for blamed in BLAMED for x in blamed]
    assert buffer.rewards[: len(buffer), 0].sum() == -3  # the agent's own steps are not blamed
    obs, actions, next_obs, dones, _ = buffer.transitions(rows)
    for episode, start in zip(run.method._watched, (0, 7), strict=True):
        here = slice(start, start + len(episode))
        assert np.array_equal(obs[here], episode.obs[:-1])
        assert np.array_equal(next_obs[here], episode.obs[1:])  # also across the end, where the agent's own row follows
        assert np.array_equal(actions[here], episode.actions)
    assert not dones.any()  # cut off, not ended
    assert run.method.metrics() == {"feedback/interventions": 3, "feedback/expert_steps": 3}
    run.agent.close()


def test_it_trains_and_goes_on_as_if_never_killed(people, run, tmp_path):
    assert train(tmp_path / "whole", *people, method=None)[0] == 0
    assert (
        run(["train", *people, f"run_dir={tmp_path / 'killed'}"], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233))
        == -9
    )
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert table(tmp_path / "whole" / "progress.csv")[-1]["feedback/interventions"] == "3"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("method.interventions=null", "method.interventions=None: this method needs what people said"),
        ("method.interventions=nowhere", "method.interventions=nowhere: nowhere"),
        ("agent.n_envs=2", "expected agent.n_envs=1"),
        ("env=pendulum", "observations and actions of"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(people, tmp_path, given, message):
    code, _, err = train(tmp_path / "run", *people, given, method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert not (tmp_path / "run").exists()
