"""A callback of SB3's, named on the command line, hears of each step of a run and may end it."""

import json

import pytest
from outcome import table, weights
from stable_baselines3.common.callbacks import BaseCallback
from tiny import train

HEARD: list[int] = []


class Listener(BaseCallback):
    def __init__(self, until=None):
        super().__init__()
        self.until = until

    def _on_step(self):
        HEARD.append(self.num_timesteps)
        return self.until is None or self.num_timesteps < self.until


NAMED = f"agent.callback={{_target_: {__name__}.Listener}}"


@pytest.fixture(autouse=True)
def nothing_heard():
    HEARD.clear()


def test_it_hears_of_each_step_and_changes_nothing(tmp_path):
    assert train(tmp_path / "with", "steps=150", NAMED)[0] == 0
    assert train(tmp_path / "without", "steps=150")[0] == 0
    assert (HEARD[0], HEARD[-1], len(HEARD)) == (1, 150, 150)
    for name in ("progress.csv", "evaluations.csv"):
        assert table(tmp_path / "with" / name) == table(tmp_path / "without" / name)
    one, other = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert all(bool((one[name] == other[name]).all()) for name in one | other)


@pytest.mark.parametrize("method", ["pebble", "prefppo"])
def test_it_may_end_the_run_which_is_then_saved(tmp_path, method):
    code, _, _ = train(tmp_path / "run", f"agent.callback={{_target_: {__name__}.Listener, until: 90}}", method=method)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["env_steps"]) == ("interrupted", 90)
    assert HEARD[-1] == 90
    assert (tmp_path / "run" / "checkpoints" / "90").is_dir()
    assert code != 0


def test_what_is_no_callback_is_refused_by_its_key(tmp_path):
    code, _, said = train(tmp_path / "run", "agent.callback=loud")
    assert code == 2
    assert "agent.callback=loud: expected null or an SB3 callback" in said
    assert not (tmp_path / "run").exists()
