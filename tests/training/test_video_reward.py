"""Rewards learned from videos before training, and given to whole episodes."""

import json
import math
import re
import signal
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from killed import Kill
from outcome import table, weights
from tiny import VIDEOS, collect, from_videos, train

from pbrl.building import build
from pbrl.collection.videos import Camera
from pbrl.config import compose_any, compose_config
from pbrl.data.datasets import load_dataset
from pbrl.data.episodes import Episode
from pbrl.errors import UserError
from pbrl.labelling.choosing import EpisodeChooser
from pbrl.labels.recorded import write_source
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import TripletAnswers
from pbrl.training.build import build_run
from pbrl.training.check import build_method
from pbrl.training.run_dir import RunDir


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("videos") / "data", "episodes=16")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """`whole(method)`: the folder of a finished run."""
    done = {}

    def get(method):
        if method not in done:
            done[method] = tmp_path_factory.mktemp(method) / "run"
            code, _, err = train(done[method], *from_videos(method, data), method=None)
            assert code == 0, err
        return done[method]

    return get


def fitted(config, folder):
    """What the method of a run learns before its agent starts, measured on the videos that seed 100 holds out."""
    folder.mkdir()
    return build_run(config, RunDir(folder)).method.fit(seed=100)


class Counting:
    """Frame f of an episode gets f + 1, whatever it shows."""

    def reward(self, frames):
        return torch.arange(len(frames)) + 1.0


@pytest.mark.parametrize(
    ("steps", "stride", "expected"),
    [
        (3, 1, [1, 2, 3]),
        (6, 3, [1 / 3] * 3 + [2 / 3] * 3),
        (5, 3, [1 / 3] * 3 + [2 / 2] * 2),  # the last frame is the last step's, and has what is left
        (2, 3, [1 / 2] * 2),
    ],
)
def test_the_reward_of_a_frame_is_shared_by_its_steps(steps, stride, expected):
    shown = []

    def camera(states):
        shown.extend(states[:, 0].astype(int).tolist())
        return torch.zeros(len(states), 2, 2, 3)

    given = ["method=video_return", f"method.stride={stride}", "method.scale=10.0", "env=point_reach", "data=unread"]
    reward = build_method(compose_any(given))
    reward._model, reward._camera = Counting(), camera
    zeros = np.zeros((steps + 1, 1))
    episode = Episode(zeros, zeros[1:], zeros[1:, 0], False, states=np.arange(steps + 1.0)[:, None])
    np.testing.assert_allclose(reward.of_episode(episode), 10 * np.array(expected), rtol=1e-6)
    assert shown[-1] == steps  # states after steps; the first is before any
    assert reward.learned_return(episode) == pytest.approx(10 * sum(expected))


@pytest.mark.parametrize("method", VIDEOS)
def test_a_run_says_what_it_asked_and_how_well_the_reward_agrees(method, whole, data):
    folder = whole(method)
    facts, summary = (json.loads((folder / name).read_text()) for name in ("reward.json", "summary.json"))
    assert (facts["labels"], facts["videos"], len(facts["true_returns"])) == (8, 12, 4)
    assert summary["labels"] == 8
    known = [e.true_reward.sum() for e in load_dataset(data).episodes]
    assert all(np.isclose(known, r, rtol=1e-4).any() for r in facts["true_returns"])
    answers = np.load(folder / "answers.npz")
    sides = ("anchor", "first", "second", "closer_second") if method == "rapl" else ("left", "right", "prefers_right")
    assert set(answers) == set(sides)
    assert all(len(answers[name]) == 8 for name in sides)


def test_methods_are_measured_on_the_same_videos(data, tmp_path):
    one, other = (fitted(compose_config(from_videos(method, data)), tmp_path / method) for method in VIDEOS)
    assert one.episodes.tolist() == other.episodes.tolist()
    torch.testing.assert_close(one.heldout.frames, other.heldout.frames)
    returns = np.array([e.true_reward.sum() for e in load_dataset(data).episodes])
    np.testing.assert_allclose(returns[one.episodes], one.facts["true_returns"], rtol=1e-4)


