"""The `fit` section of a config: what a reward model learns from answers, and what is made of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from pbrl.blocks import blocks, score_in_blocks
from pbrl.checks import one_of
from pbrl.data.lists import Lists
from pbrl.data.offline import OfflineData
from pbrl.errors import UserError
from pbrl.losses import bradley_terry_loss, preference_accuracy, smooth_labels
from pbrl.nets.devices import CPU, brought
from pbrl.nets.networks import descend
from pbrl.question_kinds import SegmentPair
from pbrl.rewards.calibration import calibration
from pbrl.rewards.losses.loss import AnswerLoss, BradleyTerry
from pbrl.rewards.pessimism import Mean, Pessimism
from pbrl.statistics.dawid_skene import dawid_skene
from pbrl.types import Comparisons, Segments

SCORES = ("sum", "mean")
ANNOTATORS = ("alike", "dawid_skene")
USUAL = {"loss": "BradleyTerry", "pessimism": "Mean", "score": "sum", "annotators": "alike", "calibrate": False}


class Objective(nn.Module):
    """The objective of any method's reward model on comparisons; one for a run, whose state is saved with it.

    Args:
        loss: of each comparison, see `pbrl.rewards.losses`.
        pessimism: what the members' rewards become, see `pbrl.rewards.pessimism`.
        score: "sum" of a segment's rewards; or "mean" over its real steps times its length, so that a segment which
            ended early is worth no less for that (SimPO, Meng et al. 2024), and others are worth the same.
        annotators: "alike"; or "dawid_skene": who is often outvoted counts for less.
        calibrate: rewards are divided by the temperature that explains held-out answers best.
    """

    def __init__(self, *, loss: AnswerLoss, pessimism: Pessimism, score: str, annotators: str, calibrate: bool) -> None:
        super().__init__()
        for key, part, kind in (("loss", loss, AnswerLoss), ("pessimism", pessimism, Pessimism)):
            if not isinstance(part, kind):
                raise ValueError(f"{key}={part}: expected the name of a YAML that makes one; `pbrl list` shows them")
        one_of(SCORES, score=score)
        one_of(ANNOTATORS, annotators=annotators)
        self.loss, self.pessimism = loss, pessimism
        self.score, self.annotators, self.calibrate = score, annotators, calibrate
        self.reliability: dict[int, float] = {}  # by the annotator's number; follows from the answers at each fit
        self.shared = 0  # questions that two or more annotators answered, at the last fit
        self.special = not loss.plain or score != "sum"  # a gradient step cannot do without it

    @property
    def changed(self) -> dict[str, str]:
        """Return what is not as usual, by key, in words."""
        now: dict[str, Any] = {"loss": type(self.loss).__name__, "pessimism": type(self.pessimism).__name__}
        now |= {"score": self.score, "annotators": self.annotators, "calibrate": self.calibrate}
        return {key: f"fit.{key}={value}" for key, value in now.items() if value != USUAL[key]}

    def check(self, model: Any, heldout: float | None) -> None:
        """Raise UserError where this model or this share of held-out answers does not do for it."""
        kind = type(model).__name__
        if self.special and "objective" not in signature(model.update).parameters:
            first = next(iter(self.changed.values()))
            raise UserError(f"{first}: method.model is a {kind}, whose `update` takes no objective")
        if self.score == "mean" and not getattr(model, "sums_rewards", True):
            raise UserError(f"fit.score=mean: the score of a {kind} is a mean over steps already; leave it out")
        for key in ("loss", "pessimism"):
            if (least := getattr(self, key).least_members) > model.members:
                has = f"method.model.members={model.members}"
                raise UserError(f"{self.changed[key]} needs {least} members at least, and {has}")
        if self.loss.lists:
            self._check_lists(model)
        if self.loss.strengths:
            self._check_strengths(model)
        if self.calibrate and not heldout:
            raise UserError("fit.calibrate=true needs held-out answers; set feedback.heldout, as to 0.1")

    def _check_lists(self, model: Any) -> None:
        said = self.changed["loss"]
        if self.annotators != "alike":
            raise UserError(f"fit.annotators={self.annotators} compares answers to pairs, and {said} asks none")
        for key in ("crop", "smoothing"):
            if getattr(model, key, None):
                raise UserError(f"method.model.{key} is about pairs, and {said} asks none; leave it out")
        if not hasattr(model, "own_score"):
            raise UserError(f"{said}: method.model is a {type(model).__name__}, which has no `own_score`")

    def _check_strengths(self, model: Any) -> None:
        """Refuse strengths with what makes answers less sure: that would be read as a weaker preference."""
        said = f"{self.changed['loss']} reads how much better a side is"
        if self.annotators != "alike":
            raise UserError(f"fit.annotators={self.annotators} puts how sure one may be in its place; {said}")
        if smoothing := getattr(model, "smoothing", 0.0):
            raise UserError(f"method.model.smoothing={smoothing}: {said}; leave it out")

    def get_extra_state(self) -> dict[str, list[Any]]:
        return {"annotators": list(self.reliability), "reliability": list(self.reliability.values())}

    def set_extra_state(self, state: Any) -> None:
        self.reliability = dict(zip(state["annotators"], state["reliability"], strict=True))

    def prepare(self, model: Any) -> None:
        """Prepare a model that has just been made, before weights are loaded into it."""
        if type(self.pessimism) is Mean:
            return
        if not hasattr(model, "be_pessimistic"):
            has = f"method.model is a {type(model).__name__}, which is none"
            raise UserError(f"{self.changed['pessimism']} needs an ensemble, and {has}")
        model.be_pessimistic(self.pessimism)

    def combine(self, model: Any, rewards: Tensor) -> Tensor:
        """Combine rewards (E, M) of a model's members into what drives the agent (M,)."""
        return rewards.mean(0) if type(self.pessimism) is Mean else model.combine(rewards)

    def targets(self, answers: Comparisons) -> Tensor | None:
        """Return what is learned from each answer (B,); None: what was said."""
        if self.annotators == "alike" or len(answers) == 0:
            return None
        question, turned = same_questions(SegmentPair(answers.left, answers.right))
        who, place = torch.unique(answers.annotator, return_inverse=True)
        told = torch.where(turned, 1 - answers.prefers_right, answers.prefers_right)
        said = told != 0.5  # a tie has no part in it
        found = dawid_skene(question[said].numpy(), place[said].numpy(), (told[said] > 0.5).long().numpy())
        self.reliability = dict(zip(who[: len(found.reliability)].tolist(), found.reliability.tolist(), strict=True))
        self.shared = int((torch.bincount(question[said]) > 1).sum())
        truth = torch.full((int(question.max()) + 1,), 0.5)
        truth[: len(found.truth)] = torch.from_numpy(found.truth).float()
        believed = truth[question]
        return torch.where(said, torch.where(turned, 1 - believed, believed), 0.5)

    def scores(self, sums: Tensor, segments: Segments) -> Tensor:
        """Return what answers are taken to compare (..., N), of sums over the real steps of segments."""
        if self.score == "sum":
            return sums
        longer = segments.steps / segments.mask.sum(1).clamp(min=1)  # (N,); of (E, b) sums N is E * b
        return (sums * longer.to(sums.device).view(-1, sums.shape[-1])).view_as(sums)

    def forward(
        self, left: Tensor, right: Tensor, target: Tensor, smoothing: float = 0.0, peers: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss. left, right: (E, b) scores. target: (E, b). peers: see `AnswerLoss`."""
        if self.loss.plain:
            return bradley_terry_loss(left, right, target, smoothing)
        loss: Tensor = self.loss(right - left, smooth_labels(target, smoothing), peers).mean()
        return loss

    def update(self, model: Any, comparisons: Any, *gain: Tensor) -> dict[str, float]:
        """Step the model once; see `PartialReturn.update`. Of E * b lists, b are each member's in turn."""
        if self.loss.lists:
            return self._update_lists(model, comparisons)
        if not self.special:
            return model.update(comparisons, *gain)
        return model.update(comparisons, *gain, objective=self)

    def draw(self, data: OfflineData, n: int, rng: torch.Generator) -> Comparisons | Lists:
        """Draw n answers to learn from, with replacement."""
        return data.sample_lists(n, self.loss.items, rng) if self.loss.lists else data.sample_pairs(n, rng)

    def _update_lists(self, model: Any, lists: Lists) -> dict[str, float]:
        scores = torch.stack([self.scores(model.own_score(item), item) for item in lists.items], -1)  # (E, b, k)
        told = lists.told.to(scores.device).view(scores.shape[:2])
        own: Any = self.loss
        loss = descend(model.optimizer, model.members * own.of_lists(scores, told).mean())
        return {"loss": loss / model.members, "accuracy": own.accuracy(scores.detach(), told)}

    @torch.no_grad()
    def gain(self, model: Any, comparisons: Comparisons) -> Tensor:
        """Return what the mean member finds in right over left (B,)."""
        sides = (comparisons.left, comparisons.right)
        left, right = (score_in_blocks(lambda s: self.scores(model.score(s), s).mean(0), side) for side in sides)
        return right - left

    def heldout_loss(self, model: Any, comparisons: Comparisons) -> float:
        """Return the cross-entropy of the mean member."""
        gain = self.gain(model, comparisons)[None]
        return float(bradley_terry_loss(torch.zeros_like(gain), gain, comparisons.prefers_right))

    def settle(self, model: Any, segments: Sequence[Segments]) -> None:
        """Bring the members to one mean reward after a fit to these, where it matters."""
        if self.pessimism.least_members == 1:
            return
        total, steps = torch.zeros(model.members, dtype=torch.double), 0.0
        with torch.no_grad():
            for block in (block for side in segments for block in blocks(side)):
                total += brought(model.score(block), CPU).double().sum(1)
                steps += float(block.mask.sum())
        model.level((total / max(steps, 1.0)).float())

    def told(self, names: Mapping[int, str]) -> dict[str, Any]:
        """Return, for summary.json, whom it believed how far. names: of annotators, by number."""
        each = {names.get(number, str(number)): round(value, 4) for number, value in self.reliability.items()}
        return {"reliability": each} if each else {}

    def facts(self) -> dict[str, float]:
        """Return what it knows for progress.csv."""
        found = self.loss.facts()
        if self.reliability:
            each = list(self.reliability.values())
            found |= {"reliability_mean": sum(each) / len(each), "reliability_min": min(each)}
        return found


PLAIN = Objective(loss=BradleyTerry(), pessimism=Mean(), score="sum", annotators="alike", calibrate=False)


def heldout_figures(gain: Tensor, prefers_right: Tensor) -> dict[str, float]:
    """Return loss, accuracy and calibration of (B,) gains on answers that were not learned from."""
    nothing = torch.zeros_like(gain)
    return {
        "loss": float(bradley_terry_loss(nothing[None], gain[None], prefers_right)),
        "accuracy": float(preference_accuracy(nothing, gain, prefers_right)),
        **calibration(gain, prefers_right),
    }


def same_questions(pairs: SegmentPair) -> tuple[Tensor, Tensor]:
    """Return the number of each pair's question (B,), and whether its sides stand the other way round."""
    numbers: dict[tuple[str, ...], int] = {}
    hashes = pairs.hashes()
    question = [numbers.setdefault(tuple(sorted(pair)), len(numbers)) for pair in hashes]
    return torch.tensor(question), torch.tensor([pair[0] > pair[1] for pair in hashes])
