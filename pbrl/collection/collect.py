"""`pbrl collect`: episodes of a mix of policies, cut, scored and judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from pbrl.building import build
from pbrl.collection.behaviour import default_policies, load_policy, make_behaviours
from pbrl.collection.episodes import collect_episodes
from pbrl.collection.keep_frames import draw, keeping_frames
from pbrl.collection.scores import (
    ONE_ROLLOUT,
    Rollouts,
    likelihood,
    no_rollouts,
    partial_return,
    regret_critic,
    regret_mc,
)
from pbrl.data.columns import Arrays
from pbrl.data.cut import Cut, cut_segments, draw_pairs, judge, split_episodes
from pbrl.data.dataset_checks import OF_CRITIC, SCORES, SPLITS
from pbrl.data.datasets import ComparisonRows, write_rows
from pbrl.data.rows import flatten, store_of
from pbrl.errors import UserError, choices
from pbrl.files import require_new
from pbrl.teachers.make import make_teacher, teacher_class
from pbrl.teachers.teacher import Teacher
from pbrl.training.run_dir import package_versions
from pbrl_envs.experts import find_expert

if TYPE_CHECKING:
    from stable_baselines3 import SAC

    from pbrl.training.saved_run import SavedRun

ROLLOUTS = 1  # beside the seed, for the noise of roll-outs
Score = Callable[[Cut], np.ndarray]


@dataclass(frozen=True)
class CutPlan:
    """The plan of cutting episodes into segments and comparisons."""

    segments: int
    segment_length: int
    splits: tuple[float, float, float]  # shares of SPLITS
    comparisons: int  # for training
    heldout: int  # for validation, and as many for the test
    seed: int


@dataclass(frozen=True)
class Plan:
    """The plan of a data set: who acts and how, and by what segments are scored and judged."""

    episodes: int
    policies: tuple[str, ...] | None  # None: what the environment offers
    noise: float
    other_goal: float
    stop_after_success: int | None
    labels: tuple[str, ...] | None  # None: return, and regret_mc where it can be had
    critic: str | None  # DIR or DIR@STEP, for regret_critic
    states: bool
    cut: CutPlan
    frames: bool = False  # keep pictures instead of the simulator's states
    rollouts: Rollouts = ONE_ROLLOUT  # for regret_mc


def collect(config: DictConfig, plan: Plan, out: Path, command: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Makes the data set `out` and returns its meta.json. config: with the nodes env and teacher of a run."""
    require_new(out)
    _check_teacher(config.teacher)
    make_env = partial(build, config.env.make)
    env = make_env(render_mode="rgb_array") if plan.frames else make_env()
    if plan.frames:  # before an hour of episodes, as most mistakes show here
        env.reset(seed=0)
        draw(env)
    policies = plan.policies or tuple(default_policies(env))
    labels = plan.labels or (("return",) if plan.frames else _default_labels(env))
    scores = _scores(labels, plan, env, config)
    env.close()
    behaviours = make_behaviours(policies, make_env, plan.noise)
    if plan.policies is None and policies == ("random",):
        say(f"env={config.env.name} has no expert: actions are random; policies=run:DIR takes the policy of a run")
    with keeping_frames(out, plan.frames) as kept:
        episodes, names = collect_episodes(
            partial(make_env, render_mode="rgb_array") if plan.frames else make_env,
            behaviours,
            plan.episodes,
            other_goal=plan.other_goal,
            stop_after_success=plan.stop_after_success,
            seed=plan.cut.seed,
            wrap=kept.wrap,
        )
        if "regret_mc" in labels:
            rng = np.random.default_rng([plan.cut.seed, ROLLOUTS])
            scores["regret_mc"] = partial(
                regret_mc, episodes=episodes, make_env=make_env, rollouts=plan.rollouts, rng=rng
            )
        sources = list(dict.fromkeys(b.name for choice in behaviours for b in choice if b and b.name in names))
        source = np.array([sources.index(name) for name in names])
        about = _about(config, plan, policies, command) | {"sources": sources, **kept.describe()}
        about["factor_names"] = list(episodes[0].factor_names)
        if not plan.states:
            episodes = [dataclasses.replace(e, states=None) for e in episodes]
        rows, left_out = flatten(episodes), None if plan.rollouts.max_error is None else "regret_mc"
        return assemble(
            out, about, rows, source, plan.cut, labels, scores, config.teacher, say, files=kept.files, left_out=left_out
        )


