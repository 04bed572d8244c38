import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl_envs.suites.gym import make_gym


def starts(seeds, **options):
    env = make_gym("pbrl_envs/TabletopClutter-v0", **options)
    return np.array([env.reset(seed=seed)[0] for seed in seeds])


def test_every_episode_of_a_scene_starts_as_the_reset_with_its_number():
    fixed, drawn = starts([None, 5, None], scene=3), starts([3, 5])
    assert np.array_equal(fixed, np.tile(drawn[0], (3, 1)))
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("scene", [-1, 1.5, True, "a"])
def test_what_is_no_scene_is_refused(scene):
    with pytest.raises(UserError, match="scene=.*expected a whole number of at least 0"):
        make_gym("pbrl_envs/PointReach-v0", scene=scene)
