"""Answers over rows and episodes of other data: comparisons in tables, LiRE's lists, Uni-RLHF's exports."""

import csv
import json

import numpy as np
import pytest

from pbrl.data.datasets import load_dataset, write_dataset
from pbrl.labels.sets import load_label_set
from pbrl.types import Episode

LENGTHS = (6, 9, 4)


def episodes(images=False):
    for k, n in enumerate(LENGTHS):
        obs = np.stack([np.full(n + 1, k), np.arange(n + 1)], 1).astype("f4")
        actions, reward = np.full((n, 1), k / 10, "f4"), np.arange(n, dtype="f4")
        yield Episode(obs, actions, reward, k == 0, np.full((n + 1, 3), float(k)) + np.arange(n + 1)[:, None])


@pytest.fixture
def data(tmp_path):
    about = {"env_name": None, "env": None, "sources": ["a"], "teacher": None, "command": ""}
    cut = {"segment_length": 3, "ids": np.zeros(1, int), "split": np.zeros(1, int), "scores": {}, "comparisons": {}}
    write_dataset(tmp_path / "data", meta=about, episodes=list(episodes()), source=np.zeros(3, int), **cut)
    return tmp_path / "data"


ROWS = [
    {"left": ("0", 0, 4), "right": ("1", 2, 4), "choice": "right", "annotator": "ann"},
    {"left": ("1", 0, 2), "right": ("2", 1, 3), "choice": "left", "annotator": "bob", "strength": "slight"},
    {"left": ("1", 5, 4), "right": ("0", 2, 4), "choice": "equal", "annotator": "ann", "response_s": 2.5},
    {"left": ("2", None, None), "right": ("0", 3, None), "choice": "skip", "annotator": "ann"},
    {"left": ("2", 0, 1), "right": ("0", 3, 1), "choice": "right", "annotator": "ann", "strength": 0.2},
]


def write_csv(path, rows):
    flat = []
    for row in rows:
        cells = {}
        for side in ("left", "right"):
            cells |= {f"{side}_{k}": v for k, v in zip(("episode", "start", "length"), row[side], strict=True)}
        flat.append(cells | {k: row.get(k) for k in ("choice", "annotator", "strength", "response_s")})
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, flat[0])
        writer.writeheader()
        writer.writerows(flat)
    return path


def write_jsonl(path, rows):
    with path.open("w") as stream:
        for row in rows:
            sides = {s: dict(zip(("episode", "start", "length"), row[s], strict=True)) for s in ("left", "right")}
            stream.write(json.dumps(row | sides) + "\n")
    return path


@pytest.mark.parametrize("write", [write_csv, write_jsonl])
def test_comparisons_name_steps_of_episodes_of_any_length(output, tmp_path, data, write):
    path = write(tmp_path / f"c.{write.__name__[6:]}", ROWS)
    said = output("data", "import", f"from={path}", f"data={data}", f"out={tmp_path / 'set'}")
    assert said == "5 answers of ann, bob: 3 decisive, 1 equal; 1 skipped; true rewards known\n"
    labels = load_label_set(tmp_path / "set")
    np.testing.assert_array_equal(labels.prefers_right, [1, 0.25, 0.5, np.nan, 0.6])
    assert labels.annotator.tolist() == [0, 1, 0, 0, 0]
    assert labels.response_s[2] == 2.5
    first = np.cumsum([0, *(n + 1 for n in LENGTHS)])
    for side in ("left", "right"):
        segments, states = getattr(labels.pairs, side), getattr(labels.pairs, f"{side}_states")
        for i, row in enumerate(ROWS):
            name, start, length = row[side]
            k, start = int(name), start or 0
            length = LENGTHS[k] - start if length is None else length
            assert segments.ids[i] == first[k] + start
            assert segments.mask[i].sum() == length
            assert segments.obs[i, : length + 1, 1].tolist() == list(range(start, start + length + 1))
            assert (segments.obs[i, length:, 1] == start + length).all()
            assert segments.true_reward[i].sum() == sum(range(start, start + length))
            assert segments.terminated[i].sum() == (k == 0 and start + length == LENGTHS[0])
            assert states[i, length, 0] == k + start + length
    assert labels.meta["data"]["sha256"] == load_dataset(data).meta["sha256"]


def test_a_query_of_two_people_is_one_query(output, tmp_path, data):
    rows = [ROWS[0] | {"query": 7}, ROWS[0] | {"query": 7, "annotator": "bob", "choice": "left"}]
    output("data", "import", write_jsonl(tmp_path / "c.jsonl", rows), f"data={data}", f"out={tmp_path / 'set'}")
    assert load_label_set(tmp_path / "set").meta["counts"]["queries"] == 1


