import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pbrl.seeds import seed_streams
from pbrl.training.log import read_table
from pbrl.training.parts import STREAMS
from pbrl.training.rollout import roll_out, steps_of
from pbrl.training.saved import load_run
from pbrl.training.saved_run import SavedRun
from pbrl.use.measure import evaluate
from pbrl_envs import gl

Run = Callable[..., str]


@pytest.fixture
def saved(trained: Path) -> SavedRun:
    return load_run(trained)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def numbers(path: Path) -> dict:
    """What was measured, without where and from what."""
    return {k: v for k, v in read(path).items() if k not in ("run", "policy", "video")}


def test_same_seed_gives_the_same_numbers_and_another_seed_does_not(run_dir: Path, output: Run):
    for seed in (1, 1, 2):
        output("eval", run_dir, "episodes=3", f"seed={seed}")
    first, again, other = (numbers(run_dir / name) for name in ("eval.json", "eval_2.json", "eval_3.json"))
    assert first == again
    assert first["returns"] != other["returns"]


def test_repeats_the_last_evaluation_of_the_run_from_its_files(saved: SavedRun):
    seed = seed_streams(saved.config.seed, len(STREAMS))[STREAMS.index("evaluation")]
    found, row = evaluate(saved, 3, seed), read_table(saved.path / "evaluations.csv")[-1]
    for name in ("return_mean", "return_std", "success_rate", "episode_length"):
        assert found[name] == pytest.approx(row[name], rel=1e-5), name


def test_more_episodes_begin_with_the_same_ones(saved: SavedRun):
    few, many = evaluate(saved, 2, 0)["returns"], evaluate(saved, 23, 0)["returns"]
    assert len(many) == 23
    np.testing.assert_allclose(few, many[:2], rtol=1e-4)


def test_mean_and_spread_are_those_of_the_returns(run_dir: Path, output: Run):
    printed = output("eval", run_dir, "episodes=4")
    found = read(run_dir / "eval.json")
    assert len(found["returns"]) == found["episodes"] == 4
    assert found["return_mean"] == pytest.approx(sum(found["returns"]) / 4)
    assert found["return_std"] == pytest.approx(np.std(found["returns"]))
    assert found["episode_length"] == 100
    assert f"return {found['return_mean']:.1f} ± {found['return_std']:.1f}" in printed


@pytest.mark.parametrize(("scale", "expected"), [(2.0, 1.0), (-3.0, -1.0), (0.0, None)])
def test_correlation_of_a_reward_that_is_a_line_of_the_true_one(saved: SavedRun, scale: float, expected: float | None):
    true_reward = steps_of(roll_out(saved.make_env, saved.act, 2, seed=0))[2]
    planted = dataclasses.replace(saved, reward=lambda obs, actions: scale * true_reward + 1)
    assert evaluate(planted, 2, seed=0)["reward_correlation"] == (expected and pytest.approx(expected))


def test_a_killed_run_is_evaluated_from_its_last_checkpoint(run_dir: Path, output: Run):
    output("eval", run_dir, "episodes=2")
    for name in ("policy.zip", "reward.safetensors", "summary.json"):
        (run_dir / name).unlink()
    output("eval", run_dir, "episodes=2")
    assert read(run_dir / "eval_2.json")["policy"] == "checkpoints/600"
    assert numbers(run_dir / "eval.json") == numbers(run_dir / "eval_2.json")


def test_a_checkpoint_newer_than_the_policy_file_wins(run_dir: Path, output: Run):
    summary = read(run_dir / "summary.json")
    (run_dir / "summary.json").write_text(json.dumps(summary | {"env_steps": 300, "status": "interrupted"}))
    assert "checkpoints/600 of step 600" in output("eval", run_dir, "episodes=1")


def test_an_earlier_checkpoint_can_be_chosen(run_dir: Path, output: Run):
    assert "checkpoints/300 of step 300" in output("eval", run_dir, "episodes=1", "checkpoint=300")


