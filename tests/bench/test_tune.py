"""Trials: what is proposed, what is run, and what is left after a kill."""

import json
import os
import signal

import numpy as np
import pytest
from optuna.storages.journal import JournalFileBackend
from tuning import DEFAULTS, EPOCHS, RATE, Formula, hill, plan, study, tuned, value

from pbrl.bench import tune_study
from pbrl.bench.tune import Confirming, Tuning, read_score
from pbrl.bench.tune_confirm import describe_confirmation, difference_interval
from pbrl.bench.tune_study import Trial, best_of
from pbrl.errors import UserError
from pbrl.statistics.runs import t_interval

TRIALS = 6


@pytest.fixture(autouse=True)
def early(monkeypatch):
    monkeypatch.setattr(tune_study, "STARTUP", 3)  # TPE decides from the fourth trial on


def test_trial_0_is_the_defaults_and_all_are_in_their_ranges(tmp_path):
    trials = tuned(tmp_path, TRIALS).trials()
    assert trials[0].values == DEFAULTS
    for trial in trials:
        rate = trial.values["agent.lr"]
        assert 1e-4 <= rate <= 1e-2
        assert rate == float(f"{rate:.4g}")
        assert trial.values["method.model.crop"] in (None, [3, 4], [5, 6])
        assert 1 <= trial.values["method.fit.max_epochs"] <= 50
    assert len({trial.values["agent.lr"] for trial in trials}) == TRIALS


def test_a_trial_runs_its_values_on_every_seed_and_scores_their_mean(tmp_path):
    trial = tuned(tmp_path, 1).trials()[0]
    assert (tmp_path / "ran.txt").read_text().split() == ["trials/0/s100", "trials/0/s101"]
    assert trial.scores == pytest.approx({100: -0.30103, 101: -0.29103})
    assert (trial.score, trial.wall_s) == (pytest.approx(-0.29603), 3.0)
    job = plan().job(tmp_path, "x", DEFAULTS, 100)
    expected = ("agent.lr=0.0005", "method.model.crop=null", "method.fit.max_epochs=20", "report=false", "seed=100")
    assert job.arguments == ("method=pebble", *expected)


def test_proposals_depend_on_the_seed_and_on_the_scores(tmp_path):
    def values(name, seed, formula):
        (tmp_path / name).mkdir()
        made = study(tmp_path / name, seed)
        Tuning(plan(), made, tmp_path / name, Formula(formula), lambda _: None).run(TRIALS)
        return [trial.values for trial in made.trials()]

    first = values("a", 0, hill)
    assert values("b", 0, hill) == first
    assert values("c", 1, hill)[1:] != first[1:]
    valley = values("d", 0, lambda job: -hill(job))
    assert valley[:3] == first[:3]
    assert valley[3:] != first[3:]


def killed_at(n, mode, folder):
    """Tunes in a process that dies at its n-th write to the journal or finished run; false if it did not."""
    if (pid := os.fork()) == 0:
        writes, append, finish = iter(range(1, 1000)), JournalFileBackend.append_logs, Formula._finish

        def dies(action):
            def act(self, *args):
                if next(writes) != n:
                    return action(self, *args)
                if mode != "before":
                    action(self, *args)
                if mode == "torn" and action is append:
                    os.truncate(folder / "journal.log", (folder / "journal.log").stat().st_size - 5)
                os.kill(os.getpid(), signal.SIGKILL)

            return act

        JournalFileBackend.append_logs, Formula._finish = dies(append), dies(finish)
        try:
            tuned(folder, TRIALS)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("mode", ["before", "after", "torn"])
