"""The reward also learns from what it makes of the critic: through a virtual step of it (after Liu et al. 2022)."""

from pbrl.losses import bradley_terry_loss
from pbrl.methods.pebble import Pebble


class CriticGradient(Pebble):
    """PEBBLE whose fit ends with steps of the reward down the loss of Q after a step on that reward.

    Args:
        outer_steps: of the reward in each session.
        outer_lr: of the critic's virtual step.
        others: as for Pebble.
    """

    def __init__(self, *, outer_steps, outer_lr, **common):
        super().__init__(**common)
        self.outer_steps, self.outer_lr = outer_steps, outer_lr

    def begin(self, run):
        super().begin(run)
        if not hasattr(run.agent.model, "critic_after"):
            raise ValueError("outer_steps: gradients go through the agent's update; choose agent=sac_torch")

    def learn_model(self):
        fitted, sac, data = super().learn_model(), self.run.agent.model, self.preferences.all
        norm = 0.0
        for _ in range(self.outer_steps):
            batch = sac.sample_batch(32)
            rewards = self.model(batch.obs, batch.actions).mean(0)[:, None]
            critic = sac.critic_after(batch._replace(rewards=rewards), self.outer_lr)
            sums = [
                sac.q_values(s.obs[:, :-1].flatten(0, 1), s.actions.flatten(0, 1), critic).amin(0)
                for s in (data.left, data.right)
            ]
            sums = [values.view(len(data), -1).sum(1) for values in sums]
            loss = bradley_terry_loss(sums[0][None], sums[1][None], data.prefers_right)
            self.model.optimizer.zero_grad()
            loss.backward(inputs=list(self.model.parameters()))
            norm = max(p.grad.abs().max().item() for p in self.model.parameters())
            self.model.optimizer.step()
        return fitted | {"outer_gradient": norm}
