"""Every YAML in configs/ composes, builds and takes at least 3 updates of agent and reward."""

import json

import pytest
from tiny import LEARNERS, OF_A_RUN, OFFLINE_EXPERIMENTS, VIDEOS, WITH_DEMONSTRATIONS, collect, train
from watched import keep_watched

from pbrl.cli import main
from pbrl.config import compose_config, options
from pbrl_envs import registry

LENGTH = 12  # steps of an episode
SHORT = [
    "steps=48",
    "feedback.first=24",
    "feedback.every=100",
    "feedback.per_session=4",
    "feedback.segment_length=6",
    "feedback.candidates=2",
    "evaluation.every=1000",
    "evaluation.episodes=1",
    "checkpoint.every=1000",
]
FIT = ["method.fit.max_epochs=3", "method.fit.stop_accuracy=null"]
CROPS = ["method.crop=[3,5]", "method.passes=200"]  # of methods with a fit of their own
AGENT = {
    "SACAgent": ["agent.hidden=[8,8]", "agent.batch_size=8", "agent.learning_starts=20"],
    "PPOAgent": ["agent.hidden=[8]", "agent.n_envs=2", "agent.n_steps=12", "agent.batch_size=12", "agent.n_epochs=3"],
}
# Nobody is there, so a script stands in.
NOBODY = ["teacher.mode=mixed", "teacher.timeout_s=0.01", "viewer.start=false"]
FUNCTIONS = {
    "teacher=function": ["teacher.function=own_functions.better"],
    "queries=function": ["queries.function=own_functions.last"],
}
TRIED_ELSEWHERE = ("barfi", "vlm")  # learns without answers, test_barfi.py; asks a server, test_vlm.py
GIVEN = {"dmc": ["env.task=cartpole-balance"], "gym": ["env.id=pbrl_envs/PointReach-v0"]}


def takes_three_updates(folder, *choices):
    config = compose_config(choices)
    suite = registry.suites()[config.env.make._target_.split(".")[2]]
    if suite.version is None:
        pytest.skip(f"not installed; get it with: {suite.install}")
    numbers = [*SHORT, *AGENT[config.agent._target_.rsplit(".", 1)[-1]], f"+env.make.max_episode_steps={LENGTH}"]
    if learns := "model" in config.method:
        own = [number for number in CROPS if number.split("=")[0].removeprefix("method.") in config.method]
        numbers += ["method.model.hidden=[8]", *(own if config.method.get("fit") is None else FIT)]
    if config.method.get("critic_updates"):
        numbers.append("method.critic_updates=1")
    code, _, err = train(folder, *choices, *numbers, method=None)
    assert code == 0, err
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["env_steps"] == 48
    assert (summary["labels"] == 4) == (summary["reward_updates"] >= 3) == learns
    rows = (folder / "progress.csv").read_text().splitlines()
    header, last = rows[0].split(","), rows[-1].split(",")
    assert float(last[header.index("train/n_updates")]) >= 3


@pytest.mark.parametrize("name", [name for name in options("env") if not name.endswith("_pixels") and name != "none"])
def test_env(name, tmp_path):
    takes_three_updates(tmp_path / "run", f"env={name}", *GIVEN.get(name, []))


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={name}"
        for group in ("method", "teacher", "queries")
        for name in options(group)
        if name not in ("none", "triplet", "video_people", *TRIED_ELSEWHERE, *LEARNERS, *VIDEOS, *WITH_DEMONSTRATIONS)
    ],
)
def test_method_teacher_and_queries(choice, tmp_path):
    more = NOBODY if choice == "teacher=human" else FUNCTIONS.get(choice, [])
    if choice == "teacher=replay":
        takes_three_updates(tmp_path / "source", "env=point_reach")
        assert main(["labels", "export", str(tmp_path / "source"), f"out={tmp_path / 'labels'}"]) == 0
        more = [f"teacher.labels={tmp_path / 'labels'}"]
    if (key := OF_A_RUN.get(choice.removeprefix("method="))) is not None:
        if choice == "method=rlif_people":
            keep_watched(tmp_path / "source", [[0, 1, 0]])
        else:
            takes_three_updates(tmp_path / "source", "env=point_reach", "method=true_reward")
        more = [f"{key}={tmp_path / 'source'}"]
    if choice in ("method=safe", "teacher=unsafe"):
        more = ["teacher.factor=effort", *(["method.exam=0"] if choice == "method=safe" else [])]
    if choice == "method=icpl":
        more = ["method.program=-distance"]
    takes_three_updates(tmp_path / "run", "env=point_reach", choice, *more)


@pytest.mark.parametrize("method", VIDEOS)
def test_methods_that_learn_from_videos_and_their_teacher(method, tmp_path):
    data = collect(tmp_path / "data", "episodes=8", "segments=10", "comparisons=5", "heldout=2")
    given = [f"data={data}", "feedback.budget=4", "method.model.epochs=1", "method.frames=3"]
    sac = [*AGENT["SACAgent"], f"+env.make.max_episode_steps={LENGTH}"]
    code, _, err = train(tmp_path / "run", "env=point_reach", f"method={method}", *SHORT, *sac, *given, method=None)
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["labels"] == 4


@pytest.mark.parametrize("name", [name for name in options("agent") if name != "none"])
def test_agent(name, tmp_path):
    method = "prefppo" if name == "ppo" else "pebble"
    takes_three_updates(tmp_path / "run", "env=point_reach", f"method={method}", f"agent={name}")


@pytest.mark.parametrize("name", [name for name in options("experiment") if name not in OFFLINE_EXPERIMENTS])
def test_experiment(name, tmp_path):
    takes_three_updates(tmp_path / "run", f"experiment={name}", *(NOBODY if name == "demo_human" else []))
