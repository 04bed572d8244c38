"""`pbrl eval`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import free_name, new_file, number, numbers, run_folder, whole_number, yes_or_no
from pbrl.errors import UserError, one_line

if TYPE_CHECKING:
    from pbrl.training.saved_run import SavedRun

HELP = """usage: pbrl eval RUN_DIR [episodes=20] [seed=0] [checkpoint=last|STEP] [video=true] [report=true] [out=FILE]
                [best_of=N] [envs=N] [user=NAME|FOLDER] [weights=W,W,...]

Runs the saved policy without noise and prints its true return, success and episode length, and how well the learned
reward correlates with the true one. The same seed gives the same episodes.

  checkpoint=   last or a step, instead of the newest policy (policy.zip, or a checkpoint that is newer)
  best_of=N     of method=cpl_kl: the best of N actions around the cloned policy's, by the learned advantage;
                of method=deformpam: the best of N samples of the clone instead of method.samples
  best_of_std=  of method=cpl_kl: their spread (default 0.2; actions reach from -1 to 1)
  envs=N        how many environments at once (default: evaluation.envs of the run); 1 where there can be only one
  user=         of method=vpl: whose taste; who answered in training, or the label set of somebody new
  weights=      how much each objective counts, as 0.7,0.3; of method=cmorl the best policy of the front by that, of
                method=cmorl_conditioned the one policy as it acts for them.
                ask: the viewer shows policies along the front, and runs the one that somebody chooses as the best
  out=FILE      where the numbers go (default: RUN_DIR/eval.json, eval_2.json, ...; nothing is overwritten)
  video=true    also writes RUN_DIR/videos/policy.mp4 (policy_2.mp4, ...)
  report=true   also makes RUN_DIR/report.html anew

example: pbrl eval runs/halfcheetah/pebble/20250101-120000_s0 episodes=50 video=true"""
KEYS = ("episodes", "seed", "checkpoint", "best_of", "best_of_std", "video", "report", "out", "envs", "user", "weights")

SPREAD = 0.2  # of candidates around a policy that has none of its own


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(KEYS)
    path = run_folder(parsed.words, HELP.splitlines()[0])
    episodes = whole_number(parsed, "episodes", 20, 1)
    seed = whole_number(parsed, "seed", 0, 0)
    video, report = yes_or_no(parsed, "video", False), yes_or_no(parsed, "report", False)
    envs = whole_number(parsed, "envs", 1, 1) if "envs" in parsed.values else None
    candidates = whole_number(parsed, "best_of", 1, 1) if "best_of" in parsed.values else None
    std = number(parsed, "best_of_std", SPREAD, 0, 1) if "best_of_std" in parsed.values else None
    best_of = BestOf(candidates, std)
    if candidates in (None, 1) and std is not None:
        raise UserError("best_of_std= spreads the candidates of best_of=N; give that too")
    out = new_file(parsed, "out", path / "eval.json")

    try:
        from pbrl.training.saved import load_run

        saved = load_run(path, parsed.values.get("checkpoint"))
        if (user := parsed.values.get("user")) is not None:
            saved = saved.of_user(user)
        if "weights" in parsed.values:
            saved = _along(parsed, path, saved, seed)
        if not saved.has_env and not video:
            _report_without_env(saved, report)
            return 0
        result = _run(saved, out, episodes, seed, video, best_of, envs)
        print(describe(result))
        print(f"written to {out}" + (f", clip in {result['video']}" if video else ""))
        if report:
            _report(path, parsed.values.get("checkpoint"))
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror or one_line(error)}") from error
    return 0


def _along(parsed: Arguments, path: Path, saved: SavedRun, seed: int) -> SavedRun:
    """The policy of the front that the weights, or somebody in the viewer, choose."""
    if parsed.values["weights"] != "ask":
        return saved.along(numbers(parsed, "weights", "", -1e9, 1e9))
    from pbrl.labelling.policies import pick_along

    return pick_along(path, parsed.values.get("checkpoint"), free_name(path / "chosen"), seed)


class BestOf(NamedTuple):
    """The number of candidates that each action is the best of, and how far they spread."""

    candidates: int | None  # None: as the run acts
    std: float | None  # None: not said

    def acting(self, saved: SavedRun, seed: int) -> SavedRun:
        """Return the run as it acts with a choice, each time from the same random numbers."""
        if self.candidates is None:
            return saved
        if saved.choosing is not None:
            if self.std is not None:
                raise UserError(
                    "best_of_std= is of method=cpl_kl; here the candidates are samples of the policy itself"
                )
            return replace(saved, act=saved.choosing(self.candidates).act)
        if self.candidates == 1:
            return saved
        import torch

        from pbrl.nets.policies import best_of

        if saved.policy is None or saved.reference is None:
            needs = "needs a policy learned relative to another, as by method=cpl_kl; leave it out"
            raise UserError(f"best_of={self.candidates} {needs}")
        spread = SPREAD if self.std is None else self.std
        options: dict[str, Any] = {
            "candidates": self.candidates,
            "std": spread,
            "rng": torch.Generator().manual_seed(seed),
        }
        return replace(saved, act=partial(best_of, saved.policy, saved.reference, **options))


def _report_without_env(saved: SavedRun, report: bool) -> None:
    """Report what is known of a policy that was learned with env=none; there is nowhere to run it."""
    from pbrl.training.run_dir import RunDir
    from pbrl.training.saved_run import without_env

    print(f"learned without an environment (env=none): {without_env(RunDir(saved.path))}  ({saved.source})")
    if report:
        _report(saved.path, None)


def _run(
    saved: SavedRun, out: Path, episodes: int, seed: int, video: bool, best_of: BestOf, envs: int | None
) -> dict[str, Any]:
    from pbrl.files import write_json
    from pbrl.reports.video import film
    from pbrl.use.measure import evaluate

    clip = free_name(saved.path / "videos" / "policy.mp4") if video else None
    if clip is not None:  # first: where nothing renders, nobody waits for all the episodes to learn it
        film(clip, saved.make_env, best_of.acting(saved, seed).act, seed=seed)
    result = {"run": str(saved.path), **evaluate(best_of.acting(saved, seed), episodes, seed, envs)}
    if best_of.candidates is not None and (saved.choosing is not None or best_of.candidates > 1):
        result["best_of"] = best_of.candidates
        if saved.choosing is None:
            result["best_of_std"] = SPREAD if best_of.std is None else best_of.std
    result["video"] = str(clip) if clip else None
    write_json(out, result)
    return result


def _report(path: Path, checkpoint: str | None) -> None:
    from pbrl.reports.run_report import write_report
    from pbrl.training.saved import load_run

    report = write_report(load_run(path, checkpoint))
    print("\n".join([f"report: {report.file}", *report.notes]))


def describe(result: dict[str, Any]) -> str:
    """Describe a result in one line."""
    parts = [f"return {result['return_mean']:.1f} ± {result['return_std']:.1f}"]
    if result["success_rate"] is not None:
        parts.append(f"success {result['success_rate']:.0%}")
    parts.append(f"length {result['episode_length']:.0f}")
    if result["reward_correlation"] is not None:
        parts.append(f"correlation of learned and true reward {result['reward_correlation']:.2f}")
    episodes = f"{result['episodes']} episode" + ("s" if result["episodes"] > 1 else "")
    return (
        f"{', '.join(parts)}  ({episodes}, {result['policy']} of step {result.get('env_steps', result.get('updates'))})"
    )
