"""REED on facts: both objectives by hand, who gets gradients, and that the encoder learns before there are labels."""

import math
from types import SimpleNamespace

import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from tiny import PPO, TINY, train

from pbrl.methods.pebble import Pebble
from pbrl.methods.reed import Reed
from pbrl.rewards.self_predictive import NextPredictor, SelfPredictiveReward, contrastive_loss, distillation_loss

NUMBERS = {"hidden": (8,), "activation": "leaky_relu", "head": "tanh", "normalise": False, "lr": 1e-3, "smoothing": 0.0}


def made(members=2, temperature=None):
    rng = torch.Generator().manual_seed(0)
    sizes = {"obs_size": 3, "action_size": 2, "obs_embedding": 6, "action_embedding": 4}
    model = SelfPredictiveReward(**NUMBERS, **sizes, members=members, crop=None, precision="float32", rng=rng)
    return model, NextPredictor(model, projection=5, temperature=temperature, rng=rng)


def steps(members=2, n=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(members, n, size, generator=rng) for size in (3, 2, 3)]


def test_distillation_is_minus_the_cosine_whatever_the_lengths():
    target = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    assert float(distillation_loss(5 * target, target)) == pytest.approx(-1)
    assert float(distillation_loss(target.flip(2), target)) == pytest.approx(0)
    assert float(distillation_loss(torch.tensor([[[1.0, 1.0], [0.0, -1.0]]]), target)) == pytest.approx(
        -(math.sqrt(0.5) - 1) / 2
    )


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_contrast_by_hand(temperature):
    pairs = torch.eye(2)[None]  # two steps whose next ones are foretold exactly, and unlike each other
    expected = math.log(1 + 2 * math.exp(-1 / temperature))  # itself among the two others
    assert float(contrastive_loss(3 * pairs, pairs, temperature)) == pytest.approx(expected, rel=1e-3)
    same = torch.ones(1, 4, 3)  # nothing tells the steps apart: one of 2 * 4 - 1
    assert float(contrastive_loss(same, same, temperature)) == pytest.approx(math.log(7), rel=1e-5)
    assert float(contrastive_loss(pairs[:, :1], pairs[:, 1:], temperature)) == pytest.approx(0)