def test_demonstrations_of_another_body_are_drawn_with_that_body_and_measured_on(tmp_path):
    short, gripper = (["env=sweep_avoiding", f"env.embodiment={body}"] for body in ("short", "gripper"))
    bodies = {
        name: collect(tmp_path / name, *own, "labels=return") for name, own in (("short", short), ("gripper", gripper))
    }
    given = [text for text in from_videos("rapl", bodies["short"]) if not text.startswith("env=")]
    config = compose_config([*given, *gripper, f"method.demos_data={bodies['gripper']}"])
    across = fitted(config, tmp_path / "across")
    camera = Camera(partial(build, config.env.make), "sweep_avoiding", 16)
    episode = load_dataset(bodies["gripper"]).episodes[across.episodes[0]]
    torch.testing.assert_close(across.heldout.frames[0, -1], camera(episode.states[-1:])[0])
    alone = fitted(compose_config([*given, *short]), tmp_path / "alone")
    weights = [fit.model.encoder.state_dict() for fit in (across, alone)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])  # learned from the same pictures


def test_of_a_data_set_only_plain_settings_of_its_environment_are_taken(tmp_path):
    folder = collect(tmp_path / "data", "env=point_maze", "labels=return")
    meta = json.loads((folder / "meta.json").read_text())
    given = ["env=point_maze", *(text for text in from_videos("rapl", folder) if text != "env=point_reach")]
    for harm in ({"_target_": "os.system", "command": "true"}, "${oc.env:HOME}", ["red"]):
        meta["env"]["make"]["kwargs"]["goal"] = harm
        (folder / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(UserError, match="expected plain numbers and words"):
            build_run(compose_config(given), RunDir(tmp_path))


@pytest.mark.parametrize("method", VIDEOS)
def test_the_true_reward_reaches_neither_agent_nor_critic(method, whole, data, tmp_path, monkeypatch):
    step = TimeLimit.step  # outside of the door, which refuses such a reward
    monkeypatch.setattr(TimeLimit, "step", lambda self, action: (*(o := step(self, action))[:1], math.nan, *o[2:]))
    monkeypatch.setattr("pbrl.training.evaluate._require_finite", lambda returns: None)  # or it would end the run
    assert train(tmp_path / "run", *from_videos(method, data), method=None)[0] == 0
    known, unknown = weights(whole(method)), weights(tmp_path / "run")
    assert all(torch.equal(known[name], unknown[name]) for name in known)


def test_a_learned_reward_is_taken_as_it_is_and_gives_the_same_agent(whole, data, tmp_path):
    learned = whole("rapl")
    given = [
        *(word for word in from_videos("rapl", data) if not word.startswith("data=")),
        f"method.learned={learned}",
    ]
    code, _, err = train(tmp_path / "run", *given, method=None)
    assert code == 0, err
    one, other = weights(learned), weights(tmp_path / "run")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert table(learned / "evaluations.csv") == table(tmp_path / "run" / "evaluations.csv")
    assert (learned / "reward.json").read_text() == (tmp_path / "run" / "reward.json").read_text()


@pytest.mark.parametrize("content", ["[]", "{}", "{", '{"settings": []}'])
def test_what_is_known_of_a_learned_reward_may_be_broken(content, whole, data, tmp_path):
    learned = tmp_path / "learned"
    learned.mkdir()
    (learned / "reward.json").write_text(content)
    given = [word for word in from_videos("rapl", data) if not word.startswith("data=")]
    code, _, err = train(tmp_path / "run", *given, f"method.learned={learned}", method=None)
    assert code == 2
    assert re.fullmatch(r".*method.learned: .*learned holds no learned reward that can be read: .*\n", err)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["method.model.epsilon=1.0"], "learned with method.model.epsilon=0.1, and this run has 1.0"),
        (["env=point_maze"], "learned with env=point_reach, and this run has point_maze"),
        (["data=somewhere"], "method.learned=.* needs no data; leave data=.*somewhere out"),
        (["method.learned=nowhere"], "method.learned: .*nowhere holds no learned reward that can be read"),
        (["method.learned=5"], "method.learned: .*/5 holds no learned reward"),  # a folder whose name is 5
        (["teacher=oracle"], "teacher=oracle answers .*, and method=rapl asks triplet"),
    ],
)
def test_what_is_no_learned_reward_is_said_in_a_line(wrong, message, whole, data, tmp_path):
    given = [word for word in from_videos("rapl", data) if not word.startswith("data=")]
    code, _, err = train(tmp_path / "run", *given, f"method.learned={whole('rapl')}", *wrong, method=None)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err)
    assert not (tmp_path / "run").exists()


