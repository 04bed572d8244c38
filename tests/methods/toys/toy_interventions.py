"""Somebody takes over where the agent goes too far, and the agent learns to need no help (as in Luo et al. 2024)."""

from pbrl.methods.method import Method


class Interventions(Method):
    """Reward -1 on each step that was taken over, 0 elsewhere.

    Args:
        limit: of the first observation; beyond it the expert acts, who goes back.
    """

    agents = ("sac",)
    reads_labels = False
    tags = 1  # whether the expert acted
    when = "stored"

    def __init__(self, *, limit):
        self.limit = limit

    def begin(self, run):
        super().begin(run)
        self.taken_over = 0

    def behave(self, obs, actions):
        helped = abs(obs[:, :1]) > self.limit
        self.taken_over += int(helped.sum())
        expert = 0 * actions
        expert[:, 0] = -1.0 * (obs[:, 0] > 0) + 1.0 * (obs[:, 0] <= 0)
        return actions * ~helped + expert * helped, helped.astype("float32")

    def reward(self):
        return self

    def of_steps(self, steps):
        return -steps.tags[:, 0]

    def of_episode(self, episode):
        return -episode.tags[:, 0]

    def metrics(self):
        return {"feedback/taken_over": self.taken_over}
