import dataclasses
import resource
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from point_run import STEPS, make_pairs, make_run

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.labels.segment_files import SegmentPairs
from pbrl.viewer.clips import ENCODER, ClipDrawer, ClipStyle, clip_name, clip_path, frame_count, item_clips
from pbrl.viewer.sources import Simulated

STYLE = ClipStyle(width=160, height=144)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def pairs(config):
    return make_pairs(config, 2)


@pytest.fixture(scope="module")
def drawer(config, gl_backend: str) -> Iterator[ClipDrawer]:
    drawer = ClipDrawer(config.env, STYLE)
    yield drawer
    drawer.close()


def read(path: Path) -> np.ndarray:
    with av.open(str(path)) as clip:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)])


def point(pictures: np.ndarray) -> np.ndarray:
    """Where the red point is in each of the pictures (n, H, W, 3): row and column in pixels, (n, 2)."""
    red, green, blue = np.moveaxis(np.asarray(pictures, int), -1, 0)
    return np.array([np.argwhere(mask).mean(0) for mask in (red > green + 50) & (red > blue + 50)])


def test_a_clip_shows_its_states_in_order_and_in_real_time(tmp_path: Path, drawer: ClipDrawer, pairs: SegmentPairs):
    drawer.draw(tmp_path / "clip.mp4", pairs.left_states[0], "default")
    shown = read(tmp_path / "clip.mp4")
    drawn = np.stack(list(drawer.frames(pairs.left_states[0], "default")))
    assert shown.shape == (STEPS + 1, 144, 160, 3)
    assert np.abs(shown.astype(int) - drawn).mean((1, 2, 3)).max() < 4
    np.testing.assert_allclose(point(shown), point(drawn), atol=1)
    assert np.abs(point(drawn)[-1] - point(drawn)[0]).max() > 10  # it moved
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        assert clip.streams.video[0].average_rate == 25  # of point_reach
        assert not clip.streams.audio


def test_pictures_are_those_of_the_states(drawer: ClipDrawer, config, pairs: SegmentPairs):
    plain = build(config.env.make, render_mode="rgb_array", width=160, height=144)
    expected = np.stack([plain.get_wrapper_attr("render_state")(state) for state in pairs.right_states[1]])
    drawn = np.stack(list(drawer.frames(pairs.right_states[1], "default")))
    assert np.abs(drawn - expected.astype(int)).mean((1, 2, 3)).max() < 3  # edges: clips are not antialiased
    np.testing.assert_allclose(point(drawn), point(expected), atol=0.5)
    plain.close()