def _about(config: DictConfig, plan: Plan, policies: Sequence[str], command: str) -> dict[str, Any]:
    """Return what meta.json says of how the episodes were made."""
    behaviour = {"policies": list(policies), "noise": plan.noise, "other_goal": plan.other_goal}
    return {
        **describe_env(config.env),
        "command": command,
        "behaviour": behaviour | {"stop_after_success": plan.stop_after_success},
        "critic": plan.critic,
        "rollouts": dataclasses.asdict(plan.rollouts),
        "versions": package_versions(),
    }


def assemble(
    out: Path,
    about: Mapping[str, Any],
    rows: Arrays,
    source: np.ndarray,
    plan: CutPlan,
    labels: Sequence[str],
    scores: Mapping[str, Score],
    teacher: DictConfig,
    say: Callable[[str], None],
    files: Sequence[Path] = (),
    left_out: str | None = None,
) -> dict[str, Any]:
    """Cuts, scores, asks the teacher by each label's score, and writes; returns meta.json.

    about: what meta.json says of where the episodes come from. rows: of the episodes, as `flatten` makes them.
    scores: besides the return, which is one where rewards are known. files: as of `write_rows`.
    left_out: the score whose NaN leaves a segment out; of other scores none may be NaN.
    """
    if labels:
        _check_teacher(teacher)
    split_seed, cut_seed, *seeds = np.random.SeedSequence(plan.seed).spawn(3 + len(SCORES))
    split = split_episodes(source, plan.splits, np.random.default_rng(split_seed))
    cut = cut_segments(store_of(rows), split, plan.segments, plan.segment_length, np.random.default_rng(cut_seed))
    if (found := len(cut.segments)) < plan.segments:
        say(f"the episodes have {found} different segments of {plan.segment_length} steps, all of which are taken")
    known: dict[str, Score] = {"return": partial_return} if "true_reward" in rows else {}
    values = {name: score(cut) for name, score in (known | dict(scores)).items()}
    if missing := [name for name in labels if name not in values]:
        raise UserError(
            f"labels={missing[0]}: the data do not say it, so no teacher can judge by it; leave labels= out"
        )
    if left_out is not None:
        cut, values = _known(cut, values, left_out, say)
    comparisons = _compare(cut, plan, {name: values[name] for name in labels}, teacher, seeds, say)
    asked = OmegaConf.to_container(teacher, resolve=True) if labels else None
    return write_rows(
        out,
        meta={**about, "teacher": asked, "splits": list(plan.splits), "seed": plan.seed},
        rows=rows | {"source": np.asarray(source, np.int64)},
        segment_length=plan.segment_length,
        ids=cut.segments.ids.numpy(),
        split=cut.split,
        scores=values,
        comparisons=comparisons,
        files=files,
    )


def _known(
    cut: Cut, values: Mapping[str, np.ndarray], name: str, say: Callable[[str], None]
) -> tuple[Cut, dict[str, np.ndarray]]:
    """Keep the segments of which this score is known."""
    known = ~np.isnan(values[name])
    if not known.any():
        raise UserError(f"rollout_error leaves out all {len(known)} segments; valid are a larger one, or more rollouts")
    if not known.all():
        say(f"{(~known).sum()} of {len(known)} segments are left out: the expert's roll-outs disagree about their ends")
    rows = torch.from_numpy(known)
    kept = Cut(cut.segments[rows], cut.episode[known], cut.start[known], cut.split[known])
    return kept, {name: score[known] for name, score in values.items()}


