"""What is compared with what, on benches whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from made_bench import MadeBench, write_csv

from pbrl.bench.records import read_bench
from pbrl.reports.bench_analysis import ALPHA, Analysis, analyse
from pbrl.reports.bench_arms import Arm, Runs, Setting, version_notes
from pbrl.reports.bench_curves import Courses

FIVE = [0.30, 0.35, 0.40, 0.45, 0.50]
HIGHER = [score + 0.5 for score in FIVE]
TOP = [0.98, 0.99, 1.0, 1.01, 1.02]
NONE = [-0.02, -0.01, 0.0, 0.01, 0.02]


def read(bench: MadeBench, tmp_path: Path, imports: list[Path] = []) -> tuple[Analysis, Runs]:  # noqa: B006  read only
    results = read_bench(bench.write(tmp_path / f"bench{len(list(tmp_path.iterdir()))}"), imports)
    runs = Runs(results)
    return analyse(results, runs), runs


def on(scores: list[float], *tasks: str) -> dict[str, list[float]]:
    return dict.fromkeys(tasks, scores)


def verdicts(analysis: Analysis) -> dict[tuple[str, str], str]:
    return {(c.first.method, c.second.method): c.verdict for c in analysis.comparisons}


def test_equal_methods_are_not_resolved_and_disjoint_ones_are(tmp_path: Path):
    bench = MadeBench("a", "b")
    for method, scores in (("same", FIVE), ("alike", FIVE[::-1]), ("better", HIGHER)):
        bench.add(method, on(scores, "a", "b"))
    found = verdicts(read(bench, tmp_path)[0])
    assert found["same", "alike"] == "not resolved"
    assert found["better", "same"] == found["better", "alike"] == "resolved, also after Holm"


def test_aggregates_are_best_first_and_by_hand(tmp_path: Path):
    bench = MadeBench("a").add("worse", on(FIVE, "a")).add("better", on(HIGHER, "a"))
    (group,) = read(bench, tmp_path)[0].groups
    assert [a.arm.method for a in group.aggregates] == ["better", "worse"]
    worse = group.aggregates[1]
    assert {name: found.value for name, found in worse.values.items()} == pytest.approx(
        {"IQM": 0.4, "median": 0.4, "mean": 0.4, "optimality gap": 0.6}
    )
    assert (worse.runs, worse.few, worse.reward_updates, worse.minutes) == (5, False, 7, 2)
    assert group.improvement[group.aggregates[0].arm, worse.arm].value == 1


def test_what_learns_without_labels_is_not_compared_where_nothing_learned_from_labels(tmp_path: Path):
    bench = MadeBench("a", "b").add("true_reward", on(TOP, "a", "b")).add("pebble", on(FIVE, "a"))
    (found,) = read(bench, tmp_path)[0].groups
    assert found.group.tasks == ("a",)
    assert {arm.method for arm in found.group.arms} == {"true_reward", "pebble"}


def test_what_learns_without_labels_stands_beside_every_budget_and_teacher(tmp_path: Path):
    bench = MadeBench("a").add("true_reward", on(TOP, "a")).add("bc", on(FIVE, "a"))
    for budget, teacher in ((100, "oracle"), (100, "noisy"), (400, "oracle")):
        bench.add("pebble", on(FIVE, "a"), budget, teacher)
    analysis, _ = read(bench, tmp_path)
    assert [str(found.group.setting) for found in analysis.groups] == [
        "100 labels by oracle",
        "100 labels by noisy",
        "400 labels by oracle",
    ]
    for found in analysis.groups:
        assert {arm.method for arm in found.group.arms} == {"true_reward", "bc", "pebble"}
    # Of the 3 pairs in each of 3 groups, true_reward against bc is one and the same.
    assert len(analysis.comparisons) == 7


def test_only_tasks_that_both_have_are_compared(tmp_path: Path):
    """Half done and on the easy task only: its mean over all it has would be higher than the others'."""
    bench = MadeBench("easy", "hard").add("true_reward", on(TOP, "easy", "hard"))
    for method in ("one", "two"):
        bench.add(method, {"easy": HIGHER, "hard": FIVE})
    analysis, _ = read(bench.add("half", on(HIGHER, "easy")), tmp_path)
    whole, part = analysis.groups
    assert whole.group.tasks == ("easy", "hard")
    assert "half" not in {a.arm.method for a in whole.aggregates}
    assert (part.group.tasks, part.group.subset) == (("easy",), True)
    values = {a.arm.method: a.values["IQM"].value for a in part.aggregates}
    assert values["half"] == pytest.approx(values["one"])


