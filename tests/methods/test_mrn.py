"""MRN on facts: its step by hand on linear critics, how often it comes, and a control that spends as much."""

import json
import math
from types import SimpleNamespace

import gymnasium as gym
import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from test_few_labels import segments
from tiny import TINY, train

from pbrl.agents.fast_sac import Batch
from pbrl.agents.torch_sac import TorchSAC
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.methods.mrn import Mrn, meta_loss
from pbrl.methods.pebble import Pebble
from pbrl.types import Answers, Comparisons, Segments


@pytest.fixture(scope="module")
def linear_sac():
    """Critics Q_k(s, a) = w_k . (s, a) without hidden layers; observations of 3 numbers, actions of one."""
    networks = {"net_arch": {"pi": [4], "qf": []}}
    sac = TorchSAC("MlpPolicy", gym.make("Pendulum-v1"), policy_kwargs=networks, buffer_size=10, device="cpu", seed=0)
    with torch.no_grad():
        for net, weight in zip(sac.critic.q_networks, (0.5, -0.3), strict=True):
            net[0].weight.copy_(torch.tensor([[weight, 0, 0, 0]]))
            net[0].bias.zero_()
    return sac


def one_step(x):
    """(1, 3) and (1, 1): an observation whose first number is x, and no action."""
    return torch.tensor([[x, 0.0, 0.0]]), torch.zeros(1, 1)


def segment(first):
    """Two steps; what comes after the first is large, and must not matter."""
    obs = torch.full((1, 3, 3), 100.0)
    obs[:, 0] = torch.tensor([first, 0.0, 0.0])
    actions = torch.full((1, 2, 1), 1.0)
    actions[:, 0] = 0
    ones, zeros = torch.ones(1, 2), torch.zeros(1, 2)
    return Segments(obs, actions, ones, zeros, zeros, torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize("answer", [1.0, 0.0, 0.5])
def test_the_gradient_of_a_meta_step_is_the_hand_value_on_linear_critics(linear_sac, answer):
    """One ending step at x, y = r: w' = w - 2 lr (w x - r) x, logit d = w' (x_right - x_left),
    and dL/dr = sum_k (sigmoid(d_k) - answer) * 2 lr x * (x_right - x_left)."""
    x, reward, lr, left, right = 0.8, torch.tensor([0.25], requires_grad=True), 0.1, -0.4, 1.1
    obs, actions = one_step(x)
    batch = Batch(obs, actions, obs, torch.ones(1, 1), torch.zeros(1, 1))
    answers = Comparisons(segment(left), segment(right), torch.tensor([answer]), torch.zeros(1, dtype=torch.long))
    loss = meta_loss(linear_sac, batch, reward, answers, lr)
    (gradient,) = torch.autograd.grad(loss, reward)
    expected_loss, expected = 0.0, 0.0
    for w in (0.5, -0.3):
        logit = (w - 2 * lr * (w * x - 0.25) * x) * (right - left)
        p = 1 / (1 + math.exp(-logit))
        expected_loss -= answer * math.log(p) + (1 - answer) * math.log(1 - p)
        expected += (p - answer) * 2 * lr * x * (right - left)
    assert float(loss.detach()) == pytest.approx(expected_loss, rel=1e-5)
    assert float(gradient) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("meta_every", "every", "sessions", "meta_steps"),
    [(1000, 20_000, 10, 179), (5000, 20_000, 10, 35), (10_000, 5000, 100, 49)],  # walker-walk, cheetah-run, door-open
)
def test_as_many_meta_steps_as_the_released_schedules_have(meta_every, every, sessions, meta_steps, monkeypatch):
    method = Mrn.__new__(Mrn)
    method.between_every = method.next_between = meta_every
    method.updates, method.next_session = 0, 10_000
    method.run = SimpleNamespace(step=0, desk=SimpleNamespace(exhausted=False))
    held, taken = [], []
    method.preferences = held  # each session has an answer

    def session(self):
        held.append(self.run.step)
        self.run.desk.exhausted, self.updates = len(held) == sessions, len(held)
        self.next_session += every
        return {}

    monkeypatch.setattr(Pebble, "step", session)
    monkeypatch.setattr(Mrn, "between", lambda self: taken.append(self.run.step) or {})
    while not method.run.desk.exhausted:
        method.run.step = method.due()
        method.step()
    assert len(taken) == meta_steps
    assert min(taken) > held[0]
    assert max(taken) < held[-1]


def test_it_trains_and_goes_on_as_if_never_killed(run, tmp_path):
    code, _, err = train(tmp_path / "whole", method="mrn")
    assert code == 0, err
    last = table(tmp_path / "whole" / "progress.csv")[-1]
    assert (last["feedback/labels"], last["reward/meta_steps"]) == ("24", "4")  # 160, 200, 240, 280
    killed = [*TINY["mrn"], f"run_dir={tmp_path / 'killed'}", "report=false"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("agent", ["sac_torch", "sac"])
def test_the_control_takes_as_many_reward_updates_and_relabels(agent, tmp_path):
    fixed = ["method.fit.stop_accuracy=null"]  # 3 epochs in each of 4 sessions
    control = ["method.second_derivative=false", f"agent={agent}"]
    spent = []
    for name, changes in (("meta", fixed), ("control", [*fixed, *control])):
        code, _, err = train(tmp_path / name, *changes, method="mrn")
        assert code == 0, err
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        spent.append((summary["reward_updates"], summary["relabels"], summary["last_label_step"]))
    assert spent == [(4 * 3 + 4, 4 + 4, 300)] * 2


def test_extra_steps_learn_what_answers_are_believed_to_say():
    method = Mrn.__new__(Mrn)
    method.preferences = PreferenceDataset(0.0, torch.Generator(), lambda told: 1 - told.prefers_right)
    answers = Answers(torch.tensor([0.0, 1.0, 0.0]), torch.ones(3, dtype=torch.bool))
    method.preferences.add(segments(3, seed=1), segments(3, seed=2), answers)
    method.run = SimpleNamespace(feedback=SimpleNamespace(per_session=2))
    assert method.newest().prefers_right.tolist() == [0, 1]


def test_an_agent_without_second_derivatives_is_refused(tmp_path):
    code, _, err = train(tmp_path / "run", "agent=sac", method="mrn")
    assert code == 2
    assert "method.second_derivative=True: gradients go through the agent's update; choose agent=sac_torch" in err
    assert not (tmp_path / "run").exists()


def test_a_reward_of_another_run_takes_no_meta_steps_before_there_are_answers(tmp_path):
    assert train(tmp_path / "one", "steps=140", method="mrn")[0] == 0
    code, _, err = train(tmp_path / "two", f"init={tmp_path / 'one'}", method="mrn")
    assert code == 0, err
    steps = {row["time/total_timesteps"]: row["reward/meta_steps"] for row in table(tmp_path / "two" / "progress.csv")}
    assert (steps["100"], steps["320"]) == ("0", "4")
