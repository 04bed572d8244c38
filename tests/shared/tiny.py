"""Runs that take a second: point_reach in episodes of 30 steps, and networks of a few units."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from pbrl.cli import main

COMMON = [
    "env=point_reach",
    "+env.make.max_episode_steps=30",
    "steps=320",
    "feedback.first=120",
    "feedback.every=60",
    "feedback.per_session=6",
    "feedback.segment_length=10",
    "feedback.candidates=3",
    "evaluation.every=110",
    "evaluation.episodes=2",
    "log_every=25",
    "checkpoint.every=75",
    "report=false",
]
REWARD = ["method.model.hidden=[8]", "method.fit.max_epochs=3", "method.explore.reference=64"]
SMALL = [REWARD[0], REWARD[2]]
CROPS = ["method.crop=[6,9]", "method.passes=40", "method.batch_size=8"]  # of methods with a fit of their own
SESSIONS = ["method.max_epochs=20", "feedback.budget=500"]
SUPPORT = ["method.morse.hidden=[8]", "method.morse.updates=20", "method.nearest.reference=64"]
SAC = ["agent.hidden=[16,16]", "agent.batch_size=16", "agent.learning_starts=30"]
PPO = ["agent.hidden=[16]", "agent.n_envs=2", "agent.n_steps=20", "agent.batch_size=20", "agent.n_epochs=2"]
TINY = {
    "pebble": ["method=pebble", *COMMON, *REWARD, *SAC, "method.critic_updates=3"],
    "diverse": [
        *("method=diverse", *COMMON, *REWARD, *SAC, "method.critic_updates=3", "method.explore.turn=7"),
        *("method.explore.population=3", "method.explore.emitters=2", "method.explore.coder_updates=5"),
    ],
    "prefppo": ["method=prefppo", *COMMON, *REWARD, *PPO],
    "surf": ["method=surf", *COMMON, *SMALL, *SAC, *CROPS, "method.unlabelled_pairs=3"],
    "rune": ["method=rune", *COMMON, *REWARD, *SAC, "method.half_life=100"],
    "qpa": ["method=qpa", *COMMON, *SMALL, *SAC, *CROPS, "feedback.pool_episodes=3"],
    "few_labels": ["method=few_labels", *COMMON, *SMALL, *SAC, "method.batch_size=8", "feedback.pool_episodes=3"],
    "mrn": ["method=mrn", *COMMON, *REWARD, *SAC, "method.meta_every=40", "method.meta_batch=16"],
    "reed": [
        *("method=reed", *COMMON, *REWARD, *SAC, "method.model.obs_embedding=6", "method.model.action_embedding=3"),
        *("method.projection=4", "method.prediction_epochs=2"),
    ],
    "policer": [
        *("method=policer", *COMMON, *SMALL, *SAC, *CROPS),
        *("method.watch_every=40", "method.watch_batch=16", "method.reset_above=0.01", "method.reset_raise=0.001"),
        *("agent.ent_coef=5.0", "agent.lr=0.01"),  # so that values grow beyond that
    ],
    "rime": ["method=rime", *COMMON, *SMALL, *SAC, "method.warm_updates=1", "method.warm_batch=8", *SESSIONS],
    "prefppo_rime": ["method=prefppo_rime", *COMMON, *SMALL, *PPO, *SESSIONS],
    "ppe": ["method=ppe", *COMMON, *SMALL, *SAC, *CROPS, "feedback.pool_episodes=3", *SUPPORT],
    "heron": ["method=heron", *COMMON, *REWARD[:2], *SAC, "teacher.window=2"],
    "spo": ["method=spo", *COMMON, *SAC, "method.queue=3"],
    "spo_judge": [
        "method=spo_judge",
        *COMMON,
        *SAC,
        "method.queue=3",
        "method.judge_updates=4",
        "method.judge.hidden=8",
    ],
    "rlif_people": ["method=rlif_people", *COMMON, *SAC],
    "rlif_random": ["method=rlif_random", *COMMON, *SAC, "method.demonstration_steps=60"],
    "barfi": [
        *("method=barfi", *COMMON, *SAC, "method.primary={distance: -1.0}", "method.helper={effort: 1.0}"),
        *("method.first=60", "method.outer_steps=2", "method.curvature_batch=32", "method.model.hidden=[8]"),
    ],
    "cmorl": ["method=cmorl", *COMMON, *SAC, "method.parts=2", "method.points=1"],
    "cmorl_conditioned": ["method=cmorl_conditioned", *COMMON, *SAC, "method.parts=2"],
    "icpl": ["method=icpl", *COMMON, *SAC, "method.program='reward = -distance - 0.1 * effort'"],
    "safe": [
        *("method=safe", *COMMON, *SAC, "teacher.factor=effort", "teacher.above=0.9"),  # of some random actions
        *("method.model.hidden=[8]", "method.updates=20", "method.batch_size=16", "method.exam=30", "method.limit=0.1"),
    ],
    **{name: [f"method={name}", *COMMON, *SAC] for name in ("true_reward", "factor_sum", "factor_geometric")},
}
OF_A_RUN = {
    "rlif": "method.judge",
    "rlif_people": "method.interventions",
}  # methods that learn from what another run knows, and the key that names it
WITH_DEMONSTRATIONS = {  # methods that learn from recorded episodes before an agent starts, and what makes them small
    "demo_kl": [*REWARD[:2], *SAC, "method.clone.hidden=[8]", "method.clone_updates=50"],
}


def train(folder: Path, *overrides: str, method: str | None = "pebble") -> tuple[int, str, str]:
    """`pbrl train` in this process, tiny if a method is named; the exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["train", *TINY.get(method, ["report=false"]), f"run_dir={folder}", *overrides])
    return code, out.getvalue(), err.getvalue()


