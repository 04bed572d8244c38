"""Offline runs: every method trains, resumes as if never stopped, and says what it learned from."""

import json
import math
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from killed import Kill
from omegaconf import OmegaConf
from outcome import table
from safetensors.torch import load_file
from tiny import LEARNERS, OFFLINE_EXPERIMENTS, collect, offline, train

from pbrl.cli import main
from pbrl.data.datasets import load_dataset
from pbrl.data.offline_sources import load_offline
from pbrl.labels.sets import export_labels
from pbrl.training.evaluate import best_window
from pbrl.training.saved import load_run


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """`trained(method)`: the folder of such a run, made once. Not to be written to."""
    done = {}

    def get(method):
        if method not in done:
            done[method] = tmp_path_factory.mktemp(method) / "run"
            code, _, err = train(done[method], *offline(method, data), method=None)
            assert code == 0, err
        return done[method]

    return get


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("method", LEARNERS)
def test_every_method_trains(method, trained):
    folder = trained(method)
    result = summary(folder)
    assert (result["status"], result["updates"], result["env_steps"]) == ("finished", 24, 0)
    paid = method not in ("bc", "percent_bc", "iql", "pearl")
    assert (result["labels"], result["label"]) == ((60, "regret_mc") if paid else (0, "none read"))
    assert result["accuracy_ceiling"] == 1  # an oracle answers by the very scores
    assert [row["updates"] for row in table(folder / "evaluations.csv")] == ["0", "10", "20", "24"]
    assert math.isfinite(result["final_return"])
    rows = table(folder / "progress.csv")
    assert [row["time/total_updates"] for row in rows] == ["6", "12", "18", "24"]
    assert any(row["train/loss"] or row["train/bc_loss"] or row["train/actor_loss"] for row in rows)
    assert (folder / "policy.safetensors").exists()


def test_the_model_ceiling_is_how_many_answers_an_experts_own_likelihood_explains(data, trained):
    """The accuracy ceiling is 1 all the same, as the teacher follows its own scores."""
    dataset, result = load_dataset(data), summary(trained("cpl"))
    rows, c = dataset.rows("regret_mc", "test"), dataset.comparisons["regret_mc"]
    likely = dataset.scores["expert_likelihood"]
    right = (likely[c.right[rows]] > likely[c.left[rows]]) == (c.prefers_right[rows] == 1)
    assert result["model_ceiling"] == pytest.approx(right.mean())
    assert result["model_ceiling"] < result["accuracy_ceiling"] == 1


@pytest.mark.parametrize("name", OFFLINE_EXPERIMENTS)
def test_experiment(name, data, tmp_path):
    _, *small = offline(OFFLINE_EXPERIMENTS[name], data)
    code, _, err = train(tmp_path / "run", f"experiment={name}", *small, method=None)
    assert code == 0, err
    assert summary(tmp_path / "run")["updates"] == 24


@pytest.mark.parametrize("method", LEARNERS)
def test_saved_policies_act_as_they_were_evaluated(method, trained, tmp_path):
    """`pbrl eval` with the run's own evaluation seed sees the last evaluation again."""
    from pbrl.seeds import seed_streams
    from pbrl.training.parts import OFFLINE_STREAMS

    seed = seed_streams(0, len(OFFLINE_STREAMS))[OFFLINE_STREAMS.index("evaluation")]
    folder, out = trained(method), tmp_path / "eval.json"
    assert main(["eval", str(folder), "episodes=2", f"seed={seed}", f"out={out}"]) == 0
    result = json.loads(out.read_text())
    assert result["return_mean"] == pytest.approx(summary(folder)["final_return"], rel=1e-6)
    assert result["success_at_end"] == summary(folder)["final_success_at_end"]


