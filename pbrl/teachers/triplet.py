"""A scripted teacher of likeness: says which of two videos is closer to a third, from the task's hidden features."""

from __future__ import annotations

import torch
from torch import Tensor

from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.errors import UserError, choices
from pbrl.feedback.videos import VideoDesk
from pbrl.teachers.teacher import Teacher

PAIRS_BY = ("return", "likeness")


class TripletTeacher(Teacher):
    """Compares videos by their hidden features, frame by frame.

    The distance of two videos is the mean over frames of the Euclidean distance of their features, each feature in
    units of its standard deviation over all frames of all videos; so it does not depend on the features' units, and a
    feature that never changes has no say. A closer candidate is chosen (surely, or with Boltzmann probability), the
    answer is flipped by mistake, and a triplet whose two distances are too near each other is "equally close".

    Args:
        beta: rationality; P(second) = sigmoid(beta * (d_first - d_second)). None is infinite: always the closer one.
        mistake: probability of a flipped answer.
        equal: largest difference of the two distances that is called "equally close", in standard deviations; at 0
            only exactly equal distances are.
        pairs_by: which of a pair is preferred: "return", the larger true return; or "likeness", the one closer, by the
            same distance, to the video of the largest true return, which is also the first demonstration. Only then
            do methods of pairs and of triplets learn from one teacher.
        rng: where Boltzmann answers and mistakes are drawn.
    """

    desk = VideoDesk
    reads = "videos"

    def __init__(
        self, *, beta: float | None, mistake: float, equal: float, rng: torch.Generator, pairs_by: str = "return"
    ) -> None:
        if not 0 <= mistake <= 1:
            raise UserError(f"mistake is {mistake}, expected a number in [0, 1]")
        if not equal >= 0:
            raise UserError(f"equal is {equal}, expected a number >= 0")
        if beta is not None and not (isinstance(beta, (int, float)) and beta >= 0):
            raise UserError(f"beta is {beta}, expected a number >= 0, or null for an exact teacher")
        if pairs_by not in PAIRS_BY:
            raise UserError(f"pairs_by is {pairs_by}; {choices(pairs_by, PAIRS_BY)}")
        self.beta, self.mistake, self.equal, self.rng, self.pairs_by = beta, mistake, equal, rng, pairs_by

    def answer_triplets(self, videos: Videos, rows: Tensor) -> Triplets:
        """Answer triplets. rows: (B, 3) of anchor, first and second."""
        anchor, first, second = rows.unbind(1)
        gain = feature_distance(videos, anchor, first) - feature_distance(videos, anchor, second)
        return Triplets(anchor, first, second, self._decide(gain))

    def answer_pairs(self, videos: Videos, rows: Tensor) -> VideoPairs:
        """Answer pairs, of which the better one by `pairs_by` is preferred, for methods that learn from pairs.

        The same noise and threshold act on returns in units of their standard deviation over the videos.
        rows: (B, 2) of left and right.
        """
        left, right = rows.unbind(1)
        if self.pairs_by == "likeness":
            best = self.rank(videos)[0].expand(len(rows))
            gain = feature_distance(videos, best, left) - feature_distance(videos, best, right)
            return VideoPairs(left, right, self._decide(gain))
        returns = videos.true_return / spread(videos.true_return)
        return VideoPairs(left, right, self._decide(returns[right] - returns[left]))

    def rank(self, videos: Videos) -> Tensor:
        """Return all rows (N,), the largest true return first, without noise; the first few are demonstrations."""
        return videos.by_true_return()

    def _decide(self, gain: Tensor) -> Tensor:
        probability = (gain > 0).float() if self.beta is None else torch.sigmoid(self.beta * gain)
        choice = (torch.rand(gain.shape, generator=self.rng) < probability).float()
        flip = torch.rand(gain.shape, generator=self.rng) < self.mistake
        return torch.where(gain.abs() <= self.equal, 0.5, torch.where(flip, 1 - choice, choice))


def feature_distance(videos: Videos, rows: Tensor, others: Tensor) -> Tensor:
    """Return the mean distance (B,) over frames in features, in standard deviations of each feature."""
    features = videos.features / spread(videos.features.flatten(0, 1))
    return (features[rows] - features[others]).norm(dim=-1).mean(-1)


def spread(values: Tensor) -> Tensor:
    """Return the standard deviation over the first dimension; 1 where all values are equal, whose differences are 0."""
    deviation = values.std(0, unbiased=False)
    return torch.where(deviation > 0, deviation, 1.0)
