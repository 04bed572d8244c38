import copy
import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from torch.nn import functional as F

from pbrl.agents.fast_sac import FastSAC
from pbrl.finite import NotFinite
from pbrl.nets import fast_mlp, precision

OBS, ACT, BATCH = 5, 3, 48  # BATCH * ACT is a multiple of 16, below it torch fills normals one by one


class PointEnv(gym.Env):
    """Reward for acting like the first observations; bounds that are not [-1, 1]."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = gym.spaces.Box(np.float32([-2, -1, 0]), np.float32([2, 3, 1]))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.obs = 0, self.np_random.standard_normal(OBS).astype(np.float32)
        return self.obs, {}

    def step(self, action):
        reward = -float(np.square(action - self.obs[:ACT]).sum())
        self.steps, self.obs = self.steps + 1, self.np_random.standard_normal(OBS).astype(np.float32)
        return self.obs, reward, self.steps % 7 == 0, self.steps % 11 == 0, {}


def make(cls=FastSAC, arch=(32, 32), seed=0, **kwargs):
    arch = arch if isinstance(arch, dict) else list(arch)
    if cls is FastSAC:
        kwargs = {"precision": "float32", "backend": "torch"} | kwargs
    policy_kwargs = {"net_arch": arch} | kwargs.pop("policy_kwargs", {})
    model = cls("MlpPolicy", PointEnv(), device="cpu", buffer_size=500, batch_size=BATCH, learning_starts=20,
                policy_kwargs=policy_kwargs, seed=seed, **kwargs)  # fmt: skip
    model._setup_learn(1)
    fill(model.replay_buffer)
    return model


def fill(buffer, seed=0):
    rng = np.random.default_rng(seed)
    for array in (buffer.observations, buffer.next_observations, buffer.rewards):
        array[:] = rng.standard_normal(array.shape)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.dones[:] = rng.random(buffer.dones.shape) < 0.2
    buffer.full = True


def train(model, steps=1, seed=7):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - SB3's buffers draw from it
    model.train(steps, BATCH)


def assert_same_networks(one, other, rtol, atol):
    for (name, a), b in zip(one.policy.state_dict().items(), other.policy.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


ARCHES = [(32, 32), (16,), {"pi": [24, 16, 24], "qf": [32, 8, 16, 40]}]


@pytest.mark.parametrize("arch", ARCHES, ids=str)
@pytest.mark.parametrize("ent_coef", ["auto", "auto_0.1", 0.2])
def test_one_update_equals_plain_sac(arch, ent_coef):
    fast, plain = make(arch=arch, ent_coef=ent_coef), make(SAC, arch=arch, ent_coef=ent_coef)
    assert_same_networks(fast, plain, 0, 0)
    train(fast)
    train(plain)
    # a step of Adam from zero moments is lr * sign(gradient): near-zero gradients may differ by a part of lr = 3e-4
    assert_same_networks(fast, plain, 1e-5, 1e-5)
    for name in ("actor", "critic"):
        for a, b in zip(moments(fast, name), moments(plain, name), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    ours, theirs = fast.logger.name_to_value, plain.logger.name_to_value
    assert set(ours) == set(theirs)
    for key in theirs:
        assert ours[key] == pytest.approx(theirs[key], rel=1e-4, abs=1e-6), key


def moments(model, name):
    state = model.get_parameters()[f"{name}.optimizer"]["state"]
    return [entry["exp_avg"] for entry in state.values()]


def test_many_updates_stay_with_plain_sac():
    fast, plain = make(target_update_interval=2), make(SAC, target_update_interval=2)
    train(fast, 25)
    train(plain, 25)
    assert_same_networks(fast, plain, 1e-2, 1e-3)
    assert fast.log_ent_coef.item() == pytest.approx(plain.log_ent_coef.item(), rel=1e-4)


def stack_of(networks, dtype):
    return fast_mlp.StackedMLP([[[m] for m in net if isinstance(m, torch.nn.Linear)] for net in networks], dtype)


def mlp(sizes):
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


SIZES = [(7, 32, 1), (7, 64, 64, 1), (7, 16, 32, 48, 1)]


def gradients(sizes, dtype):
    """By the stack and by autograd: values, d min / d input and d loss / d parameters, one list each."""
    torch.manual_seed(0)
    nets, x, y = [mlp(sizes), mlp(sizes)], torch.randn(256, 7, requires_grad=True), torch.randn(256)
    parameters = [p for net in nets for p in net.parameters()]
    chosen = torch.stack([net(x)[:, 0] for net in nets]).argmin(0)  # fixed: rounding may swap near-equal values

    def autograd():
        q = torch.stack([net(x)[:, 0].float() for net in nets])
        loss = 0.5 * sum(F.mse_loss(values, y) for values in q)
        (input_grad,) = torch.autograd.grad(q.gather(0, chosen[None]).mean(), x, retain_graph=True)
        return [q.detach(), input_grad[:, 2:], *torch.autograd.grad(loss, parameters)]

    exact = autograd()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = autograd()
    with torch.no_grad():
        stack = stack_of(nets, dtype)
        stack.refresh()
        q = stack.forward(x)[:, :, 0].clone()
        input_grad = stack.input_grad(torch.full((256,), 1 / 256), chosen, slice(2, 7))
        stack.backward((q - y)[:, :, None] / 256)
    return [q, input_grad, *(stack.view_like(p, stack.grads) for p in parameters)], exact, autocast


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_float32_gradients_equal_autograd(sizes):
    ours, exact, _ = gradients(sizes, torch.float32)
    assert max(distances(ours, exact)) < 1e-5


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_bfloat16_gradients_are_closer_than_autocast(sizes):
    ours, exact, autocast = gradients(sizes, torch.bfloat16)
    assert max(distances(ours, exact)) < 0.15
    assert np.mean(distances(ours, exact)) < np.mean(distances(autocast, exact))


def distances(actual, expected):
    return [float((a - b).norm() / b.norm()) for a, b in zip(actual, expected, strict=True)]


def test_input_grad_when_one_network_is_always_chosen():
    torch.manual_seed(0)
    nets, x = [mlp((4, 8, 8, 1)), mlp((4, 8, 8, 1))], torch.randn(10, 4, requires_grad=True)
    (expected,) = torch.autograd.grad(nets[1](x).sum(), x)
    with torch.no_grad():
        stack = stack_of(nets, torch.float32)
        stack.forward(x)
        actual = stack.input_grad(torch.ones(10), torch.ones(10, dtype=torch.long), slice(0, 4))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)


def test_bfloat16_learns_like_float32():
    low, full = make(precision="bfloat16", arch=(64, 64)), make(arch=(64, 64))
    train(low, 30)
    train(full, 30)
    losses = [m.logger.name_to_value["train/critic_loss"] for m in (low, full)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("deterministic", [True, False])
def test_predict_equals_plain_sac(deterministic):
    fast, plain = make(), make(SAC)
    for obs in (np.random.default_rng(0).standard_normal((4, OBS)), np.zeros(OBS, np.float32), [0.1] * OBS):
        answers = []
        for model in (fast, plain):
            torch.manual_seed(3)
            answers.append(model.predict(obs, deterministic=deterministic)[0])
        np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-6)
        assert answers[0].shape == answers[1].shape
        assert answers[0].dtype == answers[1].dtype
    with pytest.raises(ValueError, match="observation shape"):
        fast.predict(np.zeros(OBS + 1, np.float32))


@pytest.mark.parametrize(("saver", "loader"), [(FastSAC, SAC), (SAC, FastSAC), (FastSAC, FastSAC)])
def test_zip_is_exchangeable(saver, loader, tmp_path):
    model = make(saver)
    train(model, 3)
    model.save(tmp_path / "agent.zip")
    extra = {"precision": "float32", "backend": "torch"} if loader is FastSAC else {}
    loaded = loader.load(tmp_path / "agent.zip", env=PointEnv(), device="cpu", **extra)
    obs = np.random.default_rng(0).standard_normal((20, OBS)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0],
                               atol=1e-6)  # fmt: skip
    loaded._setup_learn(1)
    loaded.replay_buffer = model.replay_buffer
    train(model, 1, seed=9)
    train(loaded, 1, seed=9)
    assert_same_networks(loaded, model, 1e-4, 1e-5)
    assert float(loaded.critic.optimizer.state_dict()["state"][0]["step"]) == 4
    assert loaded.log_ent_coef.item() == pytest.approx(model.log_ent_coef.item(), rel=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resume_is_exact(precision):
    model, other = make(precision=precision), make(precision=precision, seed=5)
    train(model, 3)
    checkpoint, log_ent_coef = model.get_parameters(), model.log_ent_coef.detach().clone()
    before = copy.deepcopy(checkpoint)
    train(model, 3, seed=8)
    train(other, 2)  # its own moments must be forgotten
    other.set_parameters(checkpoint)
    other.log_ent_coef.data = log_ent_coef
    train(other, 3, seed=8)
    assert_same_networks(other, model, 0, 0)
    assert torch.equal(other.log_ent_coef, model.log_ent_coef)
    for value, kept in zip(leaves(checkpoint), leaves(before), strict=True):
        assert torch.equal(value, kept)


def leaves(tree):
    """All tensors of nested dictionaries."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [leaf for value in tree.values() for leaf in leaves(value)] if isinstance(tree, dict) else []


