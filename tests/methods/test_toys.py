"""Methods of a user's own from a folder outside the package, each of a kind that PEBBLE is not; the core knows none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from killed import Kill, fork
from outcome import assert_same, table
from safetensors.torch import load_file
from stored import answers_to
from tiny import COMMON, REWARD, SAC

import pbrl
from pbrl.cli import main
from pbrl.data.episodes import whole_episodes
from pbrl.labels.sets import export_labels
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import EpisodePair
from pbrl.types import Answers, Episode

TOYS = Path(__file__).parent / "toys"
STEP = "pbrl.data.recorder:EpisodeRecorder.step"
ARGUMENTS = {
    "toy_interventions": [*COMMON, *SAC, "method.limit=0.4"],
    "toy_win_rates": [*COMMON, *SAC],
    "toy_latent_user": [*COMMON, *REWARD, *SAC],
    "toy_two_agents": [*COMMON, *SAC],
    "toy_critic_gradient": [*COMMON, *REWARD, *SAC],
    "linear_reward": [*COMMON, *SAC],
}


@pytest.fixture
def toy(monkeypatch):
    """`toy(name, folder, *changes)` trains one."""
    monkeypatch.syspath_prepend(str(TOYS))

    def train(name, folder, *changes):
        return main(["train", *arguments(name, folder), *changes])

    return train


def arguments(name, folder):
    return ["--config-dir", str(TOYS), f"method={name}", *ARGUMENTS[name], f"run_dir={folder}"]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_toy_trains_and_is_evaluated_and_goes_on_as_if_never_killed(name, toy, tmp_path):
    assert toy(name, tmp_path / "whole") == 0
    assert main(["eval", str(tmp_path / "whole"), "episodes=1"]) == 0
    killed = tmp_path / "killed"
    assert fork(lambda: main(["train", *arguments(name, killed)]), [Kill(STEP, 233)]) == -9
    assert main(["train", f"resume={killed}"]) == 0
    assert_same(tmp_path / "whole", killed)


def test_the_page_shows_the_method_that_is_tried_here():
    page = (TOYS.parents[2] / "docs" / "add-a-method.md").read_text()
    for file in (TOYS / "linear_reward.py", TOYS / "method" / "linear_reward.yaml"):
        assert f"```{file.suffix[1:].replace('py', 'python')}\n{file.read_text()}```" in page


def test_the_reward_of_that_method_is_loaded_as_it_was_saved(toy, tmp_path):
    assert toy("linear_reward", tmp_path / "run") == 0
    w = load_file(tmp_path / "run" / "reward.safetensors")["weight"][0].numpy()
    rng = np.random.default_rng(0)
    obs, actions = rng.normal(size=(5, len(w) - 2)).astype(np.float32), rng.uniform(-1, 1, (5, 2)).astype(np.float32)
    assert np.abs(w).max() > 0
    np.testing.assert_allclose(
        pbrl.load_reward(tmp_path / "run")(obs, actions), obs @ w[:-2] + actions @ w[-2:], rtol=1e-5, atol=1e-6
    )


def test_a_method_without_the_hooks_of_a_reward_hears_their_names(toy, tmp_path):
    assert toy("toy_win_rates", tmp_path / "run") == 0
    with pytest.raises(pbrl.UserError, match=r"or WinRates lacks a hook: of_weights, or facts with reward_updates$"):
        pbrl.load_reward(tmp_path / "run")


def test_who_took_over_is_stored_with_each_step_and_is_its_reward(toy, tmp_path):
    from pbrl.config import load_config
    from pbrl.training.start import resume

    assert toy("toy_interventions", tmp_path / "run") == 0
    config = load_config(tmp_path / "run" / "config.yaml")
    config.steps = 400
    run = resume(tmp_path / "run", config)
    buffer = run.agent.buffer
    buffer.label_pending()
    obs, tags = buffer.observations[:320, 0], buffer.tags[:320, 0, 0]
    np.testing.assert_array_equal(tags, np.abs(obs[:, 0]) > 0.4)
    np.testing.assert_array_equal(buffer.rewards[:320, 0], -tags)
    np.testing.assert_array_equal(buffer.actions[:320, 0, 0][tags == 1], -np.sign(obs[:, 0][tags == 1]))
    assert 0 < tags.mean() < 1
    assert [row["feedback/taken_over"] for row in table(tmp_path / "run" / "progress.csv")][-1] == str(int(tags.sum()))


def test_whole_episodes_are_asked_about_and_stored_as_such(toy, tmp_path):
    assert toy("toy_win_rates", tmp_path / "run", "feedback.budget=20") == 0
    with LabelStore(tmp_path / "run", create=False) as store:
        assert store.forms() == {("episode_pair", "overall"): 20}
        found = store.answered(kind=EpisodePair)
    left, right = found.questions.items
    better = (right.true_reward.sum(1) > left.true_reward.sum(1)).float()
    torch.testing.assert_close(found.answers.prefers_right, better)


def test_each_user_has_a_policy_that_is_evaluated(toy, tmp_path):
    """Two people of opposite tastes: what they said stands under their names in the run that replays it."""
    assert toy("toy_latent_user", tmp_path / "source") == 0
    with LabelStore(tmp_path / "source", create=False) as store:
        queries = [query.id for query in store.queries()]
        said = answers_to(store, queries)
        for half, name, flip in ((queries[::2], "anna", False), (queries[1::2], "otto", True)):
            rows = [queries.index(query) for query in half]
            value = said.prefers_right[rows]
            store.answer(half, Answers(1 - value if flip else value, said.answered[rows]), name, kind="human")
    export_labels(tmp_path / "source", tmp_path / "set")
    replayed = ["teacher=replay", f"teacher.labels={tmp_path / 'set'}", "feedback.candidates=1"]
    assert toy("toy_latent_user", tmp_path / "run", *replayed) == 0
    with LabelStore(tmp_path / "run", create=False) as store:
        assert set(store.annotators().values()) == {"replay:anna", "replay:otto", "replay:scripted:oracle"}
    rows = table(tmp_path / "run" / "evaluations.csv")
    assert [row["context"] for row in rows] == ["0", "1"] * 4
    by_user = [[row["return_mean"] for row in rows if row["context"] == user] for user in "01"]
    assert by_user[0] != by_user[1]


def test_both_agents_act_and_are_evaluated(toy, tmp_path):
    assert toy("toy_two_agents", tmp_path / "run") == 0
    steps = [row["other/steps"] for row in table(tmp_path / "run" / "progress.csv") if row["other/steps"]]
    assert steps[-1] == "300"  # after the last round nobody learns any more
    assert [row["context"] for row in table(tmp_path / "run" / "evaluations.csv")] == ["up", "down"] * 4


def test_a_gradient_comes_from_the_critic_to_the_reward(toy, tmp_path, capsys):
    assert toy("toy_critic_gradient", tmp_path / "run") == 0
    norms = [row["reward/outer_gradient"] for row in table(tmp_path / "run" / "progress.csv")]
    assert all(float(norm) > 0 for norm in norms if norm)
    assert any(norms)
    assert toy("toy_critic_gradient", tmp_path / "other", "agent=sac") == 2
    assert (
        "method.outer_steps: gradients go through the agent's update; choose agent=sac_torch" in capsys.readouterr().err
    )


def test_whole_episodes_of_different_lengths_are_padded_by_their_last_observation():
    def episode(n):
        obs = np.arange(n + 1.0, dtype=np.float32)[:, None]
        return Episode(obs, np.ones((n, 1), np.float32), np.ones(n, np.float32), terminated=n == 2)

    episodes = [episode(2), episode(4)]
    both = whole_episodes(episodes, [7, 9])
    assert both.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert both.obs[0, :, 0].tolist() == [0, 1, 2, 2, 2]
    assert both.terminated.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert both.true_reward.sum(1).tolist() == [2, 4]
    assert both.ids.tolist() == [7, 9]
