"""Safe learning: the loss by hand, what is forgotten, the test of safety, a run that is killed, and the grid."""

import json

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import assert_same, table
from tiny import TINY, train

from pbrl.cli import main
from pbrl.config import load_config
from pbrl.feedback.desk import Standing
from pbrl.methods.safe_questions import EXAM
from pbrl.question_kinds import Rating
from pbrl.rewards.cost import CostModel, blamed, contradicted, log_safe, step_loss, unsafe_loss
from pbrl.statistics.safety import fewest_cases, unsafe_bound
from pbrl.tabular.forbidden_grid import CLEARED, SESSIONS, learn
from pbrl.training.start import resume
from pbrl.types import Episode, Segments, Steps


def test_a_segment_is_safe_where_all_of_its_steps_are():
    logits, mask = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert log_safe(logits, mask).exp().item() == pytest.approx(0.25)  # two even steps; the third is no real one
    said_unsafe, said_safe = (unsafe_loss(log_safe(logits, mask), torch.tensor([value])) for value in (1.0, 0.0))
    assert said_unsafe.item() == pytest.approx(-np.log(0.75))
    assert said_safe.item() == pytest.approx(-np.log(0.25))


def test_steps_are_told_what_was_said_of_their_segment():
    logits, mask = torch.tensor([[0.0, 2.0], [0.0, 9.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    loss = step_loss(logits, mask, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((2 * np.log(2) + np.log1p(np.exp(-2))) / 3)


def segments_of(obs):
    n, t = obs.shape[0], obs.shape[1] - 1
    blank = torch.zeros(n, t)
    return Segments(obs, torch.zeros(n, t, 1), torch.ones(n, t), blank, blank, torch.arange(n))


@pytest.mark.parametrize("pairs", [False, True])
def test_the_step_that_makes_segments_unsafe_is_found(pairs):
    """Only what is above 1 is unsafe; of each segment it is said as a whole, or which of two has less of it."""
    rng = torch.Generator().manual_seed(0)
    segments = segments_of(2.4 * torch.rand(256, 9, 1, generator=rng) - 1.2)
    above = (segments.obs[:, :-1, 0] > 1).sum(1)
    model = CostModel(obs_size=1, action_size=1, hidden=[32], lr=0.01, pull=0.05, rng=rng)
    for _ in range(400):
        scores = model.log_safe(segments)
        fitted = unsafe_loss(scores, (above > 0).float())
        if pairs:
            logits = scores.roll(1) - scores
            target = 0.5 + 0.5 * (above - above.roll(1)).sign()
            fitted = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        model.optimizer.zero_grad()
        (fitted + model.penalty(segments)).backward()
        model.optimizer.step()
    cost = model.step_cost(torch.tensor([[-1.0], [0.0], [0.8], [1.15]]), torch.zeros(4, 1))
    assert cost[3] > 0.6
    assert (cost[:3] < 0.2).all()


def test_forgotten_is_what_was_found_safe_later_where_it_is_blamed():
    states = torch.tensor([[[0.0], [5.0]], [[1.0], [5.05]], [[2.0], [5.0]], [[5.0], [9.0]]])
    mask, unsafe = torch.ones(4, 2), torch.tensor([True, False, False, True])
    at_five = torch.tensor([[False, True]] * 2 + [[False, True], [True, False]])
    found = contradicted(states, mask, at_five, unsafe, radius=0.1, witnesses=2)
    assert found.tolist() == [True, False, False, False]  # the last one was said after both witnesses
    assert not contradicted(states, mask, at_five, unsafe, radius=0.01, witnesses=2).any()
    assert not contradicted(states, mask, at_five, unsafe, radius=0.1, witnesses=3).any()
    assert not contradicted(states, mask, ~at_five, unsafe, radius=0.1, witnesses=1).any()  # nobody was at 0 later
    padded = mask.clone()
    padded[1, 1] = 0  # what is no real step is no witness
    assert not contradicted(states, padded, at_five, unsafe, radius=0.1, witnesses=2).any()


def test_blamed_are_the_worst_real_steps():
    logits = torch.tensor([[-3.0, 0.0, 0.1, 5.0]])
    assert blamed(logits, torch.tensor([[1.0, 1.0, 1.0, 0.0]])).tolist() == [[False, True, True, False]]


def test_a_bound_leaves_out_what_would_show_so_few_in_one_of_twenty():
    assert unsafe_bound(0, 59, 0.95) == pytest.approx(1 - 0.05 ** (1 / 59))  # P(0 of 59) = 1/20
    assert (fewest_cases(0.05, 0.95), unsafe_bound(7, 7, 0.9)) == (59, 1.0)
    unsafe = np.random.default_rng(0).binomial(60, 0.1, 4000)
    assert np.mean([unsafe_bound(int(k), 60, 0.95) <= 0.1 for k in unsafe]) <= 0.05


def last(folder, *names):
    row = table(folder / "progress.csv")[-1]
    return [float(row[name]) for name in names]


def test_the_agent_gets_the_reward_less_what_is_unsafe_and_the_exam_ends_learning(tmp_path):
    assert train(tmp_path / "run", method="safe")[0] == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["exam"] == 30
    assert summary["unsafe_bound"] == pytest.approx(unsafe_bound(summary["exam_unsafe"], 30, 0.95))
    assert summary["safe"] == (summary["unsafe_bound"] <= 0.1)
    assert last(tmp_path / "run", "train/n_updates") == [320 - 30 - 1]  # none after the exam, at the step before last
    config = load_config(tmp_path / "run" / "config.yaml")
    config.steps = 400
    method = (ended := resume(tmp_path / "run", config)).method
    assert method.begun
    assert method.exam_open  # a longer run is examined at its own end
    method.multiplier = 3.0
    buffer, rows = ended.agent.buffer, np.arange(300)
    obs, actions, _, _, rewards = buffer.transitions(rows)
    cost = method.model.step_cost(*map(torch.from_numpy, (obs, actions))).numpy()
    np.testing.assert_allclose(rewards[:, 0], buffer.rewards[rows, 0] - 3 * cost, rtol=1e-5)
    assert (buffer.rewards[rows] > 0).all()  # the task's own, which nothing wrote over
    episode = Episode(np.append(obs[:9], obs[9:10], 0), actions[:9], np.full(9, 0.5, np.float32), terminated=False)
    np.testing.assert_allclose(method.of_episode(episode), 0.5 - 3 * cost[:9], rtol=1e-5)
    steps = Steps(torch.from_numpy(obs), torch.from_numpy(actions), given=torch.zeros(300))
    assert (method.of_steps(steps) <= 0).all()


def test_what_several_people_say_of_a_segment_is_one_case(tmp_path):
    """The test of safety is of independent cases, and of those asked about this time."""
    assert train(tmp_path / "run", method="safe")[0] == 0
    config = load_config(tmp_path / "run" / "config.yaml")
    config.steps = 360
    method = resume(tmp_path / "run", config).method
    said = method.run.desk.answers(Rating, EXAM)
    alone = method.judged(EXAM)
    assert len(alone.unsafe) == 30
    contrary = [np.concatenate([of, of]) for of in said[:4]]
    contrary[2][30:] = 1 - contrary[2][30:]
    method.run.desk.answers = lambda kind, criterion: Standing(*contrary, EXAM)
    both = method.judged(EXAM)
    assert torch.equal(both.segments.obs, alone.segments.obs)
    assert both.unsafe.tolist() == [0.5] * 30
    assert len(method.judged(EXAM, after=int(said.questions[9])).unsafe) == 20


def test_it_goes_on_as_if_never_killed(run, tmp_path):
    assert train(tmp_path / "whole", method="safe")[0] == 0
    killed = ["train", *TINY["safe"], "report=false", f"run_dir={tmp_path / 'killed'}"]
    assert run(killed, Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_which_of_two_is_safer_is_asked_instead(tmp_path):
    code, _, err = train(tmp_path / "run", "method.labels=pairs", "method.exam=0", method="safe")
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["safe"] is None
    assert last(tmp_path / "run", "reward/multiplier", "feedback/forgotten")[1] == 0


def test_people_rate_clips_and_sit_the_exam(tmp_path):
    """A script stands in for people who do not come in time."""
    nobody = ["teacher=human", "teacher.mode=mixed", "teacher.timeout_s=0.01", "viewer.start=false"]
    own = [number for number in TINY["safe"] if not number.startswith("teacher.")]
    code, _, err = train(tmp_path / "run", *own, *nobody, method=None)
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["exam"], summary["reward_updates"] > 0) == (30, True)


def test_what_cannot_work_is_said_before_there_is_a_run(tmp_path, capsys):
    for more, said in (
        (["method.exam=10"], "exam=10 cannot show that at most 0.05 of the segments are unsafe; expected at least 59"),
        (["method.limit=0"], "expected more than 0.001, or exam=0"),
        (["method.labels=thumbs"], "method.labels=thumbs"),
        (["method.radius=0"], "method.radius=0: expected a number above 0"),
        (["env=point_reach"], "factor=None: name the factor"),
        (["teacher.above=nan"], "above=nan: expected a finite number"),
        (["teacher.factor=speed"], "factor speed is not there; this env has distance_red"),
        (["env.forbidden=[[0,0]]"], "forbidden=[[0, 0]]: valid is a list as [[2,2],[2,3]], free cells"),
        (["teacher=human", "teacher.mode=async", "viewer.start=false"], "expected 0, or teacher.mode=block"),
    ):
        given = ["env=point_maze", "env.forbidden=[[2,2]]", "method=safe", *more, f"run_dir={tmp_path / 'no'}"]
        if more[0].startswith("env="):
            del given[:2]
        assert main(["train", *given]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


def test_a_policy_is_kept_out_and_let_in_sooner_where_what_was_contradicted_is_forgotten():
    """Visits to a gate that is forbidden, for ever or at first."""
    assert learn(0, SESSIONS, True, True)[0] < 0.2 * learn(0, SESSIONS, False, False)[0]
    forgets, keeps = (np.mean([learn(seed, CLEARED, True, way)[0] for seed in range(2)]) for way in (True, False))
    assert forgets > keeps + 0.1
