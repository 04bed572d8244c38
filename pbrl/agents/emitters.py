"""Exploring by a population of small policies that seeks what behaves otherwise, in a behaviour space of its own."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.exploration import StateEntropy
from pbrl.checks import between, positive, share, whole
from pbrl.nets.autoencoder import Autoencoder

LARGEST_GENE = 5.0  # in size; TAXONS


class Emitters(StateEntropy):
    """Acts by small deterministic policies until the first session, in turn; the most novel have offspring.

    Paolo et al. 2020 (TAXONS): what a policy did is the code that an autoencoder has for the observations it came to,
    and it is novel by its mean distance to the nearest others. After each generation the autoencoder learns from the
    `archive` and what was just played, and the most novel of these policies, or with probability `surprise` those that
    it decodes worst, become emitters: the next generation are mutations of them. What SERENE (Paolo et al. 2021) adds
    needs a reward, and there is none before the first answer.

    The agent learns from these steps as from its own, by the k-NN reward of `StateEntropy`.

    Args:
        k, reference, normalise: of `StateEntropy`.
        population: policies of a generation; the first is drawn at random.
        emitters: how many of these have offspring.
        mutation: standard deviation of the noise on each weight of an offspring.
        hidden: units of a policy's one hidden layer.
        turn: steps after which another policy takes over; None: at the end of the episode.
        moments: observations of a turn that say what was done, evenly spaced, the last one included.
        code, coder_hidden, coder_lr, coder_updates: of the `Autoencoder`, and its gradient steps after each generation.
        neighbours: how many others novelty is the mean distance to.
        surprise: the probability that a generation comes of what is decoded worst.
        archive: policies that are kept; beyond that the least novel go.
    """

    acts = True

    def __init__(
        self,
        *,
        population: int,
        emitters: int,
        mutation: float,
        hidden: int,
        turn: int | None,
        moments: int,
        code: int,
        coder_hidden: int,
        coder_lr: float,
        coder_updates: int,
        neighbours: int,
        surprise: float,
        archive: int,
        **reward: Any,
    ) -> None:
        super().__init__(**reward)
        whole(1, population=population, emitters=emitters, hidden=hidden, moments=moments, neighbours=neighbours)
        whole(1, code=code, coder_hidden=coder_hidden, coder_updates=coder_updates)
        whole(1, archive=archive)
        if archive < population:
            raise ValueError(f"archive={archive} is fewer than population={population}; expected at least as many")
        positive(mutation=mutation, coder_lr=coder_lr)
        between(0, 2 * LARGEST_GENE, mutation=mutation)  # beyond that offspring have nothing of their parents
        between(0, 1, coder_lr=coder_lr)
        share(surprise=surprise)
        if turn is not None:
            whole(1, turn=turn)
        self.population, self.emitters, self.mutation, self.hidden = population, emitters, mutation, hidden
        self.turn, self.moments, self.neighbours, self.surprise = turn, moments, neighbours, surprise
        self.code, self.archive, self.coder_updates = code, archive, coder_updates
        self.coder_numbers: dict[str, Any] = {"code": code, "hidden": coder_hidden, "lr": coder_lr}

    def begin(self, run: Any) -> None:
        super().begin(run)
        self.agent, self.rng, obs = run.agent, run.rng("emitters"), run.obs_shape[0]
        self.shapes = [(obs, self.hidden), (1, self.hidden), (self.hidden, run.action_size), (1, run.action_size)]
        self.coder = Autoencoder(self.moments * obs, **self.coder_numbers, rng=self.rng)
        genes, n_envs = sum(a * b for a, b in self.shapes), run.agent.n_envs
        self.genomes, self.looks = torch.empty(0, genes), torch.empty(0, self.moments * obs)  # of all that were played
        self.played = 0
        self.parents = torch.empty(0, genes)  # of the next generation
        self.acting = torch.zeros(n_envs, genes)  # who acts in each environment
        self.seen: list[np.ndarray] = [np.empty((0, obs), np.float32) for _ in range(n_envs)]  # by whom, in its turn
        self._tell_if_nobody_is_chosen(run.feedback.first, run.time_limit)

    def _tell_if_nobody_is_chosen(self, first: int, time_limit: int | None) -> None:
        """Say where the first session comes before anybody has offspring: its clips are of policies at random."""
        turn = min(self.turn or time_limit or 1, time_limit or self.turn or 1)
        if (over := self.population * turn) >= first:
            why = f"the first {self.population} policies are over at step {over}, so nobody has offspring before"
            print(f"pbrl: feedback.first={first}: {why}; a smaller method.explore.population would", file=sys.stderr)

    def behave(self, obs: np.ndarray) -> np.ndarray:
        """Return the actions (n_envs, A) in [-1, 1] at `obs` (n_envs, O)."""
        for i, steps in enumerate(self.agent.episode_steps):
            if steps == 0 or len(self.seen[i]) == self.turn:
                self._take_over(i)
            self.seen[i] = np.concatenate([self.seen[i], obs[i : i + 1]])
        return act(self.acting, self.shapes, torch.from_numpy(np.asarray(obs, np.float32))).numpy()

    def _take_over(self, env: int) -> None:
        """Let the next policy act in an environment, after keeping what the last one did there."""
        if len(self.seen[env]):
            self.genomes = torch.cat([self.genomes, self.acting[env : env + 1]])
            self.looks = torch.cat([self.looks, look(self.seen[env], self.moments)[None]])
            self.played += 1
            if self.played % self.population == 0:
                self._choose_parents()
        self.acting[env] = self._offspring()
        self.seen[env] = self.seen[env][:0]

    def _offspring(self) -> Tensor:
        noise = torch.randn(self.acting.shape[1], generator=self.rng)
        if not len(self.parents):
            return noise.clamp(-LARGEST_GENE, LARGEST_GENE)
        parent = self.parents[torch.randint(len(self.parents), (), generator=self.rng)]
        return (parent + self.mutation * noise).clamp(-LARGEST_GENE, LARGEST_GENE)

    def _choose_parents(self) -> None:
        self.coder.fit(self.looks, self.coder_updates)
        codes, errors = self.coder(self.looks)
        novel = novelty(codes, self.neighbours)
        by = errors if torch.rand((), generator=self.rng) < self.surprise else novel
        self.parents = self.genomes[by.topk(min(self.emitters, len(by))).indices]
        kept = novel.topk(min(self.archive, len(novel))).indices.sort().values
        self.genomes, self.looks = self.genomes[kept], self.looks[kept]

    def state_dict(self) -> dict[str, Any]:
        tensors = {name: getattr(self, name) for name in ("genomes", "looks", "parents", "acting")}
        coder = {name: values.clone() for name, values in self.coder.state_dict().items()}
        counted = {"played": self.played, "seen": list(self.seen), "coder": coder}
        return super().state_dict() | {name: values.clone() for name, values in tensors.items()} | counted

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own = dict(state)
        self.coder.load_state_dict(own.pop("coder"))
        self.seen = list(own.pop("seen"))
        for name in ("played", "genomes", "looks", "parents", "acting"):
            setattr(self, name, own.pop(name))
        super().load_state_dict(own)


def act(genomes: Tensor, shapes: list[tuple[int, int]], obs: Tensor) -> Tensor:
    """Return what each policy, a row of genomes (N, G), does (N, A) at its own observation, a row of obs (N, O).

    shapes: of weights and biases, layer by layer, as they follow each other in a genome.
    """
    parts = genomes.split([a * b for a, b in shapes], 1)
    weights = [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
    x = obs[:, None]
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        x = torch.baddbmm(bias, x, weight).tanh()
    return x[:, 0]


def look(seen: np.ndarray, moments: int) -> Tensor:
    """Return evenly spaced ones (moments * O,) of observations (L, O), the last of which ends the turn."""
    rows = np.linspace(0, len(seen) - 1, moments + 1).round().astype(int)[1:]
    return torch.from_numpy(seen[rows].reshape(-1))


def novelty(codes: Tensor, neighbours: int) -> Tensor:
    """Return each code's mean distance (M,) to its nearest others, of codes (M, C); 0 where there is no other."""
    distances = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = min(neighbours, len(codes) - 1)
    if nearest == 0:
        return torch.zeros(len(codes))
    return distances.topk(nearest, dim=1, largest=False).values.mean(1)