def test_without_a_learned_reward_there_is_no_correlation(run_dir: Path, output: Run):
    summary = read(run_dir / "summary.json")
    (run_dir / "summary.json").write_text(json.dumps(summary | {"reward_updates": 0}))
    assert "correlation" not in output("eval", run_dir, "episodes=1")
    assert read(run_dir / "eval.json")["reward_correlation"] is None


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_nothing_in_a_policy_file_is_unpickled(run_dir: Path, tmp_path: Path, refusal: Run):
    mark, bomb = tmp_path / "exploded", tmp_path / "bomb.pth"
    torch.save(Bomb(mark), bomb)
    with zipfile.ZipFile(run_dir / "policy.zip", "w") as file:
        file.writestr("data", "{}")
        file.write(bomb, "policy.pth")
    assert "policy.zip is damaged" in refusal("eval", run_dir)
    assert not mark.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("policy.zip", cut),
        ("policy.zip", lambda path: path.write_text("not a zip")),
        ("reward.safetensors", cut),
        ("reward.safetensors", Path.unlink),
        ("config.yaml", lambda path: path.write_text("env: [")),
        ("config.yaml", lambda path: path.write_text("fruit: apple")),
        ("config.yaml", Path.unlink),
    ],
)
def test_a_damaged_file_is_named(run_dir: Path, name: str, damage: Callable[[Path], None], refusal: Run):
    damage(run_dir / name)
    assert name in refusal("eval", run_dir)
    assert not (run_dir / "eval.json").exists()


def test_a_damaged_checkpoint_is_named(run_dir: Path, refusal: Run):
    cut(run_dir / "checkpoints" / "600" / "tensors.pt")
    assert "checkpoints/600 is damaged" in refusal("eval", run_dir, "checkpoint=last")


def test_a_policy_of_other_networks_is_refused(run_dir: Path, refusal: Run):
    config = (run_dir / "config.yaml").read_text()
    (run_dir / "config.yaml").write_text(config.replace("- 16\n", "- 17\n"))
    assert "of another config" in refusal("eval", run_dir)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "none given"),
        (["a", "b"], "2 given"),
        (["/nowhere/at/all"], "no such folder"),
        (["RUN", "episode=3"], "unknown key 'episode'"),
        (["RUN", "episodes=0"], "at least 1"),
        (["RUN", "episodes=many"], "whole number"),
        (["RUN", "episodes=²"], "whole number"),
        (["RUN", "seed=-1"], "at least 0"),
        (["RUN", "video=maybe"], "true or false"),
        (["RUN", "checkpoint=400"], "valid are last, 300, 600"),
        (["RUN", "out=RUN/summary.json"], "not overwritten"),
        (["RUN", "out=RUN/no/folder.json"], "there is no folder"),
        (["RUN", "--fast"], "unknown option --fast"),
    ],
)
def test_wrong_input_is_one_line(run_dir: Path, args: list[str], says: str, refusal: Run):
    before = (run_dir / "summary.json").read_bytes()
    assert says in refusal("eval", *(a.replace("RUN", str(run_dir)) for a in args))
    assert (run_dir / "summary.json").read_bytes() == before


def test_a_run_without_any_policy_says_how_to_go_on(run_dir: Path, refusal: Run):
    (run_dir / "policy.zip").unlink()
    shutil.rmtree(run_dir / "checkpoints")
    assert f"pbrl train resume={run_dir}" in refusal("eval", run_dir)


def test_out_names_the_file(run_dir: Path, tmp_path: Path, output: Run):
    output("eval", run_dir, "episodes=1", f"out={tmp_path / 'mine.json'}")
    assert read(tmp_path / "mine.json")["episodes"] == 1
    assert not (run_dir / "eval.json").exists()


def test_a_clip_plays_and_replaces_none(run_dir: Path, output: Run, gl_backend: str):
    old = run_dir / "videos" / "policy.mp4"
    old.parent.mkdir()
    old.write_text("an earlier clip")
    output("eval", run_dir, "episodes=1", "video=true")
    assert old.read_text() == "an earlier clip"
    assert read(run_dir / "eval.json")["video"] == str(run_dir / "videos" / "policy_2.mp4")
    with av.open(str(run_dir / "videos" / "policy_2.mp4")) as clip:
        stream = clip.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in clip.decode(stream)) == 250  # 10 seconds at the task's 25 frames a second


def test_where_nothing_renders_the_clip_is_refused_and_nothing_written(
    run_dir: Path, refusal: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gl, "choose_backend", lambda: None)
    assert "libegl1" in refusal("eval", run_dir, "video=true")
    assert not list(run_dir.glob("eval*.json"))
    assert not list(run_dir.glob("videos/*"))
