import gymnasium as gym
import numpy as np
import pytest

from pbrl.data.recorder import EpisodeRecorder
from pbrl.errors import UserError
from pbrl_envs.factors import Factors, factor_names
from pbrl_envs.suites.gym import make_gym

POINT = "pbrl_envs/PointReach-v0"


def last_x(obs, action, next_obs, info):
    return next_obs[0]


def make(**factors):
    return make_gym(POINT, factors=factors)


@pytest.mark.parametrize(
    ("expression", "by_hand"),
    [
        ("obs[0]", lambda o, a, n, i: o[0]),
        ("sum(square(action))", lambda o, a, n, i: float(a[0]) ** 2 + float(a[1]) ** 2),
        ("-norm(next_obs[:2] - next_obs[4:])", lambda o, a, n, i: -np.hypot(*(n[:2] - n[4:]))),
        ("next_obs[0] >= obs[0]", lambda o, a, n, i: float(n[0] >= o[0])),
        ("2 * info['factors']['distance'] ** 2 / 4", lambda o, a, n, i: i["factors"]["distance"] ** 2 / 2),
        ("arctan2(obs[1], obs[0])", lambda o, a, n, i: np.arctan2(o[1], o[0])),
        (f"{__name__}:last_x", lambda o, a, n, i: n[0]),
    ],
)
def test_an_expression_gives_what_it_says(expression, by_hand):
    env = make(mine=expression)
    obs, _ = env.reset(seed=3)
    action = np.array([0.5, -0.25], np.float32)
    for _ in range(3):
        after, _, _, _, info = env.step(action)
        assert info["factors"]["mine"] == pytest.approx(by_hand(obs, action, after, info), rel=1e-5)
        obs = after


def test_the_tasks_own_factors_stay():
    assert factor_names(make(mine="obs[0]")) == ("distance", "effort", "mine")
    assert factor_names(make_gym(POINT)) == ("distance", "effort")
    assert factor_names(make_gym("HalfCheetah-v5")) == ()


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "obs.tofile('x')",
        "[x for x in obs]",
        "lambda: 1",
        "abs(obs, out=obs)",
        "open('x')",
        "f'{obs}'",
        "reward",
        "obs[0] +",
        "max(obs[0], 0)",  # to NumPy an axis
        "clip(obs, 0, 0, obs)",  # and this its output
        "-" * 5000 + "1",
        ":f",
        0.5,
        None,
    ],
)
def test_nothing_but_arithmetic_is_read(expression):
    with pytest.raises(UserError, match=r"factors\.mine"):
        make(mine=expression)


@pytest.mark.parametrize(
    "expression", ["obs", "info['nothing']", "obs[99]", "log(-1)", "log(0)", "10.0 ** 1000", "9 ** 9 ** 9 ** 9"]
)
def test_what_gives_no_number_is_named(expression):
    env = make(mine=expression)
    env.reset(seed=0)
    with pytest.raises(UserError, match=r"factors\.mine"), np.errstate(all="ignore"):
        env.step(np.zeros(2, np.float32))


def test_after_loading_a_state_nothing_false_is_said_about_the_observation_before():
    env = make(before="obs[0]")
    env.reset(seed=0)
    state = env.get_wrapper_attr("save_state")()
    env.reset(seed=1)
    env.get_wrapper_attr("load_state")(state)
    *_, info = env.step(np.zeros(2, np.float32))
    assert "before" not in info["factors"]
    obs = env.get_wrapper_attr("unwrapped").observe()
    *_, info = env.step(np.zeros(2, np.float32))
    assert info["factors"]["before"] == pytest.approx(obs[0])


def test_episodes_keep_factors_and_an_agent_can_be_given_their_sum():
    env = EpisodeRecorder(make(x="next_obs[0]"), lambda _, factors: -factors["distance"] + 10 * factors["x"])
    env.reset(seed=0)
    given, over = [], False
    while not over:
        _, reward, terminated, truncated, _ = env.step(np.array([1.0, 0.0], np.float32))
        given.append(reward)
        over = terminated or truncated
    (episode,) = env.take_finished()
    assert episode.factor_names == ("distance", "effort", "x")
    assert episode.factors.shape == (100, 3)
    np.testing.assert_allclose(episode.factors[:, 2], episode.obs[1:, 0])
    np.testing.assert_allclose(given, episode.factors @ [-1, 0, 10], rtol=1e-5)
    np.testing.assert_allclose(episode.true_reward, 1 - np.tanh(2 * episode.factors[:, 0]), atol=1e-6)


def test_pendulum_and_cheetah_sum_their_factors_to_the_true_reward():
    """-(angle^2 + 0.1 speed^2 + 0.001 torque^2), and speed - 0.1 effort: Gymnasium's own documentation."""
    from pbrl.building import build
    from pbrl.config import compose_config

    weights = {
        "pendulum": {"angle": -1.0, "speed": -0.1, "torque": -0.001},
        "halfcheetah": {"speed": 1.0, "effort": -0.1},
    }
    for name, of in weights.items():
        env = build(compose_config([f"env={name}"]).env.make)
        env.reset(seed=0)
        for _ in range(20):
            _, reward, _, _, info = env.step(env.action_space.sample())
            assert sum(w * info["factors"][k] for k, w in of.items()) == pytest.approx(reward, rel=1e-4, abs=1e-5)


def test_gymnasium_can_wrap_it():
    env = gym.wrappers.TimeLimit(Factors(gym.make("Pendulum-v1"), {"x": "obs[0]"}, "pendulum"), 3)
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(3)] == [False, False, True]
