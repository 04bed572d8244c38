"""PPE on facts: the score of both supports, the nudge by hand, the mixture, and that it trains and resumes."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from test_few_labels import segments
from tiny import TINY, train

from pbrl.feedback.support import MorseNetwork, NearestSteps
from pbrl.methods.ppe import Ppe, draw_mixture, shift


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("support", ["morse", "nearest"])
def test_it_trains_and_goes_on_as_if_never_killed(support, run, tmp_path):
    given = [f"method.support={support}", "feedback.candidates=5", "feedback.budget=60"]
    code, _, err = train(tmp_path / "whole", *given, method="ppe")
    assert code == 0, err
    assert table(tmp_path / "whole" / "progress.csv")[-1]["feedback/labels"] == "24"
    killed = [*TINY["ppe"], *given, f"run_dir={tmp_path / 'killed'}"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def made(support, obs_size=1):
    sizes = {"obs_size": obs_size, "action_size": 1, "rng": rng()}
    if support == "nearest":
        return NearestSteps(k=5, reference=512, **sizes)
    return MorseNetwork(hidden=(32, 32), sharpness=5.0, updates=600, batch_size=128, lr=3e-3, **sizes)


@pytest.mark.parametrize("support", ["morse", "nearest"])
def test_the_score_is_0_on_the_support_and_1_far_away(support):
    """Asked about were actions near 0.5, whatever the observation."""
    obs = torch.randn(500, 1, generator=rng(1))
    actions = 0.5 + 0.05 * torch.randn(500, 1, generator=rng(2))
    score = made(support)
    score.fit(obs, actions, rng(3))
    seen = torch.linspace(-1, 1, 9)[:, None]
    with torch.no_grad():
        near, far = (score(seen, torch.full((9, 1), action)) for action in (0.5, -0.5))
    assert near.mean() < {"morse": 0.1, "nearest": 0.45}[support]  # half of the steps are nearer than the unit: 0.39
    assert far.min() > 0.99


def test_the_score_by_hand():
    score = made("morse")
    with torch.no_grad():
        for one in score.net.parameters():
            one.zero_()
        score.net.biases[-1].fill_(0.3)  # f is 0.3 everywhere
    found = score(torch.zeros(3, 1), torch.tensor([[0.3], [0.5], [-0.7]]))
    assert found.tolist() == pytest.approx([0, 1 - math.exp(-12.5 * 0.04), 1 - math.exp(-12.5)])


def test_the_nearest_steps_by_hand():
    score = NearestSteps(obs_size=1, action_size=1, k=1, reference=9, rng=rng())
    obs = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])  # a spread of sqrt(5), 2 to the next
    score.fit(obs, torch.zeros(4, 1), rng())
    found = score(torch.tensor([[-3.0], [5.0], [0.0]]), torch.zeros(3, 1))
    assert found.tolist() == pytest.approx([0, 1 - math.exp(-0.5), 1 - math.exp(-0.125)], abs=1e-4)
    copy = NearestSteps(obs_size=1, action_size=1, k=1, reference=9, rng=rng())
    copy.load_state_dict(score.state_dict())
    assert torch.equal(copy(obs + 0.3, torch.zeros(4, 1)), score(obs + 0.3, torch.zeros(4, 1)))


def test_the_nudge_is_0_14_deviations_along_the_gradient():
    def score(obs, actions):  # rises with the first action alone
        return actions[:, 0] * obs[:, 0]

    obs, mean = torch.tensor([[1.0], [-1.0], [0.0]]), torch.zeros(3, 2)
    std = torch.tensor([[0.5, 2.0]]).expand(3, -1)
    moved = shift(score, obs, mean, std, 0.01)
    torch.testing.assert_close(moved, math.sqrt(0.02) * 0.5 * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))


def test_the_nudge_is_the_divergence_that_was_asked_for_in_the_direction_that_gains_most():
    weight = torch.tensor([1.0, -2.0, 0.5])
    mean, std = torch.randn(4, 3, generator=rng()), torch.rand(4, 3, generator=rng(1)) + 0.1
    moved = shift(lambda obs, actions: actions @ weight, torch.zeros(4, 1), mean, std, 0.3)
    torch.testing.assert_close((moved / std).square().sum(1) / 2, torch.full((4,), 0.3))  # KL of equal covariances
    gradient = weight * (1 - mean.tanh().square())
    best = std * gradient / (std * gradient).norm(dim=1, keepdim=True)
    torch.testing.assert_close(moved / std / math.sqrt(0.6), best)


def ppe(**changes):
    method = Ppe.__new__(Ppe)
    method.supported, method.nudge, method.outside, method.explore = True, 0.01, 0.5, None
    method.support = lambda obs, actions: actions[:, 0]
    gaussian = torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])
    desk = SimpleNamespace(exhausted=False)
    method.run = SimpleNamespace(desk=desk, agent=SimpleNamespace(gaussian=lambda obs: gaussian))
    vars(method).update(changes)
    return method


def test_behaviour_keeps_the_noise_that_was_drawn():
    drawn = torch.tensor([[0.3, -1.2]])  # before the tanh
    acted, tags = ppe().behave(np.zeros((1, 3), np.float32), drawn.tanh().numpy())
    expected = (drawn + torch.tensor([[math.sqrt(0.02) * 0.5, 0]])).tanh()
    np.testing.assert_allclose(acted, expected.numpy(), atol=1e-5)
    assert tags is None
    ends, _ = ppe().behave(np.zeros((1, 3), np.float32), np.array([[1.0, -1.0]], np.float32))
    assert np.isfinite(ends).all()


def test_a_run_acts_so_after_the_first_answers_and_by_the_policy_before_and_when_the_budget_is_spent(
    tmp_path, monkeypatch
):
    moved, behave = {}, Ppe.behave

    def note(self, obs, actions):
        acted, tags = behave(self, obs, actions)
        mean, std = self.run.agent.gaussian(obs)
        np.testing.assert_allclose(mean.tanh().numpy(), self.run.agent.act(obs, deterministic=True), atol=1e-5)
        inner = np.arctanh(np.clip([acted, actions], -1 + 1e-6, 1 - 1e-6))
        if np.abs(inner).max() < 3:  # where float32 tells how far they are apart
            moved[self.run.step] = float(np.linalg.norm((inner[0] - inner[1]) / std.numpy()))
        return acted, tags

    monkeypatch.setattr(Ppe, "behave", note)
    code, _, err = train(tmp_path / "run", "feedback.budget=18", method="ppe")  # sessions at 120, 180 and 240
    assert code == 0, err
    before, between, after = (
        [m for s, m in moved.items() if a <= s < b] for a, b in ((0, 120), (120, 240), (240, 400))
    )
    assert set(before) | set(after) == {0.0}
    assert between == pytest.approx([math.sqrt(0.02)] * len(between), rel=0.01)
    assert min(map(len, (before, between, after))) > 20


@pytest.mark.parametrize("state", ["untrained", "switched off", "spent"])
def test_behaviour_is_that_of_the_policy_without_a_score_a_nudge_or_a_budget(state):
    method = ppe(**{"untrained": {"supported": False}, "switched off": {"nudge": 0}}.get(state, {}))
    method.run.desk.exhausted = state == "spent"
    actions = np.array([[0.3, -1.0]], np.float32)
    assert method.behave(np.zeros((1, 3), np.float32), actions)[0] is actions


@pytest.mark.parametrize(("outside", "far"), [(0.0, 0), (0.5, 5), (0.3, 3), (1.0, 10)])
def test_kappa_of_the_pairs_lie_outside_and_the_others_inside(outside, far):
    distance = torch.tensor([0.0] * 30 + [1.0] * 20)  # the last twenty lie outside
    rows = draw_mixture(distance, 10, outside, rng())
    assert rows.shape == (10, 2)
    assert (rows[:far] >= 30).all()
    assert (rows[far:] < 30).all()
    assert (rows[:, 0] != rows[:, 1]).all()


def test_a_single_pair_lies_outside_as_often_as_kappa_says():
    distance, draws = torch.tensor([0.0] * 30 + [1.0] * 20), rng()
    outside = [float(draw_mixture(distance, 1, 0.3, draws)[0, 0] >= 30) for _ in range(2000)]
    assert np.mean(outside) == pytest.approx(0.3, abs=0.05)


def test_candidates_are_drawn_in_proportion():
    distance = torch.tensor([0.1, 0.3, 0.6])
    rows = draw_mixture(distance, 40_000, 1.0, rng())
    shares = torch.bincount(rows[:, 0], minlength=3) / 40_000
    assert shares.tolist() == pytest.approx([0.1, 0.3, 0.6], abs=0.015)


def test_the_distance_of_a_segment_is_the_mean_over_its_real_steps():
    method = ppe(support=lambda obs, actions: actions[:, 0].abs())
    one = segments(4, padded=3)
    expected = one.actions[:, :9, 0].abs().mean(1)
    torch.testing.assert_close(method.distance(one), expected)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.support=knn", "method.support=knn: valid are morse, nearest"),
        ("queries=disagreement", "queries=disagreement: method=ppe draws its pairs by what was asked about; leave"),
        ("method.outside=2", "method.outside=2: expected a number from 0 to 1"),
        ("method.morse=null", "method.morse=None: this method needs it"),
        ("method.nudge=-1", "method.nudge=-1: expected a number from 0 to 1"),
        ("method.morse.sharpness=0", "method.morse.sharpness=0: expected a number above 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_the_run(override, said, tmp_path):
    code, _, err = train(tmp_path / "run", override, method="ppe")
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()
