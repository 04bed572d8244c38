from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import av
import gymnasium as gym
import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl.reports.video import SIZE, film, frame_rate, frames, write_mp4
from pbrl.seeds import episode_seed
from pbrl_envs import gl
from pbrl_envs.point_reach import scripted_policy
from pbrl_envs.suites.gym import make_gym

make_env = partial(make_gym, "pbrl_envs/PointReach-v0")


def act(obs: np.ndarray) -> np.ndarray:
    return np.stack([scripted_policy(row) for row in obs])


class Counter(gym.Env):
    """Episodes of three steps; the picture of a moment is (seed of the episode, step)."""

    metadata = {"render_fps": 90}  # noqa: RUF012  Gymnasium's own convention
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.episode, self.step_number = seed, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.step_number += 1
        return np.zeros(1, np.float32), 0.0, self.step_number == 3, False, {}

    def render(self):
        picture = np.zeros((4, 4, 3), np.uint8)
        picture[0, 0] = self.episode % 251, self.step_number, 0
        return picture


def read(path: Path) -> tuple[av.VideoStream, list[np.ndarray]]:
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        return stream, [frame.to_ndarray(format="rgb24") for frame in clip.decode(stream)]


def pictures(n: int, height: int, width: int) -> Iterator[np.ndarray]:
    return (np.full((height, width, 3), 10 * i, np.uint8) for i in range(n))


def test_frames_show_every_episode_from_its_start():
    shown = [tuple(p[0, 0, :2]) for p in islice(frames(Counter(), lambda obs: obs, seed=5, every=1), 9)]
    seeds = [episode_seed(5, number) % 251 for number in range(3)]
    assert shown == [(seed, step) for seed in seeds for step in range(4)][:9]


def test_every_second_frame_is_every_second_step():
    shown = [p[0, 0, 1] for p in islice(frames(Counter(), lambda obs: obs, seed=5, every=2), 4)]
    assert shown == [0, 2, 0, 2]


@pytest.mark.parametrize(
    ("simulator", "clip", "every"), [(20, 20, 1), (25, 25, 1), (40, 20, 2), (80, 80 / 3, 3), (500, 500 / 17, 17)]
)
def test_a_clip_is_in_real_time(simulator: int, clip: float, every: int):
    env = Counter()
    env.metadata = {"render_fps": simulator}
    assert frame_rate(env) == (pytest.approx(clip), every)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65)])
def test_mp4_is_h264_in_yuv420p_with_even_sides(tmp_path: Path, height: int, width: int):
    write_mp4(tmp_path / "new" / "clip.mp4", pictures(12, height, width), fps=8)
    stream, shown = read(tmp_path / "new" / "clip.mp4")
    assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    assert stream.average_rate == 8
    assert [p.shape for p in shown] == [(48, 64, 3)] * 12
    np.testing.assert_allclose([p.mean() for p in shown], 10 * np.arange(12), atol=4)


def test_a_film_that_fails_leaves_the_old_one_alone(tmp_path: Path):
    def broken() -> Iterator[np.ndarray]:
        yield from pictures(3, 48, 64)
        raise RuntimeError("the camera fell over")

    (tmp_path / "clip.mp4").write_text("the old one")
    with pytest.raises(RuntimeError, match="fell over"):
        write_mp4(tmp_path / "clip.mp4", broken(), fps=8)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_text() == "the old one"


def test_a_film_has_the_length_and_size_that_were_asked_for(tmp_path: Path, gl_backend: str):
    film(tmp_path / "clip.mp4", make_env, act, seed=0, seconds=1.2)
    _, shown = read(tmp_path / "clip.mp4")
    assert len(shown) == 30  # at the task's 25 frames a second
    assert shown[0].shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(shown[0].astype(int) - shown[-1]).max() > 50  # the point moved


def test_where_nothing_renders_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gl, "choose_backend", lambda: None)
    with pytest.raises(UserError, match="apt-get install libegl1"):
        film(tmp_path / "clip.mp4", make_env, act, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_task_without_pictures_is_refused(tmp_path: Path):
    class Blind(Counter):
        def render(self):
            return None

    with pytest.raises(UserError, match="Blind draws no frames"):
        film(tmp_path / "clip.mp4", lambda **options: Blind(), lambda obs: obs, seed=0)
