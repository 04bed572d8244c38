"""Tasks of MO-Gymnasium: the vector of rewards as factors, their sum as the reward, and what is refused."""

import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl_envs.factors import factor_names

pytest.importorskip("mo_gymnasium", reason="mo-gymnasium is not installed; get it with: pip install 'pbrl[objectives]'")
from pbrl_envs.suites.objectives import make_objectives, tasks


def test_the_rewards_are_those_of_the_suite_and_their_sum_drives():
    import mo_gymnasium

    ours, theirs = make_objectives("mo-halfcheetah-v5"), mo_gymnasium.make("mo-halfcheetah-v5")
    ours.reset(seed=3)
    theirs.reset(seed=3)
    action = np.linspace(-1, 1, 6).astype(np.float32)
    for _ in range(3):
        _, reward, *_, info = ours.step(action)
        expected = theirs.step(action)[1]
    np.testing.assert_allclose(list(info["factors"].values()), expected, rtol=1e-6)
    assert reward == pytest.approx(float(np.sum(expected)), rel=1e-6)
    assert factor_names(ours) == ("objective_1", "objective_2")
    assert len(factor_names(make_objectives("mo-hopper-v5"))) == 3


def test_an_unknown_task_names_those_that_are_near():
    assert "mo-hopper-2obj-v5" in tasks()
    with pytest.raises(UserError, match="did you mean mo-hopper"):
        make_objectives("mo-hoper-v5")


def test_an_episode_is_cut_off_at_its_limit():
    env = make_objectives("mo-halfcheetah-v5", max_episode_steps=4)
    env.reset(seed=0)
    assert [env.step(np.zeros(6, np.float32))[3] for _ in range(4)] == [False, False, False, True]
