"""What equal comparisons of few-label methods need to know: reward updates, relabels, the step of the last label."""

import json

import pytest
from outcome import table
from tiny import COMMON, CROPS, PPO, REWARD, SMALL, train

SESSIONS = [120, 180, 240, 300]  # of six questions each, in the tiny runs


# PPO learns from what it did just now alone, in rollouts of 40 steps: the session of step 300 would come at the end.
@pytest.mark.parametrize(
    ("method", "relabels", "last_step"), [("pebble", 4, 300), ("surf", 4, 300), ("prefppo", 0, 240)]
)
def test_updates_relabels_and_the_step_of_the_last_label_are_columns(method, relabels, last_step, tmp_path):
    code, _, err = train(tmp_path / "run", method=method)
    assert code == 0, err
    rows = table(tmp_path / "run" / "progress.csv")
    last, summary = rows[-1], json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (int(last["reward/relabels"]), summary["relabels"]) == (relabels, relabels)
    assert float(last["feedback/last_label_step"]) == summary["last_label_step"] == last_step
    assert int(last["reward/updates"]) == summary["reward_updates"] > 0
    before = [row for row in rows if int(row["time/total_timesteps"]) < SESSIONS[0]]
    assert {(row["reward/updates"], row["reward/relabels"], row["feedback/last_label_step"]) for row in before} == {
        ("0", "0", "")
    }


def test_the_last_label_is_that_of_the_session_that_spent_the_budget(tmp_path):
    assert train(tmp_path / "run", "feedback.budget=10")[0] == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["labels"], summary["relabels"], summary["last_label_step"]) == (10, 2, 180)


def test_the_half_life_of_a_bonus_is_known(tmp_path):
    assert train(tmp_path / "run", method="rune")[0] == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["bonus_half_life"] == 100


@pytest.mark.parametrize("method", ["mrn", "reed", "policer"])
def test_the_loss_of_the_users_choice_is_taken(method, tmp_path):
    code, _, err = train(tmp_path / "run", "fit.loss=unbiased", "fit.loss.flip_rate=0.2", method=method)
    assert code == 0, err
    assert table(tmp_path / "run" / "progress.csv")[-1]["feedback/labels"] == "24"


@pytest.mark.parametrize(("method", "own"), [("surf", [*CROPS, "method.unlabelled_pairs=3"]), ("rune", [REWARD[1]])])
def test_what_applies_drives_ppo_too(method, own, tmp_path):
    without = ["agent=ppo", "method.reset_critic=false", "method.critic_updates=0"]
    numbers = [f"method={method}", *COMMON, *SMALL, *PPO, *own, *without]
    code, _, err = train(tmp_path / "run", *numbers, method=None)
    assert code == 0, err
    last = table(tmp_path / "run" / "progress.csv")[-1]
    assert int(last["reward/updates"]) > 0
    assert last["reward/relabels"] == "0"


@pytest.mark.parametrize("method", ["qpa", "mrn", "policer"])
def test_what_reads_stored_steps_does_not_drive_ppo(method, tmp_path):
    code, _, err = train(tmp_path / "run", f"method={method}", "agent=ppo", "env=point_reach", method=None)
    assert code == 2
    assert err == f"pbrl: method={method} drives sac, and agent is ppo\n"
    assert not (tmp_path / "run").exists()


def test_a_critic_that_ppo_cannot_begin_anew_is_said_before_the_run(tmp_path):
    code, _, err = train(tmp_path / "run", "method=reed", "agent=ppo", "env=point_reach", method=None)
    assert code == 2
    end = "set method.reset_critic=false and method.critic_updates=0"
    assert err == f"pbrl: agent=ppo has no critic that learns from stored steps again; {end}\n"
    assert not (tmp_path / "run").exists()
