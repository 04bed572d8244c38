import numpy as np
import pytest

from pbrl.statistics.dawid_skene import dawid_skene


def simulated(*right, questions=1500, seed=0):
    """Everybody answers everything, right with these probabilities."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=questions)
    question = np.tile(np.arange(questions), len(right))
    annotator = np.repeat(np.arange(len(right)), questions)
    wrong = rng.random(len(question)) > np.array(right)[annotator]
    return truth, question, annotator, truth[question] ^ wrong


def test_reliabilities_of_simulated_annotators_are_recovered():
    right = (0.95, 0.8, 0.8, 0.6, 0.6)
    truth, *answers = simulated(*right)
    found = dawid_skene(*answers)
    assert found.reliability == pytest.approx(right, abs=0.04)
    votes = np.zeros(len(truth))
    np.add.at(votes, answers[0], 2 * answers[2] - 1)
    assert ((found.truth > 0.5) == truth).mean() > ((votes > 0) == truth).mean() + 0.02


def test_who_always_says_the_same_has_no_say():
    truth, question, annotator, answer = simulated(0.9, 0.85, 0.8, 0.5)
    answer[annotator == 3] = 1
    found = dawid_skene(question, annotator, answer)
    assert found.reliability[3] == pytest.approx(0.5, abs=0.01)
    assert found.confusion[3, :, 1] == pytest.approx(1, abs=0.01)
    assert ((found.truth > 0.5) == truth).mean() > 0.9


def test_who_is_wrong_most_of_the_time_is_read_the_other_way_round():
    truth, *answers = simulated(0.9, 0.9, 0.9, 0.1)
    found = dawid_skene(*answers)
    assert found.reliability == pytest.approx((0.9, 0.9, 0.9, 0.1), abs=0.03)
    assert ((found.truth > 0.5) == truth).mean() > 0.97


def test_an_answer_that_stands_alone_counts_as_right_in_four_of_five():
    found = dawid_skene(np.arange(3), np.array([0, 1, 1]), np.array([1, 0, 1]))
    assert found.truth == pytest.approx([0.8, 0.2, 0.8])
    assert found.reliability == pytest.approx([0.8, 0.8])


def test_no_answers_tell_nothing():
    found = dawid_skene(*np.zeros((3, 0), int))
    assert len(found.truth) == len(found.reliability) == 0
