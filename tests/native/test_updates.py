"""The compiled kernel beside the torch update, from the same weights, batches and noise."""

import copy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from scipy import stats

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.native_updates import NativeUpdates, given
from pbrl.agents.reward_source import StoredReward
from pbrl.finite import NotFinite
from pbrl.native import binding, build
from tests.agents.test_fast_sac import ACT, BATCH, OBS, PointEnv, assert_same_networks, make, train

pytestmark = pytest.mark.skipif(binding.load()[0] is None, reason=f"no kernel: {binding.load()[1]}")
ARCHES = [(32, 32), (48,), (16, 80, 32), {"pi": [32, 64], "qf": [64, 16, 48]}]


@pytest.fixture(scope="module", params=build.runnable())
def library(request, tmp_path_factory):
    """One of each kind that this processor can run."""
    out = tmp_path_factory.mktemp("native") / build.library_name(request.param)
    using = build.compiler()
    if using is None:
        pytest.skip("no C compiler")
    build.compile_library(request.param, out, using)
    return binding.Library(request.param, out)


class Pair:
    """Two models with the same weights, one stepped by torch and one by a library, on the same batches and noise."""

    def __init__(self, library, batch=BATCH, **kwargs):
        self.torch, self.native = make(backend="torch", **kwargs), make(backend="torch", **kwargs)
        self.native._native = NativeUpdates(library)
        self.rng, self.batch = torch.Generator().manual_seed(0), batch

    def update(self, times=1):
        """Metrics of both, of the last one."""
        batches = [self.torch._sample(self.batch) for _ in range(times)]
        noise = torch.randn(times, 2, self.batch, ACT, generator=self.rng)
        sums = [step_in_torch(self.torch, batch, e) for batch, e in zip(batches, noise, strict=True)]
        with torch.no_grad():
            ours = self.native._native.run(self.native, times, self.batch, given(batches), noise)
        self.native._n_updates += times
        return sum(sums), torch.tensor(ours)

    def copy_weights(self):
        """Gives the native model the torch model's state."""
        with torch.no_grad():
            for name in ("_actor_mlp", "_critic_mlp", "_target_mlp"):
                getattr(self.native, name).values.copy_(getattr(self.torch, name).values)
            for name in ("_actor_adam", "_critic_adam"):
                for part in ("exp_avg", "exp_avg_sq"):
                    getattr(getattr(self.native, name), part).copy_(getattr(getattr(self.torch, name), part))
            if self.torch.log_ent_coef is not None:
                self.native.log_ent_coef.copy_(self.torch.log_ent_coef)

    def distance(self):
        """The greater of |g - g'| / |g| over the gradients of actor and critics.

        Over whole networks: the bias of a critic's last layer has the mean of the errors as its gradient, which may
        cancel to nothing.
        """
        names = ("_actor_mlp", "_critic_mlp")
        pairs = [(getattr(self.torch, name).grads, getattr(self.native, name).grads) for name in names]
        return max(float((a - b).norm() / a.norm()) for a, b in pairs)


def step_in_torch(model, batch, noise):
    parts = iter(noise)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch.Tensor, "normal_", lambda self: self.copy_(next(parts)))
        model._tie()
        sums = model._update(batch, update_target=model._n_updates % model.target_update_interval == 0)
    model._n_updates += 1
    return sums


@pytest.mark.parametrize("arch", ARCHES, ids=str)
@pytest.mark.parametrize("ent_coef", ["auto_0.1", 0.2])
def test_gradients_losses_and_weights_are_those_of_torch(library, arch, ent_coef):
    pair = Pair(library, arch=arch, ent_coef=ent_coef, target_update_interval=2)
    for _ in range(20):
        ours, theirs = pair.update()
        assert pair.distance() < 1e-5
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for name in ("_actor_mlp", "_critic_mlp", "_target_mlp"):
        one, other = getattr(pair.torch, name).values, getattr(pair.native, name).values
        assert float((one - other).norm() / one.norm()) < 1e-6
    assert float(pair.native._critic_adam.steps[0]) == 20
    if ent_coef == "auto_0.1":
        assert pair.native.log_ent_coef.item() == pytest.approx(pair.torch.log_ent_coef.item(), rel=1e-6)
        assert float(pair.native.ent_coef_state()["step"]) == 20


def test_gradients_agree_at_each_of_1000_updates(library):
    pair = Pair(library)
    far = []
    for _ in range(1000):
        pair.copy_weights()
        pair.update()
        far.append(pair.distance())
    assert max(far) < 1e-5


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_batches_of_any_size(library, batch):
    pair = Pair(library, batch=batch)
    for _ in range(3):
        pair.update()
        assert pair.distance() < 1e-5


def test_many_updates_in_one_call_are_as_many_calls(library):
    pair = Pair(library, target_update_interval=3)
    ours, theirs = pair.update(7)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert_same_networks(pair.torch, pair.native, 1e-4, 1e-6)


