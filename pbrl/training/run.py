"""The loop of a run, online or offline: act, let the method learn, evaluate, write down, save. It alone logs."""

from __future__ import annotations

import sys
import time
from typing import Any

from pbrl.agents.random_state import global_random_state, set_global_random_state
from pbrl.files import write_json
from pbrl.finite import AGENT, REWARD_MODEL, NotFinite, require_finite_metrics, require_finite_weights
from pbrl.memory import give_back
from pbrl.reports.video import film
from pbrl.training.board import SECONDS, add_clip, add_config, add_hparams, add_scatter
from pbrl.training.callbacks import Callbacks
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.divergence import explain_divergence
from pbrl.training.due import Due
from pbrl.training.evaluate import mean_row, summarise
from pbrl.training.figures import Figures
from pbrl.training.interrupt import SAVES, StopOnInterrupt
from pbrl.training.log import EVALUATIONS, OFFLINE_PROGRESS, PROGRESS, RunLog
from pbrl.training.parts import Parts
from pbrl.training.progress import Progress, State
from pbrl.training.run_dir import RunDir, versions
from pbrl.training.settings import Settings

ROUND_STEPS = 100  # at most: ten seconds of a robot that acts ten times a second
NEVER = 2**62  # steps


class Run:
    """A run from its parts to its summary; `load_state_dict` puts it where a checkpoint left it.

    Args:
        folder: where everything is written.
        names: of env, method, agent and teacher, and what else summary.json says of the config.
        record: the config that runs, each value by its dotted key, for checkpoints.
    """

    def __init__(
        self, settings: Settings, parts: Parts, folder: RunDir, names: dict[str, Any], record: dict[str, Any]
    ) -> None:
        self.settings, self.parts, self.folder, self.names, self.record = settings, parts, folder, names, record
        self.method, self.agent = parts.method, parts.agent
        self.checkpoints = Checkpoints(folder.checkpoints, settings.checkpoint.keep)
        every = {"log": settings.log_every, "evaluation": settings.evaluation.every or NEVER}
        self.due = Due(every | {"checkpoint": settings.checkpoint.every})
        self.figures = Figures(average=parts.agent is None)
        self.evaluations: list[dict[str, Any]] = []
        self.wall_s, self.update_s = 0.0, 0.0  # in all, and in the method's steps
        self.callbacks = Callbacks()  # whoever else is told of it
        self.silent = False  # show no progress
        self.fresh_episode = False  # after a resume: do not play the unfinished episode again
        self._log: RunLog | None = None
        self._interrupted = self._warned = False
        parts.desk.stopped = lambda: self._interrupted
        if parts.shared_env and parts.agent is not None:
            parts.agent.call_between_episodes(self._evaluate_between)

    @property
    def step(self) -> int:
        return self.parts.step

    @property
    def labels(self) -> int:
        return self.parts.desk.counts.labels

    @property
    def last_evaluation(self) -> dict[str, Any]:
        """The last evaluation; empty before the first."""
        return self.evaluations[-1] if self.evaluations else {}

    @property
    def log(self) -> RunLog:
        """The log, opened at first use: a resumed run goes on with its files instead of starting them afresh."""
        if self._log is None:
            self.open_log()
        assert self._log is not None
        return self._log

    def open_log(self, state: dict[str, Any] | None = None, purge_step: int | None = None) -> None:
        own = self.parts.evaluator.columns if self.parts.evaluator is not None else ()
        updates = () if self.agent is not None else ("updates",)
        progress = PROGRESS if self.agent is not None else OFFLINE_PROGRESS
        self._log = RunLog(self.folder.path, state, purge_step, progress, (*EVALUATIONS, *updates, *own))
        if state is None:
            add_config(self._log.board, self.record)

    def interrupt(self) -> None:
        """Stop at the end of this round, with a checkpoint."""
        self._interrupted = True

    def train(self) -> bool:
        """Runs to the end; False if Ctrl-C, SIGTERM or SIGHUP ended it early (after saving)."""
        try:
            return self._train()
        except NotFinite as error:
            self._write_progress()  # the log shows the figures it ends with
            trained = self.step > 0 if self.agent is None else self.agent.updates > 0
            learned = self.method.reward_trained and self.step > 0 if error.who == REWARD_MODEL else trained
            raise explain_divergence(error, self.step, learned, self.checkpoints, self.folder.path) from error

    def _train(self) -> bool:
        self._begun = begun = time.monotonic()
        self._first_step = self.step
        self._tell()
        saving = StopOnInterrupt(self.interrupt, SAVES, self.checkpoints.describe_loss)
        with saving, Progress(self.settings.steps, self._progress, self.silent) as progress:
            started = begun - self.wall_s
            self.callbacks.on_start(self)
            if not self._prepared():
                return False
            self._say_where_nothing_teaches()
            if not self.evaluations:
                self._evaluate()
            progress.update(evaluated=True)
            if not self._over and (due := self.method.due()) is not None and self.step >= due:
                self._let_learn()  # what was left out at the end of a run that is longer now
            while not self._over and not self._interrupted:
                shown = len(self.evaluations)
                self._play_round()
                self.wall_s = time.monotonic() - started
                if not self.callbacks.on_round(self):
                    self.interrupt()
                due = self.due("evaluation", self.step) and not self.parts.shared_env
                if due or self._over:  # the end is evaluated, logged and saved, due or not
                    self.due.advance("evaluation", self.step)
                    self._evaluate()
                if logged := self.due("log", self.step) or self._over:
                    self.due.advance("log", self.step)
                    self._write_progress()
                if self.due("checkpoint", self.step) or self._interrupted or self._over:
                    self.due.advance("checkpoint", self.step)
                    self._save()
                if self.agent is not None or logged or len(self.evaluations) > shown:
                    progress.update(len(self.evaluations) > shown)
            complete = self._over
            self.finish("finished" if complete else "interrupted")
            self.callbacks.on_end(self)
        self.folder.unlock()
        return complete

    def _prepared(self) -> bool:
        """Prepare what the method needs before the first step; False: told to stop, and a resumed run begins here."""
        random = global_random_state()  # what a method draws from the global streams does not move the agent's
        if prepared := self.method.prepare():
            set_global_random_state(random)
        else:
            self.parts.desk.tell("interrupted", self.step, None)
            self.close()
            self.folder.unlock()
        return prepared

    def _play_round(self) -> None:
        """Let the agent act until something is due, and the method learn; without an agent it takes a step."""
        if self.agent is None:
            self._let_learn()
            return
        finished = self.agent.learn(self._until_next(self.agent))
        if getattr(self.agent, "stopped", False):  # by a callback of the user's, as in SB3
            self.interrupt()
        self.parts.episodes.add(finished)
        self.figures.note(finished, self.method.learned_return)
        self.method.observe(finished)
        if not self._over:  # at the very end answers would teach nobody
            self._let_learn()
        self._tell()

    def _let_learn(self) -> None:
        due = self.method.due()
        if due is not None and self.step < due:
            self.parts.updates += self.agent is None
            return
        begun = time.monotonic()
        metrics = self.method.step()
        self.update_s += time.monotonic() - begun
        self.figures.add(metrics)
        self._say_where_nothing_teaches()
        if self.agent is None:
            self.parts.updates += 1
            require_finite_metrics(metrics, REWARD_MODEL if "reward/loss" in metrics else AGENT)

    def _say_where_nothing_teaches(self) -> None:
        """Say once where there are answers and nothing can be learned from them."""
        if not self._warned and (why := self.method.why_nothing()) is not None:
            self._warned = True
            print(f"pbrl: nothing can be learned from the answers so far: {why}", file=sys.stderr)

    @property
    def _over(self) -> bool:
        return self.step >= self.settings.steps

    def _tell(self) -> None:
        state = "training" if self.parts.desk.sessions else "collecting"
        self.parts.desk.tell(state, self.step, self.method.due())

    def _progress(self) -> State:
        return State(self.step, self.last_evaluation.get("return_mean"), self.labels)

    def _until_next(self, agent: Any) -> int:
        """Return the steps until something is due, so that rounds end exactly there; few, so that a stop is soon."""
        here = self.step
        soon = here - here % ROUND_STEPS + ROUND_STEPS
        wanted = self.method.due()
        # A session that waits for its first segment stays due: look again after a round.
        coming = [*self.due.at.values(), self.settings.steps, soon, *([] if wanted is None else [wanted])]
        return min(step for step in coming if step > here) - here

    def _write_progress(self) -> None:
        own = self.agent.metrics() if self.agent is not None else {}
        found = {**self.figures.of_episodes(), **own, **self.figures.take(), **self.method.metrics()}
        metrics = {**self._times(), "time/time_elapsed": round(self.wall_s, 1), **found}
        self.log.write(self.step, metrics)
        self.callbacks.on_log(self, metrics)

    def _times(self) -> dict[str, float]:
        if self.agent is None:
            return {"time/total_updates": self.step, "time/updates_per_s": self._updates_per_s()}
        fps = (self.step - self._first_step) / (time.monotonic() - self._begun)
        return {"time/total_timesteps": self.step, "time/fps": round(fps, 1)}

    def _evaluate_between(self) -> None:
        """Evaluate in the environment of training, whose episode is over and whose next one has not begun."""
        assert self.agent is not None
        step = self.step + self.agent.n_envs  # SB3 counts the episode's last step after it
        if self.due("evaluation", step) and step < self.settings.steps:
            self.due.advance("evaluation", step)
            self._evaluate(step)

    def _evaluate(self, step: int | None = None) -> None:
        """Write a row for each context in which the method has a policy."""
        if self.parts.evaluator is None:
            return
        step, rows = self.step if step is None else step, []
        for context in self.method.contexts:
            row = {
                "env_steps": step if self.agent is not None else 0,
                "labels": self.labels,
                **self.parts.evaluate(self.method.policy(context)),
                "wall_s": round(self.wall_s, 1),
                **({} if self.agent is not None else {"updates": step}),
                **({} if context is None else {"context": str(context)}),
            }
            self.method.evaluated(context, row)
            self.log.write_evaluation(row, step)
            rows.append(row)
            self.callbacks.on_evaluation(self, row)
            if self.settings.clips:
                self._film(context, step)
        self.evaluations.append(rows[0] if len(rows) == 1 else mean_row(rows))

    def _film(self, context: Any, step: int) -> None:
        """Film what was evaluated, for TensorBoard; what is drawn moves no random number of the run."""
        random, name = global_random_state(), f"{step}" if context is None else f"{step}_{context}"
        file = self.folder.path / "videos" / f"evaluation_{name}.mp4"
        seed = self.parts.seed("evaluation")
        film(file, self.parts.make_env, self.method.policy(context), seed=seed, seconds=SECONDS)
        set_global_random_state(random)
        add_clip(self.log.board, file, step)

    def _save(self) -> None:
        """Save a checkpoint, unless a weight is not finite: the one before then stays the last."""
        state = self.state_dict()
        method, agent = state["parts"]["method"], state["parts"]["agent"]
        require_finite_weights(method.get("model"), REWARD_MODEL)
        require_finite_weights(method if agent is None else [agent["parameters"], agent["variables"]], AGENT)
        self.checkpoints.save(self.step, state, self.record)
        if self.parts.frames is not None:
            self.parts.frames.forget_unsaved(self.parts.episodes.all_states)
        give_back()  # or a run of many sessions grows by what its fits have freed

    def finish(self, status: str) -> None:
        """Writes the policy, the reward and the summary."""
        self.method.save(self.folder.path)
        facts = self.method.facts()
        self.parts.desk.tell(status, self.step, None)
        summary = self._summary(status, facts)
        self._draw_end(summary)
        self.close()
        write_json(self.folder.summary, summary)

    def _draw_end(self, summary: dict[str, Any]) -> None:
        """Show hyperparameters beside what was reached, and learned against true rewards of recent steps."""
        board = self.log.board
        add_hparams(board, self.record, {name: summary[name] for name in ("final_return", "final_success", "labels")})
        wanted = self.settings.report and self.evaluations and self.step and summary["reward_updates"]
        if wanted and (rewards := self.method.recent_rewards()) is not None:
            learned, true = rewards
            add_scatter(board, true, learned, self.step)

    def close(self) -> None:
        """Let go of the log, the environments and the label store."""
        if self._log is not None:
            self._log.close()
        self.parts.close()

    def _summary(self, status: str, facts: dict[str, Any]) -> dict[str, Any]:
        reached = {"env_steps": self.step} if self.agent is not None else {"env_steps": 0, "updates": self.step}
        speed = {"env_steps_per_s": round(self.step / self.wall_s, 1) if self.wall_s else 0.0}
        return {
            **self.names,
            "seed": self.settings.seed,
            "status": status,
            **reached,
            "labels": self.labels,
            **summarise(self.evaluations, self.settings.evaluation.window),
            "reward_accuracy": None,
            "reward_updates": 0,
            **facts,
            **({} if (why := self.method.why_nothing()) is None else {"nothing_learned": why}),
            "wall_s": round(self.wall_s, 1),
            **(speed if self.agent is not None else {"updates_per_s": self._updates_per_s()}),
            "versions": versions(self.settings.threads, self.parts.device.type),
        }

    def _updates_per_s(self) -> float:
        return round(self.step / self.update_s, 1) if self.update_s else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "parts": self.parts.state_dict(),
            **self.due.state_dict(),
            **self.figures.state_dict(),
            "evaluations": self.evaluations,
            "wall_s": self.wall_s,
            "update_s": self.update_s,
            "log": self.log.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.parts.load_state_dict(state["parts"], self.fresh_episode)
        self.due.load_state_dict(state, self.step)
        self.figures.load_state_dict(state)
        self.evaluations = state["evaluations"]
        self.wall_s, self.update_s = state["wall_s"], state["update_s"]
        self.open_log(state["log"], purge_step=self.step + 1)