def test_arms_with_no_common_task_are_in_groups_of_their_own(tmp_path: Path):
    bench = MadeBench("online", "offline").add("pebble", on(FIVE, "online")).add("cpl", on(FIVE, "offline"))
    analysis, _ = read(bench, tmp_path)
    assert {found.group.tasks: found.group.subset for found in analysis.groups} == {
        ("online",): False,
        ("offline",): False,
    }
    assert analysis.comparisons == []


def test_another_method_changes_no_number_of_the_others(tmp_path: Path):
    def bench() -> MadeBench:
        return MadeBench("a").add("one", on(FIVE, "a")).add("two", on(HIGHER, "a"))

    columns = ["env", "method", "teacher", "budget", "seed", "return"]
    key = {"env": "a", "method": "two", "teacher": "oracle", "budget": 100}
    theirs = write_csv(tmp_path / "o.csv", columns, [key | {"seed": s, "return": 150 + 10 * s} for s in range(3)])
    alone, beside = read(bench(), tmp_path)[0], read(bench(), tmp_path, [theirs])[0]
    of_all = {a.arm: a for a in beside.groups[0].aggregates}
    for aggregate in alone.groups[0].aggregates:
        assert of_all[aggregate.arm] == aggregate
    (difference,) = {(c.first, c.second): c.difference for c in alone.comparisons}.items()
    assert {(c.first, c.second): c.difference for c in beside.comparisons}[difference[0]] == difference[1]
    assert of_all[Arm("two", "oracle", 100, "o.csv")].few


def test_few_and_single_seeds(tmp_path: Path):
    bench = (
        MadeBench("a").add("two_seeds", on([0.2, 0.9], "a")).add("single", on([0.5], "a")).add("five", on(FIVE, "a"))
    )
    analysis, _ = read(bench, tmp_path)
    found = {a.arm.method: a for a in analysis.groups[0].aggregates}
    assert [found[name].few for name in ("two_seeds", "single", "five")] == [True, True, False]
    assert found["single"].values["IQM"].interval is None
    assert found["two_seeds"].values["IQM"].interval is not None
    assert all(v == "not resolved" for pair, v in verdicts(analysis).items() if "single" in pair)


def test_many_equal_methods_rarely_pass_holm(tmp_path: Path):
    rng, bench = np.random.default_rng(0), MadeBench("a", "b")
    for i in range(12):
        bench.add(f"m{i}", {task: list(rng.normal(0.5, 0.1, 5)) for task in ("a", "b")})
    analysis, _ = read(bench, tmp_path)
    assert len(analysis.comparisons) == 66
    assert sum(c.corrected < ALPHA for c in analysis.comparisons) == 0


@pytest.mark.parametrize(
    ("learned", "control", "top", "verdict"),
    [
        (FIVE, NONE, TOP, "yes"),
        (NONE, NONE, TOP, "no: nothing that learns is above the control"),
        (TOP, TOP, TOP, "no: the true reward is not above the control"),
    ],
)
def test_separation(tmp_path: Path, learned, control, top, verdict: str):
    bench = MadeBench("a").add("pebble", on(learned, "a")).add("random_labels", on(control, "a"))
    analysis, _ = read(bench.add("true_reward", on(top, "a")), tmp_path)
    assert [s.verdict for s in analysis.separations] == [verdict]
    assert analysis.separations[0].below_true == (top is TOP and learned is not TOP)


def test_separation_in_part_and_without_a_control(tmp_path: Path):
    bench = MadeBench("a").add("pebble", on(FIVE, "a")).add("cpl", on(NONE, "a")).add("true_reward", on(TOP, "a"))
    assert read(bench, tmp_path)[0].separations[0].verdict == "no control"
    (found,) = read(bench.add("pebble_shuffled_labels", on(NONE, "a")), tmp_path)[0].separations
    assert found.verdict == "in part"
    assert [arm.method for arm in found.not_above] == ["cpl"]


def test_without_a_scale_there_are_no_aggregates_but_separations(tmp_path: Path):
    bench = MadeBench("a", high=None).add("pebble", on(FIVE, "a")).add("random_labels", on(NONE, "a"))
    analysis, runs = read(bench, tmp_path)
    assert (analysis.groups, analysis.comparisons) == ([], [])
    assert analysis.separations[0].verdict == "no true-reward runs"
    assert runs.settings() == [Setting("oracle", 100)]


