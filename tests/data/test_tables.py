"""Plain tables, and folders of videos with or without them."""

import numpy as np
import pytest
from films import LENGTHS, film, table, write_csv

from pbrl.data.datasets import load_dataset
from pbrl.data.stored_videos import StoredFrames, StoredVideos, frame_times


def write_parquet(path, rows):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed; get it with: pip install 'pbrl[data]'")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{k: None if v == "" else v for k, v in row.items()} for row in rows]), path)
    return path


def load(output, path, *options, out=None):
    out = out or path.parent / "set"
    said = output("data", "import", f"from={path}", f"out={out}", "segment_length=4", "splits=1,0,0", *options)
    return load_dataset(out), said


def check_steps(data, after=True):
    assert list(data.episode_numbers) == list(LENGTHS)
    for k, (e, length) in enumerate(zip(data.episodes, LENGTHS.values(), strict=True)):
        t = np.arange(length + after)
        np.testing.assert_array_equal(e.obs, np.stack([np.full(len(t), k), t], 1))
        steps = len(t) - 1
        np.testing.assert_allclose(e.actions, np.stack([t[:steps] / 10, np.full(steps, -k / 10)], 1), rtol=1e-6)
        assert e.true_reward.tolist() == (2 * t[:steps]).tolist()


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_rows_of_a_table_become_episodes(output, tmp_path, write):
    path = write(tmp_path / f"steps.{write.__name__[6:]}", table())
    data, said = load(output, path)
    check_steps(data)
    assert [e.terminated for e in data.episodes] == [False, True, False]
    assert said.startswith("tables: 3 episodes of 21 steps")


def test_a_table_of_more_rows_than_are_read_at_once(output, tmp_path, monkeypatch):
    monkeypatch.setattr("pbrl.data.table_files.ROWS", 3)
    check_steps(load(output, write_csv(tmp_path / "steps.csv", table()))[0])


def test_columns_go_by_the_names_that_the_user_gives(output, tmp_path):
    rows = [
        {
            "clip": r["episode"],
            "q": r["obs_x"],
            "time": r["obs_t"],
            "u1": r["act_0"],
            "u2": r["act_1"],
            "score": r["reward"],
        }
        for r in table()
    ]
    names = ("episode=clip", "obs=q,time", "action=u*", "reward=score", "source=ann")
    data, _ = load(output, write_csv(tmp_path / "steps.csv", rows), *names)
    check_steps(data)
    assert data.meta["sources"] == ["ann"]


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_tables_of_spreadsheets_have_their_own_delimiters(output, tmp_path, delimiter):
    path = write_csv(tmp_path / "steps.csv", table())
    path.write_text("\ufeff" + path.read_text().replace(",", delimiter), encoding="utf-8")
    check_steps(load(output, path)[0])


def test_columns_of_parquet_may_be_lists(output, tmp_path):
    rows = [
        {"episode_index": k, "observation": [k, t, 0.5], "action": [t / 10, -k / 10], "reward": 1.0}
        for k in range(3)
        for t in range(5)
    ]
    data, _ = load(output, write_parquet(tmp_path / "steps.parquet", rows))
    np.testing.assert_allclose(data.episodes[2].obs, [[2, t, 0.5] for t in range(5)])
    np.testing.assert_allclose(data.episodes[2].actions, [[t / 10, -0.2] for t in range(4)], rtol=1e-6)


def test_a_row_with_too_few_values_is_named_by_its_line(refusal, tmp_path):
    path = write_csv(tmp_path / "steps.csv", table())
    lines = path.read_text().splitlines()
    lines[5] = lines[5].rpartition(",")[0]
    path.write_text("\n".join(lines))
    columns = lines[0].count(",") + 1
    told = f"steps.csv has {columns - 1} values in line 6, expected {columns} as in its first"
    assert told in refusal("data", "import", path, "format=tables", f"out={tmp_path / 'set'}")


def test_a_table_without_rows_is_one_line(refusal, tmp_path):
    (tmp_path / "steps.csv").write_text("episode,obs_x,act_0\n")
    assert "steps.csv has no rows" in refusal("data", "import", tmp_path / "steps.csv", f"out={tmp_path / 'set'}")


