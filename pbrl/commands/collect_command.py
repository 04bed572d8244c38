"""`pbrl collect`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import number, numbers, required, whole_number, yes_or_no
from pbrl.errors import UserError, closest, typed
from pbrl.storage import storing

if TYPE_CHECKING:
    from pbrl.collection.collect import CutPlan, Plan
    from pbrl.collection.scores import Rollouts

HELP = """usage: pbrl collect env=NAME out=FOLDER [key=value ...] [--config-dir DIR]

Collects an offline data set: episodes of a mix of policies, segments cut from them, a score of each segment, and
comparisons of segments, labelled by a teacher. The same command makes the same bytes; FOLDER must not exist yet.

  env=, env.*=             as for pbrl train; +env.make.max_episode_steps=250 shortens the episodes
  episodes=60 seed=0
  policies=                who acts, in turn, with commas between: expert:SKILL (a skill from 0 to 1), naive:SKILL where
                           the environment has a way that ends well and is not liked, random, run:DIR, run:DIR@STEP
                           (default: expert:0,expert:0.25,expert:0.5,expert:0.75,expert:1 where the environment has a
                           scripted expert, else random)
  noise=0.3                standard deviation of the Gaussian noise on every action but those of random
  other_goal=0.2           share of an expert's episodes in which it pursues the goal of another episode
  stop_after_success=20    steps that an episode goes on after its first success; never: to its end
  states=true              also keeps the state of the simulator at each step
  frames=false             true: keeps pictures as videos instead, for environments that have no state to draw from
  segments=2000 segment_length=32
  splits=0.8,0.1,0.1       shares of the episodes for training, validation and test
  labels=                  what the teacher judges by: return, regret_mc (by roll-outs of the expert), regret_critic (by
                           the critics of a run), expert_likelihood and critic_likelihood (by how near the actions are
                           to those of either); default: return, and regret_mc where there is an expert
  critic=run:DIR           a run of SAC on the true reward, for regret_critic and critic_likelihood
  rollouts=1 rollout_noise=0  of the expert from each state, for regret_mc: the mean over several with noise tells more
                           of a state from which the expert may fail
  rollout_error=           leaves out segments whose regret_mc has a larger standard error than this share of the spread
                           of all; default: none are left out
  teacher=oracle teacher.*=
  comparisons=5000         of training segments; the first 50 are the set of 50, the first 200 that of 200, ...
  heldout=500              comparisons for validation, and as many for the test