def _compare(
    cut: Cut,
    plan: CutPlan,
    judged: Mapping[str, np.ndarray],
    teacher: DictConfig,
    seeds: Sequence[np.random.SeedSequence],
    say: Callable[[str], None],
) -> dict[str, ComparisonRows]:
    """Ask a teacher by each of these scores, about the same pairs."""
    if not judged:
        return {}
    pair_seed, *teacher_seeds = seeds
    heldout = [plan.heldout if share > 0 else 0 for share in plan.splits[1:]]
    counts = dict(zip(SPLITS, [plan.comparisons, *heldout], strict=True))
    left, right = draw_pairs(cut.split, counts, np.random.default_rng(pair_seed))
    for number, (name, wanted) in enumerate(counts.items()):
        if (found := int((cut.split[left] == number).sum())) < wanted:
            segments = int((cut.split == number).sum())
            say(f"{segments} segments for {name} make {found} comparisons, not {wanted}")
    comparisons = {}
    for name, score in judged.items():
        rng = torch.Generator().manual_seed(int(teacher_seeds[SCORES.index(name)].generate_state(1)[0]))
        by = None if name == "return" else score  # the return has steps of its own
        comparisons[name] = judge(make_teacher(teacher, rng=rng), cut, by, left, right)
    return comparisons


def describe_env(env: DictConfig) -> dict[str, Any]:
    """Return what meta.json says of the environment."""
    return {"env_name": env.name, "env": OmegaConf.to_container(env, resolve=True)}


def _check_teacher(config: DictConfig) -> None:
    """Check the teacher before an hour of episodes."""
    if "_target_" not in config or not teacher_class(config).at_once:
        raise UserError(
            f"teacher={config.name}: the segments of a data set are compared at once, by a script; valid are scripted "
            "teachers, such as oracle, noisy or mistake"
        )
    make_teacher(config, rng=torch.Generator())  # its numbers are checked
    if (reads := teacher_class(config).reads) != Teacher.reads:
        raise UserError(f"teacher={config.name} judges {reads}, and the segments of a data set have scores")


def _default_labels(env: gym.Env) -> tuple[str, ...]:
    return ("return",) if no_rollouts(env) else ("return", "regret_mc")


def _scores(labels: Sequence[str], plan: Plan, env: gym.Env, config: DictConfig) -> dict[str, Score]:
    """Return functions for the scores that can be made ready now; those by roll-outs need the episodes."""
    for name in labels:
        if name not in SCORES:
            raise UserError(f"labels={name}: {choices(name, SCORES)}")
    by_expert = [name for name in ("regret_mc", "expert_likelihood") if name in labels]
    if "regret_mc" in labels and plan.frames:
        raise UserError("labels=regret_mc goes on from states of the simulator, and frames=true keeps pictures instead")
    if "regret_mc" in labels and (reason := no_rollouts(env)):
        raise UserError(f"labels=regret_mc needs expert roll-outs: {reason}")
    if "regret_mc" not in labels and plan.rollouts != ONE_ROLLOUT:
        raise UserError("rollouts, rollout_noise and rollout_error are of labels=regret_mc, which is not asked for")
    expert = find_expert(env)
    if by_expert and expert is None:
        raise UserError(f"labels={by_expert[0]} needs an expert, and nobody wrote one of this environment")
    if any(name in OF_CRITIC for name in labels) != (plan.critic is not None):
        name = next((name for name in labels if name in OF_CRITIC), OF_CRITIC[0])
        raise UserError(f"labels={name} and critic=run:DIR belong together: whose critics value the states")
    scores: dict[str, Score] = {}
    if by_expert and expert is not None:
        scores["expert_likelihood"] = partial(likelihood, act=_each(expert.act))
    if plan.critic is not None:
        saved, critic = _critic(plan.critic, env, config, plan.cut.seed)
        scores |= {"regret_critic": critic, "critic_likelihood": partial(likelihood, act=saved.act)}
    return scores


def _each(act: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from observations (M, O) to actions (M, A) that asks `act` for one row after another."""
    return lambda obs: np.stack([act(row) for row in obs])


def _critic(name: str, env: gym.Env, config: DictConfig, seed: int) -> tuple[SavedRun, Score]:
    saved = load_policy(name, env)
    if saved.agent is None or saved.agent.kind != "sac":
        raise UserError(f"critic=run:{name}: only SAC has critics of actions; valid is a run with agent=sac")
    if saved.method.reads_labels:
        raise UserError(f"critic=run:{name} values the reward that it learned; valid is a run with method=true_reward")
    if saved.config.env.name != config.env.name:
        raise UserError(f"critic=run:{name} is of env={saved.config.env.name}; valid is one of env={config.env.name}")
    rng = torch.Generator().manual_seed(seed)
    return saved, partial(regret_critic, model=cast("SAC", saved.agent.model), rng=rng)
