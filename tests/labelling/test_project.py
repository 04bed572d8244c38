"""A labelling project as a user begins it, goes on with it, and uses its labels."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from films import LENGTHS, films
from tiny import collect

from pbrl.data.datasets import load_dataset
from pbrl.data.pictures import fit_into
from pbrl.errors import UserError
from pbrl.labelling.project import open_project
from pbrl.labels.sets import load_label_set
from pbrl.labels.store import LabelStore
from pbrl.reading import read_yaml
from pbrl.viewer.client import ViewerClient
from pbrl.viewer.clips import ClipStyle
from pbrl.viewer.opened import Opened
from pbrl.viewer.sources import StoredDrawer, clip_source

pytestmark = pytest.mark.usefixtures("usual_signals")

BROWSERLESS = "open_browser=false"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A data set of films; not to be written to."""
    from pbrl.cli import main

    folder = tmp_path_factory.mktemp("clips")
    films(folder / "films")
    assert main(["data", "import", f"from={folder / 'films'}", f"out={folder / 'clips'}", "segment_length=4"]) == 0
    return folder / "clips"


def made(clips, folder, **plan):
    return open_project(folder, clips, plan, [], {})


class Labelling:
    """`pbrl label` in a process of its own, and a person at it."""

    def __init__(self, *args):
        command = [sys.executable, "-m", "pbrl", "label", BROWSERLESS, *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = self.process.stdout.readline()
        assert "label at:" in line, line + self.process.stdout.read()
        self.client = ViewerClient(re.search(r"http\S+", line)[0], "ann")
        self.client.enter()

    def answer(self, n, choose):
        """choose: of the two clips, as the browser fetched them."""
        done, until = [], time.monotonic() + 240  # on a busy machine a viewer takes a while to start
        while len(done) < n:
            assert time.monotonic() < until, "waited too long"
            for pair in self.client.next(1):
                clips = [self.client.fetch(f"/clips/{pair[side]['clip']}.mp4") for side in ("left", "right")]
                self.client.answer(pair, choose(*clips))
                done.append(pair)
            time.sleep(0.05)
        return done

    def end(self):
        self.process.send_signal(signal.SIGINT)
        said = self.process.stdout.read()
        assert self.process.wait(30) == 0, said
        return said


def brighter(tmp_path):
    """Prefers the clip whose first frame is brighter."""
    import imageio.v3 as iio

    def choose(left, right):
        (tmp_path / "left.mp4").write_bytes(left)
        (tmp_path / "right.mp4").write_bytes(right)
        levels = [iio.imread(tmp_path / f"{side}.mp4", plugin="pyav")[0].mean() for side in ("left", "right")]
        return "left" if levels[0] > levels[1] else "right" if levels[1] > levels[0] else "equal"

    return choose


def test_people_label_films_and_the_same_command_goes_on(clips, output, tmp_path):
    out, choose = tmp_path / "labels", brighter(tmp_path)
    command = (f"data={clips}", f"out={out}", "pairs=8", "per_session=4", "queries=disagreement", "repeats=0")
    first = Labelling(*command)
    first.answer(3, choose)
    first.end()
    again = Labelling(*command)
    again.answer(5, choose)
    time.sleep(1)
    assert f"all 8 questions are answered; Ctrl-C ends, then: pbrl labels export {out}" in again.end()
    assert "8 queries, 0 of them open; 8 answers stand" in output("labels", "report", out)
    output("labels", "export", out, f"out={tmp_path / 'set'}")
    labels, data = load_label_set(tmp_path / "set"), load_dataset(clips)
    assert labels.meta["data"]["sha256"] == data.meta["sha256"]
    assert (labels.meta["env_name"], labels.meta["annotators"]) == (None, ["ann"])
    grey = [20 * s.obs[:, 0, 0] + 10 * s.obs[:, 0, 1] for s in (labels.pairs.left, labels.pairs.right)]  # of frame 0
    gain = (grey[1] - grey[0]).numpy()
    sure = np.abs(gain) > 5  # less is a frame's noise
    np.testing.assert_array_equal(labels.prefers_right[sure], (gain > 0)[sure])
    assert sure.sum() >= 4


def test_a_set_is_reported_and_exported_like_the_project_it_came_from(clips, output, refusal, tmp_path):
    project = made(clips, tmp_path / "labels", questions=5)
    with LabelStore(project.folder) as store:
        pairs = project.chooser.choose(5, 0, store)
        ids = store.ask(0, 0, pairs, sampler="uniform")
        store.answer(ids[:4], pairs[list(range(4))].answers(np.ones(4), np.ones(4, bool)), "ann", kind="human")
    output("labels", "export", project.folder, f"out={tmp_path / 'set'}")
    of_project, of_set = (
        json.loads(output("labels", "report", folder, "--json")) for folder in (project.folder, tmp_path / "set")
    )
    for key in ("answers", "decisive", "prefers_right"):
        assert of_set[key] == of_project[key]
    assert of_set["run_dir"] == str(tmp_path / "set")
    output("labels", "export", tmp_path / "set", f"out={tmp_path / 'again'}", "states=false")
    once, twice = load_label_set(tmp_path / "set"), load_label_set(tmp_path / "again")
    assert sorted(twice.questions.hashes()) == sorted(once.questions.hashes())
    assert (twice.meta["data"], twice.meta["videos"]) == (once.meta["data"], once.meta["videos"])
    assert once.questions.item_states is not None
    assert twice.questions.item_states is None
    assert "expected one run directory" in refusal("labels", "import", tmp_path / "set", tmp_path, "from=x")


def test_a_clip_shows_the_frames_of_its_segment(clips, tmp_path):
    made(clips, tmp_path / "labels")
    data = load_dataset(clips)
    drawer = StoredDrawer(tmp_path / "labels", ClipStyle(width=96, height=96, camera="video", max_fps=5))
    assert (drawer.fps, drawer.every, drawer.cameras) == (pytest.approx(5), 2, ["video"])
    frames = list(drawer.pictures(data.states(np.array([3]))[0][::2], "video"))
    obs = data.segments.obs[3, ::2].numpy()
    np.testing.assert_allclose([f.mean() for f in frames], 20 * obs[:, 0] + 10 * obs[:, 1], atol=3)
    assert frames[0].shape == (64, 96, 3)  # of 32 x 48 pixels
    nothing = list(drawer.pictures(np.full((3, 2), np.nan), "video"))
    assert [f.max() for f in nothing] == [0, 0, 0]
    drawer.close()


def test_pictures_keep_their_shape_and_get_even_sides():
    assert fit_into(np.zeros((300, 100, 3), np.uint8), 64, 64).shape == (64, 22, 3)
    assert fit_into(np.zeros((20, 40, 3), np.uint8), 384, 384).shape == (192, 384, 3)


def test_states_of_a_simulator_are_drawn_by_the_environment_of_the_data(tmp_path, gl_backend):
    data = collect(tmp_path / "data")
    made(data, tmp_path / "labels", questions=3)
    config = read_yaml(tmp_path / "labels" / "config.yaml")
    assert config.env.name == "point_reach"
    drawer = clip_source(tmp_path / "labels", config.env).drawer(ClipStyle(width=64, height=64))
    drawer.draw(tmp_path / "clip.mp4", load_dataset(data).states(np.array([0]))[0], "default")
    drawer.close()
    assert (tmp_path / "clip.mp4").stat().st_size > 500


def test_a_project_goes_on_as_it_was_begun(clips, refusal, tmp_path):
    out = tmp_path / "labels"
    made(clips, out, questions=4)
    project = open_project(out, None, {"questions": 9}, [], {})  # more may be asked
    assert (project.plan.questions, project.plan.per_session, project.made) == (9, 20, False)
    assert open_project(out, clips, {"kind": "segment_pair"}, ["queries=uniform"], {}).plan.questions == 9
    before = (out / "config.yaml").read_text()
    for changed in ("queries=entropy", "kind=ranking", "seed=1", "segment_length=3", "criterion=safety"):
        assert f"{changed}: out={out} was begun otherwise" in refusal("label", f"data={clips}", f"out={out}", changed)
    assert f"data={tmp_path}: out=" in refusal("label", f"data={tmp_path}", f"out={out}")
    assert "pairs=1000: " in refusal("label", f"out={out}", "pairs=1000")
    assert "viewer.port=-1" in refusal("label", f"out={out}", "pairs=20", "port=-1")
    assert "is a labelling project, which goes on with: pbrl label out=" in refusal("label", f"run={out}")
    assert "this folder is a labelling project and holds no run" in refusal("train", f"resume={out}")
    assert "is not the config of a run" in refusal("eval", out)
    assert (out / "config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["data=DATA"], "out= is missing"),
        (["out=OUT"], "data= is missing: a data set"),
        (["data=nowhere", "out=OUT"], "data=nowhere: there is no such folder"),
        (["data=FILMS", "out=OUT"], "is no data set; `pbrl data import` and `pbrl collect` make one"),
        (["data=DATA", "out=DATA"], "is there already and is no labelling project; valid is a new folder"),
        (["data=DATA", "out=OUT", "pair=3"], "unknown key 'pair': valid are"),
        (["data=DATA", "out=OUT", "pairs=0"], "pairs=0: expected a whole number of at least 1"),
        (["data=DATA", "out=OUT", "pairs=1000"], r"pairs=1000: .*clips has 91 different pairs of segments of 4 steps"),
        (["data=DATA", "out=OUT", "pairs=1", "segment_length=20"], r"has 0 different pairs"),
        (["data=DATA", "out=OUT", "queries=none"], "queries"),
        (["data=DATA", "out=OUT", "queries=best"], "queries=best: valid are"),
        (["data=DATA", "out=OUT", "kind=pair"], "kind=pair: valid are segment_pair, episode_pair, triplet, ranking"),
        (["data=DATA", "out=OUT", "kind=ranking", "items=10"], "items=10: expected 2 to 9"),
        (["data=DATA", "out=OUT", "kind=ranking"], r"pairs=200: .* has 0 different questions about 3 episodes"),
        (["data=DATA", "out=OUT", "kind=triplet", "pairs=1", "queries=entropy"], "valid is queries=uniform"),
        (["data=DATA", "out=OUT", "kind=triplet", "pairs=1", "segment_length=4"], "asks about whole episodes"),
        (["data=DATA", "out=OUT", "pairs=5", "items=3"], "items=3: kind=segment_pair has its own number"),
        (["data=DATA", "out=OUT", "pairs=5", "criterion= "], "criterion"),
        (["data=DATA", "out=OUT", "pairs=5", "camera=top"], r"viewer\.camera=top: valid are video"),
        (["data=DATA", "out=OUT", "pairs=5", "width=33"], r"viewer\.width=33"),
        (["data=DATA", "out=OUT", "pairs=5", "host=1.2.3.4"], r"viewer\.host=1\.2\.3\.4"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(clips, refusal, tmp_path, args, message):
    places = {"DATA": clips, "OUT": tmp_path / "labels", "FILMS": clips.parent / "films"}
    given = [re.sub(r"=(DATA|OUT|FILMS)$", lambda m: f"={places[m[1]]}", arg) for arg in args]
    assert re.search(message, refusal("label", BROWSERLESS, *given))
    assert not (tmp_path / "labels").exists()


def test_more_is_not_asked_for_behind_an_open_viewers_back(clips, monkeypatch, tmp_path):
    made(clips, tmp_path / "labels", questions=3)
    here = "http://127.0.0.1:1/#token=t"
    Opened("t", 1, here, [here], 0).remember(tmp_path / "labels")
    monkeypatch.setattr(Opened, "answers", lambda opened: True)
    assert made(clips, tmp_path / "labels", questions=3).plan.questions == 3
    with pytest.raises(UserError, match=r"is open at http://127\.0\.0\.1:1/"):
        made(clips, tmp_path / "labels", questions=5)
    monkeypatch.undo()  # nobody is there
    assert open_project(tmp_path / "labels", None, {}, [], {}).plan.questions == 3


def test_what_cannot_be_shown_is_said_before_a_folder_is_made(clips, output, refusal, tmp_path):
    out = tmp_path / "labels"
    data = collect(tmp_path / "blind", "states=false")
    assert "has nothing to show: no videos, and no states" in refusal("label", f"data={data}", f"out={out}", "pairs=3")
    rows = [f"{k},{t},{t / 10}" for k in range(3) for t in range(8)]
    (tmp_path / "steps.csv").write_text("\n".join(["episode,obs_x,act_0", *rows]))
    splits = ("splits=1,0,0", "segment_length=3")
    output("data", "import", f"from={tmp_path / 'steps.csv'}", f"out={tmp_path / 'bare'}", *splits)
    assert "has nothing to show" in refusal("label", f"data={tmp_path / 'bare'}", f"out={out}", "pairs=3")
    films(tmp_path / "films")
    output("data", "import", f"from={tmp_path / 'films'}", f"out={tmp_path / 'gone'}", "segment_length=4")
    (tmp_path / "films" / "ep_2.mp4").unlink()
    assert "ep_2.mp4 is missing" in refusal("label", f"data={tmp_path / 'gone'}", f"out={out}", "pairs=3")
    output("data", "import", f"from={clips.parent / 'films'}", f"out={tmp_path / 'seen'}", "obs=video", "image_size=8",
           "segment_length=4")  # fmt: skip
    args = ("label", f"data={tmp_path / 'seen'}", f"out={out}", "pairs=3", "queries=disagreement")
    assert "queries=disagreement reads numbers, and" in refusal(*args)
    assert not out.exists()


def test_data_that_changed_are_not_gone_on_with(output, refusal, tmp_path):
    films(tmp_path / "films")
    import_it = ("data", "import", f"from={tmp_path / 'films'}", f"out={tmp_path / 'data'}", "segment_length=4")
    output(*import_it)
    made(tmp_path / "data", tmp_path / "labels", questions=3)
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    Path(tmp_path / "data").rmdir()
    films(tmp_path / "films", LENGTHS | {"ep_1": 8})
    output(*import_it)
    assert "is not what out=" in refusal("label", f"out={tmp_path / 'labels'}")
