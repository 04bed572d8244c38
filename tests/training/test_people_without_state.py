"""teacher=human where no moment can be drawn again from a state: pictures are kept as they happen."""

import numpy as np
from lamp import Lamp
from tiny import COMMON, REWARD, SAC, train

from pbrl.cli import main
from pbrl.collection.asked_frames import RECENT
from pbrl.labels.store import LabelStore
from pbrl.viewer.clips import ClipStyle
from pbrl.viewer.sources import Stored

PEOPLE = ("teacher=human", "teacher.mode=mixed", "teacher.timeout_s=0.01", "viewer.start=false", "viewer.max_fps=20")
LAMP = ["env=gym", "env.id=lamp:Lamp-v0", "method=pebble", *COMMON[2:], *REWARD, *SAC, "method.critic_updates=3",
        "feedback.segment_length=5", "evaluation.envs=1", *PEOPLE]  # fmt: skip


def clips(folder):
    """How bright each first clip is, and what was observed."""
    with LabelStore(folder, create=False) as store:
        queries = [query.id for query in store.queries()]
        pairs = store.pairs(queries)
    drawer = Stored(folder).drawer(ClipStyle(width=64, height=48, max_fps=20))
    seen = [[p.mean() for p in drawer.pictures(rows, "rendered")] for rows in pairs.left_states]
    drawer.close()
    return np.array(seen), pairs.left.obs[..., 0].numpy()


def test_what_people_are_asked_is_shown_as_it_was(tmp_path):
    code, _, err = train(tmp_path / "run", *LAMP, method=None)
    assert code == 0, err
    seen, obs = clips(tmp_path / "run")
    assert len(seen) >= 12
    np.testing.assert_allclose(seen, obs, atol=3)


def test_a_run_that_was_stopped_still_has_the_pictures_of_its_pool(tmp_path):
    assert train(tmp_path / "whole", *LAMP, method=None)[0] == 0
    assert train(tmp_path / "run", *LAMP, "steps=150", method=None)[0] == 0
    assert main(["train", f"resume={tmp_path / 'run'}", "steps=320"]) == 0
    seen, obs = clips(tmp_path / "run")
    np.testing.assert_allclose(seen, obs, atol=3)
    np.testing.assert_array_equal(obs, clips(tmp_path / "whole")[1])


def test_that_it_can_draw_is_tried_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Lamp, "broken", True)
    code, out, err = train(tmp_path / "run", *LAMP, method=None)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "has no simulator state to draw clips from, so its pictures must be kept, and Lamp cannot draw here" in err
    assert "pygame is not installed" in err
    assert not (tmp_path / "run").exists()


def test_a_script_needs_no_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(Lamp, "broken", True)
    code, _, err = train(tmp_path / "run", *LAMP[: -len(PEOPLE)], method=None)
    assert code == 0, err
    assert not (tmp_path / "run" / RECENT).exists()