def test_every_second_frame_is_a_key_frame_and_the_index_comes_first(tmp_path: Path, drawer, pairs):
    drawer.draw(tmp_path / "clip.mp4", pairs.left_states[0], "default")
    content = (tmp_path / "clip.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    for told in (b"crf=23.0", b"keyint=2 ", b"bframes=0", b"threads=1 ", b"me=hex subme=2"):  # subme 2: veryfast
        assert told in content
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        stream = clip.streams.video[0]
        packets = [packet for packet in clip.demux(stream) if packet.size]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    assert [packet.is_keyframe for packet in packets] == [t % 2 == 0 for t in range(STEPS + 1)]


def test_fast_simulators_show_every_few_steps(tmp_path: Path, config, pairs: SegmentPairs, gl_backend: str):
    drawer = ClipDrawer(config.env, dataclasses.replace(STYLE, max_fps=10))  # 25 steps a second
    assert (drawer.fps, drawer.every) == (pytest.approx(25 / 3), 3)
    drawer.draw(tmp_path / "clip.mp4", pairs.left_states[0], "default")
    assert len(read(tmp_path / "clip.mp4")) == frame_count(STEPS, 3) == 5  # steps 0, 3, 6, 9, 12
    drawer.close()


@pytest.mark.parametrize(("steps", "every", "frames"), [(50, 1, 51), (50, 3, 17), (1, 1, 2), (2, 3, 1)])
def test_frame_count(steps: int, every: int, frames: int):
    assert frame_count(steps, every) == frames == len(range(steps + 1)[::every])


def test_padding_is_not_shown(config, pairs: SegmentPairs):
    mask = pairs.left.mask.clone()
    mask[0, 5:] = 0
    padded = dataclasses.replace(pairs, left=dataclasses.replace(pairs.left, mask=mask))
    (left, right), _ = item_clips(padded, Simulated(config.env).look, STYLE)
    assert (left.steps, right.steps) == (5, STEPS)


def test_the_same_content_has_the_same_name(config, pairs: SegmentPairs):
    (left, right), other = item_clips(pairs, Simulated(config.env).look, STYLE)
    assert len(left.name) == 32
    assert int(left.name, 16)
    turned = SegmentPairs(pairs.right, pairs.left, pairs.right_states, pairs.left_states)
    assert item_clips(turned, Simulated(config.env).look, STYLE)[0] == (right, left)
    assert len({left.name, right.name, *(clip.name for clip in other)}) == 4


def test_what_changes_the_picture_changes_the_name(config, pairs: SegmentPairs):
    states = pairs.left_states[0]
    another = states.copy()
    another[3, 2] += 1e-9
    env = compose_config(["env=point_reach_pixels"]).env
    looks = [dataclasses.replace(STYLE, **change) for change in ({"camera": "front"}, {"width": 98}, {"shadows": True})]
    names = [
        clip_name("a", states, Simulated(config.env).look, STYLE),
        clip_name("b", states, Simulated(config.env).look, STYLE),
    ]
    names += [
        clip_name("a", another, Simulated(config.env).look, STYLE),
        clip_name("a", states, Simulated(env).look, STYLE),
    ]
    names += [clip_name("a", states, Simulated(config.env).look, look) for look in looks]
    assert len(set(names)) == len(names)
    assert (
        clip_name("a", states, Simulated(config.env).look, dataclasses.replace(STYLE, max_fps=30)) == names[0]
    )  # and 30.0


def test_another_camera_shows_another_picture_and_back(drawer: ClipDrawer, pairs: SegmentPairs):
    assert drawer.cameras == ["default", "front", "above"]
    states = pairs.left_states[0][:2]
    before, front, after = (np.stack(list(drawer.frames(states, c))) for c in ("default", "front", "default"))
    assert np.abs(before.astype(int) - front).mean() > 5
    np.testing.assert_array_equal(before, after)
    with pytest.raises(UserError, match="camera=below does not exist; valid: default, front, above"):
        list(drawer.frames(states, "below"))


def test_a_task_seen_in_pixels_is_shown_in_the_size_of_the_clip(pairs: SegmentPairs, gl_backend: str):
    drawer = ClipDrawer(compose_config(["env=point_reach_pixels"]).env, STYLE)
    (picture,) = drawer.frames(pairs.left_states[0][:1], "default")
    assert picture.shape == (144, 160, 3)
    drawer.close()


def test_segments_without_states_are_refused(config, pairs: SegmentPairs):
    with pytest.raises(UserError, match="no simulator states"):
        item_clips(SegmentPairs(pairs.left, pairs.right), Simulated(config.env).look, STYLE)


def test_a_task_whose_state_cannot_be_stored_is_refused(gl_backend: str):
    pytest.importorskip("dm_control")
    config = compose_config(["env=dmc", "env.task=quadruped-escape"])
    with pytest.raises(UserError, match="env=quadruped-escape has no simulator state to draw from"):
        ClipDrawer(config.env, STYLE)


def test_states_of_another_task_are_refused(drawer: ClipDrawer):
    with pytest.raises(UserError, match="state of env="):
        list(drawer.frames(np.zeros((2, 3)), "default"))


@pytest.mark.parametrize("size", [{"width": 97}, {"height": 8}, {"width": 96.0}, {"max_fps": 0}])
def test_a_style_that_cannot_be_drawn_is_refused(size: dict):
    with pytest.raises(UserError, match=rf"viewer.{next(iter(size))}="):
        ClipStyle(**size)


def test_a_full_disk_leaves_nothing(tmp_path: Path, drawer: ClipDrawer, pairs: SegmentPairs):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # no file may become larger
    try:
        with pytest.raises(OSError, match="too large"):
            drawer.draw(clip_path(tmp_path, "a"), pairs.left_states[0], "default")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.rglob("*"))


def test_the_encoder_is_told_to_use_one_thread():
    assert ENCODER["threads"] == "1"


def test_the_view_that_is_asked_for_comes_first(config, gl_backend):
    drawer = ClipDrawer(config.env, STYLE)
    names = drawer.cameras
    drawer.close()
    drawer = ClipDrawer(config.env, dataclasses.replace(STYLE, camera=names[-1]))
    assert drawer.cameras == [names[-1], *names[:-1]]
    drawer.close()
    with pytest.raises(UserError, match=r"viewer\.camera=behind: valid are default"):
        ClipDrawer(config.env, dataclasses.replace(STYLE, camera="behind"))
