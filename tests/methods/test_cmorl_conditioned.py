"""One policy that sees weights: what it learns is known, given weights go into its biases, and what uses such a run."""

import csv
import json
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from killed import Kill
from outcome import assert_same
from stable_baselines3 import SAC
from tiny import TINY, train

import pbrl
from pbrl.agents.conditioned import ShowsWeights, behind, with_weights
from pbrl.cli import main
from pbrl.config import load_config
from pbrl.errors import UserError
from pbrl.tabular import two_targets
from pbrl.training.saved import load_run
from pbrl.training.start import resume

STEP = "pbrl.data.recorder:EpisodeRecorder.step"
METHOD = "cmorl_conditioned"
OBS = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


class Box(gym.Env):
    """A task of 3 observations and 2 actions that does nothing."""

    def __init__(self, seen):
        self.observation_space = spaces.Box(-np.inf, np.inf, (seen,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, self.observation_space.shape).astype(np.float32), {}


@pytest.mark.parametrize("hidden", [[], [7, 5]])
def test_a_first_layer_that_sees_given_weights_is_one_with_another_bias(hidden):
    wide, narrow = (SAC("MlpPolicy", Box(n), policy_kwargs={"net_arch": hidden}).policy for n in (5, 3))
    weights = np.array([0.3, 0.7], np.float32)
    narrow.load_state_dict(with_weights(wide.state_dict(), weights, 3))
    obs, actions = torch.randn(4, 3), torch.randn(4, 2)
    both = torch.from_numpy(behind(obs.numpy(), weights))
    torch.testing.assert_close(narrow.actor(obs, deterministic=True), wide.actor(both, deterministic=True))
    for ours, theirs in zip(narrow.critic(obs, actions), wide.critic(both, actions), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weights_of_an_episode_follow_from_its_seed_and_say_nothing_of_its_start():
    env = ShowsWeights(Box(3), 2)
    seen = np.array([env.reset(seed=seed)[0] for seed in range(2000)])
    np.testing.assert_array_equal(env.reset(seed=7)[0], seen[7])
    np.testing.assert_allclose(seen[:, 3:].sum(1), 1, rtol=1e-6)
    weight = np.sort(seen[:, 3])
    assert np.abs(weight - np.arange(2000) / 2000).max() < 1.63 / 2000**0.5  # Kolmogorov and Smirnov at 1 %: uniform
    assert np.abs(np.corrcoef(seen[:, :4].T)[3, :3]).max() < 0.08  # 3.5 standard deviations


def test_each_weight_gets_the_action_that_is_best_for_it(tmp_path):
    """The best action is the weighted target; that of equal weights loses (w - 1/2)^2 (target_1 - target_2)^2."""
    run = two_targets.train(0, tmp_path / "run", steps=1500, method=METHOD)
    apart = np.square(np.diff(two_targets.targets(two_targets.STATES))).mean()
    of_equal = np.square(two_targets.WEIGHTS[:, 0] - 0.5).mean() * apart
    assert two_targets.lost(run).mean() < of_equal / 10
    first = [
        two_targets.targets(two_targets.STATES)[:, :1] - pbrl.load_policy(run, weights=w.tolist())(two_targets.STATES)
        for w in two_targets.WEIGHTS[::5]
    ]
    distance = np.square(first).mean((1, 2))
    assert (np.diff(distance) < 0).all()  # the more it counts, the nearer


def test_each_evaluation_is_of_a_front(finished):
    folder = finished(method=METHOD)
    with (folder / "evaluations.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["context"] for row in rows] == ["0,1", "0.5,0.5", "1,0"] * (len(rows) // 3)
    assert len(rows) == 3 * 4
    with (folder / "front.csv").open(newline="") as lines:
        front = list(csv.DictReader(lines))
    for row, last in zip(front, rows[-3:], strict=True):
        assert row["trained_for"] == last["context"]
        for name in ("distance", "effort"):  # lower is better in both
            reached = -float(last[f"factor_{name}"]) * float(last["episode_length"])
            assert float(row[name]) == pytest.approx(reached, rel=1e-4)
    assert json.loads((folder / "summary.json").read_text())["front"]["policies"] == 3


def test_steps_are_rewarded_by_the_weights_of_their_episode(tmp_path):
    assert train(tmp_path / "run", method=METHOD)[0] == 0
    config = load_config(tmp_path / "run" / "config.yaml")
    config.steps = 400
    buffer = resume(tmp_path / "run", config).agent.buffer
    buffer.label_pending()
    tags, obs = buffer.tags[: len(buffer), 0], buffer.observations[: len(buffer), 0]
    np.testing.assert_allclose(buffer.rewards[: len(buffer), 0], (tags * obs[:, 6:]).sum(1), rtol=1e-4, atol=1e-6)
    assert len(np.unique(obs[:, 6])) == len(buffer) // 30 + 1  # of each episode of 30 steps


def test_any_direction_drives_it(finished, capsys):
    folder = finished(method=METHOD)
    acts = {w: load_run(folder).along(w).act(OBS) for w in ((1, 0), (0.3, 0.7), (3, 7), (0.5, 0.5))}
    np.testing.assert_allclose(acts[0.3, 0.7], acts[3, 7], atol=1e-6)
    np.testing.assert_allclose(acts[0.5, 0.5], load_run(folder).act(OBS), atol=1e-6)
    assert not np.allclose(acts[1, 0], acts[3, 7])
    np.testing.assert_allclose(pbrl.load_run(folder).policy(weights=[1, 0])(OBS), acts[1, 0], atol=1e-6)
    own = {f"actor.{k}": v for k, v in load_run(folder).method._actor.items()}
    assert own["actor.latent_pi.0.weight"].shape[1] == 8
    capsys.readouterr()
    told = ["episodes=1", "weights=[0.3,0.7]", f"out={folder / 'along.json'}"]
    assert main(["eval", str(folder), *told]) == 0
    (folder / "along.json").unlink()
    assert "policy.zip, weights 0.3, 0.7 of step 320" in capsys.readouterr().out


def test_people_choose_among_weights_of_the_grid(finished):
    run = load_run(finished(method=METHOD))
    assert run.method.shown(9) == [0, 1, 2]
    assert set(run.method.shown(2)) == {0, 2}  # both ends
    np.testing.assert_allclose(run.of_number(0).act(OBS), load_run(run.path).along([0, 1]).act(OBS))
    assert "weights 0, 1 with returns" in run.of_number(0).source


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0], "weights= has 1 numbers; expected 2"),
        ([0, 0], "expected finite numbers, of which one is not 0"),
        ([float("inf"), 1], "expected finite numbers"),
        ([-1, 2], "expected numbers of at least 0, as the policy has seen"),
    ],
)
def test_other_directions_are_refused(weights, said, finished):
    with pytest.raises(UserError, match=said):
        load_run(finished(method=METHOD)).along(weights)


