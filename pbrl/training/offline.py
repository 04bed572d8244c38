"""The offline loop: one gradient step after another on a fixed data set, and evaluations. It alone logs."""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from pbrl.blocks import score_in_blocks
from pbrl.config import build
from pbrl.data.offline import OfflineData
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.finite import AGENT, REWARD_MODEL, NotFinite, require_finite_metrics, require_finite_weights
from pbrl.losses import bradley_terry_loss, preference_accuracy
from pbrl.methods.learner import Learner
from pbrl.nets.precision import prepare_torch
from pbrl.seeds import seed_streams
from pbrl.training.build import OFFLINE_STREAMS
from pbrl.training.build_offline import check, check_spaces, has_env, load_data, other_env
from pbrl.training.checkpoint import Checkpoints, restore_last
from pbrl.training.divergence import explain_divergence
from pbrl.training.environments import evaluation_envs
from pbrl.training.evaluate import Evaluator, best_window
from pbrl.training.init import begin_with_another, check_init
from pbrl.training.interrupt import SAVES, StopOnInterrupt
from pbrl.training.log import EVALUATIONS, RunLog
from pbrl.training.progress import Progress, State
from pbrl.training.resume import config_record, go_on, prove_resumable
from pbrl.training.run_dir import RunDir, versions, write_json

PROGRESS = (
    *("time/total_updates", "time/updates_per_s", "time/time_elapsed"),
    *("train/bc_loss", "train/loss", "train/accuracy", "train/critic_loss", "train/v_loss", "train/actor_loss"),
    *("train/q_mean", "train/reward_square"),
    *("reward/loss", "reward/accuracy", "reward/validation_accuracy"),
    *("validation/loss", "validation/accuracy", "test/loss", "test/accuracy"),
)


