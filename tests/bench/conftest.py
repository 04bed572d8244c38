"""A grid of runs that take a second each, and a run that nothing interrupted."""

from pathlib import Path

import pytest
import yaml
from cells import LONG, uninterrupted
from tiny import COMMON, REWARD, SAC


@pytest.fixture
def tree():
    """A grid of 2 methods x 1 env x 2 budgets x 2 seeds: 6 cells, since one method reads no labels."""
    return {
        "about": "tiny",
        "seeds": 2,
        "budgets": [6, 12],
        "common": [*COMMON[2:], *SAC],
        "envs": {"point": {"set": COMMON[:2], "score": "return"}},
        "methods": {"pebble": {"set": ["method=pebble", *REWARD]}, "true_reward": None},
    }


@pytest.fixture
def write(tmp_path):
    """`write(tree)`: the path of a grid's YAML."""

    def write(tree, name="tiny"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return str(path)

    return write


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of seed 0 that nothing interrupted."""
    return uninterrupted(tmp_path_factory.mktemp("alone") / "s0", 0, LONG)
