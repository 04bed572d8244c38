"""Whole data sets of point_reach."""

import hashlib

import numpy as np
import pytest

from pbrl.collection import collect as module
from pbrl.collection.collect import CutPlan, Plan, collect
from pbrl.collection.scores import Rollouts
from pbrl.config import compose_config
from pbrl.data.datasets import SPLITS, load_dataset
from pbrl.errors import UserError

CUT = CutPlan(segments=200, segment_length=16, splits=(0.8, 0.1, 0.1), comparisons=80, heldout=10, seed=0)
PLAN = Plan(
    episodes=12,
    policies=("expert:0", "expert:1", "random"),
    noise=0.3,
    other_goal=0.2,
    stop_after_success=5,
    labels=None,
    critic=None,
    states=True,
    cut=CUT,
)


def make(out, *overrides, say=lambda message: None, cut=None, **changes):
    config = compose_config(["env=point_reach", "+env.make.max_episode_steps=40", *overrides])
    plan = Plan(**(vars(PLAN) | {"cut": CutPlan(**(vars(CUT) | (cut or {})))} | changes))
    return collect(config, plan, out, "pbrl collect", say)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("collected") / "set"
    make(out)
    return out


@pytest.fixture(scope="module")
def data(folder):
    return load_dataset(folder)


def test_splits_share_no_episode_and_pairs_no_split(data):
    assert set(data.split.tolist()) == {0, 1, 2}
    of = [set(data.episode_of[data.split == s].tolist()) for s in range(3)]
    assert not of[0] & of[1] | of[0] & of[2] | of[1] & of[2]
    for rows in data.comparisons.values():
        assert (data.split[rows.left] == data.split[rows.right]).all()


def test_labels_follow_the_scores_of_their_name_on_the_same_pairs(data):
    assert list(data.comparisons) == ["return", "regret_mc"]
    for label, rows in data.comparisons.items():
        gain = data.scores[label][rows.right] - data.scores[label][rows.left]
        assert ((rows.prefers_right == 1) == (gain > 0))[np.abs(gain) > 1e-6].all()
    one, two = data.comparisons.values()
    assert (one.left == two.left).all()
    assert (one.right == two.right).all()
    assert (one.prefers_right != two.prefers_right).any()  # the two models of preference differ


def test_scores_of_experts_are_higher_and_the_return_is_that_of_the_rewards(data):
    of = np.array(data.meta["sources"])[data.source[data.episode_of]]
    for score in data.scores.values():
        assert score[of == "expert:1"].mean() > score[of == "random"].mean()
    np.testing.assert_allclose(data.scores["return"], data.segments.true_reward.sum(1), rtol=1e-5)


def test_what_an_expert_does_is_likeliest_by_its_own_likelihood(data):
    of = np.array(data.meta["sources"])[data.source[data.episode_of]]
    likely = data.scores["expert_likelihood"]
    assert likely[of == "expert:1"].mean() > likely[of == "random"].mean()
    assert likely.max() <= 0


def test_segments_whose_ends_disagree_are_left_out_of_everything(data, tmp_path):
    said = []
    make(tmp_path / "set", rollouts=Rollouts(number=3, noise=0.3, max_error=0.02), say=said.append)
    found = load_dataset(tmp_path / "set")
    out = len(data.segments) - len(found.segments)
    assert 0 < out < len(data.segments)
    assert said[0] == f"{out} of 200 segments are left out: the expert's roll-outs disagree about their ends"
    assert set(found.segments.ids.tolist()) < set(data.segments.ids.tolist())
    assert found.meta["rollouts"] == {"number": 3, "noise": 0.3, "max_error": 0.02}
    kept = np.isin(data.segments.ids.numpy(), found.segments.ids.numpy())
    np.testing.assert_array_equal(found.scores["return"], data.scores["return"][kept])
    for name in ("left", "right"):
        assert getattr(found.comparisons["regret_mc"], name).max() < len(found.segments)


def test_meta_says_where_it_all_comes_from(data):
    meta = data.meta
    assert (meta["env_name"], meta["seed"], meta["teacher"]["name"]) == ("point_reach", 0, "oracle")
    assert meta["env"]["make"]["max_episode_steps"] == 40
    assert meta["behaviour"]["noise"] == 0.3
    assert meta["versions"]["mujoco"]
    assert meta["counts"]["comparisons"]["regret_mc"] == {"train": 80, "validation": 10, "test": 10}
    assert set(meta["sources"]) <= {"expert:0", "expert:1", "random", *(f"expert:{s} of another goal" for s in "01")}