def test_killed_anywhere_it_ends_as_if_it_had_not_been(mode, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = tuned(tmp_path / "whole", TRIALS).trials()
    n, step = {"before": 1, "after": 2, "torn": 3}[mode], 3
    kills = 0
    while killed_at(n, mode, made(tmp_path / str(n))):
        assert tuned(tmp_path / str(n), TRIALS).trials() == whole
        ran = (tmp_path / str(n) / "ran.txt").read_text().split()
        assert sorted(ran) == sorted(f"trials/{i}/s{seed}" for i in range(TRIALS) for seed in (100, 101))
        n, kills = n + step, kills + 1
    assert kills > 8


def made(folder):
    folder.mkdir()
    return folder


def test_a_journal_that_is_none_is_refused(tmp_path):
    (tmp_path / "journal.log").write_text("not json\nat all\n")
    with pytest.raises(UserError, match=r"journal\.log cannot be read"):
        study(tmp_path)


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    tuned(made(tmp_path / "a"), 3)
    more = tuned(tmp_path / "a", TRIALS).trials()
    assert more == tuned(made(tmp_path / "b"), TRIALS).trials()
    assert tuned(tmp_path / "a", 2).trials() == more


def test_a_failure_is_recorded_and_stops_no_other_trial(tmp_path):
    def fragile(job):
        if value(job, EPOCHS.key) == DEFAULTS[EPOCHS.key] and value(job, "seed") == 100:
            raise ArithmeticError("it fell over")
        return float("nan") if value(job, RATE.key) > 3e-3 else hill(job)

    trials = tuned(tmp_path, 12, fragile).trials()
    assert (trials[0].state, trials[0].reason, trials[0].scores) == ("failed", "seed 100: it fell over", {})
    assert "trials/0/s101" not in (tmp_path / "ran.txt").read_text()
    fast = [trial for trial in trials if trial.values[RATE.key] > 3e-3]
    assert fast
    assert {trial.reason for trial in fast} == {"seed 100: final_return is nan"}
    others = [trial for trial in trials[1:] if trial not in fast]
    assert {trial.state for trial in others} == {"finished"}
    assert best_of(trials) in others


def test_the_best_is_the_first_of_the_highest():
    trials = [Trial(i, "finished", {}, score) for i, score in enumerate((1.0, 3.0, None, 3.0))]
    assert best_of(trials) is trials[1]
    assert best_of(trials[2:3]) is None


def run_folder(folder, rows, **summary):
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"env": "here", "wall_s": 2.0, **summary}))
    (folder / "evaluations.csv").write_text("\n".join(["env_steps,return_mean,success_rate", *rows]) + "\n")
    return folder


def test_objectives(tmp_path):
    rows = ["0,0,0.5", "10,10,0.5", "30,10,1"]
    run = run_folder(tmp_path / "a", rows, final_return=10.0, final_success=1.0)
    assert read_score(run, "final_return") == (10.0, 2.0)
    assert read_score(run, "final_success") == (1.0, 2.0)
    assert read_score(run, "area_return")[0] == pytest.approx((10 * 5 + 20 * 10) / 30)
    assert read_score(run, "area_success")[0] == pytest.approx((10 * 0.5 + 20 * 0.75) / 30)
    run = run_folder(tmp_path / "b", ["0,0,", "10,10,"], final_return=10.0, final_success=None)
    with pytest.raises(UserError, match="env=here reports no success; valid is area_return"):
        read_score(run, "area_success")


def test_intervals_are_those_of_the_textbook():
    low, high = t_interval(np.array([1.0, 2.0, 3.0]))  # t(0.975, 2) = 4.302653, standard error 1 / sqrt(3)
    assert (low, high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    low, high = difference_interval([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])  # t(0.975, 4) = 2.776445, error sqrt(2 / 3)
    assert (low, high) == pytest.approx((1 - 2.266957, 1 + 2.266957), abs=1e-5)
    assert t_interval(np.array([1.0])) is None
    assert difference_interval([1.0, 1.0], [0.0, 0.0]) is None


def test_confirming_runs_the_best_and_the_defaults_on_fresh_seeds(tmp_path):
    trials = tuned(tmp_path, TRIALS).trials()
    best = best_of(trials).number
    assert best != 0
    for _ in range(2):  # the second time runs nothing
        found = Confirming(plan(), trials, tmp_path, Formula(hill, tmp_path / "ran.txt"))
        assert found.run(3)
    ran = [line for line in (tmp_path / "ran.txt").read_text().split() if line.startswith("confirm")]
    assert ran == [f"confirm/{number}/s{seed}" for seed in (200, 201, 202) for number in (0, best)]
    assert found.scores[0] == pytest.approx({200: -0.30103, 201: -0.29103, 202: -0.30103})
    lines = describe_confirmation(plan(), found)
    assert lines[0].startswith("the defaults on fresh seeds: final_return -0.2977 [")
    assert lines[2].endswith("they differ")
