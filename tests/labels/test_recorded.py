"""Labels on recorded data know which data set they are about, in a store and in a label set."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from test_label_store import make_segments

from pbrl.data.datasets import load_dataset
from pbrl.data.lerobot_files import write_preferences
from pbrl.errors import UserError
from pbrl.labels.import_set import import_labels
from pbrl.labels.recorded import FILE, describe_source, write_source
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import SegmentPair
from pbrl.types import Answers

FILES = Path(__file__).parents[1] / "data" / "files"


@pytest.fixture
def data(tmp_path, output):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed; get it with: pip install 'pbrl[data]'")
    output("data", "import", FILES / "lerobot_v3", f"out={tmp_path / 'data'}", "segment_length=3", "segments=8")
    return load_dataset(tmp_path / "data")


def labelled(folder, data):
    """A label store on a data set, as a labelling project keeps it."""
    folder.mkdir()
    write_source(folder, data)
    left, right = np.array([0, 1]), np.array([4, 5])
    states = data.states(left), data.states(right)
    pairs = SegmentPair(data.segments[left.tolist()], data.segments[right.tolist()], *states)
    with LabelStore(folder) as store:
        ids = store.ask(1, 0, pairs, sampler="uniform")
        store.answer(ids, Answers(torch.tensor([1.0, 0.5]), torch.ones(2).bool()), "ann", [1.0, 2.0], kind="human")
    return folder


def test_an_exported_set_says_which_data_it_is_about(tmp_path, data):
    export_labels(labelled(tmp_path / "project", data), tmp_path / "set")
    labels = load_label_set(tmp_path / "set")
    assert labels.meta["data"]["sha256"] == data.meta["sha256"]
    assert labels.meta["videos"]["cameras"] == ["observation.images.top", "observation.images.wrist"]
    np.testing.assert_array_equal(labels.pairs.left_states, data.states(np.array([0, 1])))


def test_answers_of_a_project_go_back_beside_the_recordings(tmp_path, data):
    import pyarrow.parquet as pq

    root = shutil.copytree(FILES / "lerobot_v3", tmp_path / "lerobot")
    export_labels(labelled(tmp_path / "project", data), tmp_path / "set")
    file = write_preferences(load_label_set(tmp_path / "set"), data, root)
    table = pq.read_table(file).to_pydict()
    assert table["left_episode_index"] == data.segments.obs[[0, 1], 0, 0].int().tolist()
    assert table["left_frame_index"] == data.segments.obs[[0, 1], 0, 1].int().tolist()
    assert table["prefers_right"] == [1, 0.5]


def test_clips_of_other_videos_are_not_mixed(tmp_path, data):
    export_labels(labelled(tmp_path / "project", data), tmp_path / "set")
    assert import_labels(tmp_path / "project", tmp_path / "set")["answers_known"] == 2
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"the clips of the label set are of .*data, and those of .*run are not"):
        import_labels(tmp_path / "run", tmp_path / "set")
    with LabelStore(tmp_path / "run") as store:
        pairs = SegmentPair(make_segments(2, 0), make_segments(2, 1), *np.zeros((2, 2, 6, 4)))
        ids = store.ask(1, 0, pairs, sampler="uniform")
        store.answer(ids, Answers(torch.ones(2), torch.ones(2).bool()), "ann", [1.0, 2.0], kind="human")
    export_labels(tmp_path / "run", tmp_path / "of_run")
    with pytest.raises(UserError, match="are drawn from states of a simulator"):
        import_labels(tmp_path / "project", tmp_path / "of_run")


def test_a_damaged_note_is_one_line(tmp_path, data):
    folder = labelled(tmp_path / "project", data)
    (folder / FILE).write_text(json.dumps(describe_source(data) | {"videos": 3}))
    with pytest.raises(UserError, match=r"recorded\.json: videos is 3, expected an object"):
        export_labels(folder, tmp_path / "set")
