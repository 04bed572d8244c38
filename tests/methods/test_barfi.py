"""BARFI: what is stored with a step, sums and baseline by hand, where the blend goes, resuming, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from tiny import TINY, train

from pbrl.cli import main
from pbrl.config import load_config
from pbrl.methods.barfi import _beyond_average, _discounted
from pbrl.rewards.blend import Blend
from pbrl.training.start import resume


def test_sums_from_a_step_on_and_their_baseline():
    found = _discounted(torch.tensor([1.0, 2.0, 4.0]), 0.5)
    assert found.tolist() == [1 + 1 + 1, 2 + 2, 4]
    line = torch.tensor([5.0, 4.0, 3.0, 7.0, 6.0, 5.0])  # of time and a constant, in both episodes
    torch.testing.assert_close(_beyond_average(line, [3, 3]), torch.tensor([-1.0] * 3 + [1.0] * 3))
    torch.testing.assert_close(_beyond_average(line[:3], [3]), torch.zeros(3), atol=1e-5, rtol=0)
    assert _beyond_average(line[:1], [1]).tolist() == [0]


@pytest.mark.parametrize("length", range(40, 60))
def test_a_baseline_does_not_depend_on_where_its_input_lies_in_memory(length):
    gain = torch.randn(length, generator=torch.Generator().manual_seed(length))
    found = {
        tuple(_beyond_average(torch.empty(length + 16)[start : start + length].copy_(gain), [length]).tolist())
        for start in range(16)  # of 4 bytes each
    }
    assert len(found) == 1


def test_a_blend_begins_as_the_plain_sum():
    blend = Blend(obs_size=3, hidden=[8], lr=0.01, most=2.0, penalty=0.0, rng=torch.Generator().manual_seed(0))
    primary, helper = torch.randn(5), torch.randn(5)
    torch.testing.assert_close(blend.rewards(torch.randn(5, 3), primary, helper), primary + helper)
    with torch.no_grad():
        blend.net.biases[-1].fill_(-100)
    bonus, weight = blend.parts(torch.randn(5, 3))
    assert bonus.tolist() == [-2] * 5
    assert weight.tolist() == [-1] * 5


def stored(folder, copy):
    """The end of a run, which goes on in a copy."""
    shutil.copytree(folder, copy)
    config = load_config(copy / "config.yaml")
    config.steps = 400
    return resume(copy, config)


def test_each_step_is_stored_with_what_task_and_helper_paid_and_gets_the_blend(finished, tmp_path):
    ended = stored(finished(method="barfi"), tmp_path / "copy")
    buffer = ended.agent.buffer
    paid = buffer.tags[: len(buffer), 0]
    effort = np.square(buffer.actions[: len(buffer), 0]).mean(1)
    np.testing.assert_allclose(paid[:, 1], effort, rtol=1e-5)
    assert (paid[:, 0] <= 0).all()
    assert paid[:, 0].std() > 0
    obs, tags = torch.from_numpy(buffer.observations[: len(buffer), 0]), torch.from_numpy(paid)
    with torch.no_grad():
        expected = ended.method.model.rewards(obs, tags[:, 0], tags[:, 1])
    buffer.label_pending()
    torch.testing.assert_close(torch.from_numpy(buffer.rewards[: len(buffer), 0]), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, tags.sum(1), atol=1e-4)


def test_its_control_is_the_plain_sum_and_needs_no_gradients(tmp_path):
    code, _, err = train(tmp_path / "run", "method.outer_steps=0", "agent=sac", method="barfi")
    assert code == 0, err
    ended = stored(tmp_path / "run", tmp_path / "copy")
    buffer = ended.agent.buffer
    buffer.label_pending()
    np.testing.assert_allclose(buffer.rewards[:300, 0], buffer.tags[:300, 0].sum(1), rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["outer_gradient_at_start"] is None


def test_the_outer_gradient_is_reported_and_nothing_is_learned_without_one(finished, tmp_path):
    facts = json.loads((finished(method="barfi") / "summary.json").read_text())
    assert facts["outer_gradient_at_start"] > 0
    assert facts["outer_steps"] > 0
    nothing = "method.primary={distance: 0.0}"  # the task never pays
    assert other(tmp_path / "run", nothing)[0] == 0
    facts = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (facts["outer_gradient_at_start"], facts["outer_steps"]) == (0, 0)


def other(folder, *given):
    """A tiny run with other settings: what says what a task pays is given once."""
    names = {one.split("=")[0] for one in given}
    return train(folder, *(one for one in TINY["barfi"] if one.split("=")[0] not in names), *given, method=None)


def test_a_helper_that_is_the_task_in_reverse_loses_weight(tmp_path):
    given = ["method.helper={distance: 2.0}", "method.outer_steps=5", "method.model.lr=0.01"]
    assert other(tmp_path / "run", *given)[0] == 0
    weight = [float(w) for row in table(tmp_path / "run" / "progress.csv") if (w := row["reward/helper_weight"])]
    assert weight[-1] < 1


def test_it_goes_on_as_if_never_killed_and_is_evaluated(finished, run, tmp_path):
    assert run(["train", *TINY["barfi"], f"run_dir={tmp_path / 'killed'}"], Kill(STEP, 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(finished(method="barfi"), tmp_path / "killed")
    assert main(["eval", str(tmp_path / "killed"), "episodes=1"]) == 0


STEP = "pbrl.data.recorder:EpisodeRecorder.step"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("agent=sac", "method.outer_steps=2: gradients go through the agent; choose agent=sac_torch"),
        ("method.helper={speed: 1.0}", "helper: factor speed is not there; this env has distance, effort"),
        ("method.primary={speed: 1.0}", "primary: factor speed is not there"),
        ("method.step=0", "method.step=0: expected a number above 0"),
        ("method.episodes=0", "method.episodes=0: expected a whole number of at least 1"),
        ("method.model.penalty=-1", "penalty=-1: expected a number from 0"),
        ("method.helper=3", "helper=3: expected {FACTOR: WEIGHT, ...}"),
    ],
)
def test_what_cannot_be_is_refused(given, said, tmp_path):
    code, _, err = other(tmp_path / "run", given)
    assert code == 2
    assert said in err
    assert not (tmp_path / "run").exists()