@pytest.mark.parametrize("objective", [distillation_loss, lambda p, t: contrastive_loss(p, t, 0.3)])
def test_the_order_of_a_batch_does_not_matter_and_members_are_summed(objective):
    predicted, target = torch.randn(2, 2, 7, 4, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    loss = objective(predicted, target)
    torch.testing.assert_close(objective(predicted[:, order], target[:, order]), loss)
    torch.testing.assert_close(objective(predicted[:1], target[:1]) + objective(predicted[1:], target[1:]), loss)


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_what_is_predicted_is_a_constant_and_the_head_of_the_reward_has_no_part(temperature):
    model, predictor = made(temperature=temperature)
    obs, actions, next_obs = (x.requires_grad_() for x in steps())
    predictor.loss(model, obs, actions, next_obs).backward()
    assert next_obs.grad is None
    assert obs.grad.abs().min() > 0
    assert all(p.grad is not None for p in model.net.encoder)
    assert all(p.grad is None for p in model.net.head.parameters())


def test_a_head_normalises_each_member_over_its_batch():
    _, predictor = made()
    x = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(predictor._head(x * 7), predictor._head(x), atol=1e-3, rtol=1e-3)
    alone = predictor._head(torch.stack([x[0], 100 * x[1] ** 3]))
    torch.testing.assert_close(alone[0], predictor._head(x)[0])


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_dynamics_that_can_be_foretold_are_learned(temperature):
    model, predictor = made(temperature=temperature)
    optimizer = torch.optim.Adam([*model.net.encoder, *predictor.parameters()], lr=1e-2)
    losses = []
    for seed in range(60):
        obs, actions, _ = steps(n=32, seed=seed)
        loss = predictor.loss(model, obs, actions, obs.roll(1, dims=2) + 0.1 * actions.sum(2, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()) / 2)
    gain = sum(losses[:10]) / 10 - sum(losses[-10:]) / 10
    assert gain > 0.3


@pytest.mark.parametrize("prediction", ["distillation", "contrastive"])
def test_it_trains_and_goes_on_as_if_never_killed(prediction, run, tmp_path):
    code, _, err = train(tmp_path / "whole", f"method.prediction={prediction}", method="reed")
    assert code == 0, err
    last = table(tmp_path / "whole" / "progress.csv")[-1]
    assert last["feedback/labels"] == "24"
    assert int(last["reward/prediction_updates"]) > 0
    killed = [*TINY["reed"], f"method.prediction={prediction}", f"run_dir={tmp_path / 'killed'}", "report=false"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_the_encoder_learns_before_the_first_labels_and_every_second_session_where_told(tmp_path, monkeypatch):
    seen, ask = [], Pebble.ask

    def noted(self, n):
        seen.append((self.run.desk.counts.labels, self.predicted, len(self.run.episodes)))
        return ask(self, n)

    monkeypatch.setattr(Pebble, "ask", noted)
    assert train(tmp_path / "run", "method.prediction_every=2", method="reed")[0] == 0
    by_session = [2 * math.ceil(0.8 * 30 * episodes / 12) for _, _, episodes in seen]  # two epochs, batches of 12
    first, third = by_session[0], by_session[2]
    assert [(labels, updates) for labels, updates, _ in seen] == [
        (0, first),
        (6, first),
        (12, first + third),
        (18, first + third),
    ]


@pytest.mark.parametrize(("ready", "refits"), [(True, 0), (False, 1)])
def test_where_people_answer_later_the_reward_is_fitted_to_its_new_encoder(ready, refits, monkeypatch):
    method, did = Reed.__new__(Reed), []
    method.prediction_every, method.updates = 1, 5
    method.run = SimpleNamespace(desk=SimpleNamespace(sessions=2, ready=ready))
    monkeypatch.setattr(Pebble, "ask", lambda self, n: did.append("ask") or {})
    monkeypatch.setattr(Reed, "learn_dynamics", lambda self: did.append("encoder") or {"reward/prediction_loss": 0.0})
    monkeypatch.setattr(Reed, "learn_model", lambda self: did.append("fit") or {"updates": 3})
    monkeypatch.setattr(Reed, "heldout_figures", lambda self: {})
    monkeypatch.setattr(Reed, "settle", lambda self, temperature: None)
    monkeypatch.setattr(Reed, "relabel", lambda self: did.append("relabel"))
    method.ask(4)
    assert did == ["encoder", "ask", *["fit", "relabel"] * refits]
    assert method.updates == 5 + 3 * refits


def test_updates_may_be_fewer_than_the_epochs_have():
    method = Reed.__new__(Reed)
    method.prediction_epochs, method.prediction_batch, method.prediction_updates = 3, 4, 7
    method.model = made()[0]
    batches = list(method.batches(10, torch.Generator().manual_seed(0)))
    assert [rows.shape for rows in batches] == [(2, 4), (2, 4), (2, 2)] * 2 + [(2, 4)]
    for rows in (torch.cat(batches[:3], 1), torch.cat(batches[3:6], 1)):  # each member sees each step once in an epoch
        torch.testing.assert_close(rows.sort(1).values, torch.arange(10).expand(2, -1))


def test_it_drives_ppo_too(tmp_path):
    own = ["agent=ppo", *PPO, "method.reset_critic=false", "method.critic_updates=0"]
    numbers = [n for n in TINY["reed"] if not n.startswith("agent.")]
    code, _, err = train(tmp_path / "run", *numbers, *own, method=None)
    assert code == 0, err
    assert int(table(tmp_path / "run" / "progress.csv")[-1]["reward/prediction_updates"]) > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("method.prediction=both", "method.prediction=both: "),
        ("method.prediction_optimizer=lion", "method.prediction_optimizer=lion: "),
        ("method.prediction_batch=1", "method.prediction_batch=1: expected a whole number of at least 2"),
        ("method.temperature=0", "method.temperature=0: expected a number above 0"),
        ("method.model.obs_embedding=0", "obs_embedding=0: expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_folder(change, said, tmp_path):
    code, _, err = train(tmp_path / "run", change, method="reed")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
