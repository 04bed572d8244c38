"""A data set with answers about it: the reward learns from the answers, the policy from all episodes."""

import numpy as np
import pytest
import torch

from pbrl.data.offline_sources import load_offline
from pbrl.errors import UserError

OPTIONS = {"label": None, "budget": None, "pairs": "fixed", "heldout": 0.0}
M = 60


@pytest.fixture
def hopper(tmp_path, output):
    """D4RL's file, answers of people by index files, and what pbrl makes of both."""
    rng = np.random.default_rng(0)
    steps = {"observations": np.arange(M)[:, None] * [1.0, 10], "actions": rng.uniform(-1, 1, (M, 1))}
    flags = {"terminals": np.zeros(M, bool), "timeouts": np.arange(M) % 20 == 19}
    np.savez(tmp_path / "d4rl.npz", **steps, rewards=np.ones(M), **flags)
    for name, column in {"indices": [0, 22, 5], "indices_2": [9, 3, 40], "answers": [1, 0, -1]}.items():
        np.save(tmp_path / f"{name}.npy", column)
    output("data", "import", tmp_path / "d4rl.npz", f"out={tmp_path / 'data'}", "segment_length=5", "segments=12")
    files = [f"{k}={tmp_path / v}.npy" for k, v in {"indices": "indices", "indices_2": "indices_2"}.items()]
    files += [f"labels={tmp_path / 'answers.npy'}", "segment_length=8", f"out={tmp_path / 'people'}"]
    output("data", "import", tmp_path / "d4rl.npz", "format=preference_transformer", *files)
    return tmp_path


def load(folder, **options):
    rng = torch.Generator().manual_seed(0)
    return load_offline(folder / "data", **OPTIONS | options, rng=rng, labels=folder / "people")


def test_pairs_are_those_of_people_and_episodes_those_of_the_data(hopper):
    data = load(hopper)
    assert [len(e) for e in data.episodes] == [19, 19, 19]
    assert data.pairs.prefers_right.tolist() == [1, 0, 0.5]
    shown = data.pairs.comparisons(data.segments)
    assert shown.left.obs[:, 0, 0].tolist() == [0, 23, 5]  # the index counts rows without time limits
    assert data.segments.steps == 8
    assert len(data.segments) == 6 + 12
    assert len(data.transitions().obs) == 57


def test_the_budget_is_of_answers(hopper):
    assert load(hopper, budget=2).labels == 2
    with pytest.raises(UserError, match="has 3 answers"):
        load(hopper, budget=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": "dense"}, "feedback.pairs=dense is about comparisons of a data set"),
        ({"label": "return"}, "feedback.label=return is about comparisons of a data set"),
    ],
)
def test_what_belongs_to_comparisons_of_the_data_set_is_refused(hopper, options, message):
    with pytest.raises(UserError, match=message):
        load(hopper, **options)


def test_labels_of_other_data_are_refused(hopper, output):
    arrays = {f"obs_{i}": np.zeros((2, 4, 3)) for i in (1, 2)} | {f"action_{i}": np.zeros((2, 4, 1)) for i in (1, 2)}
    np.savez(hopper / "pairs.npz", **arrays, label=np.ones(2))
    output("data", "import", hopper / "pairs.npz", f"out={hopper / 'other'}")
    for name, message in (
        ("other", r"observations \(3,\) and actions"),
        ("data", "is no label set"),
        ("no", "is no label"),
    ):
        with pytest.raises(UserError, match=message):
            load_offline(hopper / "data", **OPTIONS, rng=torch.Generator(), labels=hopper / name)
    with pytest.raises(UserError, match="is a label set itself"):
        load_offline(hopper / "people", **OPTIONS, rng=torch.Generator(), labels=hopper / "people")


def test_who_reads_no_labels_needs_none(hopper, output, refusal):
    train = ("train", f"data={hopper / 'data'}", "env=none", "steps=2", "report=false", f"run_dir={hopper / 'run'}")
    assert "has no comparisons; collect or import with labels=return" in refusal(*train, "method=cpl")
    output(*train, "method=bc")
    assert (hopper / "run" / "policy.safetensors").exists()
