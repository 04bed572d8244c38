"""VPL: what a taste is inferred from, the divergence by hand, users in one data set, new users, and the contrast."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from killed import Kill
from outcome import table
from stored import answers_to
from tiny import offline, train

from pbrl.agents.iql import IQL
from pbrl.cli import main
from pbrl.labels.sets import export_labels
from pbrl.labels.store import LabelStore
from pbrl.methods.maxmin import GroupWeights
from pbrl.methods.vpl import Vpl
from pbrl.nets.policies import Policy
from pbrl.rewards.latent_user import LatentUser, Taste
from pbrl.rewards.partial_return import PartialReturn
from pbrl.tabular.hidden_goals import CONTEXT, ONE_REWARD, accuracy, batches, by_taste, for_all, make_users
from pbrl.training.saved import load_run
from pbrl.types import Answers, Comparisons


def small(**changes):
    numbers = {"latent": 2, "hidden": 8, "kl_weight": 1.0, "sample": True, "prototypes": None, "lr": 3e-3} | changes
    return LatentUser(obs_size=2, action_size=1, rng=torch.Generator().manual_seed(0), **numbers)


def test_a_taste_depends_on_the_answers_and_not_on_their_order_or_the_sides():
    told, _ = make_users(2, 3, torch.Generator().manual_seed(1))
    model = small()
    mean = model.encode(told).mean
    order = torch.arange(told.prefers_right.numel()).view(told.prefers_right.shape).flip(1).flatten()
    flipped = told._replace(left=told.left[order], right=told.right[order], prefers_right=told.prefers_right.flip(1))
    torch.testing.assert_close(model.encode(flipped).mean, mean)
    other = told._replace(prefers_right=1 - told.prefers_right)
    assert (model.encode(other).mean - mean).abs().max() > 1e-3


def test_the_divergence_is_that_of_gaussians():
    taste = Taste(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, np.log(2.0)]]))
    q = torch.distributions.Normal(taste.mean, taste.log_std.exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(taste.divergence(), expected)
    assert taste.divergence()[0] == 0


def test_prototypes_keep_every_taste_inside_their_hull():
    told, _ = make_users(2, 50, torch.Generator().manual_seed(1))
    model = small(prototypes=3, latent=1)
    tastes = model.encode(told).mean
    assert model.points.min() <= tastes.min()
    assert tastes.max() <= model.points.max()
    assert model.update(told, 8, 0.5, torch.Generator())["divergence"] == 0


def test_new_users_are_foreseen_from_eight_answers_where_goals_conflict_and_one_reward_is_a_coin():
    rng = torch.Generator().manual_seed(3)
    (told, _), (test, gains) = make_users(2, 800, rng), make_users(2, 200, rng)
    model = small(latent=4, hidden=32)
    for step, batch in zip(range(250), batches(told, rng), strict=False):
        model.update(batch, CONTEXT, step / 250, rng)
    assert accuracy(partial(by_taste, model), test, gains)["differ"] > 0.9
    one = PartialReturn(obs_size=2, action_size=1, **ONE_REWARD, rng=rng)
    for _, batch in zip(range(60), batches(told, rng), strict=False):
        answers = batch.prefers_right.flatten()
        one.update(Comparisons(batch.left, batch.right, answers, torch.zeros(len(answers), dtype=torch.long)))
    found = accuracy(partial(for_all, one), test, gains)
    assert abs(found["differ"] - 0.5) < 0.07
    assert found["agree"] > 0.9


@pytest.fixture(scope="module")
def two_users(tmp_path_factory):
    """A label set in which anna says what a script says, and otto the opposite; and one of otto alone."""
    folder = tmp_path_factory.mktemp("users")
    assert train(folder / "source", method="pebble")[0] == 0
    for name, users in (("both", ("anna", "otto")), ("new", ("zoe",))):
        assert train(folder / f"run_{name}", method="pebble")[0] == 0
        with LabelStore(folder / f"run_{name}", create=False) as store:
            queries = [query.id for query in store.queries()]
            said = answers_to(store, queries)
            for user in users:
                value = said.prefers_right if user == "anna" else 1 - said.prefers_right
                store.answer(queries, Answers(value, said.answered), user, kind="human")
            if name == "new":
                store.leave_out("scripted:oracle", "zoe alone")
        export_labels(folder / f"run_{name}", folder / name)
    return folder


def vpl(data, *changes):
    return [*offline("vpl", data), *changes]


def test_each_user_has_a_policy_and_a_new_one_too(two_users, tmp_path, capsys):
    data = two_users / "both"
    assert main(["train", *vpl(data, "method.reward_share=0.5"), f"run_dir={tmp_path / 'run'}"]) == 0
    rows = table(tmp_path / "run" / "evaluations.csv")
    users = json.loads((tmp_path / "run" / "summary.json").read_text())["users"]
    assert set(users) == {"scripted:oracle", "anna", "otto"}
    assert [row["context"] for row in rows[:3]] == users
    by_user = {user: [row["return_mean"] for row in rows if row["context"] == user] for user in users}
    assert by_user["anna"] != by_user["otto"]
    saved, obs = load_run(tmp_path / "run"), np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    actions = [saved.of_user(user).act(obs) for user in ("anna", "otto", str(two_users / "new"))]
    assert not np.allclose(actions[0], actions[1])
    assert np.array_equal(saved.of_user(str(two_users / "run_new")).act(obs), actions[2])  # as the viewer left it
    for user in ("anna", two_users / "new"):
        assert main(["eval", str(tmp_path / "run"), "episodes=1", f"user={user}"]) == 0
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "episodes=1", "user=ana"]) == 2
    assert "did you mean anna" in capsys.readouterr().err
    assert main(["eval", str(tmp_path / "run"), "episodes=1", f"user={data}"]) == 2
    assert "has answers of anna, otto, scripted:oracle; expected those of one person" in capsys.readouterr().err
    assert main(["train", *vpl(data, "method.reward_share=0"), f"run_dir={tmp_path / 'no'}"]) == 2
    assert "method.reward_share=0: expected a number above 0" in capsys.readouterr().err


def test_a_method_with_one_policy_says_so(finished, capsys):
    assert main(["eval", str(finished(method="true_reward")), "episodes=1", "user=anna"]) == 2
    assert "user=anna: this run has one policy for everybody" in capsys.readouterr().err


def test_it_goes_on_as_if_never_killed(two_users, run, tmp_path):
    whole, killed = (vpl(two_users / "both", f"run_dir={tmp_path / name}") for name in ("whole", "killed"))
    assert main(["train", *whole]) == 0
    assert run(["train", *killed], Kill("pbrl.methods.vpl:Vpl.update", 17)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    for name in ("progress", "evaluations"):
        assert table(tmp_path / "whole" / f"{name}.csv") == table(tmp_path / "killed" / f"{name}.csv")


class TwoCamps:
    """In place of a learned reward: taste z likes the action z, whatever the state."""

    def step_reward(self, obs, actions, z):
        return -(actions - z[:, :1]).square().sum(1)


def begun_for_all(maxmin, tastes):
    """A learner that knows its users, on uniform actions in one state."""
    rng = torch.Generator().manual_seed(0)
    numbers = {"hidden": [16], "lr": 3e-3, "gamma": 0.0, "tau": 0.5, "expectile": 0.7, "beta": 0.3}
    learner = Vpl(
        policy=partial(Policy, hidden=[16], dropout=0.0, normalise=False), model=small, iql=partial(IQL, **numbers),
        latent=1, answers=4, users=2, pairs=4, reward_share=0.1, batch_size=128, maxmin=maxmin,
    )  # fmt: skip
    learner.rng, learner.obs_shape, learner.action_size = rng, (1,), 1
    learner.actor = learner.make_policy(rng)
    learner.iql = learner._make_iql(policy=learner.actor, policy_steps=10**6, rng=rng)
    learner.model, learner.groups = TwoCamps(), GroupWeights(len(tastes), maxmin)
    learner.users = {str(i): torch.tensor([z]) for i, z in enumerate(tastes)}
    return learner


def served(learner, updates=700):
    for _ in range(updates):
        actions = torch.rand(128, 1, generator=learner.rng) * 2 - 1
        learner._update_for_all(learner.groups, torch.zeros(128, 1), actions, torch.zeros(128, 1), torch.ones(128))
    return float(learner.policy()(np.zeros((1, 1), np.float32))[0, 0])


def test_one_policy_for_all_serves_the_worst_served_where_the_mean_serves_the_majority():
    """Two like 0.8 and one -0.8: the mean of their squares is least at 0.27, the worst of them at 0."""
    tastes = [0.8, 0.8, -0.8]
    assert served(begun_for_all(1e-9, tastes), 300) == pytest.approx(0.27, abs=0.12)
    learner = begun_for_all(5.0, tastes)
    assert abs(served(learner)) < 0.12
    assert float(learner.groups.weights[2]) == pytest.approx(0.5, abs=0.1)


def test_weights_of_groups_lean_to_the_worst_by_the_formula():
    groups = GroupWeights(3, 5.0)
    for _ in range(30):
        groups.lean(torch.tensor([1.0, 0.0, -1.0]))
    torch.testing.assert_close(groups.weights, (5 * (1 - 0.99**30) * torch.tensor([-1.0, 0.0, 1.0])).softmax(0))