def test_bfloat16_gradients_are_near_those_of_float32(library):
    if not library.has_half:
        pytest.skip("this kind has no bfloat16")
    pair = Pair(library, arch=(64, 64))
    for stack in (pair.native._actor_mlp, pair.native._critic_mlp, pair.native._target_mlp):
        stack.dtype = torch.bfloat16
    pair.update()
    assert 1e-5 < pair.distance() < 0.03  # bfloat16 keeps 8 bits


@pytest.mark.parametrize("where", ["rewards", "observations"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nan_is_not_swallowed(library, where, precision):
    if precision == "bfloat16" and not library.has_half:
        pytest.skip("this kind has no bfloat16")
    model = make(precision=precision, arch=(16, 16, 16))
    model._native = NativeUpdates(library)
    getattr(model.replay_buffer, where)[:] = np.nan
    with pytest.raises(NotFinite, match="the agent gave a critic_loss"):
        train(model)


def test_the_noise_is_standard_normal_and_the_same_on_every_kind(library):
    noise = library.normals(5, 1 << 16)
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[:-16], noise[16:])[0, 1]) < 0.02  # from one number of a lane to the next
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.02  # from lane to lane
    assert np.abs(noise).max() > 4
    expected = binding.load()[0].normals(5, 1 << 16)
    np.testing.assert_allclose(noise, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(noise, library.normals(6, 1 << 16))


# ---- where batches come from ----


class Sums:
    """A source of rewards that counts what it is asked for."""

    def __init__(self, when):
        self.when, self.asked = when, 0

    def of_steps(self, steps):
        self.asked += len(steps.obs)
        return steps.obs.sum(1) + steps.actions.sum(1)

    def of_episode(self, episode):
        return episode.obs[:-1].sum(1)


def model_with_buffer(n_envs=1, size=90, steps=70, source=None):
    """A model whose buffer has seen episodes that end and are cut, in each environment."""
    model = make(backend="native")
    box = Box(-np.inf, np.inf, (OBS,), np.float32)
    buffer = LearnedRewardBuffer(size, box, Box(-1, 1, (ACT,), np.float32), "cpu", n_envs=n_envs)
    buffer.source = source
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((n_envs, OBS)).astype(np.float32)
    for step in range(steps):
        following = rng.standard_normal((n_envs, OBS)).astype(np.float32)
        ended = np.array([(step + 3 * env) % 9 == 8 for env in range(n_envs)])
        infos = [{"TimeLimit.truncated": step % 2 == 0} for _ in range(n_envs)]
        actions = rng.uniform(-1, 1, (n_envs, ACT)).astype(np.float32)
        buffer.add(obs, following, actions, rng.standard_normal(n_envs), ended, infos)
        fresh = rng.standard_normal((n_envs, OBS)).astype(np.float32)
        obs = np.where(ended[:, None], fresh, following)
    model.replay_buffer = buffer
    return model


@pytest.mark.parametrize("steps", [1, 70, 250], ids=["one row", "partly full", "wrapped"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_steps_gathered_by_the_kernel_are_those_of_the_buffer(n_envs, steps):
    model = model_with_buffer(n_envs, steps=steps)
    twin = copy.deepcopy(model)
    noise = torch.randn(1, 2, BATCH, ACT)
    np.random.seed(3)  # noqa: NPY002
    model._native.run(model, 1, BATCH, model.replay_buffer.draw_places(BATCH), noise)
    np.random.seed(3)  # noqa: NPY002
    twin._native.run(twin, 1, BATCH, given([twin._sample(BATCH)]), noise)
    for name in ("_actor_mlp", "_critic_mlp", "_target_mlp"):
        assert torch.equal(getattr(model, name).values, getattr(twin, name).values)


def test_rewards_that_are_computed_for_each_batch_are_asked_for_each_batch():
    source = Sums("sampled")
    model = model_with_buffer(source=source)
    model.replay_buffer.rewards[:] = np.nan  # nobody may read them
    train(model, 3)
    assert source.asked == 3 * BATCH


def test_rewards_of_new_steps_are_computed_before_they_are_read():
    model = model_with_buffer()
    model.replay_buffer.rewards[:] = np.nan
    model.replay_buffer.source = StoredReward(lambda obs, actions: obs.sum(1))
    model.replay_buffer.pending = 70
    train(model)
    assert model.replay_buffer.pending == 0


def test_a_buffer_with_batches_of_its_own_is_obeyed():
    class Ones(LearnedRewardBuffer):
        def transitions(self, rows):
            return (*super().transitions(rows)[:4], np.ones((len(rows), 1), np.float32))

    model = model_with_buffer()
    model.replay_buffer.__class__ = Ones
    model.replay_buffer.rewards[:] = np.nan
    train(model)


# ---- a model that learns by it ----


def test_resume_is_exact():
    model, other = make(backend="native"), make(backend="native", seed=5)
    train(model, 3)
    checkpoint, log_ent_coef = model.get_parameters(), model.log_ent_coef.detach().clone()
    train(model, 3, seed=8)
    train(other, 2)
    other.set_parameters(checkpoint)
    other.log_ent_coef.data = log_ent_coef
    train(other, 3, seed=8)
    assert_same_networks(other, model, 0, 0)
    assert torch.equal(other.log_ent_coef, model.log_ent_coef)


def test_a_deep_copy_trains_its_own_networks():
    model = make(backend="native")
    train(model, 2)
    twin, before = copy.deepcopy(model), copy.deepcopy(model.get_parameters()["policy"])
    train(twin, 2)
    assert all(torch.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    train(model, 2)
    assert_same_networks(twin, model, 0, 0)


def test_a_learning_rate_of_zero_moves_nothing():
    model = make(backend="native", learning_rate=lambda remaining: 1e-3 * remaining)
    model._current_progress_remaining = 0.0
    before = copy.deepcopy(model.actor.state_dict())
    train(model, 2)
    assert all(torch.equal(value, before[name]) for name, value in model.actor.state_dict().items())


def test_it_learns_to_act_for_its_reward():
    """Reward -(a - s)^2: the mean action comes near to the state."""
    model = make(backend="native", gamma=0.0, learning_rate=3e-3)
    buffer = model.replay_buffer
    buffer.rewards[:, 0] = -np.square(buffer.actions[:, 0] - buffer.observations[:, 0, :ACT].clip(-1, 1)).sum(1)
    np.random.seed(0)  # noqa: NPY002
    model.train(1500, BATCH)
    obs = np.random.default_rng(1).standard_normal((200, OBS)).astype(np.float32)
    actions = model.policy.scale_action(model.predict(obs, deterministic=True)[0])
    assert np.square(actions - obs[:, :ACT].clip(-1, 1)).mean() < 0.1  # of no action: about 0.5


# ---- which backend ----


def test_backends_by_name():
    with pytest.raises(ValueError, match="auto, torch, native"):
        make(backend="cuda")
    assert make(backend="torch")._native is None
    assert make(backend="native")._native is not None
    assert make(backend="auto")._native is not None


def test_a_model_that_the_kernel_does_not_cover_learns_in_torch_unless_it_must_not():
    with pytest.raises(ValueError, match=r"24 units, not a multiple of 16.*backend=torch"):
        make(backend="native", arch=(32, 24))
    model = make(backend="auto", arch=(32, 24))
    assert model._native is None
    train(model)


def test_a_saved_agent_opens_and_goes_on(tmp_path):
    model = make(backend="native")
    train(model, 3)
    model.save(tmp_path / "agent.zip")
    loaded = FastSAC.load(tmp_path / "agent.zip", env=PointEnv())
    loaded._setup_learn(1)
    loaded.replay_buffer = model.replay_buffer
    train(model, 1, seed=9)
    train(loaded, 1, seed=9)
    assert_same_networks(loaded, model, 0, 0)


@pytest.mark.parametrize("arch", [*ARCHES, (256, 256), (144,)])
def test_actions_are_those_of_torch_whichever_others_are_asked_for(library, arch):
    model = make(backend="torch", arch=arch)
    native = NativeUpdates(library)
    rng = np.random.default_rng(0)
    obs = rng.normal(scale=3, size=(20, OBS)).astype(np.float32)
    with torch.no_grad():
        model._actor_mlp.values.mul_(2)  # so that some spreads reach their bounds
    for deterministic in (True, False):
        torch.manual_seed(1)
        expected = model._act_in_torch(obs, deterministic)
        torch.manual_seed(1)
        noise = None if deterministic else torch.randn(20, ACT).numpy()
        actions = native.act(model, obs, noise)
        np.testing.assert_allclose(actions, expected, atol=5e-6)  # through weights twice as large as at the start
        for row in (0, 7, 19):
            drawn = None if noise is None else noise[row : row + 1].copy()
            np.testing.assert_array_equal(native.act(model, obs[row : row + 1], drawn), actions[row : row + 1])
    obs[3, 1] = np.nan
    actions = native.act(model, obs, None)
    assert np.isnan(actions[3]).all()
    assert np.isfinite(np.delete(actions, 3, 0)).all()


def test_acting_natively_draws_the_noise_that_torch_draws():
    torch_model, native = make(backend="torch"), make(backend="native")
    obs = np.random.default_rng(0).normal(size=(6, OBS)).astype(np.float32)
    answers = []
    for model in (torch_model, native):
        torch.manual_seed(3)
        answers.append([model.predict(obs)[0], model.predict(obs[0])[0], model.predict(np.repeat(obs, 9, 0))[0]])
    for one, other in zip(*answers, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=2e-6)