def test_a_deep_copy_trains_its_own_networks():
    model = make()
    train(model, 2)
    twin = copy.deepcopy(model)
    before = copy.deepcopy(model.get_parameters()["policy"])
    train(twin, 2)
    assert all(torch.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    train(model, 2)
    assert_same_networks(twin, model, 0, 0)


def test_reset_critic_forgets_everything():
    model = make()
    train(model, 3)
    actor, critic = copy.deepcopy(model.actor.state_dict()), copy.deepcopy(model.critic.state_dict())
    torch.manual_seed(1)
    model.reset_critic()
    for name, value in model.critic.state_dict().items():
        assert not torch.equal(value, critic[name])
        assert torch.equal(value, model.critic_target.state_dict()[name])
        assert float(value.abs().max()) <= 1 / np.sqrt(OBS + ACT)  # nn.Linear draws within 1 / sqrt(fan_in)
    assert all(torch.equal(value, actor[name]) for name, value in model.actor.state_dict().items())
    for entry in model.critic.optimizer.state_dict()["state"].values():
        assert all(float(value.abs().sum()) == 0 for value in entry.values())
    assert float(model.actor.optimizer.state_dict()["state"][0]["step"]) == 3
    train(model, 1)
    assert float(model.critic.optimizer.state_dict()["state"][0]["step"]) == 1


def test_learning_rate_schedule_is_honoured():
    model = make(learning_rate=lambda remaining: 1e-3 * remaining)
    model._current_progress_remaining = 0.0
    before = copy.deepcopy(model.policy.state_dict())
    train(model, 2)
    assert model.logger.name_to_value["train/learning_rate"] == 0
    for name, value in model.actor.state_dict().items():
        assert torch.equal(value, before[f"actor.{name}"])
    model._current_progress_remaining = 0.5
    train(model, 1)
    moved = (model.actor.mu.bias.detach() - before["actor.mu.bias"]).abs().max()
    assert 0 < float(moved) < 5.1e-4


def test_replay_buffer_subclasses_are_obeyed():
    class Ones(ReplayBuffer):
        def _get_samples(self, batch_inds, env=None):
            samples = super()._get_samples(batch_inds, env)
            return samples._replace(rewards=torch.ones_like(samples.rewards))

    class Arrays(ReplayBuffer):
        def sample_arrays(self, batch_size):
            data = self.sample(batch_size)
            return (*(x.numpy() for x in data[:4]), np.ones((batch_size, 1), np.float32))

    models = [make(replay_buffer_class=cls) for cls in (Ones, Arrays, ReplayBuffer)]
    for model in models:
        train(model)
    assert_same_networks(models[0], models[1], 0, 0)
    with pytest.raises(AssertionError):
        assert_same_networks(models[0], models[2], 0, 0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("where", ["rewards", "observations"])
def test_nan_is_not_swallowed(where, precision):
    model = make(precision=precision, arch=(16, 16, 16))
    getattr(model.replay_buffer, where)[:] = np.nan
    with pytest.raises(NotFinite, match="the agent gave a critic_loss"):
        train(model)


def test_learn_updates_once_per_step_after_the_warm_up():
    model = FastSAC("MlpPolicy", PointEnv(), learning_starts=10, buffer_size=200, policy_kwargs={"net_arch": [16, 16]})
    model.learn(40)
    assert model._n_updates == 30
    assert torch.isfinite(model.actor.mu.weight).all()


def test_targets_move_at_every_second_update_also_over_many_calls():
    model, moved = make(target_update_interval=2), []
    for _ in range(6):
        before = [p.clone() for p in model.critic_target.parameters()]
        train(model, steps=1)
        moved.append(not all(map(torch.equal, before, model.critic_target.parameters())))
    assert moved == [True, False] * 3


def test_precision_names(monkeypatch):
    with pytest.raises(ValueError, match="auto, float32, bfloat16"):
        make(precision="half")
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "has_bfloat16_hardware", lambda has=has: has)
        assert precision.matmul_dtype("auto") == expected
        assert precision.matmul_dtype("auto", width=64) == torch.float32


@pytest.mark.parametrize(("kwargs", "reason"), [
    ({"use_sde": True}, "use_sde"),
    ({"n_steps": 3}, "n_steps is 3"),
    ({"policy_kwargs": {"n_critics": 3}}, "2 critics"),
    ({"policy_kwargs": {"activation_fn": torch.nn.Tanh}}, "Linear and ReLU"),
    ({"policy_kwargs": {"optimizer_class": torch.optim.SGD}}, "plain Adam"),
])  # fmt: skip
def test_unsupported_models_name_the_reason_and_the_way_out(kwargs, reason):
    with pytest.raises(ValueError, match=rf"{reason}.*Use stable_baselines3.SAC"):
        make(**kwargs)
