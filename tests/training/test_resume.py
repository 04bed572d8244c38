"""Kill -9 at any moment, resume, and nothing but the times differs from the run that was never killed."""

import os
import re
import shutil
import signal

import pytest
from killed import Kill
from outcome import assert_same, table
from tiny import TINY, train

from pbrl.cli import main
from pbrl.labels.sets import export_labels, load_label_set

# Every part that holds a random state or a history of its own.
RICH = [
    "teacher=noisy",
    "teacher.mistake=0.1",
    "teacher.equal=0.1",
    "queries=k_center_disagreement",
    "feedback.heldout=0.2",
    "feedback.schedule=decay",
    "method.model.crop=[6,9]",
    "method.fit.bootstrap=true",
    "checkpoint.keep=2",
]
STEP = "pbrl.data.recorder:EpisodeRecorder.step"
MOMENTS = {
    "before the first step": Kill("pbrl.training.run:Run.train", 1),
    "before the first checkpoint": Kill(STEP, 40),
    "in the middle of an episode": Kill(STEP, 233),
    "in the middle of fitting": Kill("pbrl.rewards.partial_return:PartialReturn.update", 5),
    "between question and answer": Kill("pbrl.labels.store:LabelStore.ask", 2, "after"),
    "between answer and checkpoint": Kill("pbrl.labels.store:LabelStore.answer", 3, "after"),
    "between a log row and its checkpoint": Kill("pbrl.training.log:RunLog.write", 9, "after"),
    "between an evaluation and its checkpoint": Kill("pbrl.training.log:RunLog.write_evaluation", 3, "after"),
    "before the tensors of a checkpoint": Kill("torch:save", 2),
    "in the middle of the tensors": Kill("torch:save", 2, "torn"),
    "between the tensors and the manifest": Kill("torch:save", 3, "after"),
    "before the first checkpoint is pointed to": Kill("pbrl.training.checkpoint:sync", 5),
    "before a checkpoint has its name": Kill("pbrl.training.checkpoint:sync", 8),
    "before a checkpoint is pointed to": Kill("pbrl.training.checkpoint:sync", 10),
    "between the last checkpoint and the policy": Kill("pbrl.training.run:Run.finish", 1),
    "in the middle of the policy": Kill("pbrl.agents.sb3:SB3Agent.save", 1, "after"),
    "before the summary": Kill("safetensors.torch:save_file", 1, "after"),
}


def kill_and_resume(run, folder, overrides, *kills):
    for i, kill in enumerate(kills):
        start = [f"resume={folder}"] if i else [*overrides, f"run_dir={folder}"]
        assert run(["train", *start], kill) == -signal.SIGKILL
        assert not (folder / "summary.json").exists()
    assert run(["train", f"resume={folder}"]) == 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_sac_goes_on_as_if_never_killed(moment, run, finished, tmp_path):
    kill_and_resume(run, tmp_path / "run", [*TINY["pebble"], *RICH], MOMENTS[moment])
    assert_same(finished(*RICH), tmp_path / "run")


def test_a_replay_buffer_that_has_gone_round_goes_on_as_if_never_killed(run, finished, tmp_path):
    small = ["agent.buffer_size=64"]  # of 320 steps
    kill_and_resume(run, tmp_path / "run", [*TINY["pebble"], *small], Kill(STEP, 233))
    assert_same(finished(*small), tmp_path / "run")


@pytest.mark.parametrize("step", [50, 250])
def test_ppo_goes_on_as_if_never_killed(step, run, finished, tmp_path):
    kill_and_resume(run, tmp_path / "run", TINY["prefppo"], Kill(STEP, step))
    assert_same(finished(method="prefppo"), tmp_path / "run")


def test_emitters_go_on_as_if_never_killed(run, finished, tmp_path):
    """Killed while they act, in the second generation."""
    kill_and_resume(run, tmp_path / "run", TINY["diverse"], Kill(STEP, 110))
    assert_same(finished(method="diverse"), tmp_path / "run")