class OfflineRun:
    """One run from its config to its summary; `load_state_dict` puts it where a checkpoint left it.

    `steps` are gradient steps here: nothing is asked of the environment but evaluation.
    """

    def __init__(self, config: Any, run: RunDir) -> None:
        prepare_torch(config.threads)
        self.config, self.run = config, run
        seeds = dict(zip(OFFLINE_STREAMS, seed_streams(config.seed, len(OFFLINE_STREAMS)), strict=True))
        self.data: OfflineData = load_data(config, torch.Generator().manual_seed(seeds["heldout"]))
        rng = torch.Generator().manual_seed(seeds["learner"])
        self.learner: Learner = build(config.method.learner, data=self.data, steps=config.steps, rng=rng)
        self.evaluator: Evaluator | None = None  # evaluation is off: nothing is asked of the environment
        if (evaluation := config.evaluation).every is not None:
            make_env, envs = partial(build, config.env.make), evaluation_envs(config)
            self.evaluator = Evaluator(make_env, evaluation.episodes, seeds["evaluation"], envs)
            check_spaces(self.evaluator.envs[0], self.learner, config)
        self.checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
        self.evaluations: list[dict[str, Any]] = []
        self.sums: dict[str, list[float]] = defaultdict(list)  # of the metrics since the last row of progress.csv
        self.reward_updates = 0
        self.wall_s, self.update_s = 0.0, 0.0  # in all, and in updates alone
        self._log: RunLog | None = None
        self._interrupted = False

    def train(self) -> bool:
        """Runs to the end; False if Ctrl-C, SIGTERM or SIGHUP ended it early (after saving)."""
        try:
            return self._train()
        except NotFinite as error:
            self._write_progress()  # the log shows the figures it ends with
            raise explain_divergence(error, self.step, self.step > 0, self.checkpoints, self.run.path) from error

    def _train(self) -> bool:
        started = time.monotonic() - self.wall_s
        saving = StopOnInterrupt(self.interrupt, SAVES, self.checkpoints.describe_loss)
        with saving, Progress(self.config.steps, self._progress) as progress:
            if not self.evaluations:
                self._evaluate()
            progress.update(evaluated=True)
            while self.learner.updates < self.config.steps and not self._interrupted:
                before = time.monotonic()
                self._note(self.learner.update())
                self.update_s += time.monotonic() - before
                self.wall_s = time.monotonic() - started
                over = self.learner.updates == self.config.steps  # the end is evaluated, logged and saved, due or not
                if evaluated := self._is_due(self.config.evaluation.every) or over:
                    self._evaluate()
                if logged := self._is_due(self.config.log_every) or over:
                    self._write_progress()
                if evaluated or logged:
                    progress.update(evaluated)
                if self._is_due(self.config.checkpoint.every) or self._interrupted or over:
                    self._save()
            complete = self.learner.updates >= self.config.steps
            self.finish("finished" if complete else "interrupted")
        self.run.unlock()
        return complete

    @property
    def step(self) -> int:
        return self.learner.updates

    @property
    def labels(self) -> int:
        """What the method was paid for; none where it reads none."""
        return self.data.labels if self.learner.reads_labels else 0

    @property
    def kind(self) -> str:
        """What it learned from, in a word."""
        return self.data.label if self.learner.reads_labels else "none read"

    @property
    def last_evaluation(self) -> dict[str, Any]:
        """Empty before the first."""
        return self.evaluations[-1] if self.evaluations else {}

    @property
    def log(self) -> RunLog:
        """Opened at first use: a resumed run goes on with its files instead of starting them afresh."""
        if self._log is None:
            self.open_log()
        assert self._log is not None
        return self._log

    def open_log(self, state: dict[str, Any] | None = None, purge_step: int | None = None) -> None:
        own = self.evaluator.columns if self.evaluator is not None else ()
        self._log = RunLog(self.run.path, state, purge_step, PROGRESS, (*EVALUATIONS, "updates", *own))

    def interrupt(self) -> None:
        """Stop after this update, with a checkpoint."""
        self._interrupted = True

    def heldout(self) -> dict[str, float]:
        """Loss and accuracy of the method's preference model on comparisons it was not trained on, if it has one.

        Of the test split; and of the validation split, which a method may have stopped by.
        """
        self.learner.eval()
        metrics: dict[str, float] = {}
        for name, held in (("validation", self.data.validation), ("test", self.data.test)):
            if held is None or self.learner.score(held.left[:1]) is None:
                continue
            score: Any = self.learner.score
            left, right = score_in_blocks(score, held.left), score_in_blocks(score, held.right)
            metrics[f"{name}/loss"] = float(bradley_terry_loss(left[None], right[None], held.prefers_right))
            metrics[f"{name}/accuracy"] = float(preference_accuracy(left, right, held.prefers_right))
        return metrics

    def _progress(self) -> State:
        return State(self.step, self.evaluations[-1]["return_mean"] if self.evaluations else None, self.labels)

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.learner.updates % every == 0

    def _note(self, metrics: dict[str, float]) -> None:
        self.reward_updates += "reward/loss" in metrics
        for name, value in metrics.items():
            self.sums[name].append(value)
        require_finite_metrics(metrics, REWARD_MODEL if "reward/loss" in metrics else AGENT)

    def _save(self) -> None:
        """A checkpoint, unless a weight is not finite: the one before then stays the last."""
        state = self.state_dict()
        weights = state["learner"]["weights"]
        require_finite_weights({k: v for k, v in weights.items() if k.startswith("model.")}, REWARD_MODEL)
        require_finite_weights(state["learner"], AGENT)
        self.checkpoints.save(self.step, state, config_record(self.config))

    def _write_progress(self) -> None:
        metrics = {
            "time/total_updates": self.learner.updates,
            "time/updates_per_s": self._updates_per_s(),
            "time/time_elapsed": round(self.wall_s, 1),
        }
        metrics |= {name: _mean(values, name) for name, values in self.sums.items()}
        self.sums.clear()
        self.log.write(self.learner.updates, metrics | self.heldout())

    def _evaluate(self) -> None:
        if self.evaluator is None:
            return
        row = {
            "env_steps": 0,
            "labels": self.labels,
            **self.evaluator(self.learner.act).row(),
            "wall_s": round(self.wall_s, 1),
            "updates": self.learner.updates,
        }
        self.evaluations.append(row)
        self.log.write_evaluation(row, self.learner.updates)

    def finish(self, status: str) -> None:
        """Writes the policy, the reward and the summary."""
        from safetensors.torch import save_file

        weights = {name: value.contiguous() for name, value in self.learner.state_dict().items()}
        policy = {k: v for k, v in weights.items() if k.startswith(("policy.", "reference."))}
        reward = {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
        for file, content in ((self.run.offline_policy, policy), (self.run.reward, reward)):
            if content:
                with replacing(file) as partial_file:
                    save_file(content, str(partial_file))
        self.log.close()
        if self.evaluator is not None:
            self.evaluator.close()
        write_json(self.run.summary, self._summary(status))

    def _summary(self, status: str) -> dict[str, Any]:
        config, data, last = self.config, self.data, self.last_evaluation
        best, heldout = best_window(self.evaluations[1:], config.evaluation.window), self.heldout()
        return {
            "env": config.env.name,
            "method": config.method.name,
            "agent": config.method.learner._target_.rsplit(".", 1)[-1],
            "teacher": "none",
            "seed": config.seed,
            "status": status,
            "env_steps": 0,
            "updates": self.learner.updates,
            "labels": self.labels,
            "label": self.kind,
            "data_sha256": data.sha256,
            "pairs": config.feedback.pairs,
            "final_return": last.get("return_mean"),
            "final_success": last.get("success_rate"),
            "final_success_at_end": last.get("success_at_end"),
            "best_window_return": best["return_mean"],
            "best_window_success": best["success_rate"],
            "window": config.evaluation.window,
            "reward_accuracy": _known(heldout.get("test/accuracy")),
            "validation_accuracy": _known(heldout.get("validation/accuracy")),
            "accuracy_ceiling": data.ceiling,
            "reward_updates": self.reward_updates,
            "parameters": sum(p.numel() for p in self.learner.parameters() if p.requires_grad),
            "wall_s": round(self.wall_s, 1),
            "updates_per_s": self._updates_per_s(),
            "versions": versions(config.threads),
        }

    def _updates_per_s(self) -> float:
        return round(self.learner.updates / self.update_s, 1) if self.update_s else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "learner": self.learner.checkpoint(),
            "data_sha256": self.data.sha256,
            "evaluations": self.evaluations,
            "sums": dict(self.sums),
            "reward_updates": self.reward_updates,
            "wall_s": self.wall_s,
            "update_s": self.update_s,
            "log": self.log.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["data_sha256"] != self.data.sha256:
            raise UserError(f"data={self.config.data} is not what this run began with; put the old files back")
        self.learner.restore(state["learner"])
        self.evaluations = state["evaluations"]
        self.sums = defaultdict(list, state["sums"])
        self.reward_updates = state["reward_updates"]
        self.wall_s, self.update_s = state["wall_s"], state["update_s"]
        self.open_log(state["log"], purge_step=self.learner.updates + 1)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _mean(values: list[float], name: str) -> float:
    """Of an accuracy, over the batches that have one: over ties alone it is none."""
    known = [v for v in values if not math.isnan(v)] if name.endswith("accuracy") else values
    return sum(known) / len(known) if known else math.nan


def start(config: DictConfig, command: list[str]) -> OfflineRun:
    """A run in a folder of its own; a config that cannot be built leaves no folder behind."""
    check(config)
    check_init(config)
    if not has_env(config):
        config.evaluation.every = None
    folder = RunDir.create(config, command)
    folder.lock()
    with folder.being_built():
        run = OfflineRun(config, folder)
        begin_with_another(run)
    if not has_env(config):  # what is made of the saved policy later has no other place to learn them from
        config.env.obs_shape, config.env.action_size = list(run.learner.obs_shape), run.learner.action_size
        folder.write_config(config)
    if notes := _notes(run):
        print("\n".join(f"pbrl: {note}" for note in notes), file=sys.stderr)
    return run


def _notes(run: OfflineRun) -> list[str]:
    """What the user may not have meant."""
    notes, config = [], run.config
    if (own := other_env(config)) is not None:
        notes.append(f"data={config.data} is of env={own}, and is evaluated in env={config.env.name}, as you said")
    if not has_env(config) and run.data.test is None and run.data.validation is None and run.learner.reads_labels:
        notes.append("nothing is held out to measure by; feedback.heldout=0.1 would keep a tenth of the labels for it")
    return notes


def resume(path: Path, config: DictConfig) -> OfflineRun:
    """The run in this folder, where its last checkpoint left it; from the start if it has none yet."""
    folder = RunDir(path)
    folder.lock()
    prove_resumable(folder, config)
    run = OfflineRun(config, folder)
    if run.checkpoints.last() is None:
        begin_with_another(run)
    restore_last(run, path)
    go_on(folder, config)
    return run
