import numpy as np
import pytest

from pbrl_envs.suites.gym import make_gym

CLUTTER = "pbrl_envs/TabletopClutter-v0"


def starts(seeds, **options):
    env = make_gym(CLUTTER, **options)
    return np.array([env.reset(seed=seed)[0] for seed in seeds])


def test_every_episode_of_a_scene_starts_as_the_reset_with_its_number():
    fixed, drawn = starts([None, 5, None], scene=3), starts([3, 5])
    assert np.array_equal(fixed, np.tile(drawn[0], (3, 1)))
    assert not np.array_equal(drawn[0], drawn[1])


def test_a_repeated_action_is_that_action_several_times():
    rng = np.random.default_rng(0)
    once, repeated = make_gym(CLUTTER, max_episode_steps=102), make_gym(CLUTTER, action_repeat=3)
    once.reset(seed=1)
    repeated.reset(seed=1)
    for t in range(34):  # 100 steps, rounded up
        action = rng.uniform(-1, 1, 3).astype(np.float32)
        steps = [once.step(action) for _ in range(3)]
        obs, reward, _, cut_off, info = repeated.step(action)
        assert np.array_equal(obs, steps[-1][0])
        assert reward == pytest.approx(sum(step[1] for step in steps))
        assert info == steps[-1][4]
        assert cut_off == (t == 33)


@pytest.mark.parametrize("option", [{"scene": -1}, {"scene": 1.5}, {"action_repeat": 0}, {"action_repeat": "a"}])
def test_what_is_no_scene_or_repeat_is_refused(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.*expected a whole number of at least"):
        make_gym("pbrl_envs/PointReach-v0", **option)
