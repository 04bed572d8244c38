"""The KL term to a clone: its reward by hand, a run of SAC and of PPO, and what it is good for on a grid."""

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same
from tiny import COMMON, PPO, SAC, WITH_DEMONSTRATIONS, collect, train

from pbrl.cli import main
from pbrl.config import load_config
from pbrl.data.offline_sources import load_offline
from pbrl.tabular.demonstration_grid import HORIZON, make_task, near_clone, run
from pbrl.training.start import resume

SMALL = WITH_DEMONSTRATIONS["demo_kl"]


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("demos") / "demos", "policies=expert:1")


def arguments(data, *more):
    return ["method=demo_kl", f"data={data}", *COMMON, *SMALL, *more]


def test_the_reward_is_the_learned_one_and_the_log_density_of_the_clone(demonstrations, tmp_path):
    assert train(tmp_path / "run", *arguments(demonstrations), method=None)[0] == 0
    config = load_config(tmp_path / "run" / "config.yaml")
    assert config.agent.ent_coef == config.method.weight == 0.1
    config.steps = 400
    method = (ended := resume(tmp_path / "run", config)).method
    buffer = ended.agent.buffer
    buffer.label_pending()
    obs, actions = buffer.observations[:320, 0], buffer.actions[:320, 0]
    far = ((actions - method.clone.act(obs)) ** 2).sum(1)
    expected = method.step_reward(obs, actions) - 0.1 * far / (2 * 0.3**2)
    np.testing.assert_allclose(buffer.rewards[:320, 0], expected, rtol=1e-4, atol=1e-5)


def test_demonstrations_that_nobody_compared_are_enough(tmp_path):
    data = collect(tmp_path / "demos", "policies=expert:1", "labels=return", "comparisons=0", "heldout=0")
    for method, reads in (("bc", False), ("piql", True)):
        own = ["method.policy.hidden=[8]", "steps=2", "evaluation.every=null", "report=false"]
        code = main(["train", f"method={method}", f"data={data}", *own, f"run_dir={tmp_path / method}"])
        assert code == (2 if reads else 0), method
    read = {"label": None, "budget": None, "pairs": "fixed", "heldout": 0.0, "rng": torch.Generator()}
    assert len(load_offline(data, **read, reads_labels=False).pairs) == 0


def test_the_clone_acts_as_the_demonstrations(demonstrations, tmp_path):
    more = ["method.clone_updates=1500", "method.clone.hidden=[64]", "steps=130"]
    assert train(tmp_path / "run", *arguments(demonstrations, *more), method=None)[0] == 0
    config = load_config(tmp_path / "run" / "config.yaml")
    config.steps = 200
    method = resume(tmp_path / "run", config).method
    obs = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 6)).astype(np.float32)
    expert = np.clip(4 * (obs[:, 4:6] - obs[:, :2]) - obs[:, 2:4], -1, 1)
    assert np.abs(method.clone.act(obs) - expert).mean() < 0.5 * np.abs(expert).mean()


def test_it_goes_on_as_if_never_killed_and_drives_ppo(demonstrations, run, tmp_path):
    assert train(tmp_path / "whole", *arguments(demonstrations), method=None)[0] == 0
    killed = ["train", *arguments(demonstrations), "report=false", f"run_dir={tmp_path / 'killed'}"]
    assert run(killed, Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")
    ppo = [a for a in arguments(demonstrations) if a not in SAC] + ["agent=ppo", *PPO]
    code, _, err = train(tmp_path / "ppo", *ppo, method=None)
    assert code == 0, err


def test_demonstrations_are_asked_for_and_must_be_of_this_task(demonstrations, tmp_path, capsys):
    for more, said in (
        (["env=point_reach"], "data=None: the demonstrations are needed"),
        (["env=halfcheetah", f"data={demonstrations}"], "this run of ((17,), 6)"),
        (["env=point_reach", f"data={demonstrations}", "method.weight=0"], "method.weight=0: expected"),
    ):
        assert main(["train", "method=demo_kl", *more, f"run_dir={tmp_path / 'no'}"]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


def test_a_policy_near_a_clone_is_one_of_most_reward_and_entropy_with_its_log_density_beside_the_reward():
    """What the method gives the agent: the same policies, by the same backup with an even clone."""
    rng = np.random.default_rng(0)
    task, weight = make_task(rng), 0.7
    clone = rng.dirichlet(np.ones(4), len(task.rewards))
    near = near_clone(task, task.rewards, clone, weight)
    values = np.zeros(len(task.rewards))
    for t in reversed(range(HORIZON)):
        q = task.next_states @ (task.rewards + values) + weight * np.log(clone)
        values = weight * torch.logsumexp(torch.from_numpy(q / weight), 1).numpy()
        np.testing.assert_allclose(near[t], np.exp((q - values[:, None]) / weight), atol=1e-9)


def test_near_the_clone_a_reward_of_fifty_comparisons_beats_it_and_without_it_loses():
    found = [{(m.case, m.arm): m.value for m in run(seed)} for seed in range(6)]
    clone, free, near = (
        np.mean([f["64 demonstrations", arm] for f in found]) for arm in ("the clone", "KL weight 0", "KL weight 1")
    )
    assert near > clone + 0.1
    assert near > free + 0.1
