"""Other cameras, and pictures that are quick to draw."""

import os
import subprocess
import sys

import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl_envs.suites.dmc import make_dmc
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.suites.metaworld import make_metaworld
from pbrl_envs.views import Views

pytestmark = pytest.mark.usefixtures("gl_backend")
SIZE = {"render_mode": "rgb_array", "width": 64, "height": 48}


def middle(picture: np.ndarray) -> np.ndarray:
    return picture[12:36, 16:48].astype(int)


def test_every_camera_shows_something_else_and_the_default_comes_back(make_drawn):
    env = make_drawn()
    views = Views(env, shadows=False)
    state = env.save_state()
    first = env.render_state(state)
    assert first.shape == (48, 64, 3)
    assert views.names[0] == "default"
    assert len(set(views.names)) == len(views.names) > 1
    for name in views.names[1:]:
        views.choose(name)
        assert (env.render_state(state) != first).any(), name
    views.choose("default")
    np.testing.assert_array_equal(env.render_state(state), first)
    env.close()


def test_quick_pictures_show_the_same(make_drawn):
    env, quick = make_drawn(), make_drawn()
    env.reset(seed=3)
    Views(quick, shadows=False)
    drawn, expected = quick.render_state(env.save_state()).astype(int), env.render()
    assert np.abs(drawn - expected).mean() < 40  # without shadows, reflections and antialiasing
    assert np.corrcoef(drawn.ravel(), expected.ravel())[0, 1] > 0.8
    env.close()
    quick.close()


def test_other_environments_of_the_process_look_as_before():
    plain = make_gym("HalfCheetah-v5", **SIZE)
    plain.reset(seed=0)
    before = plain.render()
    quick = make_gym("HalfCheetah-v5", **SIZE)
    Views(quick, shadows=False).choose("above")
    quick.render()
    np.testing.assert_array_equal(plain.render(), before)
    again = make_gym("HalfCheetah-v5", **SIZE)
    again.reset(seed=0)
    np.testing.assert_array_equal(again.render(), before)


@pytest.mark.parametrize("name", ["default", "front", "above"])
def test_made_up_cameras_follow_a_runner(name):
    env = make_gym("HalfCheetah-v5", **SIZE)
    views = Views(env, shadows=False)
    env.reset(seed=0)
    state = env.save_state()
    away = state.copy()
    away[1] += 40  # its x, after the time; a whole number of floor tiles
    views.choose(name)
    here, there = middle(env.render_state(state)), middle(env.render_state(away))
    skin = [(p[..., 0] > p[..., 2] + 30).mean() for p in (here, there)]  # brown, on a grey and green world
    assert skin[0] > 0.02
    assert skin[1] == pytest.approx(skin[0], rel=0.1)


@pytest.mark.usefixtures("dmc")
def test_cameras_of_the_model_come_before_made_up_ones():
    assert Views(make_dmc("walker-walk", **SIZE), shadows=False).names == ["default", "back"]
    assert Views(make_dmc("walker-walk", camera="back", **SIZE), shadows=False).names == ["default", "side"]


@pytest.mark.usefixtures("metaworld")
def test_cameras_of_metaworld_each_once():
    names = Views(make_metaworld("drawer-open-v3", True, **SIZE), shadows=False).names
    assert names == ["default", "topview", "corner", "corner3", "behindGripper", "gripperPOV"]  # corner4 is the default


def test_an_unknown_camera_is_refused():
    views = Views(make_gym("HalfCheetah-v5", **SIZE), shadows=False)
    with pytest.raises(UserError, match="camera=below does not exist; valid: default, front, above"):
        views.choose("below")


def test_shadows_stay_where_they_are_asked_for():
    dark, light = (make_gym("HalfCheetah-v5", **SIZE) for _ in range(2))
    Views(dark, shadows=True)
    Views(light, shadows=False)
    state = dark.save_state()
    assert dark.render_state(state).mean() < light.render_state(state).mean()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a display is not known by a variable")
def test_pictures_of_classic_control_need_no_display_and_no_words_about_one():
    code = "from pbrl_envs.suites.gym import make_gym; e = make_gym('Pendulum-v1', render_mode='rgb_array')"
    code += "; e.reset(seed=0); assert e.render().ndim == 3"
    without = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "SDL_VIDEODRIVER")
    env = {name: value for name, value in os.environ.items() if name not in without}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "XDG_RUNTIME_DIR" not in said.stdout + said.stderr
