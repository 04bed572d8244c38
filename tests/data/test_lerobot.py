"""LeRobotDatasets, written by lerobot 0.3.3 (v2.1) and 0.6.1 (v3): files/write_lerobot.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pbrl.data.datasets import load_dataset
from pbrl.data.stored_videos import StoredFrames, StoredVideos

pytest.importorskip("pyarrow", reason="pyarrow is not installed; get it with: pip install 'pbrl[data]'")
FILES = Path(__file__).parent / "files"
LENGTHS = (5, 8, 6)
VERSIONS = ("lerobot_v21", "lerobot_v3")


@pytest.fixture(params=VERSIONS)
def written(request, tmp_path):
    return Path(shutil.copytree(FILES / request.param, tmp_path / "written"))


@pytest.fixture
def v3(tmp_path):
    return Path(shutil.copytree(FILES / "lerobot_v3", tmp_path / "written"))


def load(output, written, *options):
    out = written.parent / "set"
    said = output("data", "import", f"from={written}", f"out={out}", "segment_length=3", "segments=50", *options)
    return load_dataset(out), said


def test_steps_are_those_that_were_written(output, written):
    data, said = load(output, written)
    assert said.startswith("lerobot: 3 episodes of 16 steps; segments: ")
    assert "3 last steps left out, whose next observation is unknown" in said
    for k, (e, length) in enumerate(zip(data.episodes, LENGTHS, strict=True)):
        t = np.arange(length)
        np.testing.assert_allclose(e.obs, np.stack([np.full(length, k), t, t / 10], 1), rtol=1e-6)
        np.testing.assert_allclose(e.actions[:, 0], (10 * t[:-1] - 20 - 15) / 35, atol=1e-6)  # of all: -20 to 50
        np.testing.assert_allclose(e.actions[:, 1], k - 1, atol=1e-6)  # of all: 0 to 10
        assert e.true_reward.tolist() == t[:-1].tolist()
        assert (e.terminated, e.success) == (False, float(k != 1))
    assert data.meta["actions"] == {"low": [-20, 0], "high": [50, 10]}
    assert data.meta["imported_from"]["robot"] == "toy"
    assert (data.path / "episodes.csv").read_text() == "name,task\n0,pick\n1,place\n2,pick\n"


def test_every_step_finds_its_frame_in_both_cameras(output, written):
    """An episode of v3 begins in the middle of a file: a frame that is counted from 0 would show another one."""
    data, _ = load(output, written)
    frames = StoredFrames(StoredVideos.of(data.meta["videos"], data.path), data.path)
    assert frames.cameras == ["observation.images.top", "observation.images.wrist"]
    first = np.cumsum(LENGTHS) - LENGTHS
    for k in (2, 0, 1):
        number = first[k] + np.arange(LENGTHS[k])
        for camera, level in zip(frames.cameras, (10 + 12 * number, 250 - 12 * number), strict=True):
            for order in (slice(None), slice(None, None, -1)):
                seen = [int(f.mean()) for f in frames.frames(data.episodes[k].states[order], camera)]
                np.testing.assert_allclose(seen, level[order], atol=3)
    frames.close()


def test_segments_know_what_they_are_drawn_from(output, v3):
    data, _ = load(output, v3)
    states = data.states(np.arange(len(data.segments)))
    steps = data.segments.obs[..., 1].numpy() + (np.cumsum(LENGTHS) - LENGTHS)[data.episode_of][:, None]
    np.testing.assert_allclose(states[..., 1] * 10, steps, atol=1e-4)


def test_one_camera_other_observations_and_no_reward(output, refusal, v3):
    data, said = load(output, v3, "cameras=observation.images.wrist", "obs=action", "reward=next.reward")
    assert data.meta["videos"]["cameras"] == ["observation.images.wrist"]
    np.testing.assert_array_equal(data.episodes[0].obs[:, 0], [-20, -10, 0, 10, 20])
    change(v3 / "meta/info.json", lambda info: info["features"].pop("next.reward"))
    shutil.rmtree(v3.parent / "set")
    data, said = load(output, v3)
    assert said.split("; see")[0].endswith("rewards unknown")
    assert data.scores == {}
    assert np.isnan(data.episodes[0].true_reward).all()
    said = output("data", "info", data.path)
    assert "\nrewards are unknown\nvideos of observation.images.top, observation.images.wrist: 2\n" in said
    assert "\nactions: scaled to -1..1 from -20 to 50, 0 to 10\n" in said
    assert "nan" not in output("data", "info", data.path, "--json").lower()
    assert "has unknown rewards" in refusal("data", "export", data.path, "format=minari", "id=a/b-v0")


def test_pictures_in_the_rows_are_kept_as_videos(output, tmp_path):
    """As lerobot writes them with use_videos=False; the action is a choice of three."""
    written = Path(shutil.copytree(FILES / "lerobot_v3_images", tmp_path / "written"))
    data, said = load(output, written, "splits=1,0,0")
    assert "actions one of 3" in said
    assert data.episodes[1].actions.argmax(1).tolist() == [0, 1, 2, 0, 1]
    frames = StoredFrames(StoredVideos.of(data.meta["videos"], data.path), data.path)
    for k, e in enumerate(data.episodes):
        seen = [f.mean() for f in frames.frames(e.states, "observation.images.top")]
        np.testing.assert_allclose(seen, 30 * k + 20 * np.arange(len(e) + 1), atol=3)


def test_pictures_may_be_what_is_observed(output, v3, tmp_path):
    data, _ = load(output, v3, "obs=observation.images.wrist", "image_size=16")
    first = np.cumsum(LENGTHS) - LENGTHS
    for k, e in enumerate(data.episodes):
        assert e.obs.shape == (LENGTHS[k], 16, 16, 3)
        np.testing.assert_allclose(e.obs.mean((1, 2, 3)), 250 - 12 * (first[k] + np.arange(LENGTHS[k])), atol=3)
    written = Path(shutil.copytree(FILES / "lerobot_v3_images", tmp_path / "pictures" / "written"))
    data, _ = load(output, written, "obs=observation.images.top", "splits=1,0,0")
    assert data.episodes[1].obs[:, 0, 0, 0].tolist() == [30, 50, 70, 90, 110, 130]


def test_videos_may_move_into_the_data_set(output, refusal, v3):
    data, _ = load(output, v3)
    shutil.move(v3 / "videos", data.path / "videos")
    videos = StoredVideos.of(data.meta["videos"], data.path)
    assert len(list(StoredFrames(videos, data.path).frames(data.episodes[1].states, videos.cameras[0]))) == 8


def change(file, how):
    content = json.loads(file.read_text())
    how(content)
    file.write_text(json.dumps(content))


def lose_rows(v3):
    import pyarrow.parquet as pq

    file = v3 / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(file).slice(0, 17), file)


WRONG = {
    "an older version": (
        lambda v: change(v / "meta/info.json", lambda i: i.update(codebase_version="v1.6")),
        "v1.6; valid",
    ),
    "no features": (lambda v: change(v / "meta/info.json", lambda i: i.pop("features")), "info.json is damaged"),
    "a path that leaves": (
        lambda v: change(v / "meta/info.json", lambda i: i.update(video_path="../{video_key}.mp4")),
        "which leaves its folder",
    ),
    "no video": (lambda v: shutil.rmtree(v / "videos/observation.images.top"), "file-000.mp4 is missing"),
    "no rows": (lambda v: shutil.rmtree(v / "data"), "has rows of 0 episodes, meta says 3"),
    "fewer rows": (lose_rows, "episode 2 has 4 rows, meta says 6"),
    "no parquet": (lambda v: (v / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1"), "not a parquet file"),
    "stale statistics": (
        lambda v: change(v / "meta/stats.json", lambda s: s["action"].update(max=[30, 10])),
        "action[0] of step 6 in episode 1 is 40, expected -20 to 30; actions=low,high",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_one_line_and_leaves_nothing(refusal, v3, wrong):
    damage, message = WRONG[wrong]
    damage(v3)
    assert message in refusal("data", "import", v3, "format=lerobot", f"out={v3.parent / 'set'}", "segment_length=3")
    assert [p.name for p in v3.parent.iterdir()] == ["written"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("obs=observation.stat", "obs=observation.stat: valid are observation.state, action, next.reward"),
        ("cameras=top", "cameras=top: valid are observation.images.top"),
        ("actions=1", "actions=1: expected low,high as -2,2"),
        ("actions=2,-2", "actions=2,-2: expected low,high"),
        ("actions=discrete", "actions are no choices, which are one whole number"),
        ("frame=true", "unknown key 'frame'"),
    ],
)
def test_a_wrong_option_is_one_line(refusal, v3, option, message):
    said = refusal("data", "import", v3, f"out={v3.parent / 'set'}", "segment_length=3", option)
    assert message in said
    assert [p.name for p in v3.parent.iterdir()] == ["written"]


def answers(folder):
    rows = ["left_episode,left_start,left_length,right_episode,right_start,right_length,choice,annotator,response_s"]
    rows += ["0,1,3,1,2,3,right,ann,2.5", "2,0,4,1,0,4,left,bob,", "1,0,3,0,0,3,skip,ann,"]
    (folder / "answers.csv").write_text("\n".join(rows) + "\n")
    return folder / "answers.csv"


def test_answers_go_back_beside_the_data_and_come_in_again(output, refusal, v3):
    import pyarrow.parquet as pq

    data, _ = load(output, v3)
    output("data", "import", answers(v3.parent), f"data={data.path}", f"out={v3.parent / 'people'}")
    output("data", "export", v3.parent / "people", "format=lerobot", f"to={v3}")
    table = pq.read_table(v3 / "meta/preferences.parquet").to_pydict()
    assert table["left_episode_index"] == [0, 2, 1]
    assert table["left_frame_index"] == [1, 0, 0]
    assert table["right_episode_index"] == [1, 1, 0]
    assert table["right_length"] == [3, 4, 3]
    assert table["prefers_right"] == [1, 0, None]
    assert table["annotator"] == ["ann", "bob", "ann"]
    assert table["response_s"] == [2.5, None, None]
    again = f"out={v3.parent / 'again'}"
    output("data", "import", v3 / "meta/preferences.parquet", f"data={data.path}", again)
    one, two = ((v3.parent / name / "comparisons.npz").read_bytes() for name in ("people", "again"))
    assert one == two
    said = refusal("data", "export", v3.parent / "people", "format=lerobot", f"to={v3}")
    assert "preferences.parquet exists and is not overwritten" in said


def test_answers_about_other_data_are_refused(output, refusal, v3, tmp_path):
    data, _ = load(output, v3)
    output("data", "import", answers(v3.parent), f"data={data.path}", f"out={v3.parent / 'people'}")
    output("data", "import", v3, f"out={tmp_path / 'other'}", "segment_length=2", "cameras=observation.images.top")
    export = ("data", "export", v3.parent / "people", "format=lerobot", f"to={v3}")
    assert "is another data set" in refusal(*export, f"data={tmp_path / 'other'}")
    lose_rows(v3)
    change_lengths(v3)
    assert "episode 2 has 5 frames" in refusal(*export)


def change_lengths(v3):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = v3 / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("length")
    pq.write_table(table.set_column(place, "length", pa.array([5, 8, 5])), file)


def test_a_reward_goes_back_as_progress(output, written):
    """Of a reward that is the second number of the observation: 0, 1, 2, ... in each episode."""
    import pyarrow.parquet as pq

    from pbrl.data.lerobot_files import write_progress

    data, _ = load(output, written)
    write_progress(data, lambda obs, actions: obs[:, 1] - 5, written.parent, written)
    table = pq.read_table(written / "pbrl_progress.parquet")
    assert [(f.name, str(f.type)) for f in table.schema] == [
        ("index", "int64"),
        ("episode_index", "int64"),
        ("frame_index", "int64"),
        ("progress_sparse", "float"),
    ]
    assert table.schema.metadata[b"reward_model_path"] == str(written.parent).encode()
    assert table["index"].to_pylist() == list(range(19))
    expected = np.concatenate([np.cumsum([0, *range(n - 1)]) for n in LENGTHS])  # the reward less its smallest
    np.testing.assert_allclose(table["progress_sparse"].to_pylist(), expected / 21, rtol=1e-6)


def test_the_reward_of_a_run_is_exported(output, refusal, v3):
    data, _ = load(output, v3, "labels=return", "comparisons=5", "heldout=1")
    train = ("env=none", "method=piql", "steps=2", "feedback.heldout=0", "report=false", f"run_dir={v3.parent / 'run'}")
    output("train", f"data={data.path}", *train)
    export = ("data", "export", data.path, "format=lerobot", f"to={v3}")
    assert "reward= is missing: a run that learned one" in refusal(*export)
    output(*export, f"reward={v3.parent / 'run'}")
    assert (v3 / "pbrl_progress.parquet").exists()