def change(rows, row, **cells):
    rows[row] = rows[row] | cells


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"left": ("9", 0, 4)}, "there is no episode '9'; "),
        ({"left": ("0", 3, 4)}, "left of comparison 2 is 4 steps from 3 of episode 0, which has 6"),
        ({"left": ("0", 6, None)}, "left of comparison 2 is 0 steps from 6 of episode 0, which has 6"),
        ({"left": ("0", -1, 4)}, "line 3: left_start is '-1', expected a whole number from 0"),
        ({"left": ("0", 1.5, 4)}, "left_start is '1.5', expected a whole number"),
        ({"left": ("", 1, 4)}, "line 3 has no left_episode; it has left_episode, left_start"),
        ({"choice": "lef"}, "choice is 'lef'; valid are left, right, equal, skip, incomparable; did you mean left"),
        ({"choice": ""}, "has neither choice nor prefers_right"),
        ({"strength": "strong"}, "strength is 'strong', expected clear or slight, or a number from 0 to 1"),
        ({"response_s": "-1"}, "response_s is '-1', expected a number from 0"),
    ],
)
def test_a_wrong_comparison_is_one_line(refusal, tmp_path, data, cells, message):
    rows = [dict(row) for row in ROWS]
    change(rows, 1, **cells)
    path = write_csv(tmp_path / "c.csv", rows)
    assert message in refusal("data", "import", path, f"data={data}", f"out={tmp_path / 'set'}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "data"]


def test_comparisons_need_the_data_set_that_they_are_about(refusal, tmp_path, data):
    path = write_csv(tmp_path / "c.csv", ROWS)
    assert "data= is missing: the data set whose episodes they name" in refusal("data", "import", path, "out=x")
    assert "there is no such folder; valid is a folder that" in refusal("data", "import", path, "out=x", "data=nowhere")
    (path.with_name("e.jsonl")).write_text('{"left": 3}\n')
    assert "line 1 has no left_episode" in refusal("data", "import", path.with_name("e.jsonl"), "out=x", f"data={data}")


@pytest.fixture
def steps(tmp_path):
    """40 rows of D4RL's file, whose observation says its row; a time limit each ten."""
    arrays = {"observations": np.arange(40.0)[:, None], "actions": np.zeros((40, 2)), "rewards": np.ones(40)}
    flags = {"terminals": np.zeros(40, bool), "timeouts": np.zeros(40, bool)}
    np.savez(tmp_path / "steps.npz", **arrays, **flags)
    return tmp_path / "steps.npz"


def told(folder):
    """Rows of both sides of each answer, and what was said."""
    labels = load_label_set(folder)
    rows = [getattr(labels.pairs, side).obs[:, 0, 0].int().tolist() for side in ("left", "right")]
    return {(a, b): v for a, b, v in zip(*rows, labels.prefers_right.tolist(), strict=True)}


def test_a_ranked_list_is_all_its_pairs(output, tmp_path, steps):
    """LiRE writes the worst first, and clips that are equally good beside each other."""
    (tmp_path / "_RLT_0.txt").write_text("0 [12, 3]\n1 [20]\n2 [30, 7]\n")
    said = output(
        "data", "import", tmp_path / "_RLT_0.txt", f"data={steps}", "segment_length=4", f"out={tmp_path / 'set'}"
    )
    assert said.startswith("10 answers of imported: 8 decisive, 2 equal")
    rank = {12: 0, 3: 0, 20: 1, 30: 2, 7: 2}
    found = told(tmp_path / "set")
    assert len({frozenset(pair) for pair in found}) == 10
    for (left, right), value in found.items():
        assert value == 0.5 + 0.5 * np.sign(rank[right] - rank[left])


@pytest.mark.parametrize("line", ["{} {} {}\n", "{}\t{}\t{}\n"])
def test_pairs_of_lire(output, tmp_path, steps, line):
    answers = {(5, 9): 1, (9, 20): 2, (30, 1): 3}
    (tmp_path / "_SeqRank.txt").write_text("".join(line.format(*pair, said) for pair, said in answers.items()))
    output("data", "import", tmp_path / "_SeqRank.txt", f"data={steps}", "segment_length=4", f"out={tmp_path / 'set'}")
    assert told(tmp_path / "set") == {(5, 9): 0, (9, 20): 0.5, (30, 1): 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 [1, 2]\n2 [3]\n", "has the ranks [0, 2], expected 0, 1, 2, ... from worst to best"),
        ("0 [1, 2]\n1 [2]\n", "ranks a clip twice, expected each once"),
        ("0 [1, 2]\n1 [x]\n", "line 2 is '1 [x]', expected a rank as 3 [24418, 50066]"),
        ("1 2 3\n1 2 4\n", "line 2 is '1 2 4', expected a pair as 231412 115749 1"),
        ("1 38 3\n", "names row 38"),
    ],
)
def test_a_wrong_list_is_one_line(refusal, tmp_path, steps, text, message):
    (tmp_path / "l.txt").write_text(text)
    options = ("format=lire", f"data={steps}", "segment_length=4", f"out={tmp_path / 'set'}")
    assert message in refusal("data", "import", tmp_path / "l.txt", *options)


