"""Exact test beds: grid worlds with known V*, labels from either preference model, and rewards learned from them."""

from pbrl.tabular.boards import board_names, load_board
from pbrl.tabular.evaluation import NEAR_OPTIMAL, scaled_return, scaled_returns
from pbrl.tabular.grid_world import DELIVERY_WEIGHTS, FEATURES, MOVES, GridWorld, delivery_world
from pbrl.tabular.labels import MODELS, bernoulli_labels, noiseless_labels, preference_labels
from pbrl.tabular.library import policy_library
from pbrl.tabular.random_worlds import random_world
from pbrl.tabular.reward_fit import FitSettings, FittedReward, fit_reward, fit_rewards
from pbrl.tabular.segments import GridSegments, random_pairs, random_segments

__all__ = [
    "DELIVERY_WEIGHTS",
    "FEATURES",
    "MODELS",
    "MOVES",
    "NEAR_OPTIMAL",
    "FitSettings",
    "FittedReward",
    "GridSegments",
    "GridWorld",
    "bernoulli_labels",
    "board_names",
    "delivery_world",
    "fit_reward",
    "fit_rewards",
    "load_board",
    "noiseless_labels",
    "policy_library",
    "preference_labels",
    "random_pairs",
    "random_segments",
    "random_world",
    "scaled_return",
    "scaled_returns",
]
