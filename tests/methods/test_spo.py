"""SPO: win rates by hand, what an episode gets, common starts, the averaged policy, a judge of circles, contrasts."""

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same, table, weights
from tiny import COMMON, PPO, SAC, TINY, train

from pbrl.config import load_config
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import EpisodePair, SegmentPair
from pbrl.rewards.pairwise import PairwiseJudge
from pbrl.rewards.win_rate import Spread, normalised, win_rates
from pbrl.tabular.cycle_game import BATCH, gap, run
from pbrl.tabular.noisy_comparisons import learn, self_play
from pbrl.training.saved import load_run
from pbrl.training.start import resume
from pbrl.types import Comparisons, Segments

METHODS = ["spo", "spo_judge"]


def test_a_win_rate_is_a_share_of_wins_and_its_spread_does_not_matter():
    assert win_rates(np.array([[1, 0, 0.5, 1], [0, 0, 0, 0]])).tolist() == [0.625, 0]
    rates = np.array([0.2, 0.5, 0.9])
    narrow = 0.5 + 0.4 * (rates - 0.5)  # what 30 % flipped answers make of them
    np.testing.assert_allclose(normalised(rates, rates), normalised(narrow, narrow))
    assert normalised(np.array([0.5]), [0.5] * 9) == 0  # the policy against itself
    spread = Spread()
    assert spread.rewards(np.array([[1, 1], [0, 0]])).tolist() == [1, -1]  # spread 1/2
    assert list(spread.rates) == [1, 0]


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_and_goes_on_as_if_never_killed(method, run, tmp_path):
    assert train(tmp_path / "whole", method=method)[0] == 0
    assert run(["train", *TINY[method], f"run_dir={tmp_path / 'killed'}"], Kill(STEP, 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


STEP = "pbrl.data.recorder:EpisodeRecorder.step"


def stored(folder):
    config = load_config(folder / "config.yaml")
    config.steps = 400
    return resume(folder, config)


def test_each_episode_is_compared_with_the_last_ones_and_gets_the_same_at_each_step(finished):
    with LabelStore(finished(method="spo"), create=False) as store:
        assert store.forms() == {("episode_pair", "overall"): 0 + 1 + 2 + 3 * 7}  # 10 episodes of 30 steps
        rates = store.answered(kind=EpisodePair).answers.prefers_right[6:9].mean()
    ended = stored(finished(method="spo"))
    rewards = ended.agent.buffer.rewards[:300, 0].reshape(10, 30)
    assert (rewards == rewards[:, :1]).all()
    recent = list(ended.method.rates)
    assert len(recent) == 9
    assert recent[3] == pytest.approx(float(rates))
    assert rewards[4, 0] == pytest.approx(normalised(recent[3], recent[:4]), abs=1e-6)
    assert not rewards[0].any()  # nobody to compare with


def test_all_is_given_at_the_end_where_that_is_wanted(tmp_path):
    assert train(tmp_path / "end", "method.give=end", method="spo")[0] == 0
    rewards = stored(tmp_path / "end").agent.buffer.rewards[:300, 0].reshape(10, 30)
    assert not rewards[:, :-1].any()
    assert rewards[1:, -1].any()


def test_common_starts_come_in_turn_and_only_their_episodes_are_compared(tmp_path):
    assert train(tmp_path / "run", "method.common_starts=2", method="spo")[0] == 0
    with LabelStore(tmp_path / "run", create=False) as store:
        left, right = store.answered(kind=EpisodePair).questions.items
    assert len(left) == 2 * (0 + 1 + 2 + 3 + 3)
    torch.testing.assert_close(left.obs[:, 0], right.obs[:, 0], rtol=0, atol=0)
    assert len(left.obs[:, 0].unique(dim=0)) == 2
    assert train(tmp_path / "free", method="spo")[0] == 0
    obs = stored(tmp_path / "free").agent.buffer.observations[:300:30, 0]
    assert len(np.unique(obs, axis=0)) == 10


def test_the_averaged_policy_is_the_mean_of_those_since_then_and_is_what_is_saved(tmp_path, monkeypatch):
    seen, update = [], torch.optim.swa_utils.AveragedModel.update_parameters

    def note(self, model):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        update(self, model)

    monkeypatch.setattr(torch.optim.swa_utils.AveragedModel, "update_parameters", note)
    assert train(tmp_path / "mean", method="spo")[0] == 0
    saved = weights(tmp_path / "mean")
    assert len(seen) > 2
    of_actor = {name.split("actor.")[1]: value for name, value in saved.items() if "/policy/actor." in name}
    assert of_actor.keys() == seen[0].keys()
    for name, value in of_actor.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in seen]).mean(0), rtol=1e-4, atol=1e-6)
    assert train(tmp_path / "last", "method.average_from=null", method="spo")[0] == 0
    last = weights(tmp_path / "last")
    assert {name for name in last if not torch.equal(last[name], saved[name])} == {
        name
        for name in last
        if "/policy/actor." in name  # training is the same
    }