def test_the_same_command_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    make(tmp_path / "again")
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
    make(tmp_path / "other", cut={"seed": 1})
    digests = [hashlib.sha256((f / "episodes.npz").read_bytes()).hexdigest() for f in (folder, tmp_path / "other")]
    assert digests[0] != digests[1]


def test_sets_are_nested_however_many_comparisons_are_asked_for(data):
    big, small = data.rows("return"), data.rows("return", n=30)
    assert big[:30].tolist() == small.tolist()
    assert len(big) == 80


def test_a_restored_state_continues_the_same_trajectory(data):
    from pbrl_envs.suites.gym import make_gym

    env = make_gym("pbrl_envs/PointReach-v0")
    for episode in data.episodes[:3]:
        env.reset(seed=99)
        env.load_state(episode.states[7])
        for t in range(7, len(episode)):
            obs, reward, *_ = env.step(episode.actions[t])
            np.testing.assert_array_equal(obs, episode.obs[t + 1])
            assert np.float32(reward) == episode.true_reward[t]


def test_states_can_be_left_out_and_segments_be_fewer_than_asked(tmp_path):
    said = []
    small = {"segments": 10**6, "comparisons": 5, "heldout": 3}
    make(tmp_path / "set", states=False, labels=("return",), say=said.append, cut=small)
    data = load_dataset(tmp_path / "set")
    assert all(e.states is None for e in data.episodes)
    assert said == [f"the episodes have {len(data.segments)} different segments of 16 steps, all of which are taken"]


def test_fewer_comparisons_than_asked_for_are_said(tmp_path):
    said = []
    make(tmp_path / "set", labels=("return",), say=said.append, cut={"segments": 30, "heldout": 500})
    data = load_dataset(tmp_path / "set")
    for line, split in zip(said, ("validation", "test"), strict=True):
        n = data.meta["counts"]["segments"][split]
        assert line == f"{n} segments for {split} make {n * (n - 1) // 2} comparisons, not 500"


def test_an_environment_without_an_expert_is_left_to_chance_and_says_so(tmp_path):
    said = []
    config = compose_config(["env=pendulum", "+env.make.max_episode_steps=30"])
    plan = Plan(**(vars(PLAN) | {"policies": None, "cut": CutPlan(20, 8, (1, 0, 0), 10, 5, 0)}))
    meta = collect(config, plan, tmp_path / "set", "pbrl collect", said.append)
    assert meta["sources"] == ["random"]
    assert meta["labels"] == ["return"]
    assert said == ["env=pendulum has no expert: actions are random; policies=run:DIR takes the policy of a run"]
    assert meta["counts"]["segments"] == {"train": 20, "validation": 0, "test": 0}
    assert [len(load_dataset(tmp_path / "set").rows("return", s)) for s in SPLITS] == [10, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("luck",)}, "labels=luck: valid are return, regret_mc, regret_critic"),
        ({"labels": ("regret_critic",)}, "labels=regret_critic and critic=run:DIR belong together"),
        ({"critic": "somewhere"}, "labels=regret_critic and critic=run:DIR belong together"),
        ({"labels": ("critic_likelihood",)}, "labels=critic_likelihood and critic=run:DIR belong together"),
        ({"labels": ("return",), "rollouts": Rollouts(2, 0.1)}, "rollouts, .* are of labels=regret_mc"),
        ({"policies": ("nobody",)}, "policies=nobody: valid are"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_collected(tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(module, "collect_episodes", None)
    with pytest.raises(UserError, match=message):
        make(tmp_path / "set", **changes)
    assert not list(tmp_path.iterdir())


def test_roll_outs_without_an_expert_are_refused(tmp_path):
    config = compose_config(["env=pendulum"])
    with pytest.raises(UserError, match="labels=regret_mc needs expert roll-outs: there is no expert"):
        collect(config, Plan(**(vars(PLAN) | {"labels": ("regret_mc",)})), tmp_path / "set", "", print)


@pytest.mark.parametrize("where", ["collect_episodes", "regret_mc", "judge", "write_rows"])
def test_stopped_at_any_stage_it_leaves_nothing(tmp_path, monkeypatch, where):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, where, stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", cut={"segments": 20, "comparisons": 5, "heldout": 2})
    assert not list(tmp_path.iterdir())


def test_an_unknown_score_leaves_out_a_segment_only_where_roll_outs_may(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "regret_mc", lambda cut, **_: np.where(np.arange(len(cut.segments)) < 9, np.nan, 1.0))
    with pytest.raises(UserError, match="finite numbers"):
        make(tmp_path / "set")
    assert not (tmp_path / "set").exists()
    meta = make(tmp_path / "set", rollouts=Rollouts(number=2, noise=0.1, max_error=1.0))
    assert sum(meta["counts"]["segments"].values()) == 200 - 9
