"""Pictures kept while episodes are collected, for environments that have no state to draw from."""

import numpy as np
import pytest
from lamp import Lamp, register

from pbrl.data.datasets import load_dataset
from pbrl.data.stored_videos import StoredFrames, StoredVideos


@pytest.fixture
def lamp(monkeypatch):
    monkeypatch.setattr(Lamp, "broken", False)
    register()
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
