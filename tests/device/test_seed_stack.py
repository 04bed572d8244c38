"""Seeds that learn as one stack learn what each learns alone."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from pbrl.agents import stacked_updates
from pbrl.agents.captured import updates
from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.sac_update import Batch
from pbrl.agents.seed_stack import Problem, SeedStack
from pbrl.agents.stacked_updates import _places, _small, problem_of
from pbrl.bench.executors import stack_server
from pbrl.bench.executors.on_stack import StackExecutor
from pbrl.bench.executors.stack_server import StackServer
from pbrl.config import compose_any
from pbrl.errors import UserError

STARTS = 20


def make(seed, **changes):
    numbers = {"learning_starts": STARTS, "batch_size": 8, "seed": seed, "backend": "torch"} | changes
    return FastSAC("MlpPolicy", gym.make("Pendulum-v1"), policy_kwargs={"net_arch": [16, 16]}, **numbers)


def state_of(model):
    return {name: v.clone() for name, v in (_places(model) | _small(model)).items()}


def drawn(models, updates):
    """(K, S, B, ·) and (K, S, 2B, A)."""
    batches = [[[*m._sample(8), m._draw_noise(m._sample(8))] for m in models] for _ in range(updates)]
    parts = [torch.stack([torch.stack([seed[i] for seed in one]) for one in batches]) for i in range(6)]
    return Batch(*parts[:5]), parts[5]


@pytest.mark.parametrize("ent_coef", ["auto", 0.2])
def test_updates_of_a_stack_are_those_of_each_seed_alone(ent_coef):
    models = [make(seed, ent_coef=ent_coef).learn(STARTS + 3 * seed) for seed in range(3)]
    stack = SeedStack(Problem.of(str(problem_of(models[0]))), 3)
    for seed, model in enumerate(models):
        stack.put(seed, state_of(model))
    batch, noise = drawn(models, updates=20)
    sums = stack.update(batch, noise)
    for seed, model in enumerate(models):
        own = Batch(*(part[:, seed : seed + 1] for part in batch))
        with torch.no_grad():
            alone = updates(model._nets, own, noise[:, seed : seed + 1], (True,) * 20)
        torch.testing.assert_close(sums[seed], alone[0], rtol=1e-5, atol=1e-5)
        for name, value in state_of(model).items():
            torch.testing.assert_close(stack.get(seed)[name], value, rtol=1e-4, atol=1e-6, msg=name)
        torch.testing.assert_close(stack.actor_weights(seed), model._actor_mlp.values, rtol=1e-4, atol=1e-6)


def test_a_seed_does_not_move_another():
    models = [make(seed).learn(STARTS) for seed in range(2)]
    batch, noise = drawn(models, updates=3)
    ends = []
    for reward in (0.0, 1000.0):
        stack = SeedStack(problem_of(models[0]), 2)
        for seed, model in enumerate(models):
            stack.put(seed, state_of(model))
        rewards = batch.rewards.clone()
        rewards[:, 1] = reward
        stack.update(batch._replace(rewards=rewards), noise)
        ends.append((stack.get(0), stack.get(1)))
    assert all(torch.equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0])
    assert not torch.equal(ends[0][1]["critic"], ends[1][1]["critic"])


@pytest.fixture
def server():
    server = StackServer(torch.device("cpu"))
    server.start()
    yield server
    server.end()
    server.join()


def test_a_run_whose_updates_are_made_elsewhere_is_the_run_alone(server, monkeypatch):
    alone = make(0).learn(STARTS + 30)
    monkeypatch.setattr(stacked_updates, "line", server.line())
    monkeypatch.setattr(stacked_updates, "_taken", False)
    there = make(0, backend="auto").learn(STARTS + 10)
    assert server.joined == 1
    kept = there.get_parameters()  # brings weights and moments back; learning goes on from there
    assert float(kept["critic.optimizer"]["state"][0]["step"]) == 10
    there.learn(20, reset_num_timesteps=False)
    for name, value in alone.policy.state_dict().items():
        torch.testing.assert_close(there.get_parameters()["policy"][name], value, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(there.log_ent_coef, alone.log_ent_coef)
    obs = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(
        there.predict(obs, deterministic=True)[0], alone.predict(obs, deterministic=True)[0], rtol=1e-4
    )


def test_critics_that_begin_anew_begin_anew_there(server, monkeypatch):
    ends = []
    for line in (None, server.line()):
        monkeypatch.setattr(stacked_updates, "line", line)
        monkeypatch.setattr(stacked_updates, "_taken", False)
        model = make(0).learn(STARTS + 5)
        model.reset_critic()
        ends.append(model.learn(5, reset_num_timesteps=False).get_parameters()["policy"])
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_bench_that_ends_is_told_to_the_run(server, monkeypatch):
    monkeypatch.setattr(stacked_updates, "line", server.line())
    monkeypatch.setattr(stacked_updates, "_taken", False)
    model = make(0).learn(STARTS + 2)
    server.end()
    server.join()
    with pytest.raises(UserError, match="bench that makes this run's updates has ended"):
        model.learn(5, reset_num_timesteps=False)


def test_a_run_that_there_is_no_room_for_is_told_and_the_others_go_on(server, monkeypatch):
    class Small(SeedStack):
        def __init__(self, problem, seeds, device):
            if seeds > 1:
                raise torch.OutOfMemoryError("out of memory")
            super().__init__(problem, seeds, device)

    monkeypatch.setattr(stack_server, "SeedStack", Small)
    models = []
    for seed in range(2):
        monkeypatch.setattr(stacked_updates, "line", server.line())
        monkeypatch.setattr(stacked_updates, "_taken", False)
        models.append(make(seed))
        if seed == 0:
            models[0].learn(STARTS + 2)
    with pytest.raises(UserError, match="out of memory"):
        models[1].learn(STARTS + 2)
    stacked_updates.line.close()  # as its process does when it ends
    models[0].learn(5, reset_num_timesteps=False)
    assert models[0]._n_updates == 7


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["method=pebble", "agent=ppo"], "the agent is PPOAgent; it covers"),
        (["method=pebble", "agent=sac_sb3"], "the agent is SAC; it covers"),
        (["method=bc"], "method=bc learns a policy of its own; it covers"),
        (["method=pebble", "agent.precision=bfloat16"], "agent.precision=bfloat16; valid is float32"),
        (["method=pebble", "agent.backend=native"], "agent.backend=native; valid is auto or torch"),
        (["method=pebble", "device=auto"], "device=auto; expected cpu in each run"),
    ],
)
def test_what_no_stack_covers_is_refused_before_a_run_begins(overrides, reason):
    executor = StackExecutor.from_options({}, retries=0)
    executor.check("one", compose_any(["method=pebble"]))
    with pytest.raises(UserError, match=f"executor=stack: two: {reason}"):
        executor.check("two", compose_any(overrides))


def test_options_of_the_executor_are_checked():
    for options in ({"device": "gpu"}, {"workers": "0"}, {"seeds": "3"}):
        with pytest.raises(UserError, match=next(iter(options))):
            StackExecutor.from_options(options, retries=0)
