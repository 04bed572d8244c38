"""A reward with a vector for each person who answers, and a policy for each of them (after Poddar et al. 2024)."""

import numpy as np
import torch

from pbrl.losses import bradley_terry_loss
from pbrl.methods.pebble import Pebble


class LatentUser(Pebble):
    """PEBBLE's sessions; beside its reward, one of (observation, action, user), by which each user has a policy.

    Args:
        users: how many people answer.
        candidates: actions of which the policy takes the one that its user likes best.
        others: as for Pebble.
    """

    def __init__(self, *, users, candidates, **common):
        super().__init__(**common)
        self.users, self.candidates = users, candidates
        self.contexts = tuple(range(users))

    def begin(self, run):
        super().begin(run)
        rng, size = run.rng("users"), run.obs_shape[0] + run.action_size
        self.taste = torch.nn.Linear(size, self.users)  # a reward for each user
        for parameter in self.taste.parameters():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=rng)
        self.taste_optimizer = torch.optim.Adam(self.taste.parameters(), lr=0.01)
        self.seen = []

    def learn_model(self):
        data = self.preferences.all
        if data is None:
            return {"updates": 0}
        numbers = sorted(set(data.annotator.tolist()))
        self.seen = numbers
        column = torch.tensor([numbers.index(who) % self.users for who in data.annotator.tolist()])
        for _ in range(20):
            sums = [
                self.taste(torch.cat([s.obs[:, :-1], s.actions], -1)).sum(1).gather(1, column[:, None])[:, 0]
                for s in (data.left, data.right)
            ]
            loss = bradley_terry_loss(sums[0][None], sums[1][None], data.prefers_right)
            self.taste_optimizer.zero_grad()
            loss.backward()
            self.taste_optimizer.step()
        return super().learn_model() | {"taste_loss": float(loss.detach())}

    def policy(self, context=None):
        rng = np.random.default_rng(0)

        @torch.no_grad()
        def act(obs):
            actions = rng.uniform(-1, 1, (self.candidates, len(obs), self.run.action_size)).astype(np.float32)
            seen = torch.from_numpy(np.broadcast_to(obs, (self.candidates, *obs.shape)).copy())
            liked = self.taste(torch.cat([seen, torch.from_numpy(actions)], -1))[..., context].argmax(0).numpy()
            return actions[liked, np.arange(len(obs))]

        return act
