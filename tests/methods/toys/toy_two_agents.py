"""Two agents in one run: one is drawn to where the first observation is large, the other to where it is small."""

from functools import partial

from pbrl.agents.reward_source import StoredReward
from pbrl.methods.method import Method


class TwoAgents(Method):
    agents = ("sac",)
    reads_labels = False
    contexts = ("up", "down")

    def begin(self, run):
        super().begin(run)
        self.other = run.make_agent()
        self.other.set_reward(StoredReward(lambda obs, actions: -obs[:, 0]))
        self._up = StoredReward(lambda obs, actions: obs[:, 0])

    def reward(self):
        return self._up

    def step(self):
        """The other one acts as many steps as the first."""
        if (behind := self.run.step - self.other.env_steps) > 0:
            self.other.learn(behind)
        return {"other/steps": self.other.env_steps}

    def policy(self, context=None):
        agent = self.other if context == "down" else self.run.agent
        return partial(agent.act, deterministic=True)

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.other.resume_reward(StoredReward(lambda obs, actions: -obs[:, 0]))
