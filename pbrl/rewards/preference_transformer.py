"""The Preference Transformer: a reward of a step that has seen the steps before it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from pbrl.checks import between
from pbrl.data.episodes import Episode
from pbrl.errors import choices
from pbrl.losses import preference_accuracy
from pbrl.nets.devices import array, brought, number
from pbrl.nets.networks import Dropout, RunningNorm, linear
from pbrl.rewards.objective import PLAIN, Objective
from pbrl.types import Comparisons, Segments

HEADS = ("attention", "mean")
BLOCK = 256  # windows in one forward pass


class PreferenceTransformer(nn.Module):
    """Causal transformer over (action, observation) tokens; a segment's score is a mean over steps (Kim et al. 2023).

    head "attention" is the paper's: z_i = sum_t softmax_t(q_i . k_t / sqrt(width)) r_t, score mean_i z_i. head "mean"
    is what the released code runs by default: r_t from an MLP, score mean_t r_t. `members` is 1.

    Args:
        obs_size, action_size: O and A.
        head: see above.
        width, attention_heads, blocks, dropout: of the transformer.
        max_steps: longest segment, in steps.
        lr: of AdamW.
        rng: weights and dropout.
    """

    members = 1
    on_host = ("window",)  # read for each episode
    sums_rewards = False  # a score is a mean over steps

    def __init__(
        self,
        *,
        obs_size: int,
        action_size: int,
        head: str,
        width: int,
        attention_heads: int,
        blocks: int,
        dropout: float,
        max_steps: int,
        lr: float,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        between(0, 1, lr=lr)
        if head not in HEADS:
            raise ValueError(f"head={head!r}: {choices(head, HEADS)}")
        if width % attention_heads:
            raise ValueError(f"width={width} is no multiple of attention_heads={attention_heads}")
        self.head, self.width, self.max_steps = head, width, max_steps
        self.obs_size = obs_size
        self.norm = RunningNorm(obs_size)
        self.embed_obs, self.embed_action = linear(obs_size, width, rng), linear(action_size, width, rng)
        self.embed_step = nn.Parameter(torch.randn(max_steps, width, generator=rng) * 0.02)
        self.input_norm, self.output_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_Block(width, attention_heads, dropout, rng) for _ in range(blocks))
        self.dropout = Dropout(dropout, rng)
        if head == "attention":
            self.query_key_reward = linear(width, 2 * width + 1, rng)
        else:
            self.mlp = nn.Sequential(linear(width, 128, rng), nn.ReLU(), linear(128, 1, rng))
        self.register_buffer("window", torch.zeros((), dtype=torch.long))  # longest segment trained on, in steps
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=lr, fused=True)

    window: Tensor

    def observe(self, obs: np.ndarray) -> None:
        """Adds observations (M, O) to the input statistics."""
        self.norm.observe(torch.from_numpy(obs))

    def forward(self, obs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Return what is averaged over real steps to a score (N, T), of (N, T, O), (N, T, A), (N, T)."""
        n, t = mask.shape
        if t > self.max_steps:
            raise ValueError(f"segments have {t} steps, method.model.max_steps is {self.max_steps}")
        h_obs = self.embed_obs(self.norm(obs.flatten(0, 1)).view_as(obs)) + self.embed_step[:t]
        h_action = self.embed_action(actions) + self.embed_step[:t]
        h = torch.stack([h_action, h_obs], 2).view(n, 2 * t, self.width)  # a_1 s_1 a_2 s_2 ...
        h = self.dropout(self.input_norm(h))
        blocked = _blocked(mask.repeat_interleave(2, 1))
        for block in self.blocks:
            h = block(h, blocked)
        x = self.output_norm(h)[:, 1::2]
        if self.head == "mean":
            return self.mlp(x)[..., 0]
        query, key, reward = self.query_key_reward(x).split([self.width, self.width, 1], -1)
        weight = query / math.sqrt(self.width) @ key.mT
        weight = weight.masked_fill(mask[:, None, :] == 0, -math.inf).softmax(-1)
        return (weight @ reward)[..., 0]

    def score(self, segments: Segments) -> Tensor:  # (1, N)
        there = segments.to(self.embed_step.device)
        z = self(there.obs[:, :-1], there.actions, there.mask)
        return brought(((z * there.mask).sum(1) / there.mask.sum(1))[None], segments.obs.device)

    own_score = score  # there is one member

    def update(self, comparisons: Comparisons, objective: Objective = PLAIN) -> dict[str, float]:
        comparisons = comparisons.to(self.embed_step.device)
        self.window.clamp_(min=comparisons.left.steps)
        left, right = self.score(Segments.cat([comparisons.left, comparisons.right])).chunk(2, dim=1)
        loss = objective(left, right, comparisons.prefers_right[None])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        accuracy = preference_accuracy(left.detach()[0], right.detach()[0], comparisons.prefers_right)
        return {"loss": number(loss), "accuracy": number(accuracy)}

    @torch.no_grad()
    def episode_reward(self, episode: Episode) -> np.ndarray:
        """Return each step's value (L,) as the last real step of the window of training length that ends with it.

        The windows of an episode's first steps begin with the episode, so that its step k has the k-th position, as
        in training and in the released code, and are padded behind.
        """
        window, length = int(self.window), len(episode)
        ends = np.arange(length)
        rows = np.maximum(ends - window + 1, 0)[:, None] + np.arange(window)
        mask = torch.from_numpy((rows <= ends[:, None]).astype(np.float32))
        last = torch.from_numpy(np.minimum(ends, window - 1))
        rows = np.minimum(rows, length - 1)  # past the end of a short episode: any step, since it is masked
        parts = []
        for i in range(0, length, BLOCK):
            block = slice(i, i + BLOCK)
            inputs = (torch.from_numpy(episode.obs[rows[block]]), torch.from_numpy(episode.actions[rows[block]]))
            values = self(*(x.to(self.embed_step.device) for x in (*inputs, mask[block])))
            parts.append(values.gather(1, last[block, None].to(values.device))[:, 0])
        return array(torch.cat(parts))


class _Block(nn.Module):
    """GPT-2's: attention and an MLP, each after a LayerNorm and added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float, rng: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = linear(width, 3 * width, rng), linear(width, width, rng)
        self.up, self.down = linear(width, 4 * width, rng), linear(4 * width, width, rng)
        self.dropout = Dropout(dropout, rng)

    def forward(self, h: Tensor, blocked: Tensor) -> Tensor:
        n, t, width = h.shape
        parts = self.query_key_value(self.norm_1(h)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # (N, heads, T, width / heads)
        weight = (query / math.sqrt(query.shape[-1]) @ key.mT).masked_fill(blocked[:, None], -math.inf).softmax(-1)
        attended = (self.dropout(weight) @ value).transpose(1, 2).reshape(n, t, width)
        h = h + self.dropout(self.out(attended))
        return h + self.dropout(self.down(nn.functional.gelu(self.up(self.norm_2(h)))))


def _blocked(mask: Tensor) -> Tensor:
    """Return the mask (N, T, T) of real steps (N, T): a token reads itself and real tokens before it."""
    t = mask.shape[1]
    later = torch.ones(t, t, dtype=torch.bool, device=mask.device).triu(1)
    itself = torch.eye(t, dtype=torch.bool, device=mask.device)
    return (later | (mask[:, None, :] == 0)) & ~itself
