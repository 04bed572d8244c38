"""A reward that is linear in observation and action, learned from comparisons."""

import numpy as np
import torch

from pbrl.checks import positive, whole
from pbrl.losses import bradley_terry_loss, preference_accuracy
from pbrl.methods.method import Learned, Method
from pbrl.question_kinds import SegmentPair


class LinearReward(Method):
    """Rewards w . (s, a); the sum over a segment explains the answers. `lr` of Adam, `updates` in each session."""

    agents, asks, when = ("sac", "ppo"), (SegmentPair,), "stored"

    def __init__(self, *, lr, updates):
        positive(lr=lr)
        whole(1, updates=updates)
        self.lr, self.updates = lr, updates

    def begin(self, run):
        super().begin(run)
        self.model = torch.nn.Linear(run.obs_shape[0] + run.action_size, 1, bias=False)
        torch.nn.init.zeros_(self.model.weight)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.lr)
        self.next_session, self.learned = run.feedback.first, 0

    def observe(self, finished):
        self.run.desk.observe(finished)

    def due(self):
        return self.next_session

    def step(self):
        f, desk, episodes = self.run.feedback, self.run.desk, self.run.episodes
        desk.look(self.run.step)
        enough = episodes.count_starts(f.segment_length, f.pool_episodes).sum() > 1  # two segments to compare
        if enough and (n := desk.room(f.session_size(self.run.step))):
            pairs = episodes.sample_pairs(n, f.segment_length, self.run.rng("queries"), f.pool_episodes)
            desk.ask(episodes.as_question(*pairs), step=self.run.step, sampler="uniform")
        desk.wait()
        if not desk.waiting:  # if it does, Ctrl-C ended the waiting: the session goes on after a resume
            self.next_session = desk.next_look(self.next_session, f.every, self.run.step)
        return self.learn() if desk.ready else {}

    def learn(self):
        answers = self.run.desk.answers()
        left, right = self.run.desk.questions(answers.questions.tolist()).items
        target = torch.from_numpy(answers.prefers_right)
        for _ in range(self.updates):
            scores = self.score(left), self.score(right)
            loss = bradley_terry_loss(scores[0][None], scores[1][None], target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.learned += self.updates
        self.run.desk.note_learned(self.score)
        self.run.agent.set_reward(self)
        return {"reward/loss": loss.item(), "reward/accuracy": float(preference_accuracy(*scores, target))}

    def score(self, segments):
        rewards = self.model(torch.cat([segments.obs[:, :-1], segments.actions], -1))[..., 0]
        return (rewards * segments.mask).sum(1)

    @torch.no_grad()
    def of_steps(self, steps):
        return self.model(torch.cat([steps.obs, steps.actions], -1))[:, 0]

    def reward(self):
        return self if self.learned else None

    def facts(self):
        return {"reward_updates": self.learned}  # 0: there is no reward to load

    def of_weights(self, weights, obs_shape, action_size):
        """What `pbrl.load_reward` gives, made of the weights of `self.model`."""
        w = weights["model.weight"][0].numpy()
        return Learned(reward=lambda obs, actions: np.concatenate([obs, actions], -1) @ w)