example: pbrl collect env=drawer-open +env.make.max_episode_steps=250 episodes=400 out=data/drawer"""

CUT_KEYS = ("seed", "segments", "segment_length", "splits", "labels", "comparisons", "heldout")
ROLLOUT_KEYS = ("rollouts", "rollout_noise", "rollout_error")
KEYS = (
    "out",
    "episodes",
    "policies",
    "noise",
    "other_goal",
    "stop_after_success",
    "states",
    "frames",
    "critic",
    *ROLLOUT_KEYS,
    *CUT_KEYS,
)


def main(args: list[str]) -> int:
    parsed = parse(args)
    if parsed.help:
        print(HELP)
        return 0
    config, plan = read(parsed)
    out = Path(parsed.values["out"])

    from pbrl.collection.collect import collect

    command = shlex.join(["pbrl", "collect", *(a for a in args if not a.startswith("out="))])
    try:
        with storing(out):
            meta = collect(config, plan, out, command, say)
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror}") from error
    print(f"{describe_counts(meta)}; see: {typed('data', 'info', str(out))}")
    return 0


def parse(args: list[str]) -> Arguments:
    return Arguments(args, HELP, options=("--config-dir",))


def read(parsed: Arguments) -> tuple[Any, Plan]:
    """Read the config, of which a data set takes env and teacher, and how to collect; defaults filled in."""
    check_keys(parsed, KEYS)
    required(parsed, "env", "an environment, as env=point_reach; `pbrl list envs` shows all")
    required(parsed, "out", "a new folder, as out=data/point_reach")
    plan = _plan(parsed)
    return compose(parsed), plan


def check_keys(parsed: Arguments, own: tuple[str, ...]) -> None:
    """Check the keys of this command, and those of the groups env and teacher."""
    if parsed.words:
        raise UserError(f"unknown word {parsed.words[0]!r}: expected key=value")
    for key in parsed.values:
        if key not in own and not _of_config(key):
            close = closest(key, own)
            hint = f"did you mean {' or '.join(close)}?" if close else f"valid are env, teacher, {', '.join(own)}"
            raise UserError(f"unknown key {key!r}; {hint}")


def compose(parsed: Arguments) -> Any:
    """Compose the config of a run, of which a data set takes env and teacher."""
    from pbrl.config import compose_config

    overrides = [text for text in parsed.overrides if _of_config(text.split("=")[0])]
    return compose_config(overrides, parsed.options.get("--config-dir"))


def cut_plan(parsed: Arguments) -> CutPlan:
    """Return how to cut and compare; `pbrl data import` asks for the same."""
    from pbrl.collection.collect import CutPlan

    shares = numbers(parsed, "splits", "0.8,0.1,0.1", 0, 1)
    if len(shares) != 3 or abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"splits={parsed.values['splits']}: expected three shares that sum to 1, as 0.8,0.1,0.1")
    return CutPlan(
        segments=whole_number(parsed, "segments", 2000, 1),
        segment_length=whole_number(parsed, "segment_length", 32, 1),
        splits=(shares[0], shares[1], shares[2]),
        comparisons=whole_number(parsed, "comparisons", 5000, 0),
        heldout=whole_number(parsed, "heldout", 500, 0),
        seed=whole_number(parsed, "seed", 0, 0),
    )


def words(parsed: Arguments, key: str) -> tuple[str, ...] | None:
    """Words with commas between them, or None where the key is not given."""
    text = parsed.values.get(key)
    found = None if text is None else tuple(text.split(","))
    if found and (not all(found) or len(set(found)) < len(found)):
        raise UserError(f"{key}={text}: expected different words with commas between")
    return found


def say(message: str) -> None:
    print(f"pbrl: {message}", file=sys.stderr, flush=True)


def describe_counts(meta: dict[str, Any]) -> str:
    """Describe a data set in one line."""
    c = meta["counts"]
    parts = [f"{c['episodes']} episodes of {c['steps']} steps", f"segments: {_by_split(c['segments'])}"]
    for label, counts in c["comparisons"].items():
        found = _by_split(counts)
        parts.append(f"comparisons by {label}: {found}" if found else f"no comparisons by {label}")
    return "; ".join(parts)


def _by_split(numbers: dict[str, int]) -> str:
    return ", ".join(f"{n} {split}" for split, n in numbers.items() if n)


def _plan(parsed: Arguments) -> Plan:
    from pbrl.collection.collect import Plan

    critic = parsed.values.get("critic")
    if critic is not None and not critic.removeprefix("run:").strip():
        raise UserError(f"critic={critic}: expected run:DIR or run:DIR@STEP")
    endless = parsed.values.get("stop_after_success") == "never"
    return Plan(
        episodes=whole_number(parsed, "episodes", 60, 1),
        policies=words(parsed, "policies"),
        noise=number(parsed, "noise", 0.3, 0, 10),
        other_goal=number(parsed, "other_goal", 0.2, 0, 1),
        stop_after_success=None if endless else whole_number(parsed, "stop_after_success", 20, 0),
        labels=words(parsed, "labels"),
        critic=None if critic is None else critic.removeprefix("run:"),
        states=yes_or_no(parsed, "states", True),
        cut=cut_plan(parsed),
        frames=yes_or_no(parsed, "frames", False),
        rollouts=_rollouts(parsed),
    )


def _rollouts(parsed: Arguments) -> Rollouts:
    from pbrl.collection.scores import Rollouts

    found = Rollouts(
        number=whole_number(parsed, "rollouts", 1, 1),
        noise=number(parsed, "rollout_noise", 0, 0, 10),
        max_error=number(parsed, "rollout_error", 0, 0, 100) if "rollout_error" in parsed.values else None,
    )
    if found.number > 1 and not found.noise:
        raise UserError(f"rollouts={found.number} are all the same without noise; expected rollout_noise=0.1 or so")
    if found.max_error is not None and found.number == 1:
        raise UserError("rollout_error is of several roll-outs; expected rollouts=2 or more")
    return found


def _of_config(key: str) -> bool:
    return key.lstrip("+").split(".")[0] in ("env", "teacher")