STEP = "pbrl.data.recorder:EpisodeRecorder.step"
MOMENTS = {
    "before the reward is saved": Kill("safetensors.torch:save_file", 1),
    "between the reward and what is known of it": Kill("safetensors.torch:save_file", 1, "after"),
    "before the first checkpoint": Kill(STEP, 40),
    "in the middle of an episode": Kill(STEP, 250),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_goes_on_as_if_never_killed(moment, run, whole, data, tmp_path):
    folder = tmp_path / "run"
    assert run(["train", *from_videos("rapl", data), f"run_dir={folder}"], MOMENTS[moment]) == -signal.SIGKILL
    assert run(["train", f"resume={folder}"]) == 0
    one, other = weights(whole("rapl")), weights(folder)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for name in ("progress.csv", "evaluations.csv"):
        assert table(whole("rapl") / name) == table(folder / name)
    facts = [json.loads((f / "reward.json").read_text()) for f in (whole("rapl"), folder)]
    assert {k: v for k, v in facts[0].items() if k != "wall_s"} == {k: v for k, v in facts[1].items() if k != "wall_s"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["data=null"], "videos are learned from; give data=FOLDER"),
        (["data=nowhere"], "data=.*nowhere is not a data set"),
        (["env=point_maze"], "is of env=point_reach, this run of env=point_maze"),
        (["teacher=oracle"], "teacher=oracle answers .*, and method=rapl asks triplet; valid are human, triplet"),
        (["teacher=human"], "teacher.mode=async: .* before an agent starts, .* valid is teacher.mode=block"),
        (["method.stride=null"], "method.stride=None: expected a whole number of at least 1"),
        (["method.scale=0.0"], "method.scale=0.0: expected"),
        (["method.features=distance"], "method.features=distance: expected names of factors"),
        (["method.demos=40"], "method.demos=40: .* has 12 videos"),
        (["method.model.dim=0"], "method.model.dim=0"),
        (["feedback.budget=0"], "feedback.budget=0: expected a whole number of at least 1"),
        (["method.features=[speed]"], "factor speed is not in .* valid are distance, effort"),
        (["feedback.budget=100000"], "100000 different triplets wanted"),
        (["env=pendulum"], "env=pendulum"),
        (
            ["agent.learning_starts=5"],
            "learning_starts=5: .* expected at least the 30 steps",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(wrong, message, data, tmp_path):
    code, _, err = train(tmp_path / "run", *from_videos("rapl", data), *wrong, method=None)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err)


def test_a_teacher_of_videos_answers_no_questions_about_segments(tmp_path):
    code, _, err = train(tmp_path / "run", "teacher=triplet")
    assert code == 2
    assert "teacher=triplet answers questions of kind triplet, episode_pair, and method=pebble asks segment_pair" in err


def test_triplets_of_people_teach_it(data, tmp_path):
    dataset, folder = load_dataset(data), tmp_path / "labels"
    with LabelStore(folder) as store:
        asked = EpisodeChooser(dataset, "triplet", 3, criterion="overall", seed=0).choose(100, 0, store)
        closer = torch.linspace(0, 1, len(asked))
        told = TripletAnswers(closer, torch.ones(len(asked), dtype=torch.bool))
        store.answer(store.ask(0, 0, asked, sampler="uniform"), told, "ann", kind="human")
    write_source(folder, dataset)
    given = [*from_videos("rapl", data), "teacher=video_people", f"teacher.triplets={folder}"]
    code, _, err = train(tmp_path / "run", *given, method=None)
    assert code == 0, err
    with np.load(tmp_path / "run" / "answers.npz") as answers:
        said = answers["closer_second"]
    assert len(said) == 8
    assert set(said.tolist()) <= set(closer.tolist())
    assert (np.diff(said) > 0).all()  # the oldest first
    code, _, err = train(tmp_path / "more", *given, "feedback.budget=101", method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(r"feedback.budget=101: people said [0-9]+ triplets about the 12 videos", err)