def test_plain_sb3_opens_it_for_the_task_itself(finished):
    """policy.zip is of equal weights, and sees what the task shows."""
    folder = finished(method=METHOD)
    with zipfile.ZipFile(folder / "policy.zip") as archive:
        assert "policy.pth" in archive.namelist()
    model = SAC.load(folder / "policy.zip", device="cpu")
    assert model.observation_space.shape == (6,)
    np.testing.assert_allclose(model.predict(OBS, deterministic=True)[0], load_run(folder).act(OBS), atol=1e-6)
    model.set_env(load_run(folder).make_env())
    model.learning_starts, model.batch_size = 0, 8
    model.learn(12)  # its optimisers fit, too


def test_it_is_taken_elsewhere_with_its_weights(finished, tmp_path):
    folder = finished(method=METHOD)
    told = ["policy=torchscript", "weights=0.2,0.8", f"out={tmp_path / 'out'}"]
    assert main(["export", str(folder), *told]) == 0
    (file,) = (tmp_path / "out").glob("*.pt")
    taken = torch.jit.load(file)(torch.from_numpy(OBS)).detach().numpy()
    np.testing.assert_allclose(taken, load_run(folder).along([0.2, 0.8]).act(OBS), atol=1e-5)


def test_it_goes_on_as_if_never_killed(finished, run, tmp_path):
    assert run(["train", *TINY[METHOD], f"run_dir={tmp_path / 'killed'}"], Kill(STEP, 290)) == -9
    assert load_run(tmp_path / "killed").along([0.25, 0.75]).act(OBS).shape == (3, 2)  # of a checkpoint
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(finished(method=METHOD), tmp_path / "killed")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("method.objectives={distance: -1.0}", "objectives: distance; expected at least 2"),
        ("method.objectives={distance: -1.0, speed: 1.0}", "objectives: factor speed is not there"),
        ("method.reference=[0]", "method.reference=[0]: expected 2 numbers, of distance, effort"),
        ("method.parts=0", "method.parts=0: expected a whole number of at least 1"),
        ("method.parts=1000", "method.parts=1000: each evaluation would be of 1001 weights, expected at most 1000"),
        ("method.points=3", "points"),
    ],
)
def test_what_cannot_be_is_refused(given, said, tmp_path):
    code, _, err = train(tmp_path / "run", given, method=METHOD)
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()


def test_without_evaluation_there_is_a_policy_and_no_front(tmp_path):
    assert train(tmp_path / "run", "evaluation.every=null", method=METHOD)[0] == 0
    assert not (tmp_path / "run" / "front.csv").exists()
    run = load_run(tmp_path / "run")
    assert run.along([1, 0]).act(OBS).shape == (3, 2)
    assert run.of_number(2).source.endswith("weights 1, 0")