@pytest.mark.parametrize("method", LEARNERS)
def test_killed_and_resumed_is_uninterrupted(method, trained, data, run, tmp_path):
    folder = tmp_path / "run"
    at = Kill("pbrl.methods.offline:OfflineMethod.step", 18)
    assert run(["train", *offline(method, data), f"run_dir={folder}"], at) == -signal.SIGKILL
    assert run(["train", f"resume={folder}"]) == 0
    whole = trained(method)
    for file in ("progress.csv", "evaluations.csv"):
        assert table(folder / file) == table(whole / file)
    for file in ("policy.safetensors", "reward.safetensors"):
        if (whole / file).exists():
            for name, value in load_file(whole / file).items():
                torch.testing.assert_close(load_file(folder / file)[name], value, rtol=0, atol=0)


def test_killed_while_it_stops_by_held_out_answers_is_uninterrupted(data, run, tmp_path):
    stops = ["method.clone_updates=4", "method.stop_after=3", "method.check_every=3", "feedback.heldout=0.2"]
    whole, folder = ([*offline("cpl", data), *stops, f"run_dir={tmp_path / name}"] for name in ("whole", "killed"))
    assert main(["train", *whole]) == 0
    assert run(["train", *folder], Kill("pbrl.methods.offline:OfflineMethod.step", 18)) == -signal.SIGKILL
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    one, other = (summary(tmp_path / name) for name in ("whole", "killed"))
    assert one["best_update"] == other["best_update"] >= 4
    assert table(tmp_path / "whole" / "progress.csv") == table(tmp_path / "killed" / "progress.csv")
    weights = [load_file(tmp_path / name / "policy.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_killed_before_the_first_checkpoint_starts_anew(trained, data, run, tmp_path):
    folder = tmp_path / "run"
    at = Kill("pbrl.methods.offline:OfflineMethod.step", 3)
    assert run(["train", *offline("cpl", data), f"run_dir={folder}"], at) == -signal.SIGKILL
    assert run(["train", f"resume={folder}"]) == 0
    assert table(folder / "evaluations.csv") == table(trained("cpl") / "evaluations.csv")


@pytest.mark.parametrize("method", sorted(set(LEARNERS) - {"percent_bc", "iql"}))
def test_the_true_reward_reaches_no_method(method, data, trained, tmp_path, monkeypatch):
    """NaN in its place changes no policy; percent_bc and iql are oracles and say so."""
    from pbrl.data import offline_sources

    def load(path):
        dataset = original(path)
        dataset.segments.true_reward.fill_(math.nan)
        for episode in dataset.episodes:
            episode.true_reward[:] = math.nan
        return dataset

    original = offline_sources.load_dataset
    monkeypatch.setattr(offline_sources, "load_dataset", load)
    code, _, err = train(tmp_path / "run", *offline(method, data), method=None)
    assert code == 0, err
    given, blind = (load_file(f / "policy.safetensors") for f in (trained(method), tmp_path / "run"))
    for name, value in given.items():
        torch.testing.assert_close(blind[name], value, rtol=0, atol=0)


@pytest.fixture(scope="session")
def pictures(data, gl_backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pictures"
    assert main(["data", "render", str(data), f"out={folder}", *PIXELS]) == 0
    return folder


PIXELS = ["env=point_reach_pixels", "env.make.size=20"]


def test_drawing_keeps_segments_and_labels(data, pictures):
    plain, drawn = load_dataset(data), load_dataset(pictures)
    assert drawn.segments.obs.shape[2:] == (20, 20, 3)
    assert drawn.segments.obs.dtype == torch.uint8
    assert torch.equal(drawn.segments.actions, plain.segments.actions)
    for label, rows in plain.comparisons.items():
        np.testing.assert_array_equal(drawn.comparisons[label].prefers_right, rows.prefers_right)


def test_drawn_observations_are_what_the_environment_shows(data, pictures):
    """Frames of stored states are those seen while playing the same actions."""
    from pbrl.building import build
    from pbrl.config import compose_config

    plain, drawn = load_dataset(data).episodes[0], load_dataset(pictures).episodes[0]
    env = build(compose_config(PIXELS).env.make)
    env.reset(seed=0)
    env.get_wrapper_attr("load_state")(plain.states[0])
    for action, seen in zip(plain.actions[:5], drawn.obs[1:], strict=False):
        np.testing.assert_array_equal(env.step(action)[0], seen)
    env.close()


def test_where_only_pictures_are_seen_nobody_is_an_expert(gl_backend, tmp_path):
    given = [*PIXELS, "+env.make.max_episode_steps=10", "episodes=4", "segments=8", "segment_length=5"]
    assert main(["collect", *given, "splits=1,0,0", "comparisons=5", "heldout=0", f"out={tmp_path / 'set'}"]) == 0
    data = load_dataset(tmp_path / "set")
    assert data.meta["sources"] == ["random"]
    assert list(data.comparisons) == ["return"]


@pytest.mark.parametrize("method", ["bc", "sft", "cpl_kl"])
def test_a_policy_from_pictures(method, pictures, tmp_path):
    small = [*offline(method, pictures), *PIXELS, "method.batch_size=2", "steps=4", "evaluation.episodes=1"]
    code, _, err = train(tmp_path / "run", *small, method=None)
    assert code == 0, err
    assert main(["eval", str(tmp_path / "run"), "episodes=1"]) == 0


@pytest.mark.parametrize("method", ["piql", "iql", "ipl", "paws", "regret"])
def test_a_method_that_reads_no_pictures_says_so(method, pictures, tmp_path):
    code, _, err = train(tmp_path / "run", *offline(method, pictures), *PIXELS, method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert "only bc, sft and cpl read images" in err


def test_an_online_run_reads_no_pictures(gl_backend, tmp_path):
    code, _, err = train(tmp_path / "run", *PIXELS)
    assert code == 2
    assert "images" in err


def test_what_cannot_be_drawn(data, gl_backend, capsys, tmp_path):
    assert main(["data", "render", str(data), f"out={tmp_path / 'new'}", "env=point_reach"]) == 2
    assert "shows no images" in capsys.readouterr().err
    assert main(["data", "render", str(data), f"out={data}", *PIXELS]) == 2
    assert "is not overwritten" in capsys.readouterr().err
    assert main(["data", "render", str(data), f"out={tmp_path / 'new'}", "env=halfcheetah"]) == 2
    assert not (tmp_path / "new").exists()


def test_a_diverged_run_fails_in_one_line(data, tmp_path):
    code, _, err = train(tmp_path / "run", *offline("bc", data), "method.lr=1e30", "seed=1", method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(
        r"the agent gave a\w* (bc_loss \(nan\)|action) that is not finite at step \d+: the run has diverged", err
    )


def test_the_budget_is_what_is_paid(data, tmp_path):
    code, out, _ = train(tmp_path / "run", *offline("paws", data), "feedback.budget=20", method=None)
    assert code == 0
    assert summary(tmp_path / "run")["labels"] == 20  # those put aside for stopping included
    assert "after 20 labels (regret_mc)" in out


def test_all_pairs_of_scored_segments(data, tmp_path):
    given = [*offline("cpl", data), "feedback.pairs=dense", "feedback.budget=30", "feedback.label=return"]
    assert train(tmp_path / "run", *given, method=None)[0] == 0
    result = summary(tmp_path / "run")
    assert (result["labels"], result["pairs"], result["label"]) == (30, "dense", "return")


def test_each_seed_draws_pairs_of_its_own_and_their_scores_answer(data):
    def drawn(seed, heldout=0.0):
        rng = torch.Generator().manual_seed(seed)
        return load_offline(data, label="return", budget=300, pairs="drawn", heldout=heldout, rng=rng)

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert torch.equal(first.pairs.left, again.pairs.left)
    assert not torch.equal(first.pairs.left, other.pairs.left)
    assert (first.pairs.left != first.pairs.right).all()
    returns = first.segments.true_reward.sum(1)
    assert torch.equal(first.pairs.prefers_right == 1, (returns[first.pairs.right] > returns[first.pairs.left]))
    assert torch.equal(first.test.prefers_right, other.test.prefers_right)  # all are judged by the same
    kept = drawn(0, heldout=0.2)
    assert (len(first.pairs), len(kept.pairs), len(kept.validation)) == (300, 240, 60)


def test_what_reads_no_labels_draws_none(data, tmp_path):
    assert train(tmp_path / "run", *offline("bc", data), "feedback.pairs=drawn", method=None)[0] == 0


@pytest.mark.parametrize("pairs", ["fixed", "dense"])
def test_shuffled_labels_are_the_same_ones_elsewhere(data, pairs):
    rng = torch.Generator().manual_seed(3)
    heldout = 0.25 if pairs == "fixed" else 0.0
    plain = load_offline(data, label=None, budget=40, pairs=pairs, heldout=heldout, rng=rng)
    mixed = plain.shuffled(rng)
    assert mixed.label == f"{plain.label}, shuffled"
    before, after = ((d.scores if pairs == "dense" else d.pairs.prefers_right) for d in (plain, mixed))
    assert not torch.equal(before, after)
    assert torch.equal(before.sort().values, after.sort().values)
    assert torch.equal(plain.pairs.left, mixed.pairs.left)
    if pairs == "fixed":
        assert not torch.equal(plain.validation.prefers_right, mixed.validation.prefers_right)
    assert torch.equal(plain.test.prefers_right, mixed.test.prefers_right)  # judged by the truth


def test_a_run_on_shuffled_labels_says_so(data, tmp_path):
    assert train(tmp_path / "run", *offline("cpl", data), "feedback.shuffled=true", method=None)[0] == 0
    assert summary(tmp_path / "run")["label"] == "regret_mc, shuffled"


def test_labels_of_an_online_run(finished, tmp_path):
    export_labels(finished(), tmp_path / "set")
    given = [*offline("piql", tmp_path / "set"), "feedback.heldout=0.2"]
    assert train(tmp_path / "run", *given, method=None)[0] == 0
    result = summary(tmp_path / "run")
    assert result["label"] == "return"
    assert result["reward_accuracy"] is None  # a label set has no test split
    assert 0 <= result["validation_accuracy"] <= 1


def test_a_report_of_an_offline_run(trained, gl_backend, tmp_path):
    shutil.copytree(trained("piql"), tmp_path / "run")
    assert main(["eval", str(tmp_path / "run"), "episodes=2", "report=true"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "gradient steps" in page
    assert "regret_mc labels" in page
    assert "Learned and true reward" in page


def test_best_of_candidates(trained, capsys):
    assert main(["eval", str(trained("cpl_kl")), "episodes=2", "best_of=4", "best_of_std=0.1"]) == 0
    written = sorted(trained("cpl_kl").glob("eval*.json"))[-1]
    assert json.loads(written.read_text())["best_of_std"] == 0.1
    assert main(["eval", str(trained("cpl_kl")), "episodes=2", "best_of_std=0.1"]) == 2
    assert "best_of=N" in capsys.readouterr().err
    assert main(["eval", str(trained("cpl")), "episodes=2", "best_of=4"]) == 2
    assert "as by method=cpl_kl" in capsys.readouterr().err


def test_best_window_is_the_best_mean_of_neighbours():
    rows = [{"return_mean": r, "success_rate": s} for r, s in zip([1, 5, 3, 0, 4], [0, 1, 0, 0.5, 1], strict=True)]
    assert best_window(rows, 2) == {"return_mean": 4, "success_rate": 0.75}
    assert best_window(rows, 5) == {"return_mean": np.mean([1, 5, 3, 0, 4]), "success_rate": 0.5}
    assert best_window(rows, 6) == {"return_mean": None, "success_rate": None}  # not enough to choose from
    assert best_window([{"return_mean": 2.0, "success_rate": None}], 1) == {"return_mean": 2, "success_rate": None}


def without_env(method, data):
    return [text for text in offline(method, data) if not text.lstrip("+").startswith("env")]


def renamed(data, folder, **meta):
    """The same data set with other words in its meta.json."""
    shutil.copytree(data, folder)
    (folder / "meta.json").write_text(json.dumps(json.loads((data / "meta.json").read_text()) | meta))
    return folder


def test_the_environment_is_that_of_the_data(data, trained, tmp_path):
    code, _, err = train(tmp_path / "run", *without_env("cpl", data), method=None)
    assert code == 0, err
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").env == OmegaConf.load(trained("cpl") / "config.yaml").env
    assert summary(tmp_path / "run")["final_return"] == summary(trained("cpl"))["final_return"]


def test_the_environment_of_labels_is_that_of_the_run_they_were_given_in(finished, tmp_path):
    labels = tmp_path / "labels"
    export_labels(finished(), labels)
    code, _, err = train(tmp_path / "run", *without_env("cpl", labels), method=None)
    assert code == 0, err
    assert summary(tmp_path / "run")["env"] == "point_reach"


def test_another_environment_is_said_to_be_another(data, tmp_path):
    folder = renamed(data, tmp_path / "data", env_name="other", env=None)
    code, _, err = train(tmp_path / "run", *without_env("cpl", folder), method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert "is of env=other, which no YAML here makes; give env=NAME" in err
    code, _, err = train(tmp_path / "run", *offline("cpl", folder), method=None)
    assert code == 0, err
    assert "is of env=other, and is evaluated in env=point_reach, as you said" in err


def test_labels_about_another_data_set_are_said_to_be(finished, data, tmp_path):
    labels = tmp_path / "labels"
    export_labels(finished(), labels)
    for sha256, noted in ((json.loads((data / "meta.json").read_text())["sha256"], False), ({"a": "0" * 64}, True)):
        meta = json.loads((labels / "meta.json").read_text()) | {"data": {"path": "elsewhere", "sha256": sha256}}
        (labels / "meta.json").write_text(json.dumps(meta))
        code, _, err = train(tmp_path / f"run_{noted}", *offline("piql", data), f"labels={labels}", method=None)
        assert code == 0, err
        assert (f"are about elsewhere, and data={data} is another data set, as you said" in err) == noted


def test_without_an_environment_the_result_is_a_policy_and_its_accuracy(data, trained, tmp_path, capsys):
    folder = renamed(data, tmp_path / "data", env_name=None, env=None)
    code, _, err = train(tmp_path / "run", *without_env("cpl", folder), method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert "does not say which environment it is of; give env=NAME, or env=none" in err
    assert not (tmp_path / "run").exists()
    given = [*without_env("cpl", folder), "env=none", "report=true"]
    code, out, err = train(tmp_path / "run", *given, method=None)
    assert code == 0, err
    result, same = summary(tmp_path / "run"), summary(trained("cpl"))
    assert (result["env"], result["final_return"], result["status"]) == ("none", None, "finished")
    assert result["reward_accuracy"] == same["reward_accuracy"]
    words = f"accuracy on held-out labels {same['reward_accuracy']:.0%} (test)"
    assert f"{words}; an expert's own likelihood {same['model_ceiling']:.0%}" in out
    assert words in out
    ours, theirs = (load_file(run / "policy.safetensors") for run in (tmp_path / "run", trained("cpl")))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert words in (tmp_path / "run" / "report.html").read_text()
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "report=true"]) == 0
    assert words in capsys.readouterr().out
    assert main(["eval", str(tmp_path / "run"), "video=true"]) == 2
    assert "learned without an environment (env=none)" in capsys.readouterr().err


def test_a_run_without_an_environment_goes_on(data, run, tmp_path):
    given = [*without_env("cpl", data), "env=none"]
    at = Kill("pbrl.methods.offline:OfflineMethod.step", 18)
    assert run(["train", *given, f"run_dir={tmp_path / 'killed'}"], at) == -signal.SIGKILL
    saved = load_run(tmp_path / "killed")  # of the checkpoint: it has no summary yet
    assert (saved.obs_shape, saved.action_size, saved.has_env) == ((6,), 2, False)
    assert main(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert train(tmp_path / "whole", *given, method=None)[0] == 0
    ours, theirs = (load_file(tmp_path / name / "policy.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_labels_of_which_none_are_held_out_measure_nothing(finished, tmp_path):
    labels = tmp_path / "labels"
    export_labels(finished(), labels)
    given = [*without_env("cpl", labels), "env=none"]
    code, out, err = train(tmp_path / "run", *given, method=None)
    assert code == 0, err
    assert "no held-out labels to measure by" in out
    assert "feedback.heldout=0.1 would keep a tenth" in err
    code, out, err = train(tmp_path / "heldout", *given, "feedback.heldout=0.5", method=None)
    assert code == 0, err
    assert "accuracy on held-out labels" in out
    assert summary(tmp_path / "heldout")["validation_accuracy"] is not None


@pytest.mark.parametrize("method", ["pebble", "rapl"])
def test_who_acts_needs_an_environment(method, tmp_path):
    code, _, err = train(tmp_path / "run", f"method={method}", "env=none", method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert f"method={method} acts in an environment" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["agent=ppo"], "learns a policy of its own"),
        (["teacher=noisy"], "asks nobody"),
        (["queries=uniform"], "asks nobody"),
        (["data=null"], "data=DIR"),
        (["data=/no/such/folder"], "no such folder"),
        (["env=pendulum"], "leave env= out for point_reach"),
        (["feedback.budget=61"], "has 60 comparisons"),
        (["feedback.label=human"], "valid are return, regret_mc"),
        (["feedback.pairs=all"], "valid are fixed, drawn, dense"),
        (["feedback.pairs=drawn"], "how many pairs"),
        (["feedback.pairs=drawn", "feedback.budget=500000000000"], "pairs to draw from"),
        (["feedback.shuffled=maybe"], "expected true or false"),
        (["method=bc", "feedback.shuffled=true"], "reads no labels"),
        (["feedback.pairs=dense", "feedback.budget=1000"], "segments for training"),
        (["feedback.heldout=0.95"], "from 0 to 0.9"),
        (["steps=0"], "at least 1"),
        (["method.bias=2"], "lambda in (0, 1]"),
        (["method.policy.dropout=1"], "dropout is 1"),
        (["evaluation.window=0"], "at least 1"),
        (["feedback.pairs=dense", "feedback.heldout=0.1"], "expected 0"),
        (["feedback.segment_length=7"], "asks nobody"),
        (["feedback.schedule=decay"], "asks nobody"),
        (["device=tpu"], "valid are cpu, cuda, auto"),
        (["method.batch_size=0"], "whole number"),
    ],
)
def test_what_cannot_be(wrong, says, data, tmp_path):
    code, _, err = train(tmp_path / "run", *offline("cpl", data), *wrong, method=None)
    assert (code, err.count("\n")) == (2, 1), err
    assert says in err
    assert not (tmp_path / "run").exists()


def test_too_long_segments_for_a_transformer(data, tmp_path):
    given = [*offline("preference_transformer", data), "method.model.max_steps=5"]
    code, _, err = train(tmp_path / "run", *given, method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert "max_steps is 5" in err
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_the_data_it_began_with(data, run, tmp_path, capsys):
    folder, other = tmp_path / "run", tmp_path / "data"
    shutil.copytree(data, other)
    at = Kill("pbrl.methods.offline:OfflineMethod.step", 18)
    assert run(["train", *offline("cpl", other), f"run_dir={folder}"], at) == -signal.SIGKILL
    shutil.rmtree(other)
    collect(other, "seed=1")
    assert main(["train", f"resume={folder}"]) == 2
    assert "is not what this run began with" in capsys.readouterr().err


def test_a_relative_folder_is_found_from_anywhere(data, run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.chdir(data.parent)
    assert train(folder, *offline("bc", data.name), method=None)[0] == 0
    assert f"data: {data}" in (folder / "config.yaml").read_text()


def test_an_online_method_takes_no_data(data, tmp_path):
    code, _, err = train(tmp_path / "run", f"data={data}")
    assert code == 2
    assert "learns online" in err
    code, _, err = train(tmp_path / "run", "teacher=none")
    assert code == 2
    assert "for offline methods" in err
