"""SAC of S seeds as one: their networks stacked, their updates made together, each seed's numbers its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pbrl.agents.captured import Updates
from pbrl.agents.sac_update import Batch, SACNets
from pbrl.nets.fast_mlp import Stack

AdamNumbers = dict[str, float]
"""lr, beta1, beta2, eps and weight_decay."""


@dataclass(frozen=True)
class Problem:
    """The numbers that seeds must have in common to be one stack."""

    actor: tuple[tuple[int, int], ...]  # sizes of the layers
    critic: tuple[tuple[int, int], ...]
    batch_size: int
    gamma: float
    tau: float
    target_entropy: float
    learns_alpha: bool
    adam: tuple[AdamNumbers, AdamNumbers, AdamNumbers]  # of actor, critics and temperature

    def __str__(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def of(text: str) -> Problem:
        """Read what `str` made."""
        given = json.loads(text)
        sizes = {name: tuple(map(tuple, given[name])) for name in ("actor", "critic")}
        return Problem(**given | sizes | {"adam": tuple(given["adam"])})

    @property
    def obs(self) -> int:
        return self.actor[0][0]

    @property
    def actions(self) -> int:
        return self.critic[0][0] - self.obs

    def state_sizes(self) -> dict[str, int]:
        """Numbers of each vector in the state of a seed; weights and moments are laid out as in `Stack`."""
        actor, critic = (copies * _numel(sizes) for copies, sizes in ((1, self.actor), (2, self.critic)))
        moments = {"actor_avg": actor, "actor_square": actor, "critic_avg": critic, "critic_square": critic}
        return {"actor": actor, "critic": critic, "target": critic, **moments, "alpha": 3, "steps": 3}

    def batch_sizes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what an update of a seed reads."""
        b, o, a = self.batch_size, self.obs, self.actions
        return {
            "obs": (b, o),
            "actions": (b, a),
            "next_obs": (b, o),
            "dones": (b, 1),
            "rewards": (b, 1),
            "noise": (2 * b, a),
        }


class SeedStack:
    """The networks of S seeds and what steps them.

    The state of a seed are vectors as `Problem.state_sizes` says: weights and moments, `alpha` = log alpha and its two
    moments, and `steps` of the three optimizers.
    """

    def __init__(self, problem: Problem, seeds: int, device: torch.device | str = "cpu") -> None:
        self.problem, self.seeds, self.device = problem, seeds, torch.device(device)
        actor = Stack(seeds, problem.actor, torch.float32, device)
        critic = Stack(2 * seeds, problem.critic, torch.float32, device)
        target = Stack(2 * seeds, problem.critic, torch.float32, device, critic.scratch)
        self._adams = SeedAdam(actor, seeds, problem.adam[0]), SeedAdam(critic, seeds, problem.adam[1])
        self._temperature = SeedTemperature(problem, seeds, self.device)
        how = (problem.gamma, problem.tau)
        self.nets = SACNets(seeds, actor, critic, target, self._adams[0], self._adams[1], self._temperature, *how)
        self._updates = Updates(self.nets)

    @torch.no_grad()
    def update(self, batch: Batch, noise: Tensor) -> Tensor:
        """Make K updates of every seed; batch each (K, S, B, ·), noise (K, S, 2B, A). Returns sums (S, 4) over them."""
        parts = [part.to(self.device) for part in (*batch, noise)]
        return self._updates(Batch(*parts[:-1]), parts[-1], (True,) * len(noise))

    @torch.no_grad()
    def put(self, seed: int, state: dict[str, Tensor]) -> None:
        for name, places in self._places(seed).items():
            given = state[name].to(self.device)
            for place, part in zip(places, given.split([p.numel() for p in places]), strict=True):
                place.copy_(part.view_as(place))

    @torch.no_grad()
    def get(self, seed: int) -> dict[str, Tensor]:
        """Return copies of a seed's state, on the CPU."""
        places = self._places(seed)
        return {name: torch.cat([p.reshape(-1) for p in parts]).cpu() for name, parts in places.items()}

    @torch.no_grad()
    def actor_weights(self, seed: int) -> Tensor:
        """Return a copy of a seed's actor on the CPU, laid out as in `Stack`."""
        return torch.cat(
            [p.reshape(-1) for p in seed_parts(self.nets.actor, self.nets.actor.values, self.seeds)[seed]]
        ).cpu()

    def _places(self, seed: int) -> dict[str, list[Tensor]]:
        nets, (actor, critic) = self.nets, self._adams
        flats = {"actor": (nets.actor, nets.actor.values), "critic": (nets.critic, nets.critic.values)}
        flats |= {"target": (nets.target, nets.target.values)}
        flats |= {"actor_avg": (nets.actor, actor.exp_avg), "actor_square": (nets.actor, actor.exp_avg_sq)}
        flats |= {"critic_avg": (nets.critic, critic.exp_avg), "critic_square": (nets.critic, critic.exp_avg_sq)}
        places = {name: seed_parts(stack, flat, self.seeds)[seed] for name, (stack, flat) in flats.items()}
        alpha, steps = self._temperature, [part.steps for part in (actor, critic, self._temperature)]
        rows = {"alpha": [alpha.log_alpha, alpha.exp_avg, alpha.exp_avg_sq], "steps": steps}
        return places | {name: [vector[seed : seed + 1] for vector in vectors] for name, vectors in rows.items()}


