"""Pictures kept while episodes are collected, for environments that have no state to draw from."""

import sys
import types

import gymnasium as gym
import numpy as np
import pytest

from pbrl.data.datasets import load_dataset
from pbrl.data.stored_videos import StoredFrames, StoredVideos


class Lamp(gym.Env):
    """How bright it is, is what was observed; nothing else knows its state."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 255, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    broken = False

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.steps = float(self.np_random.integers(20, 60)), 0
        return np.array([self.level], np.float32), {}

    def step(self, action):
        self.level, self.steps = self.level + 10, self.steps + 1
        return np.array([self.level], np.float32), self.level, False, self.steps == 12, {}

    def render(self):
        if self.broken:
            raise ImportError("pygame is not installed")
        return np.full((48, 64, 3), int(self.level), np.uint8)


@pytest.fixture
def lamp(monkeypatch):
    module = types.ModuleType("lamp_of_a_test")
    module.Lamp = Lamp
    monkeypatch.setitem(sys.modules, "lamp_of_a_test", module)
    if "Lamp-v0" not in gym.registry:
        gym.register("Lamp-v0", entry_point="lamp_of_a_test:Lamp")
    return ("collect", "env=gym", "env.id=Lamp-v0", "episodes=4", "segments=20", "segment_length=5", "comparisons=5")


def test_every_step_finds_its_picture(output, lamp, tmp_path):
    output(*lamp, "heldout=1", "frames=true", f"out={tmp_path / 'set'}")
    data = load_dataset(tmp_path / "set")
    frames = StoredFrames(StoredVideos.of(data.meta["videos"], data.path), data.path)
    assert (frames.cameras, frames.fps) == (["rendered"], 20)
    for e in data.episodes:
        seen = [f.mean() for f in frames.frames(e.states, "rendered")]
        np.testing.assert_allclose(seen, e.obs[:, 0], atol=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_that_it_can_draw_is_tried_first(refusal, lamp, tmp_path, monkeypatch):
    monkeypatch.setattr(Lamp, "broken", True)
    said = refusal(*lamp, "frames=true", f"out={tmp_path / 'set'}")
    assert "Lamp cannot draw here: " in said
    assert "pygame is not installed" in said
    assert not list(tmp_path.iterdir())


def test_states_that_are_pictures_cannot_be_gone_on_from(refusal, tmp_path):
    command = ("collect", "env=point_reach", "labels=regret_mc", "frames=true", f"out={tmp_path / 'set'}")
    assert "labels=regret_mc goes on from states of the simulator" in refusal(*command)


def test_a_data_set_of_videos_is_not_drawn_as_states(output, refusal, lamp, tmp_path):
    output(*lamp, "heldout=1", "frames=true", f"out={tmp_path / 'set'}")
    render = ("data", "render", tmp_path / "set", "env=point_reach_pixels", f"out={tmp_path / 'drawn'}")
    assert "has videos and no simulator states" in refusal(*render)
