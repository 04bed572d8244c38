"""The suites that ask what CPL's results come from: they can be run, and keep what they promise."""

from pathlib import Path

import pytest

from pbrl.bench.read_grid import load_grid
from pbrl.commands.collect_command import parse, read
from pbrl.config import compose_config

PICTURES = Path(__file__).parents[2] / "results" / "offline" / "pixels.yaml"
SUITES = ("cpl_equal", "cpl_published", "cpl_labels", "cpl_paper")


def configs_of(name):
    """The grid, and the config of one cell of each method."""
    grid = load_grid(name)
    cells = {c.method: c for c in reversed(grid.cells)}
    return grid, {method: compose_config(list(cell.arguments)) for method, cell in cells.items()}


@pytest.mark.parametrize("name", SUITES[1:])
def test_every_method_and_data_set_of_a_suite_has_a_config(name):
    grid, configs = configs_of(name)
    assert configs.keys() == grid.methods.keys()
    for env in grid.envs.values():
        _, plan = read(parse([*env.collecting, "out=x"]))
        wanted = [text.partition("=")[2] for text in env.overrides if text.startswith("feedback.label=")]
        assert plan.labels is None or set(wanted) <= set(plan.labels)
    assert any("feedback.shuffled=true" in m.overrides for m in grid.methods.values())  # the control that must fail
    assert all(env.high == "iql_true" for env in grid.envs.values())


def test_each_arm_of_rapl_changes_what_it_says():
    grid, configs = configs_of("rapl_encoders")
    assert configs.keys() == grid.methods.keys()
    usual = configs["rapl"].method
    assert (usual.size, usual.model.epochs, usual.model.align, usual.model.start) == (64, 30, True, None)
    assert configs["rapl_large"].method.size == 112
    assert configs["rapl_start"].method.model.start.updates == 1000
    assert configs["rapl_start_head"].method.model.encoder.head_only
    assert configs["pairs_by_likeness"].teacher.pairs_by == "likeness"


def test_beside_all_that_learns_from_pictures_stand_states_and_shuffled_answers():
    cells = {(cell.env, cell.method) for cell in load_grid(str(PICTURES)).cells}
    pictures = {cell for cell in cells if cell[0].endswith("pixels")}
    assert {(env.replace("pixels", "states"), method) for env, method in pictures} == cells - pictures
    for env, method in pictures:
        assert "cpl" not in method or (env, method.removesuffix("_shuffled") + "_shuffled") in pictures


def steps_per_update(node, segment):
    match node._target_.rpartition(".")[2]:
        case "SFT" | "CPL":
            return 2 * node.batch_size * segment
        case "PAWS":
            return node.batch_size * segment
        case "IPL":
            return 2 * node.pairs * segment + node.batch_size
        case _:
            return node.batch_size


def test_at_equal_terms_every_method_sees_as_many_steps_an_update_at_one_rate_without_dropout():
    grid, configs = configs_of("cpl_equal")
    assert configs.keys() == grid.methods.keys()
    for method, config in configs.items():
        node = config.method
        assert steps_per_update(node, segment=32) == 1024, method
        rates = {part.lr for part in (node, node.get("iql")) if part is not None and "lr" in part}
        assert rates == {3e-4}, method
        steps = 10_000 if "_long" in method else 5000
        assert (node.policy.dropout, node.get("lr_factor", 1), config.steps) == (0, 1, steps), method
