"""A reward whose inner layers also predict how the environment goes on (Metcalf et al. 2022, REED)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pbrl.checks import whole
from pbrl.nets.networks import StackedMLP, adam
from pbrl.rewards.partial_return import PartialReturn


class EncodedMLP(nn.Module):
    """E rewards of a shared encoder: one layer for observations, one for actions, and hidden layers on both.

    On observation and action side by side, as a `StackedMLP`: (M, O+A) or (E, M, O+A) -> (E, M, 1).
    """

    def __init__(
        self,
        members: int,
        sizes: tuple[int, int],
        embedding: tuple[int, int],
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator,
    ) -> None:
        """sizes, embedding: of observations and actions, and of what they are embedded in."""
        super().__init__()
        self.members, self.sizes = members, sizes
        trunk = [sum(embedding), *hidden]
        self.obs, self.action = (
            StackedMLP(members, pair, activation, rng) for pair in zip(sizes, embedding, strict=True)
        )
        self.trunk = StackedMLP(members, trunk, activation, rng)
        self.head = StackedMLP(members, [trunk[-1], 1], activation, rng)
        self.activation = self.head.activation

    @property
    def encoder(self) -> list[nn.Parameter]:
        """The parameters that predict the next observation too: all but the head."""
        return [p for part in (self.obs, self.action, self.trunk) for p in part.parameters()]

    def embed(self, obs: Tensor) -> Tensor:
        """Embed observations: (M, O) or (E, M, O) -> (E, M, S)."""
        return self.activation(self.obs(obs))

    def features(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return features (E, M, H) of observations and actions together."""
        both = torch.cat([self.embed(obs), self.activation(self.action(actions))], -1)
        return self.activation(self.trunk(both))

    def forward(self, x: Tensor) -> Tensor:
        obs, actions = x.split(self.sizes, dim=-1)
        return self.head(self.features(obs, actions))

    def reset(self, rng: torch.Generator) -> None:
        """Draw new weights, as the first were drawn."""
        for part in (self.obs, self.action, self.trunk, self.head):
            part.reset(rng)


class SelfPredictiveReward(PartialReturn):
    """`PartialReturn` with an encoder of its own for observations and one for actions.

    Args:
        obs_embedding, action_embedding: numbers in which an observation and an action are embedded.
        others: as for `PartialReturn`.
    """

    net: Any  # an EncodedMLP

    def __init__(self, *, obs_embedding: int, action_embedding: int, **common: Any) -> None:
        super().__init__(**common)
        whole(1, obs_embedding=obs_embedding, action_embedding=action_embedding)
        sizes, embedding = (self.obs_size, self.action_size), (obs_embedding, action_embedding)
        layers, rng = common["hidden"], common["rng"]
        self.net = EncodedMLP(common["members"], sizes, embedding, layers, common["activation"], rng)
        self.optimizer = adam(self.net.parameters(), common["lr"])
        self.obs_embedding, self.features_size = obs_embedding, [sum(embedding), *layers][-1]

    def normalised(self, obs: Tensor) -> Tensor:
        """Normalise observations as the network reads them."""
        return obs if self.norm is None else self.norm(obs)


class NextPredictor(nn.Module):
    """A network from features of a step to the embedding of the next observation, compared in a projected space.

        distillation (SimSiam)    - cos(head(project(predict(z))), stop-gradient(project(embed(s'))))
        contrastive (SimCLR)      cross-entropy of finding project(embed(s')) among all others of the batch

    Args:
        model: whose encoder learns.
        projection: numbers in which they are compared.
        temperature: of the contrastive objective; None: distillation.
        rng: initial weights.
    """

    def __init__(
        self, model: SelfPredictiveReward, *, projection: int, temperature: float | None, rng: torch.Generator
    ) -> None:
        super().__init__()
        e, narrow = model.members, projection // 8 if projection > 16 else projection
        self.temperature = temperature
        self.predict = StackedMLP(e, [model.features_size, model.obs_embedding], "relu", rng)
        self.project = StackedMLP(e, [model.obs_embedding, projection], "relu", rng)
        self.narrow = StackedMLP(e, [projection, narrow], "relu", rng)
        self.scale = nn.Parameter(torch.ones(e, 1, narrow))
        self.shift = nn.Parameter(torch.zeros(e, 1, narrow))
        self.widen = StackedMLP(e, [narrow, projection], "relu", rng)

    def loss(self, model: SelfPredictiveReward, obs: Tensor, actions: Tensor, next_obs: Tensor) -> Tensor:
        """Return the loss, summed over members. obs, next_obs: (E, M, O), actions: (E, M, A), M steps of each."""
        predicted = self.project(self.predict(model.net.features(model.normalised(obs), actions)))  # (E, M, P)
        with torch.no_grad():
            target = self.project(model.net.embed(model.normalised(next_obs)))
        if self.temperature is not None:
            return contrastive_loss(predicted, target, self.temperature)
        return distillation_loss(self._head(predicted), target)

    def _head(self, x: Tensor) -> Tensor:
        """Apply two layers with batch normalisation between, without which SimSiam's targets collapse."""
        narrow = self.narrow(x)
        var, mean = torch.var_mean(narrow, dim=1, keepdim=True, unbiased=False)
        normalised = (narrow - mean) * (var + 1e-5).rsqrt()
        return self.widen(torch.relu(normalised * self.scale + self.shift))


def distillation_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return mean -cos(predicted, target), summed over members; SimSiam (Chen and He 2021), eq. 1. Both (E, M, P)."""
    return -F.cosine_similarity(predicted, target, dim=-1).mean(1).sum()


def contrastive_loss(predicted: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent of the 2 M vectors of each member, summed over members; SimCLR (Chen et al. 2020), eq. 1.

    The other of a pair is to be found among all 2 M - 1 others by cos / temperature. predicted, target: (E, M, P).
    """
    m = predicted.shape[1]
    views = F.normalize(torch.cat([predicted, target], 1), dim=-1)  # (E, 2M, P)
    similar = views @ views.transpose(1, 2) / temperature
    similar = similar.masked_fill(torch.eye(2 * m, dtype=torch.bool), -torch.inf)  # nobody is found by itself
    other = (torch.arange(2 * m) + m) % (2 * m)
    return F.cross_entropy(similar.transpose(1, 2), other.expand(len(similar), -1), reduction="none").mean(1).sum()
