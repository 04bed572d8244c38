"""One batch of each kind of question, with answers to it."""

import numpy as np
import torch
from test_label_store import make_segments

from pbrl.question_kinds import (
    Choice,
    ChoiceAnswers,
    EpisodePair,
    Intervention,
    InterventionAnswers,
    Outcome,
    OutcomeAnswers,
    Rating,
    RatingAnswers,
    SegmentPair,
    Triplet,
    TripletAnswers,
)
from pbrl.types import Answers

ANSWERED = torch.tensor([True, True, False])


def make_items(k, seed=0, n=3):
    return tuple(make_segments(n, seed + i) for i in range(k))


def make_states(k, n=3):
    return tuple(np.random.default_rng(k).normal(size=(k, n, 6, 7)))


def make_questions(criterion="speed", **more):
    """By name: a batch of 3."""
    about = {"criterion": criterion}
    return {
        "segment_pair": SegmentPair(*make_items(2), *make_states(2), **about),
        "episode_pair": EpisodePair(*make_items(2, 10), *make_states(2), **about),
        "triplet": Triplet(*make_items(3, 20), make_states(3), **about),
        "ranking": Choice(make_items(4, 30), "ranking", make_states(4), **about),
        "best": Choice(make_items(4, 30), "best", make_states(4), **about),
        "best_and_worst": Choice(make_items(4, 30), "best_and_worst", make_states(4), **about),
        "outcome": Outcome(*make_items(1, 50), make_states(1), **about),
        "intervention": Intervention.watched(make_items(1, 60)[0], make_states(1)[0], 7, criterion=criterion),
        "rating": Rating(*make_items(1, 40), "stars", 1, 5, make_states(1), **about),
    }


# Two answers and a skip, what stands in the place of the skip, and the values of the answers.
TOLD = {
    "segment_pair": (Answers, [0.25, 1.0, 0.5]),
    "episode_pair": (Answers, [0.5, 0.0, 0.5]),
    "triplet": (TripletAnswers, [0.75, 0.5, 0.5]),
    "ranking": (ChoiceAnswers, [[2, 0, 3, 1], [0, 1, 2, 3], [-1, -1, -1, -1]]),
    "best": (ChoiceAnswers, [[3], [0], [-1]]),
    "best_and_worst": (ChoiceAnswers, [[3, 0], [1, 2], [-1, -1]]),
    "outcome": (OutcomeAnswers, [[1, 3], [0, -1], [-1, -1]]),
    "intervention": (InterventionAnswers, [[0, 0, 1, 1, 3, 0, 0], [2, 0, 0, 0, 0, 0, 0], [-1] * 7]),
    "rating": (RatingAnswers, [4.5, 1.0, float("nan")]),
}


def make_told(name):
    kind, values = TOLD[name]
    return kind(torch.tensor(values), ANSWERED)