def collect(folder: Path, *overrides: str) -> Path:
    """A data set of point_reach: 10 episodes of at most 30 steps."""
    given = ["env=point_reach", "+env.make.max_episode_steps=30", "episodes=10", "segments=60", "segment_length=8"]
    numbers = [*given, "comparisons=60", "heldout=10", "stop_after_success=never", f"out={folder}"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(["collect", *numbers, *overrides]) == 0
    return folder


OFFLINE = [
    "env=point_reach",
    "+env.make.max_episode_steps=30",
    "steps=24",
    "evaluation.every=10",
    "evaluation.episodes=2",
    "log_every=6",
    "checkpoint.every=7",
    "method.policy.hidden=[8]",
    "report=false",
]
REWARD_MODEL = ["method.model.hidden=[8]"]
CRITICS = ["method.iql.hidden=[8]"]
LEARNERS = {  # what makes each offline method small
    "bc": [],
    "percent_bc": [],
    "sft": [],
    "cpl": [],
    "cpl_bc": [],
    "cpl_kl": [],
    "piql": [*REWARD_MODEL, *CRITICS],
    "iql": CRITICS,
    "ipl": CRITICS,
    "paws": [*REWARD_MODEL, "method.check_every=2"],
    "vpl": [*CRITICS, "method.model.hidden=8", "method.users=2", "method.pairs=4", "method.answers=3"],
    "regret": [*REWARD_MODEL, *CRITICS],
    "deformpam": [
        *("method.samples=2", "method.score_draws=2", "method.pairs=4", "method.policy.levels=4"),
        "method.clone_share=0.5",
    ],
    "pearl": [*REWARD_MODEL, *CRITICS, "method.draws=2", "method.trajectories=12"],
    "preference_transformer": ["method.model.width=8", *CRITICS],
}
OF_OTHER_DATA = {"pearl": "method.source"}  # methods that learn from other data too, and the key that names them
VIDEOS = {  # what makes each method that learns from videos small
    name: [
        *("method.size=16", "method.frames=4", "method.stride=7", "feedback.budget=8"),
        *("method.model.epochs=2", "method.model.frames_per_video=3"),
        "+method.model.encoder.strides=[2,1,1,1]",  # pictures of 16 pixels
    ]
    for name in ("rapl", "video_return")
}
OFFLINE_EXPERIMENTS = {"cpl_paper_state": "cpl"} | {
    f"{method}_cpu": method for method in ("cpl", "piql", "ipl", "paws")
}


def from_videos(method: str, data: Path) -> list[str]:
    return [f"method={method}", f"data={data}", *COMMON, *SAC, *VIDEOS[method]]


def offline(method: str, data: Path) -> list[str]:
    other = [f"{OF_OTHER_DATA[method]}={data}"] if method in OF_OTHER_DATA else []
    return [f"method={method}", f"data={data}", *OFFLINE, *LEARNERS[method], *other]
