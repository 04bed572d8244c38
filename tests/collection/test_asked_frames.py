"""Pictures of what people are asked about, where no state can be drawn again."""

import numpy as np
import pytest
from lamp import Lamp

from pbrl.collection.asked_frames import RECENT, AskedFrames, copy_frames
from pbrl.data.episodes import EpisodeStore
from pbrl.data.recorder import EpisodeRecorder
from pbrl.labels.recorded import read_source
from pbrl.reports.video import write_mp4
from pbrl.viewer.clips import ClipStyle
from pbrl.viewer.sources import Stored

GREY = 3  # what encoding changes at most


def kept(folder, max_fps=20.0):
    return AskedFrames(folder, lambda: Lamp("rgb_array"), max_fps, (64, 48))


def play(env, steps):
    env.reset()
    for _ in range(steps):
        _, _, ended, cut, _ = env.step(np.zeros(1, np.float32))
        if ended or cut:
            env.reset()
    return env.take_finished()


def ask(frames, env, episodes=3, length=5, n=4):
    """Questions about what the lamp did: observed is how bright its picture is."""
    store = EpisodeStore(episodes)
    store.add(play(env, 12 * episodes + 3))
    first = 13 * np.arange(episodes)
    rows = np.array([first[i % episodes] + 2 * i for i in range(n)])
    sides = store.gather(rows, length), store.gather(rows[::-1].copy(), length)
    return store, frames.keep(store.as_question(*sides))


def shown(folder, questions, max_fps=20):
    drawer = Stored(folder).drawer(ClipStyle(width=64, height=48, max_fps=max_fps))
    found = [[picture.mean() for picture in drawer.pictures(rows, "rendered")] for rows in questions.item_states[0]]
    drawer.close()
    return np.array(found)


def recent(folder, env):
    """Seeds of the episodes whose videos are there; that of the one that goes on may not be on the disk yet."""
    return {int(file.stem) for file in (folder / RECENT).iterdir()} | {env.env.seed}


def recorder(frames):
    env = EpisodeRecorder(frames.make_env())
    env.reset(seed=0)
    return env


def test_what_was_asked_is_shown_as_it_was(tmp_path):
    frames = kept(tmp_path)
    _, questions = ask(frames, recorder(frames))
    np.testing.assert_allclose(shown(tmp_path, questions), questions.items[0].obs[..., 0], atol=GREY)


def test_of_faster_environments_fewer_pictures_are_drawn(tmp_path, monkeypatch):
    drawn = []
    whole = Lamp.render
    monkeypatch.setattr(Lamp, "render", lambda self: drawn.append(1) or whole(self))
    frames = kept(tmp_path, max_fps=7)  # of 20: every third step
    _, questions = ask(frames, recorder(frames))
    assert len(drawn) <= (12 * 3 + 3 + 5) / 3 + 5
    seen = shown(tmp_path, questions)
    assert np.abs(seen - questions.items[0].obs[..., 0].numpy()).max() <= 20 + GREY  # two steps of 10


def test_only_what_was_asked_stays_for_good(tmp_path):
    frames = kept(tmp_path)
    env = recorder(frames)
    store, questions = ask(frames, env, episodes=4)
    assert len(recent(tmp_path, env)) == 6  # four, the one that goes on, and the one before them that did not
    store.add(play(env, 12 * 2))
    pool = store.all_states
    frames.forget_unsaved(pool)
    assert recent(tmp_path, env) == {*np.unique(pool[:, 0]).astype(int).tolist(), env.env.seed}
    frames.forget_unsaved(None)
    assert recent(tmp_path, env) == {env.env.seed}
    np.testing.assert_allclose(shown(tmp_path, questions), questions.items[0].obs[..., 0], atol=GREY)
    files = read_source(tmp_path)["videos"]["files"]
    assert len(files) == len({file["path"] for file in files}) == 4  # each segment once, on whichever side


def test_an_episode_that_is_played_again_writes_the_same_file(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
    env = recorder(kept(tmp_path / "one"))
    play(env, 20)
    state = env.state_dict()
    again = EpisodeRecorder(kept(tmp_path / "other").make_env())
    again.load_state_dict(state)
    assert again.env.seed == env.env.seed
    assert np.array_equal(again._states, env._states)


def test_files_of_before_are_known_again(tmp_path):
    frames = kept(tmp_path)
    _, questions = ask(frames, recorder(frames))
    again = kept(tmp_path)
    _, more = ask(again, recorder(again), episodes=2, length=4)
    np.testing.assert_allclose(shown(tmp_path, questions), questions.items[0].obs[..., 0], atol=GREY)
    np.testing.assert_allclose(shown(tmp_path, more), more.items[0].obs[..., 0], atol=GREY)


@pytest.mark.parametrize(("begin", "end"), [(0, 9), (13, 31), (25, 25), (38, 39)])
def test_frames_are_copied_as_they_are(tmp_path, begin, end):
    import imageio.v3 as iio

    pictures = [np.full((48, 64, 3), 20 + 5 * t, np.uint8) for t in range(40)]
    write_mp4(tmp_path / "film.mp4", pictures, 10, encoder={"g": "10", "bf": "0", "crf": "10"})
    start = copy_frames(tmp_path / "film.mp4", tmp_path / "cut" / "part.mp4", begin / 10, end / 10)
    found = iio.imread(tmp_path / "cut" / "part.mp4", plugin="pyav").mean((1, 2, 3))
    first = round(start * 10)
    assert first == begin // 10 * 10  # the key frame before
    np.testing.assert_allclose(found, [20 + 5 * t for t in range(first, end + 1)], atol=GREY)