class SeedAdam:
    """Adam over the flat vector of a stack, each seed with a count of steps of its own."""

    def __init__(self, stack: Stack, seeds: int, numbers: AdamNumbers) -> None:
        self.numbers = numbers
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(stack.values), torch.zeros_like(stack.values)
        self.steps = stack.values.new_zeros(seeds)
        flats = (stack.values, stack.grads, self.exp_avg, self.exp_avg_sq)
        self._lists = [list(_flatten(seed_parts(stack, flat, seeds))) for flat in flats]
        each = len(self._lists[0]) // seeds
        self._steps = [step for step in self.steps.unbind() for _ in range(each)]

    def step(self) -> None:
        self.steps += 1
        values, grads, exp_avg, exp_avg_sq = self._lists
        adam_step(values, grads, exp_avg, exp_avg_sq, self._steps, self.numbers)

    def tensors(self) -> list[Tensor]:
        return [self.exp_avg, self.exp_avg_sq, self.steps]


class SeedTemperature:
    """The temperature alpha of each seed, learned by Adam or fixed."""

    def __init__(self, problem: Problem, seeds: int, device: torch.device) -> None:
        self.learns, self.target_entropy, self.numbers = problem.learns_alpha, problem.target_entropy, problem.adam[2]
        self.log_alpha, self.exp_avg, self.exp_avg_sq, self.steps = torch.zeros(4, seeds, device=device).unbind()
        self._lists = [list(vector.split(1)) for vector in (self.log_alpha, self.exp_avg, self.exp_avg_sq)]

    def step(self, log_prob: Tensor) -> tuple[Tensor, Tensor]:
        alpha, gap = self.log_alpha.exp(), (log_prob + self.target_entropy).mean(1)
        if not self.learns:
            return alpha, torch.zeros_like(alpha)
        loss = -self.log_alpha * gap
        self.steps += 1
        values, exp_avg, exp_avg_sq = self._lists
        adam_step(values, list((-gap).split(1)), exp_avg, exp_avg_sq, list(self.steps.unbind()), self.numbers)
        return alpha, loss

    def tensors(self) -> list[Tensor]:
        return [self.log_alpha, self.exp_avg, self.exp_avg_sq, self.steps]


def adam_step(
    values: list[Tensor],
    grads: list[Tensor],
    exp_avg: list[Tensor],
    exp_avg_sq: list[Tensor],
    steps: list[Tensor],
    numbers: AdamNumbers,
) -> None:
    """Step each tensor by Adam once, in place; its number in `steps` counts this update already."""
    torch._fused_adam_(
        values, grads, exp_avg, exp_avg_sq, [], steps, lr=numbers["lr"], beta1=numbers["beta1"], beta2=numbers["beta2"],
        weight_decay=numbers["weight_decay"], eps=numbers["eps"], amsgrad=False, maximize=False,
    )  # fmt: skip


def seed_parts(stack: Stack, flat: Tensor, seeds: int) -> list[list[Tensor]]:
    """Return, for each seed, its own parts of a flat vector, in the order of a stack of it alone."""
    blocks = flat.split([stack.copies * n for n_in, n_out in stack.sizes for n in (n_in * n_out, n_out)])
    rows = [block.view(seeds, -1) for block in blocks]
    return [[row[seed] for row in rows] for seed in range(seeds)]


def _flatten(lists: Sequence[Sequence[Any]]) -> Iterator[Any]:
    return (item for items in lists for item in items)


def _numel(sizes: Sequence[tuple[int, int]]) -> int:
    return sum((n_in + 1) * n_out for n_in, n_out in sizes)
