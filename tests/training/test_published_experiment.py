"""Rewards from people's answers, policies from all of the data they came from, and from no environment."""

import csv
import json

import numpy as np
import pytest
from tiny import LEARNERS

from pbrl.reading import read_object
from pbrl.training.saved import load_run

M, LENGTH = 120, 30
SMALL = ("steps=12", "checkpoint.every=100", "log_every=6", "report=false", "method.policy.hidden=[8]")


def d4rl_file(folder):
    """D4RL's layout: four episodes that time limits end, and one after the other in one array."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed; get it with: pip install 'pbrl[data]'")
    rng = np.random.default_rng(0)
    with h5py.File(folder / "hopper.hdf5", "w") as file:
        file["observations"] = rng.normal(size=(M, 3)).astype("f4")
        file["actions"] = rng.uniform(-1, 1, (M, 2)).astype("f4")
        file["rewards"] = rng.normal(size=M).astype("f4")
        file["terminals"] = np.zeros(M, bool)
        file["timeouts"] = np.arange(M) % LENGTH == LENGTH - 1
    return folder / "hopper.hdf5"


def index_files(folder, told):
    """As Preference Transformer and DPPO publish them: two files of start rows, and one of answers."""
    rows = {"indices": [0, 31, 62, 5, 33], "indices_2": [10, 3, 40, 70, 90], "answers": told}
    for name, column in rows.items():
        np.save(folder / f"{name}.npy", np.array(column))
    named = {"indices": "indices", "indices_2": "indices_2", "labels": "answers"}
    return ["format=preference_transformer", "segment_length=8", *(f"{k}={folder / v}.npy" for k, v in named.items())]


def uni_rlhf_export(folder):
    (out := folder / "export").mkdir()
    question = json.dumps({"Which is better?": ["Left", "Right", "Equal"]})
    (out / "meta_data.json").write_text(json.dumps({"project_id": "p", "question": question, "query_length": 8}))
    with (out / "label.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        places = ["start_indices_1", "end_indices_1", "start_indices_2", "end_indices_2"]
        writer.writerow(
            ["id", "query_id", *places, "feedback_type", "label", "extra", "annotator_id", "annotator_name"]
        )
        for n, (one, two, told) in enumerate([(0, 10, "Left"), (31, 3, "Right"), (62, 40, "Right"), (5, 70, "Equal")]):
            writer.writerow([n, f"q{n}", one, one + 8, two, two + 8, "comparative", told, None, 3, "ann"])
    return out


@pytest.mark.parametrize(
    ("layout", "method", "answers"),
    [
        ("preference_transformer", "preference_transformer", 5),
        ("preference_transformer", "piql", 5),
        ("dppo", "cpl", 5),
        ("uni_rlhf", "piql", 4),
    ],
)
def test_the_published_experiment_runs_from_its_files(output, tmp_path, layout, method, answers):
    file, data, people = d4rl_file(tmp_path), tmp_path / "data", tmp_path / "people"
    output("data", "import", file, f"out={data}", "segment_length=8")
    if layout == "uni_rlhf":
        output("data", "import", uni_rlhf_export(tmp_path), f"data={file}", f"out={people}", "format=uni_rlhf")
    else:
        told = [1, 0, 0, -1, 1] if layout == "preference_transformer" else [1, 0, 0, 1, 0]
        output("data", "import", file, f"out={people}", *index_files(tmp_path, told))
    run = tmp_path / "run"
    said = output("train", f"method={method}", f"data={data}", f"labels={people}", "env=none", f"run_dir={run}",
                  "feedback.heldout=0.4", *SMALL, *LEARNERS[method])  # fmt: skip
    assert "accuracy on held-out labels" in said
    assert "action error" in said
    summary = read_object(run / "summary.json")
    assert summary["labels"] == answers  # paid for, those held out included
    assert 0 < summary["action_error"] < 2
    saved = load_run(run)
    assert saved.act(np.zeros((5, 3), np.float32)).shape == (5, 2)


def test_a_resumed_run_wants_the_same_answers(output, refusal, tmp_path):
    file, data, people = d4rl_file(tmp_path), tmp_path / "data", tmp_path / "people"
    output("data", "import", file, f"out={data}", "segment_length=8")
    output("data", "import", file, f"out={people}", *index_files(tmp_path, [1, 0, 0, 1, 1]))
    run = ("train", "method=cpl", f"data={data}", f"labels={people}", "env=none", f"run_dir={tmp_path / 'run'}", *SMALL)
    output(*run)
    (people / "meta.json").rename(tmp_path / "meta.json")
    assert "meta.json" in refusal("train", f"resume={tmp_path / 'run'}", "steps=20")
    (tmp_path / "meta.json").rename(people / "meta.json")
    output("train", f"resume={tmp_path / 'run'}", "steps=20")
    assert read_object(tmp_path / "run" / "summary.json")["updates"] == 20


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["method=bc", "data=DATA", "labels=PEOPLE", "env=none"], "labels=.*: method=bc reads no labels"),
        (["method=cpl", "labels=PEOPLE", "env=none"], "labels=.*: goes with data=DATASET"),
        (["method=cpl", "data=DATA", "labels=DATA", "env=none"], "labels=.* is no label set"),
        (["method=cpl", "data=PEOPLE", "labels=PEOPLE", "env=none"], "is a label set itself; leave one out"),
        (["method=cpl", "data=DATA", "labels=PEOPLE", "env=none", "feedback.pairs=dense"], "is about comparisons"),
        (["method=cpl", "data=DATA", "labels=nowhere", "env=none"], "labels=.*nowhere is no label set"),
        (["method=pebble", "env=point_reach", "labels=PEOPLE"], "labels=.*: method=pebble learns online"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(output, refusal, tmp_path, args, message):
    file, places = d4rl_file(tmp_path), {"DATA": tmp_path / "data", "PEOPLE": tmp_path / "people"}
    output("data", "import", file, f"out={places['DATA']}", "segment_length=8")
    output("data", "import", file, f"out={places['PEOPLE']}", *index_files(tmp_path, [1, 0, 0, 1, 1]))
    given = [f"{key}={places.get(value, value)}" for key, _, value in (arg.partition("=") for arg in args)]
    import re

    assert re.search(message, refusal("train", f"run_dir={tmp_path / 'run'}", *given))
    assert not (tmp_path / "run").exists()


def choices(folder, output):
    """Episodes in which the choice is where the observation is largest."""
    rng, rows = np.random.default_rng(0), []
    for episode in range(12):
        for _ in range(30):
            obs = rng.normal(size=3)
            rows.append({"episode": episode, **{f"obs_{i}": x for i, x in enumerate(obs)}, "act": int(obs.argmax())})
    with (folder / "steps.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    output("data", "import", folder / "steps.csv", f"out={folder / 'data'}", "action=act", "actions=discrete",
           "segment_length=10", "segments=60")  # fmt: skip
    return folder / "data"


def test_choices_are_cloned(output, tmp_path):
    data = choices(tmp_path, output)
    output("train", "method=bc", f"data={data}", "env=none", f"run_dir={tmp_path / 'run'}", "steps=500",
           "method.lr=0.01", "method.batch_size=128", "method.policy.dropout=0", "report=false")  # fmt: skip
    summary = read_object(tmp_path / "run" / "summary.json")
    assert (summary["action_error_on"], summary["action_error"] < 0.15) == ("test", True)  # by chance 2/3
    obs = np.eye(3, dtype=np.float32)[[2, 0, 1, 1]] * 3
    np.testing.assert_array_equal(load_run(tmp_path / "run").act(obs), np.eye(3)[[2, 0, 1, 1]])


@pytest.mark.parametrize("method", ["cpl_kl", "piql", "sft"])
def test_choices_are_learned_from_answers(output, tmp_path, method):
    data = choices(tmp_path, output)
    lines = ["left_episode,left_start,left_length,right_episode,right_start,right_length,choice"]
    lines += [f"{i},0,10,{i + 1},5,10,{'left' if i % 2 else 'right'}" for i in range(10)]
    (tmp_path / "answers.csv").write_text("\n".join(lines))
    output("data", "import", tmp_path / "answers.csv", f"data={data}", f"out={tmp_path / 'people'}")
    output("train", f"method={method}", f"data={data}", f"labels={tmp_path / 'people'}", "env=none",
           f"run_dir={tmp_path / 'run'}", *SMALL, *LEARNERS[method])  # fmt: skip
    acted = load_run(tmp_path / "run").act(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32))
    assert acted.shape == (20, 3)
    assert (acted.sum(1) == 1).all()
    assert set(acted.flatten()) == {0, 1}


@pytest.mark.parametrize("method", ["ipl", "paws", "regret"])
def test_who_cannot_choose_says_so(output, refusal, tmp_path, method):
    data = choices(tmp_path, output)
    said = refusal("train", f"method={method}", f"data={data}", "env=none", f"run_dir={tmp_path / 'run'}", *SMALL)
    assert "has choices of 3 for actions; this method learns actions that are numbers" in said
