"""The online loop: act, ask, learn the reward, learn the policy. Reads top to bottom; it alone logs."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from pbrl.agents.sb3 import SACAgent
from pbrl.data.episodes import Episode
from pbrl.feedback.loop import FeedbackLoop
from pbrl.files import replacing
from pbrl.finite import AGENT, REWARD_MODEL, NotFinite, require_finite_weights
from pbrl.training.build import OnlineParts, build_online
from pbrl.training.check import check, questions_in_time
from pbrl.training.checkpoint import Checkpoints, restore_last
from pbrl.training.divergence import explain_divergence
from pbrl.training.init import begin_with_another, check_init
from pbrl.training.interrupt import SAVES, StopOnInterrupt
from pbrl.training.log import EVALUATIONS, PROGRESS, RunLog
from pbrl.training.progress import Progress, State
from pbrl.training.resume import config_record, go_on, prove_resumable
from pbrl.training.run_dir import RunDir, write_json

ROLLOUT_WINDOW = 100  # episodes averaged in rollout/*, as in SB3
NEVER = 2**62  # steps
ROUND_STEPS = 100  # at most: ten seconds of a robot that acts ten times a second


class OnlineRun:
    """One run from its config to its summary; `load_state_dict` puts it where a checkpoint left it."""

    def __init__(self, config: Any, run: RunDir) -> None:
        self.config, self.run = config, run
        self.parts: OnlineParts = build_online(config, run)
        evaluator = self.parts.evaluator
        self.columns = (*EVALUATIONS, *(evaluator.columns if evaluator is not None else ()))  # of evaluations.csv
        self.evaluation_every = config.evaluation.every or NEVER
        if self.parts.shared:
            self.parts.agent.recorders[0].between_episodes = self._evaluate_between
        self.checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
        self.due = {
            "log": config.log_every,
            "evaluation": self.evaluation_every,
            "feedback": config.feedback.first,
            "checkpoint": config.checkpoint.every,
        }
        self.recent: deque[dict[str, float]] = deque(maxlen=ROLLOUT_WINDOW)
        self.wall_s = 0.0
        self.latest: dict[str, float] = {}  # of the last feedback session
        self.last_evaluation: dict[str, Any] = {}
        self.fresh_episode = False  # after a resume: do not play the unfinished episode again
        self._log: RunLog | None = None
        self._interrupted = False

    def train(self) -> bool:
        """Runs to the end; False if Ctrl-C, SIGTERM or SIGHUP ended it early (after saving)."""
        try:
            return self._train()
        except NotFinite as error:
            self._write_progress()  # the log shows the figures it ends with
            feedback = self.parts.feedback
            fitted = feedback.fitted or feedback.has_reward if feedback is not None else self.step > 0
            learned = fitted if error.who == REWARD_MODEL else self.parts.agent.updates > 0
            raise explain_divergence(error, self.step, learned, self.checkpoints, self.run.path) from error

    def _train(self) -> bool:
        agent, episodes, feedback = self.parts.agent, self.parts.episodes, self.parts.feedback
        self._begun = begun = time.monotonic()
        self._first_step = agent.env_steps
        if feedback is not None:
            feedback.stopped = lambda: self._interrupted
            feedback.tell(self._state(feedback), agent.env_steps, self.due["feedback"])
        started = begun - self.wall_s
        saving = StopOnInterrupt(self.interrupt, SAVES, self.checkpoints.describe_loss)
        with saving, Progress(self.config.steps, self._progress) as progress:
            if not self.last_evaluation:
                self._evaluate()
            progress.update(evaluated=True)
            shown = self.last_evaluation
            if agent.env_steps < self.config.steps:
                self._ask_if_due()  # what was left out at the end of a run that is longer now
            while agent.env_steps < self.config.steps and not self._interrupted:
                finished = agent.learn(self._until_next())
                episodes.add(finished)
                self._note(finished)
                self.wall_s = time.monotonic() - started
                over = agent.env_steps >= self.config.steps  # the end is evaluated, logged and saved, due or not
                if feedback is not None:
                    feedback.observe(finished)
                    if not over:  # at the very end its answers would teach nobody
                        self._ask_if_due()
                    feedback.tell(self._state(feedback), agent.env_steps, self.due["feedback"])
                if (self._is_due("evaluation") and not self.parts.shared) or over:
                    self._advance("evaluation", self.evaluation_every)
                    self._evaluate()
                if self._is_due("log") or over:
                    self._advance("log", self.config.log_every)
                    self._write_progress()
                if self._is_due("checkpoint") or self._interrupted or over:
                    self._advance("checkpoint", self.config.checkpoint.every)
                    self._save()
                progress.update(self.last_evaluation is not shown)
                shown = self.last_evaluation
            complete = agent.env_steps >= self.config.steps
            self.finish("finished" if complete else "interrupted")
        self.run.unlock()
        return complete

    @property
    def step(self) -> int:
        return self.parts.agent.env_steps

    @property
    def log(self) -> RunLog:
        """Opened at first use: a resumed run goes on with its files instead of starting them afresh."""
        if self._log is None:
            self.open_log()
        assert self._log is not None
        return self._log

    def open_log(self, state: dict[str, Any] | None = None, purge_step: int | None = None) -> None:
        self._log = RunLog(self.run.path, state, purge_step, PROGRESS, self.columns)

    @property
    def labels(self) -> int:
        if self.parts.video is not None:
            return int(self.parts.video.facts["labels"])
        return self.parts.feedback.counts.labels if self.parts.feedback is not None else 0

    def interrupt(self) -> None:
        """Stop at the end of this round, with a checkpoint."""
        self._interrupted = True

    def _ask_if_due(self) -> None:
        feedback = self.parts.feedback
        if feedback is not None and self._is_due("feedback") and feedback.can_ask(self.parts.episodes):
            self._feedback(feedback)

    def _feedback(self, feedback: FeedbackLoop) -> None:
        had_reward = feedback.has_reward
        learned = feedback.session(self.parts.episodes, self.parts.agent.env_steps)
        if not feedback.waiting:  # if it does, Ctrl-C ended the waiting: it goes on after a resume
            self._advance("feedback", feedback.every)
        if learned:
            self.latest = learned
            if feedback.has_reward:
                self.adopt_reward(feedback, first=not had_reward)

    def _state(self, feedback: FeedbackLoop) -> str:
        return "training" if feedback.sessions else "collecting"

    def adopt_reward(self, feedback: FeedbackLoop, first: bool) -> None:
        """The agent's past and future get the new reward; the critic that valued exploring is replaced once."""
        agent, method = self.parts.agent, self.config.method
        agent.set_reward(feedback.reward)
        if first and isinstance(agent, SACAgent):  # build_online refuses others that ask for this
            if method.reset_critic:
                agent.reset_critic()
            if method.critic_updates:
                agent.update(method.critic_updates)

    def _progress(self) -> State:
        return State(self.step, self.last_evaluation.get("return_mean"), self.labels)

    def _until_next(self) -> int:
        """Environment steps until something is due, so that rounds end exactly there; few, so that a stop is soon."""
        here = self.parts.agent.env_steps
        soon = here - here % ROUND_STEPS + ROUND_STEPS
        # A session that waits for its first segment stays due: look again after a round.
        waiting = [step for step in (*self.due.values(), self.config.steps, soon) if step > here]
        return min(waiting) - here

    def _is_due(self, event: str, step: int | None = None) -> bool:
        return (self.step if step is None else step) >= self.due[event]

    def _advance(self, event: str, every: int, step: int | None = None) -> None:
        """To the next multiple of `every` after the event's first time; rounds of PPO may jump over several."""
        here = self.parts.agent.env_steps if step is None else step
        if self.due[event] <= here:
            self.due[event] += every * ((here - self.due[event]) // every + 1)

    def _note(self, finished: list[Episode]) -> None:
        feedback = self.parts.feedback
        learned = feedback if feedback is not None and feedback.has_reward else None
        for e in finished:
            row = {"ep_rew_mean": float(e.true_reward.sum()), "ep_len_mean": float(len(e))}
            if e.success is not None:
                row["success_rate"] = e.success
            if learned is not None:
                row["ep_learned_rew_mean"] = float(learned.step_reward(e.obs[:-1], e.actions).sum())
            elif self.parts.video is not None:
                row["ep_learned_rew_mean"] = self.parts.video.reward.take_sum(e)
            self.recent.append(row)

    def _save(self) -> None:
        """A checkpoint, unless a weight is not finite: the one before then stays the last."""
        state = self.state_dict()
        if state["feedback"] is not None:
            require_finite_weights(state["feedback"]["model"], REWARD_MODEL)
        require_finite_weights([state["agent"]["parameters"], state["agent"]["variables"]], AGENT)
        self.checkpoints.save(self.step, state, config_record(self.config))

    def _write_progress(self) -> None:
        agent = self.parts.agent
        fps = (agent.env_steps - self._first_step) / (time.monotonic() - self._begun)
        metrics: dict[str, float] = {
            "time/total_timesteps": agent.env_steps,
            "time/fps": round(fps, 1),
            "time/time_elapsed": round(self.wall_s, 1),
        }
        for name in ("ep_rew_mean", "ep_len_mean", "success_rate", "ep_learned_rew_mean"):
            if values := [row[name] for row in self.recent if name in row]:
                metrics[f"rollout/{name}"] = float(np.mean(values))
        metrics |= agent.metrics() | self.latest
        if self.parts.feedback is not None:
            metrics |= self.parts.feedback.metrics()
        self.latest = {}
        self.log.write(agent.env_steps, metrics)

    def _evaluate_between(self) -> None:
        """Evaluates in the environment of training, whose episode is over and whose next one has not begun."""
        step = self.step + len(self.parts.agent.recorders)  # SB3 counts the episode's last step after it
        if self._is_due("evaluation", step) and step < self.config.steps:
            self._advance("evaluation", self.evaluation_every, step)
            self._evaluate(step)

    def _evaluate(self, step: int | None = None) -> None:
        agent, evaluator = self.parts.agent, self.parts.evaluator
        if evaluator is None:
            return
        step = self.step if step is None else step
        evaluation = evaluator(lambda obs: agent.act(obs, deterministic=True))
        self.last_evaluation = {
            "env_steps": step,
            "labels": self.labels,
            **evaluation.row(),
            "wall_s": round(self.wall_s, 1),
        }
        self.log.write_evaluation(self.last_evaluation, step)

    def finish(self, status: str) -> None:
        """Writes the policy, the reward and the summary."""
        from safetensors.torch import save_file

        from pbrl.training.run_dir import versions

        feedback, agent = self.parts.feedback, self.parts.agent
        with replacing(self.run.policy) as partial:
            agent.save(str(partial))
        quality: dict[str, float | None] = {}
        if self.parts.video is not None:
            quality = {"true_accuracy": self.parts.video.facts["pair_accuracy"]}
        if feedback is not None:
            weights = {k: v.contiguous() for k, v in feedback.model.state_dict().items()}
            facts = {"scale": str(feedback.scale), "updates": str(feedback.updates)}
            with replacing(self.run.reward) as partial:
                save_file(weights, str(partial), metadata=facts)
            if feedback.has_reward:
                quality |= feedback.quality(self.parts.episodes)
            feedback.tell(status, agent.env_steps, None)
            feedback.labels.close()
        self.log.close()
        self.parts.close()
        accuracy = quality.get("true_accuracy")
        config = self.config
        write_json(
            self.run.summary,
            {
                "env": config.env.name,
                "method": config.method.name,
                "agent": config.agent._target_.rsplit(".", 1)[-1],
                "teacher": config.teacher.name,
                "seed": config.seed,
                "status": status,
                "env_steps": agent.env_steps,
                "labels": self.labels,
                "final_return": self.last_evaluation.get("return_mean"),
                "final_success": self.last_evaluation.get("success_rate"),
                "final_success_at_end": self.last_evaluation.get("success_at_end"),
                "reward_accuracy": None if accuracy is None or math.isnan(accuracy) else accuracy,
                "reward_updates": feedback.updates if feedback is not None else 0,
                "wall_s": round(self.wall_s, 1),
                "env_steps_per_s": round(agent.env_steps / self.wall_s, 1) if self.wall_s else 0.0,
                "versions": versions(config.threads),
            },
        )

    def state_dict(self) -> dict[str, Any]:
        parts = self.parts
        return {
            "agent": parts.agent.state_dict(),
            "episodes": parts.episodes.state_dict(),
            "feedback": parts.feedback.state_dict() if parts.feedback is not None else None,
            "explore": parts.explore.state_dict() if parts.explore is not None else None,
            "due": self.due,
            "recent": list(self.recent),
            "latest": self.latest,
            "last_evaluation": self.last_evaluation,
            "wall_s": self.wall_s,
            "log": self.log.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        parts = self.parts
        parts.agent.load_state_dict(state["agent"], self.fresh_episode)
        parts.episodes.load_state_dict(state["episodes"])
        if parts.explore is not None:
            parts.explore.load_state_dict(state["explore"])
        if parts.feedback is not None:
            parts.feedback.load_state_dict(state["feedback"])
            if parts.feedback.has_reward:
                parts.agent.resume_reward(parts.feedback.reward)
        self.due, self.recent = state["due"], deque(state["recent"], maxlen=ROLLOUT_WINDOW)
        self.latest, self.last_evaluation = state["latest"], state["last_evaluation"]
        self.wall_s = state["wall_s"]
        self.open_log(state["log"], purge_step=parts.agent.env_steps + 1)


def start(config: DictConfig, command: list[str]) -> OnlineRun:
    """A run in a folder of its own; a config that cannot be built leaves no folder behind."""
    check(config)
    check_init(config)
    folder = RunDir.create(config, command)
    folder.lock()
    with folder.being_built():
        run = OnlineRun(config, folder)
        begin_with_another(run)
    scripted = config.teacher.name != "human"  # people are asked as they answer
    if run.parts.feedback is not None and scripted and (asked := questions_in_time(config)) < config.feedback.budget:
        note = f"{config.steps} steps have time for {asked} of {config.feedback.budget} questions"
        print(f"pbrl: {note}", file=sys.stderr)
    return run


def resume(path: Path, config: DictConfig, fresh_episode: bool = False) -> OnlineRun:
    """The run in this folder, where its last checkpoint left it; from the start if it has none yet.

    fresh_episode: for environments that do not repeat themselves, see `SB3Agent.load_state_dict`.
    """
    folder = RunDir(path)
    folder.lock()
    prove_resumable(folder, config)
    run = OnlineRun(config, folder)
    run.fresh_episode = fresh_episode
    if run.checkpoints.last() is None:
        begin_with_another(run)
    restore_last(run, path)
    go_on(folder, config)
    return run