def test_a_teacher_that_judges_factors_goes_on_as_if_never_killed(run, finished, tmp_path):
    kill_and_resume(run, tmp_path / "run", TINY["heron"], Kill(STEP, 250))
    assert_same(finished(method="heron"), tmp_path / "run")
    header = (tmp_path / "run" / "progress.csv").read_text().splitlines()[0]
    assert "feedback/level_1_distance,feedback/level_2_effort,feedback/undecided" in header


def test_many_kills_are_as_good_as_none(run, tmp_path):
    # Episodes that end by themselves in several environments, and lives hardly longer than it takes to save.
    changes = ["env=inverted_pendulum", "agent.n_envs=3", "checkpoint.every=60", "teacher=equal", "steps=240"]
    overrides = [*TINY["pebble"][:1], *changes, *TINY["pebble"][3:], *changes]
    kill_and_resume(run, tmp_path / "killed", overrides, *[Kill(STEP, 95)] * 3)
    assert run(["train", *overrides, f"run_dir={tmp_path / 'whole'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_a_repeated_session_is_exported_once(run, tmp_path):
    folder, budget = tmp_path / "run", ["feedback.budget=15"]
    kill_and_resume(run, folder, [*TINY["pebble"], *budget], MOMENTS["between answer and checkpoint"])
    export_labels(folder, tmp_path / "labels")
    assert len(load_label_set(tmp_path / "labels")) == 15


@pytest.mark.usefixtures("usual_signals")
def test_ctrl_c_saves_says_how_to_go_on_and_changes_nothing(run, finished, tmp_path, monkeypatch):
    from pbrl.data.recorder import EpisodeRecorder

    folder, step, count = tmp_path / "run", EpisodeRecorder.step, iter(range(10_000))

    def interrupted(self, action):
        if next(count) == 137:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(EpisodeRecorder, "step", interrupted)
    code, out, _ = train(folder, *RICH)
    assert code == 130
    assert f"stopped at step 150; go on with: pbrl train resume={folder}" in out
    monkeypatch.undo()
    assert run(["train", f"resume={folder}"]) == 0
    assert_same(finished(*RICH), folder)


DAMAGE = {
    "a torn checkpoint": (
        "checkpoints/320/tensors.pt",
        lambda b: b[:-100],
        r"is damaged \(tensors.pt\); start anew",
    ),
    "a lost checkpoint": ("checkpoints/320/state.json", None, r"is damaged \(state.json\)"),
    "a pointer to nothing": ("checkpoints/last", lambda b: b"999", r"names '999', which is not a checkpoint; valid"),
    "lost rows": ("progress.csv", lambda b: b[:200], "lacks rows that the checkpoint has seen; put the file back"),
    "a lost log": ("evaluations.csv", None, "lacks rows that the checkpoint has seen"),
    "labels of another program": ("labels.sqlite", lambda b: b"x" * 5000, "cannot be used as a label database"),
    "another network": ("config.yaml", lambda b: b.replace(b"- 8\n", b"- 9\n"), "does not fit .*config.yaml"),
    "half a config": ("config.yaml", lambda b: b[:60], "is not the config of a run"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_says_in_one_line_what_is_wrong(damage, finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished(), folder)
    (folder / "summary.json").unlink()
    name, change, message = DAMAGE[damage]
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if change is not None:
        assert change(content) != content
        (folder / name).write_bytes(change(content))
    assert main(["train", f"resume={folder}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


def test_a_lost_pointer_or_first_checkpoint_starts_from_what_is_there(finished, tmp_path):
    for lost in ("checkpoints/last", "checkpoints"):
        folder = tmp_path / lost.replace("/", "_")
        shutil.copytree(finished(), folder)
        for name in ("summary.json", lost):
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        assert main(["train", f"resume={folder}"]) == 0
        assert_same(finished(), folder)


def test_no_row_is_written_twice(finished):
    steps = [int(row["time/total_timesteps"]) for row in table(finished(*RICH) / "progress.csv")]
    assert steps == [*range(25, 320, 25), 320]