def test_versions_that_mix_are_noted(tmp_path: Path):
    bench = MadeBench("a", "b").add("pebble", on(FIVE, "a", "b")).add("cpl", on(FIVE, "a"))
    bench.rows[0]["code"] = bench.rows[1]["config"] = "99999999"
    bench.rows[0]["versions"], bench.rows[1]["versions"] = "numpy=2.1 torch=2.5.0", "numpy=2.1 torch=2.6.0"
    first, second, third, fourth = version_notes(read_bench(bench.write(tmp_path / "bench"), []))
    assert first == "pebble: runs of the same task and budget differ in config (99999999, c0ffee00), on a."
    assert second == "pebble: runs of the same task and budget differ in code (1a2b3c4d, 99999999), on a."
    assert third == "Our runs were made by 2 versions of the code: 1a2b3c4d, 99999999."
    assert fourth == "Our runs were made with different packages: torch=2.5.0, torch=2.6.0."


def courses(bench: MadeBench, tmp_path: Path) -> Courses:
    results = read_bench(bench.write(tmp_path / "bench"), [])
    return Courses(results.evaluations, Runs(results))


def test_a_curve_holds_the_last_evaluation_until_the_next(tmp_path: Path):
    """Evaluated at 0, 500 and 1000 steps and labels 0, 50, 100; here one run also at 250."""
    bench = MadeBench("a").add("pebble", on([0.4, 0.8], "a"))
    key = {"env": "a", "method": "pebble", "teacher": "oracle", "budget": 100, "seed": 0}
    bench.curves.insert(1, {**key, "env_steps": 250, "labels": 0, "score": 120})
    arm, found = Arm("pebble", "oracle", 100, ""), courses(bench, tmp_path)
    curve = found.aggregate(arm, ["a"], "steps", {"a": 1.0})
    np.testing.assert_array_equal(curve.x, [0, 250, 500, 1000])
    np.testing.assert_allclose(curve.y, [0, (0.1 + 0) / 2, (0.2 + 0.4) / 2, 0.6])
    # With the same 0 labels, the later evaluation is the one that counts.
    over_labels = found.aggregate(arm, ["a"], "labels", {"a": 1.0})
    np.testing.assert_allclose(over_labels.y, [0.05, 0.3, 0.6])
    np.testing.assert_allclose(found.mean(arm, "a").y, [100, 110, 160, 220])


def test_curves_begin_where_all_runs_have_begun_and_end_with_the_longest(tmp_path: Path):
    bench = MadeBench("a").add("pebble", on([0.4, 0.8], "a"))
    bench.curves = [c for c in bench.curves if not (c["seed"] == 0 and c["env_steps"] != 500)]
    curve = courses(bench, tmp_path).aggregate(Arm("pebble", "oracle", 100, ""), ["a"], "steps", {"a": 1.0})
    np.testing.assert_array_equal(curve.x, [500, 1000])
    np.testing.assert_allclose(curve.y, [(0.2 + 0.4) / 2, (0.2 + 0.8) / 2])


def test_tasks_of_unequal_length_share_an_axis_of_shares(tmp_path: Path):
    bench = MadeBench("a", "b").add("pebble", on(FIVE, "a", "b"))
    for row in bench.curves:
        row["env_steps"] *= 10 if row["env"] == "b" else 1
    arm, found = Arm("pebble", "oracle", 100, ""), courses(bench, tmp_path)
    assert found.step_axis(["a"], [arm]) == ({arm: {"a": 1.0}}, "environment steps")
    scale, name = found.step_axis(["a", "b"], [arm])
    assert (scale, name) == ({arm: {"a": 1000, "b": 10000}}, "share of the task's steps")
    np.testing.assert_allclose(found.aggregate(arm, ["a", "b"], "steps", scale[arm]).x, [0, 0.5, 1])


def test_online_and_offline_methods_of_a_task_each_have_a_curve_over_their_own_steps(tmp_path: Path):
    bench = MadeBench("a").add("pebble", on(FIVE, "a")).add("cpl", on(FIVE, "a"))
    for row in (row for row in (*bench.rows, *bench.curves) if row["method"] == "cpl"):
        row["updates"] = row.pop("env_steps") * 20
    arms, found = [Arm(name, "oracle", 100, "") for name in ("pebble", "cpl")], courses(bench, tmp_path)
    scale, name = found.step_axis(["a"], arms)
    assert name == "share of the task's steps"
    for arm in arms:
        np.testing.assert_allclose(found.aggregate(arm, ["a"], "steps", scale[arm]).x, [0, 0.5, 1])
    assert [found.mean(arm, "a").x[-1] for arm in arms] == [1000, 20000]


def test_no_curve_over_labels_that_never_change(tmp_path: Path):
    bench = MadeBench("a").add("cpl", on(FIVE, "a"))
    for row in bench.curves:
        row["labels"] = 100
    assert courses(bench, tmp_path).aggregate(Arm("cpl", "oracle", 100, ""), ["a"], "labels", {"a": 1.0}) is None
