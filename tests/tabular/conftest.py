"""Small worlds whose values can be worked out by hand."""

import numpy as np
import pytest

from pbrl.tabular import GridWorld, delivery_world


@pytest.fixture
def street() -> GridWorld:
    """Four cells in a row: three of road and the goal on the right. V* = 48, 49, 50, 0."""
    return delivery_world(np.array([[0, 0, 0, 1]]))


@pytest.fixture
def everything() -> GridWorld:
    """Each kind of cell, on road above and on brick below, with a way to the goal in the corner."""
    return delivery_world(np.array([[0, 4, 5, 0, 2, 3], [6, 10, 11, 6, 8, 9], [0, 0, 0, 0, 0, 1], [6, 6, 6, 6, 6, 7]]))