def test_a_folder_has_an_episode_in_each_table(output, tmp_path):
    (tmp_path / "steps").mkdir()
    for name in LENGTHS:
        rows = [{k: v for k, v in row.items() if k != "episode"} for row in table() if row["episode"] == name]
        write_csv(tmp_path / "steps" / f"{name}.csv", rows)
    data, _ = load(output, tmp_path / "steps")
    assert sorted(data.episode_numbers) == sorted(LENGTHS)


WRONG = {
    "no action": (lambda r: r[2].update(act_1=""), "act_1 of step 2 in episode ep_1 is empty, expected a number"),
    "a word": (lambda r: r[3].update(obs_t="two"), "obs_t in line 5 is 'two', expected a number"),
    "not a number": (lambda r: r[3].update(obs_t="nan"), "episode ep_1: obs[3, 1] is nan, expected finite numbers"),
    "an end in the middle": (
        lambda r: r[1].update(terminated=1),
        "terminated of step 1 in episode ep_1 is set, and steps",
    ),
    "rows apart": (lambda r: r.append(r.pop(0)), "rows of episode ep_1 stand in two places; sort the table by episode"),
    "a large action": (lambda r: r[0].update(act_0=3), "action[0] of step 0 in episode ep_1 is 3, expected -1 to 1"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_row_is_one_line(refusal, tmp_path, wrong):
    change, message = WRONG[wrong]
    change(rows := table())
    path = write_csv(tmp_path / "steps.csv", rows)
    assert message in refusal("data", "import", path, f"out={tmp_path / 'set'}", "segment_length=4")
    assert [p.name for p in tmp_path.iterdir()] == ["steps.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["obs=pos_*"], "obs=pos_* is no column; valid are episode, obs_x, obs_t"),
        (["reward=return"], "reward=return is no column; valid are"),
        (["episode=run"], "episode=run is no column; valid are episode"),
    ],
)
def test_columns_that_are_not_there_are_one_line(refusal, tmp_path, options, message):
    path = write_csv(tmp_path / "steps.csv", table())
    assert message in refusal("data", "import", path, "format=tables", f"out={tmp_path / 'set'}", *options)


@pytest.fixture
def videos(tmp_path):
    for k, (name, length) in enumerate(LENGTHS.items()):
        film(tmp_path / "films" / f"{name}.mp4", length + 1, 20 * k)
    write_csv(tmp_path / "films" / "steps.csv", table())
    return tmp_path / "films"


def levels(data, camera="video"):
    videos = StoredVideos.of(data.meta["videos"], data.path)
    frames = StoredFrames(videos, data.path)
    return [[float(f.mean()) for f in frames.frames(e.states, camera)] for e in data.episodes]


def expected(lengths=LENGTHS, after=1):
    return [20 * k + 10 * np.arange(length + after) for k, length in enumerate(lengths.values())]


def test_each_row_has_its_frame(output, videos):
    data, said = load(output, videos)
    check_steps(data)
    assert "cameras video" in said
    for seen, level in zip(levels(data), expected(), strict=True):
        np.testing.assert_allclose(seen, level, atol=3)
    assert data.meta["videos"]["fps"] == pytest.approx(10)
    assert data.meta["videos"]["root"] == str(videos)


def test_gifs_and_a_table_for_each(output, tmp_path):
    for k, (name, length) in enumerate(LENGTHS.items()):
        film(tmp_path / "films" / f"{name}.gif", length + 1, 20 * k)
        rows = [{c: v for c, v in row.items() if c != "episode"} for row in table() if row["episode"] == name]
        write_csv(tmp_path / "films" / f"{name}.csv", rows)
    data, _ = load(output, tmp_path / "films")
    for seen, level in zip(levels(data), expected(), strict=True):
        np.testing.assert_allclose(seen, level, atol=3)


def test_rows_may_say_their_frame_or_their_second(output, videos):
    rows = [row | {"frame": row["obs_t"] // 2, "second": row["obs_t"] / 20} for row in table()]
    write_csv(videos / "steps.csv", rows)
    half = [20 * k + 10 * (np.arange(n + 1) // 2) for k, n in enumerate(LENGTHS.values())]
    for option in ("frame=frame", "time=second"):
        data, _ = load(output, videos, option, out=videos.parent / option)
        for seen, level in zip(levels(data), half, strict=True):
            np.testing.assert_allclose(seen, level, atol=11 if option == "time=second" else 3)


def test_folders_are_cameras(output, tmp_path):
    for camera, level in (("top", 0), ("wrist", 50)):
        for k, (name, length) in enumerate(LENGTHS.items()):
            film(tmp_path / "films" / camera / f"{name}.mp4", length + 1, level + 20 * k)
    write_csv(tmp_path / "films" / "steps.csv", table())
    data, _ = load(output, tmp_path / "films")
    assert data.meta["videos"]["cameras"] == ["top", "wrist"]
    for seen, level in zip(levels(data, "wrist"), expected(), strict=True):
        np.testing.assert_allclose(seen, level + 50, atol=3)


def test_pictures_may_be_what_is_observed(output, videos):
    data, _ = load(output, videos, "obs=video", "image_size=16")
    assert data.episodes[1].obs.shape == (6, 16, 16, 3)
    np.testing.assert_allclose(data.episodes[1].obs.mean((1, 2, 3)), expected()[1], atol=3)
    np.testing.assert_allclose(data.episodes[1].actions[:, 1], -0.1)


def test_one_video_by_itself(output, videos):
    data, _ = load(output, videos / "ep_1.mp4", out=videos.parent / "alone")
    assert data.episodes[0].obs.shape == (8, 64, 64, 3)
    rows = [{k: v for k, v in row.items() if k != "episode"} for row in table() if row["episode"] == "ep_1"]
    write_csv(videos / "ep_1.csv", rows)
    data, _ = load(output, videos / "ep_1.mp4", out=videos.parent / "with_table")
    np.testing.assert_array_equal(data.episodes[0].obs, [[0, t] for t in range(8)])


def test_videos_alone_are_enough_to_be_asked_about(output, videos):
    (videos / "steps.csv").unlink()
    data, _ = load(output, videos)
    assert data.episodes[0].obs.shape == (8, 64, 64, 3)
    assert data.meta["true_reward"] is False
    for seen, level in zip(levels(data), expected(), strict=True):
        np.testing.assert_allclose(seen, level, atol=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "ep_2.mp4").unlink(), "there is no video of episode ep_2; valid are ep_1, ep_10"),
        (lambda f: film(f / "ep_3.mp4", 4, 0), "video ep_3 has no rows in steps.csv; take it away"),
        (lambda f: film(f / "ep_2.mp4", 30, 0), "ep_2.mp4 has 30 frames and steps.csv 6 rows of it; expected as many"),
        (lambda f: (f / "ep_2.mp4").write_bytes(b"no film"), "ep_2.mp4 is damaged or not a video"),
        (lambda f: write_csv(f / "more.csv", table()), "has the tables more.csv, steps.csv; table=FILE says which"),
        (lambda f: film(f / "ep_2.gif", 4, 0), "has two videos named ep_2 of one camera"),
    ],
)
def test_what_does_not_fit_is_one_line(refusal, videos, change, message):
    change(videos)
    said = refusal("data", "import", videos, "format=videos", f"out={videos.parent / 'set'}", "segment_length=4")
    assert message in said
    assert [p.name for p in videos.parent.iterdir()] == ["films"]


def test_a_video_that_changed_is_not_taken_for_the_one_that_was_imported(output, videos):
    data, _ = load(output, videos)
    film(videos / "ep_1.mp4", 20, 100)
    with pytest.raises(Exception, match=r"and had .* when it was imported"):
        levels(data)


def test_frames_of_a_film_with_uneven_times(tmp_path):
    """As phones make them: what counts is when a frame is shown, and not its number."""
    import av

    with av.open(str(tmp_path / "f.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number, tick in enumerate((0, 1, 5, 6, 20)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * number, np.uint8))
            frame.pts = tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    np.testing.assert_allclose(frame_times(tmp_path / "f.mp4"), np.array([0, 1, 5, 6, 20]) / 30, atol=1e-4)


def test_a_check_reads_everything_and_writes_nothing(output, refusal, videos):
    said = output("data", "import", f"from={videos}", "check=true", "segment_length=4", "splits=1,0,0")
    assert said.startswith("videos: 3 episodes of 21 steps; segments: ")
    assert said.endswith("cameras video; nothing was written\n")
    (videos / "ep_2.mp4").write_bytes((videos / "ep_2.mp4").read_bytes()[:1500])
    assert "ep_2.mp4" in refusal("data", "import", f"from={videos}", "check=true", "segment_length=4")
    assert [p.name for p in videos.parent.iterdir()] == ["films"]
