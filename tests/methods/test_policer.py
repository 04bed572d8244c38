"""PoLiCER on facts: whom its rank weights favour, how likely an action is, and its resets in a sequence by hand."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from test_few_labels import model, segments
from tiny import TINY, train

from pbrl.data.episodes import EpisodeStore
from pbrl.methods.policer import Policer, rank_weights
from pbrl.methods.qpa import Qpa
from pbrl.types import Episode


def test_half_of_the_mass_of_one_over_rank_lies_on_the_fourteen_best_of_400():
    scores = torch.randn(400, generator=torch.Generator().manual_seed(0))
    weights = rank_weights(scores, 1.0)
    best = scores.argsort(descending=True)
    assert float(weights[best[:14]].sum()) == pytest.approx(0.4949, abs=1e-4)  # H(14) / H(400) = 3.2516 / 6.5700
    assert float(weights[best[:15]].sum()) > 0.5
    assert float(weights[best[0]] / weights[best[9]]) == pytest.approx(10)
    assert float(weights.sum()) == pytest.approx(1)
    torch.testing.assert_close(rank_weights(scores, 0.0), torch.full((400,), 1 / 400, dtype=torch.double))


def test_every_segment_of_a_session_is_another_and_the_likely_are_asked_most():
    rng = np.random.default_rng(0)
    store = EpisodeStore(100)
    for _ in range(10):
        obs, actions = (rng.uniform(-1, 1, (n, 1)).astype(np.float32) for n in (41, 40))
        store.add([Episode(obs, actions, np.zeros(40, np.float32), terminated=False)])
    method = Policer.__new__(Policer)
    method.rank_power, method.model = 1.0, SimpleNamespace(score=lambda s: s.mask.sum(1)[None])
    agent = SimpleNamespace(log_prob=lambda obs, actions: -np.abs(actions[:, 0]))  # small actions are likely
    feedback = SimpleNamespace(candidates=20, segment_length=5, pool_episodes=100)
    generator = torch.Generator().manual_seed(0)
    method.run = SimpleNamespace(agent=agent, feedback=feedback, episodes=store, rng=lambda name: generator)
    everything = method.likelihood(store.draw(360, 5, generator)[:])
    asked = []
    for _ in range(20):
        pairs, _ = method.choose(4)
        ids = torch.cat([pairs.left.ids, pairs.right.ids])
        assert len(ids.unique()) == 8
        asked += [method.likelihood(side) for side in (pairs.left, pairs.right)]
    share = (torch.cat(asked) > everything.quantile(0.9)).float().mean()
    assert float(share) > 0.35  # a tenth, were they drawn uniformly
    padded = segments(3, padded=4)
    method.run.agent.log_prob = lambda obs, actions: np.where(np.abs(obs).max(1) > 50, np.nan, -1.0).astype(np.float32)
    torch.testing.assert_close(method.likelihood(padded), torch.full((3,), -0.5))  # two numbers per action


def test_what_the_policy_does_has_a_density_that_integrates_to_one_over_the_box():
    from stable_baselines3 import SAC

    from pbrl.agents.sb3 import SACAgent
    from pbrl_envs.suites.gym import make_gym

    numbers = {"activation": "relu", "lr": 1e-3, "batch_size": 8, "gamma": 0.99, "tau": 0.005, "ent_coef": "auto"}
    counts = {"learning_starts": 5, "gradient_steps": 1, "target_update_interval": 1, "precision": None}
    agent = SACAgent(
        lambda: make_gym("Pendulum-v1"),
        **{"algorithm": SAC, "steps": 100, "seed": 0, "device": "cpu", "n_envs": 1, "hidden": [8]},
        **numbers,
        **counts,
    )
    actions = np.linspace(-0.999, 0.999, 4000, dtype=np.float32)[:, None]
    obs = np.repeat(np.array([[0.6, 0.8, 1.0]], np.float32), len(actions), axis=0)
    density = np.exp(agent.log_prob(obs, actions))
    assert np.trapezoid(density, actions[:, 0]) == pytest.approx(1, abs=0.02)
    torch.manual_seed(0)
    drawn, log_prob = agent.model.actor.action_log_prob(torch.from_numpy(obs))
    np.testing.assert_allclose(agent.log_prob(obs, drawn.detach().numpy()), log_prob.detach(), atol=2e-2)
    torch.manual_seed(0)
    values = torch.stack(agent.model.critic(torch.from_numpy(obs), drawn)).amin(0)[:, 0]
    np.testing.assert_allclose(agent.values(obs), values.detach(), rtol=1e-5)
    agent.set_update_times(3)
    agent.learn(20)
    assert agent.updates == 3 * 15  # the first five steps have no updates
    agent.close()


def test_the_resets_follow_the_sequence_by_hand(monkeypatch):
    """tau 25, 30, 34.5, 38.55, ... by inc 5, 4.5, 4.05, ...; one more update per step each time, four at most."""
    method = Policer.__new__(Policer)
    method.reset_decay, method.reset_most, method.most_updates = 0.9, 40.0, 4
    method.resets, method.update_times, method.times_now, method.largest = 0, 1, 1, 0.0
    method.threshold, method.raise_by = 25.0, 5.0
    did = []
    agent = SimpleNamespace(
        reset_critic=lambda: did.append("critic"), update=did.append, set_update_times=lambda times: None
    )
    method.run = SimpleNamespace(agent=agent, desk=SimpleNamespace(exhausted=False))
    method.model = SimpleNamespace(reset=lambda: did.append("reward"))
    monkeypatch.setattr(Qpa, "learn_model", lambda self: {"updates": 10})
    monkeypatch.setattr(Qpa, "adopt", lambda self, first: did.append("relabel"))
    expected = [  # largest value at a session -> was there a reset, threshold, updates per step after it
        (24.0, False, 25.0, 1),
        (25.0, False, 25.0, 1),
        (26.0, True, 30.0, 2),
        (29.0, False, 30.0, 2),
        (31.0, True, 34.5, 3),
        (35.0, True, 38.55, 4),
        (39.0, True, 40.0, 4),  # 42.195 is above the most
        (41.0, True, 40.0, 4),
    ]
    for largest, reset, threshold, times in expected:
        did.clear()
        before, method.largest = method.update_times, max(method.largest, largest)
        fitted = method.learn_model()
        method.adopt(first=False)
        assert did == (["reward", "relabel", "critic", before] if reset else ["relabel"])
        assert fitted["updates"] == (20 if reset else 10)  # it learns from all answers again
        assert method.largest == (0 if reset else largest)
        assert method.threshold == pytest.approx(threshold)
        assert (method.update_times, method.times_now) == (times, times)
    method.run.desk.exhausted = True
    method.adopt(first=False)
    assert method.times_now == 1
    assert method.resets == 5


def test_a_reset_reward_has_other_weights_and_keeps_what_the_optimiser_and_the_inputs_remember():
    reward = model()
    reward.optimizer.zero_grad()
    reward.score(segments(2)).sum().backward()
    reward.optimizer.step()
    before, moments = copy.deepcopy(reward.state_dict()), copy.deepcopy(reward.optimizer.state_dict()["state"])
    reward.reset()
    assert all((before[name] != value).all() for name, value in reward.state_dict().items())
    for number, state in reward.optimizer.state_dict()["state"].items():
        torch.testing.assert_close(state["exp_avg"], moments[number]["exp_avg"])
    bound = 1 / np.sqrt(5)  # three observations and two actions
    assert bound * 0.5 < float(reward.net.weights[0].detach().abs().max()) <= bound


def test_it_resets_and_goes_on_as_if_never_killed(run, tmp_path):
    code, _, err = train(tmp_path / "whole", "feedback.budget=18", method="policer")  # of sessions 120, 180 and 240
    assert code == 0, err
    rows = table(tmp_path / "whole" / "progress.csv")
    assert float(rows[-1]["reward/resets"]) > 0
    assert max(int(row["train/update_times"]) for row in rows) > 1
    assert rows[-1]["train/update_times"] == "1"  # the budget is spent
    killed = [*TINY["policer"], "feedback.budget=18", f"run_dir={tmp_path / 'killed'}", "report=false"]
    kill = Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)  # between a reset and the session that ends the labels
    assert run(["train", *killed], kill) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "queries=entropy",
            "queries=entropy: this method asks about what its policy would do now; set queries=uniform",
        ),
        ("method.reset_above=0", "method.reset_above=0: expected a number above 0"),
        ("method.most_updates=0", "method.most_updates=0: expected a whole number of at least 1"),
        ("method.crop=[6,11]", "method.crop=[6, 11]: expected [shortest, longest] with 1 <= shortest <= longest <= 10"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_folder(change, said, tmp_path):
    code, _, err = train(tmp_path / "run", change, method="policer")
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()


def test_without_resets_nothing_is_watched(tmp_path):
    code, _, err = train(tmp_path / "run", "method.reset_above=null", "method.rank_power=0", method="policer")
    assert code == 0, err
    last = table(tmp_path / "run" / "progress.csv")[-1]
    assert (last["reward/resets"], last["train/update_times"], last["train/largest_value"]) == ("0", "1", "0.0")