def test_a_judge_is_asked_about_segments_and_rewards_episodes(finished):
    with LabelStore(finished(method="spo_judge"), create=False) as store:
        assert store.forms() == {("segment_pair", "overall"): 24}
        assert len(store.answered(kind=SegmentPair).answers.prefers_right) == 24
    assert table(finished(method="spo_judge") / "progress.csv")[-1]["reward/spread"]


def test_it_drives_ppo_on_whole_episodes_or_on_their_ends(tmp_path):
    given = ["method=spo", "agent=ppo", "method.queue=3", *COMMON, *PPO]
    code, _, err = train(tmp_path / "spread", *given, method=None)
    assert code == 2
    assert "agent.n_steps=20: all steps of an episode are rewarded" in err
    assert "expected a multiple of its 30 steps" in err
    code, _, err = train(tmp_path / "spread", *given, "agent.n_steps=30", method=None)
    assert code == 0, err
    code, _, err = train(tmp_path / "end", *given, "method.give=end", method=None)
    assert code == 0, err
    assert "have time for" not in err  # the budget has no end, and no sessions
    last = table(tmp_path / "end" / "progress.csv")[-1]
    assert 0 < float(last["reward/win_rate"]) < 1
    with LabelStore(tmp_path / "end", create=False) as store:
        assert store.forms()["episode_pair", "overall"] == 0 + 1 + 2 + 3 * 7  # 10 episodes of 30 steps
    saved = load_run(tmp_path / "end")  # the averaged policy
    assert np.abs(saved.act(np.ones((3, 6), np.float32))).max() <= 1


def test_people_are_not_asked_to_compare_each_episode(tmp_path):
    given = ["method=spo", "teacher=human", "viewer.start=false", *COMMON, *SAC]
    code, _, err = train(tmp_path / "run", *given, method=None)
    assert code == 2
    assert "judge" in err or "episode_pair" in err


def still(values):
    """Segments of one step whose observation is the value."""
    n = len(values)
    obs = torch.tensor(values, dtype=torch.float32)[:, None, None].expand(n, 2, 1)
    zeros = torch.zeros(n, 1)
    return Segments(obs.contiguous(), torch.zeros(n, 1, 1), zeros + 1, zeros, zeros, torch.arange(n))


@pytest.mark.parametrize("method", METHODS)
def test_a_sampler_that_it_does_not_ask_by_is_refused(method, tmp_path):
    code, _, err = train(tmp_path / "run", "queries=entropy", method=method)
    assert code == 2
    assert "queries=entropy: SPO asks about whole episodes" in err
    assert not (tmp_path / "run").exists()


def test_a_judge_learns_preferences_that_go_in_a_circle():
    rng = torch.Generator().manual_seed(0)
    judge = PairwiseJudge(obs_size=1, action_size=1, features=4, hidden=32, lr=1e-2, rng=rng)
    winners, losers = [0.0, 1.0, -1.0], [1.0, -1.0, 0.0]
    data = Comparisons(still(losers), still(winners), torch.ones(3), torch.zeros(3, dtype=torch.long))
    for _ in range(200):
        judge.update(data)
    beats = judge.beats(still([0.0, 1.0, -1.0]), still([0.0, 1.0, -1.0]))
    np.testing.assert_allclose(beats + beats.T, 1, atol=1e-6)  # either wins
    np.testing.assert_allclose(np.diag(beats), 0.5, atol=1e-6)
    assert min(beats[0, 1], beats[1, 2], beats[2, 0]) > 0.95


def test_the_averaged_policy_is_the_minimax_winner_of_a_circle_and_the_last_one_is_not():
    assert gap(np.full(3, 1 / 3)) == pytest.approx(0)
    assert gap(np.array([1.0, 0, 0])) == 0.5
    found = [{(m.case, m.arm): m.value for m in run(seed)} for seed in range(2)]
    averaged, last = (np.array([f["entropy weight 0.05", f"{a} policy"] for f in found]) for a in ("averaged", "last"))
    assert (averaged < 0.01).all()
    assert (last > averaged).all()
    assert all(f["entropy weight 0", "last policy"] > 0.2 for f in found)
    assert BATCH == 8


def test_flipped_answers_cost_nothing_and_coin_tosses_teach_nothing():
    rng = np.random.default_rng(0)
    exact, flipped, coin = (learn(self_play(flips, rng), rng) for flips in (0, 0.4, 0.5))
    assert abs(flipped - exact) < 0.1
    assert coin < exact - 3
