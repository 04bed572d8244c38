"""Every update, fit, relabelling and action, with what learns on a device where nothing may be left behind or read."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from fake_device import META, fake_device, moving_in_place, on_meta, plain_meta
from tiny import LEARNERS, OFFLINE, TINY, collect
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorDeviceMismatchError

from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.sb3 import SACAgent
from pbrl.config import compose_config
from pbrl.data.lists import Lists
from pbrl.feedback.crops import crop_loss, draw_crops
from pbrl.nets.devices import number
from pbrl.nets.networks import descend
from pbrl.rewards.losses.co_teaching import CoTeaching
from pbrl.rewards.losses.em import FlipEM
from pbrl.rewards.losses.ranking import LambdaRank, PlackettLuce
from pbrl.rewards.losses.strength import Margin, SoftLabels
from pbrl.rewards.losses.thumbs import Thumbs
from pbrl.rewards.losses.unbiased import Unbiased
from pbrl.rewards.objective import Objective
from pbrl.rewards.partial_return import PartialReturn
from pbrl.rewards.pessimism import Mean
from pbrl.rewards.preference_transformer import PreferenceTransformer
from pbrl.training import build, check
from pbrl.training.run_dir import RunDir
from pbrl.types import Comparisons, Segments

OBS, ACT, STEPS = 3, 1, 6
SAC = {
    "algorithm": FastSAC, "steps": 60, "seed": 0, "n_envs": 1, "hidden": [16, 16, 16], "activation": "relu", "lr": 1e-3,
    "batch_size": 8, "gamma": 0.99, "tau": 0.01, "ent_coef": "auto", "learning_starts": 10, "gradient_steps": 1,
    "target_update_interval": 2, "precision": "float32", "backend": "auto", "device": "meta",
}  # fmt: skip
REWARD = {"members": 3, "hidden": [8, 8], "activation": "relu", "head": "tanh", "normalise": True, "lr": 1e-3}


def rng():
    return torch.Generator().manual_seed(0)


def comparisons(n):
    g = rng()
    sides = [
        Segments(
            torch.randn(n, STEPS + 1, OBS, generator=g), torch.rand(n, STEPS, ACT, generator=g), torch.ones(n, STEPS),
            torch.zeros(n, STEPS), torch.zeros(n, STEPS), torch.arange(n),
        )
        for _ in range(2)
    ]  # fmt: skip
    return Comparisons(*sides, torch.randint(2, (n,), generator=g).float(), torch.zeros(n, dtype=torch.long))


def pendulum():
    return gym.make("Pendulum-v1")


def test_the_mode_refuses_what_it_should():
    with fake_device() as reads:
        there, here = torch.zeros(3, device=META), torch.zeros(3)
        with pytest.raises(FakeTensorDeviceMismatchError):
            there + here
        for look in (lambda: there.sum().item(), lambda: bool((there > 0).any()), lambda: there.tolist()):
            with pytest.raises(DataDependentOutputException):
                look()
        assert number(there.sum()) == 0.5
        assert reads.count == 1


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16"}, {"ent_coef": 0.1}, {"n_envs": 2}], ids=str)
def test_sac_acts_learns_and_reads_its_losses_once(changes):
    with moving_in_place():
        agent = SACAgent(pendulum, **SAC | changes)
    assert agent.model._native is None  # the kernel is the CPU's
    assert agent.model._critic_mlp.values.device == META
    with fake_device() as reads:
        agent.learn(30)
        before = reads.count
        agent.update(20)
        assert reads.count == before + 1
        assert agent.act(np.zeros((4, OBS), np.float32), deterministic=True).shape == (4, ACT)
        agent.reset_critic()


def test_rewards_of_stored_steps_are_computed_there():
    model = on_meta(reward())
    with fake_device() as reads:
        rewards = model.step_reward(np.zeros((5000, OBS), np.float32), np.zeros((5000, ACT), np.float32))
        assert rewards.shape == (5000,)
        assert reads.count == 1  # however many blocks it takes


def reward(**changes):
    settings = REWARD | {"smoothing": 0.1, "crop": None, "precision": "float32"} | changes
    return PartialReturn(obs_size=OBS, action_size=ACT, rng=rng(), **settings)


def transformer():
    settings = {"head": "attention", "width": 8, "attention_heads": 2, "blocks": 2, "dropout": 0.1, "max_steps": STEPS}
    return PreferenceTransformer(obs_size=OBS, action_size=ACT, lr=1e-3, rng=rng(), **settings)


LOSSES = [
    Unbiased(flip_rate=0.1), FlipEM(flip_rate=0.1, rate=0.1), CoTeaching(flip_rate=0.1, ramp=5), Margin(margin=1.0),
    SoftLabels(slight=0.7, clear=0.9),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses_on_answers_read_nothing_of_their_own(loss):
    model, objective, batch = reward(), robust(loss), comparisons(12)
    on_meta(model)
    on_meta(objective)
    with fake_device() as reads:
        objective.update(model, batch)
        assert reads.count == 2  # loss and accuracy


@pytest.mark.parametrize("loss", [PlackettLuce(items=4), LambdaRank(items=4), Thumbs(rate=0.1)])
def test_losses_on_lists_read_nothing_of_their_own(loss):
    model, objective = reward(), robust(loss)
    lists = Lists(comparisons(12 * loss.items).left, (torch.arange(12) % 2).float(), loss.items)
    on_meta(model)
    on_meta(objective)
    with fake_device() as reads:
        objective.update(model, lists)
        assert reads.count == 2


def robust(loss):
    return Objective(loss=loss, pessimism=Mean(), score="mean", annotators="alike", calibrate=False)


@pytest.mark.parametrize("make", [reward, transformer])
def test_reward_models_learn_from_comparisons_that_lie_on_the_cpu(make):
    model, batch = make(), comparisons(12)
    on_meta(model)
    with fake_device() as reads:
        model.update(batch)
        assert reads.count == 2  # loss and accuracy
        scores = model.score(batch.left[:4])
        assert scores.device.type == "cpu"  # where whoever asks has them
        assert scores.shape == (model.members, 4)


def test_crops_are_learned_from():
    model, batch, crops = reward(), comparisons(12), draw_crops(12, STEPS, [2, 4], 2, rng())
    on_meta(model)
    with fake_device() as reads:
        loss, _ = crop_loss(model, batch, crops)
        descend(model.optimizer, loss)
        assert reads.count == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture
def on_device(monkeypatch, tmp_path):
    """A run whose config is these overrides, and whose device is meta; not begun."""
    monkeypatch.setattr(check, "chosen_device", lambda name: META)

    def make(*overrides):
        with moving_in_place():
            return build.build_run(compose_config([*overrides, f"run_dir={tmp_path}"]), RunDir(tmp_path))

    return make


# Outside FakeTensorMode questions and answers keep their numbers; what is on meta has none, and cannot be read either.
# Not: those that are another one with other settings, and VPL, which learns on the CPU alone.
@pytest.mark.parametrize("method", sorted(set(LEARNERS) - {"percent_bc", "cpl_bc", "deformpam", "pearl", "vpl"}))
def test_offline_methods_learn_there(method, folder, on_device):
    changes = ["evaluation.every=null", "feedback.heldout=0.2"] if method not in ("bc", "iql") else []
    run = on_device(f"method={method}", f"data={folder}", *OFFLINE, *LEARNERS[method], *changes)
    with plain_meta() as reads:
        looks = [0]
        for _ in range(run.settings.steps):
            run._let_learn()
            looks.append(reads.count)
        # Losses and the like; but for the one update at which all that an episode's steps are worth is computed.
        assert sorted(np.diff(looks))[-2] <= 7
        run.method.train(False)
        assert run.method.policy()(np.zeros((5, *run.parts.obs_shape), np.float32)).shape == (5, run.parts.action_size)


@pytest.mark.parametrize("method", ["pebble", "surf", "rune", "qpa"])
def test_online_methods_explore_ask_fit_and_relabel_there(method, on_device):
    run = on_device(*TINY[method], "evaluation.every=null")
    with plain_meta():
        while run.step < 260:
            run._play_round()
    assert run.labels > 6
    assert run.method.updates > 0
    assert all(p.device == META for p in run.method.model.parameters())
    assert next(run.agent.model.policy.parameters()).device == META
    run.parts.close()