QUERIES = [
    ((0, 12), {"3": {"0": 0}, "5": {"0": 1}}),
    ((20, 5), {"3": {"0": 2}}),
    ((7, 8), None),
]


def query(n, rows, label, as_text=str):
    one, two = rows
    info = {"start_indices_1": one, "end_indices_1": one + 4, "start_indices_2": two, "end_indices_2": two + 4}
    told = None if label is None else as_text({"feedback_type": "comparative", "label": label, "extra": None})
    return {"query_id": f"q{n}", "video_info": as_text(info), "label_info": told}


def platform_export(folder, options=("Left", "Right", "Equal")):
    """As `export_label` of the platform writes it: columns of what each query's JSON has, dictionaries as Python's."""
    folder.mkdir()
    question = json.dumps({"Which is better?": list(options)})
    (folder / "meta_data.json").write_text(json.dumps({"project_id": "p", "question": question, "query_length": 4}))
    with (folder / "label.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        rows = ["start_indices_1", "end_indices_1", "start_indices_2", "end_indices_2"]
        writer.writerow(["id", "query_id", *rows, "feedback_type", "label", "extra", "annotator_id", "annotator_name"])
        for n, ((one, two), label) in enumerate(QUERIES, 1):
            kind = ["comparative", label, None] if label else ["", "", ""]
            writer.writerow([n, f"q{n}", one, one + 4, two, two + 4, *kind, 3 if label else "", "ann" if label else ""])
    return folder


def check_queries(folder):
    labels = load_label_set(folder)
    assert labels.prefers_right.tolist() == [0, 1, 0.5]
    assert labels.query.tolist() == [1, 1, 2]
    assert labels.pairs.left.obs[:, 0, 0].tolist() == [0, 0, 20]
    assert labels.pairs.right.obs[:, 0, 0].tolist() == [12, 12, 5]
    assert [labels.meta["annotators"][k] for k in labels.annotator] == ["user 3", "user 5", "user 3"]


def test_an_export_of_the_platform(output, tmp_path, steps):
    folder = platform_export(tmp_path / "export")
    said = output("data", "import", folder, f"data={steps}", f"out={tmp_path / 'set'}")
    assert said.startswith("3 answers of user 3, user 5: 2 decisive, 1 equal")
    check_queries(tmp_path / "set")


@pytest.mark.parametrize("as_text", [str, json.dumps, lambda value: value])
@pytest.mark.parametrize("wrapped", [True, False])
def test_queries_in_json(output, tmp_path, steps, as_text, wrapped):
    rows = [query(n, *told, as_text) for n, told in enumerate(QUERIES)]
    (tmp_path / "q.json").write_text(json.dumps({"queries": rows} if wrapped else rows))
    choices = "choices=left,right,equal"
    output("data", "import", tmp_path / "q.json", f"data={steps}", choices, f"out={tmp_path / 'set'}")
    check_queries(tmp_path / "set")


def test_mini_uni_rlhf(output, tmp_path, steps):
    infos = [eval(query(0, rows, None)["video_info"]) for rows, _ in QUERIES]
    about = {"project_id": "x", "question": {"Which?": ["left", "right", "equal"]}, "video_info": infos}
    (tmp_path / "walk@x.json").write_text(json.dumps(about))
    with (tmp_path / "walk@x.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["video_info", "video_url", "query_id", "task", "label", "annotated"])
        for n, (info, text) in enumerate(zip(infos, ("left", "right", ""), strict=True)):
            writer.writerow([info, "v.mp4", n, "walker", text, int(bool(text))])
    output("data", "import", tmp_path / "walk@x.json", f"data={steps}", f"out={tmp_path / 'set'}")
    assert told(tmp_path / "set") == {(0, 12): 0, (20, 5): 1}


def test_options_that_nobody_understands_are_asked_for(output, refusal, tmp_path, steps):
    folder = platform_export(tmp_path / "export", options=("upper", "lower", "both"))
    command = ("data", "import", folder, f"data={steps}", f"out={tmp_path / 'set'}")
    assert "choices=left,right,equal says what options 0, 1, 2 are" in refusal(*command)
    assert "choices=left,right: expected left, equal, right, skip for each option" in refusal(
        *command, "choices=left,right"
    )
    output(*command, "choices=left,right,equal")
    check_queries(tmp_path / "set")


def test_other_kinds_of_feedback_are_named(refusal, tmp_path, steps):
    row = query(0, (0, 12), {"3": {"0": 4}}, lambda value: value)
    row["label_info"]["feedback_type"] = "evaluative"
    (tmp_path / "q.json").write_text(json.dumps([row]))
    said = refusal("data", "import", tmp_path / "q.json", f"data={steps}", f"out={tmp_path / 'set'}")
    assert "query 1 is of feedback_type evaluative; valid here is comparative" in said
