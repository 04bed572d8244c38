"""Reliabilities of annotators from questions that several of them answered (Dawid and Skene 1979)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ROUNDS, CLOSE = 200, 1e-6
PRIOR_RIGHT, PRIOR_WRONG = 4.0, 1.0  # answers that everybody is taken to have given before, to each side


class Believed(NamedTuple):
    truth: np.ndarray  # (U,) probability that the true answer to each question is 1
    confusion: np.ndarray  # (A, 2, 2) P(answer | truth) of each annotator, rows the truth
    reliability: np.ndarray  # (A,) mean of both P(right): 1/2 for who guesses, or always says the same


def dawid_skene(question: np.ndarray, annotator: np.ndarray, answer: np.ndarray) -> Believed:
    """Estimate truth and confusion in turn, from N answers of 0 or 1, until neither changes.

    question: (N,) from 0 to U - 1. annotator: (N,) from 0 to A - 1. answer: (N,) 0 or 1.
    Confusions are estimated from questions that two or more answered: an answer that stands alone would only confirm
    itself. Everybody begins with 4 right and 1 wrong answer to each side, so who shares no question counts as right in
    four of five. Both truths are taken to be equally likely before, since which side is which is drawn.
    """
    questions, annotators = int(question.max(initial=-1)) + 1, int(annotator.max(initial=-1)) + 1
    shared = np.bincount(question, minlength=questions)[question] > 1
    votes = np.bincount(question, 2 * answer - 1.0, questions)
    truth = np.clip(0.5 + votes / (2 * np.maximum(np.bincount(question, minlength=questions), 1)), 0.1, 0.9)
    confusion, place = np.zeros((annotators, 2, 2)), 2 * annotator + answer
    for _ in range(ROUNDS):
        confusion[:] = [[PRIOR_RIGHT, PRIOR_WRONG], [PRIOR_WRONG, PRIOR_RIGHT]]
        believed = np.stack([1 - truth, truth], 1)[question]  # (N, 2)
        for side in (0, 1):
            said = np.bincount(place[shared], believed[shared, side], 2 * annotators)
            confusion[:, side] += said.reshape(annotators, 2)
        confusion /= confusion.sum(2, keepdims=True)
        says = np.log(confusion[annotator, :, answer])  # (N, 2)
        odds = np.bincount(question, says[:, 1] - says[:, 0], questions)
        before, truth = truth, 1 / (1 + np.exp(-odds))
        if np.abs(truth - before).max(initial=0) < CLOSE:
            break
    return Believed(truth, confusion, confusion[:, [0, 1], [0, 1]].mean(1))
