"""DeformPAM: a diffusion policy, the reward that two of them imply, and the choice among samples."""

import json
import math

import pytest
import torch
from killed import Kill
from safetensors.torch import load_file
from tiny import collect, offline, train

from pbrl.cli import main
from pbrl.nets.diffusion import DiffusionPolicy
from pbrl.nets.networks import adam, descend
from pbrl.rewards.denoising import best_of_samples, implied_reward, preference_loss, score_samples
from pbrl.tabular.three_modes import SAMPLES, clone_demonstrations, measure, nothing, tune, value
from pbrl.training.saved import load_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("data") / "set")


def network(seed=0, **changes):
    numbers = {"obs_size": 1, "action_size": 2, "hidden": (32,), "levels": 10, "dropout": 0.0, "normalise": False}
    return DiffusionPolicy(**numbers | changes, rng=torch.Generator().manual_seed(seed))


def test_noise_keeps_the_variance_and_hides_the_action_more_at_each_level():
    policy = network(levels=50)
    assert (policy.kept[1:] < policy.kept[:-1]).all()
    assert policy.kept[0] > 0.99
    assert policy.kept[-1] < 0.01
    rng = torch.Generator().manual_seed(0)
    actions, noise = torch.randn(20_000, 2, generator=rng), torch.randn(20_000, 2, generator=rng)
    for level in (0, 20, 49):
        noisy = policy.add_noise(actions, torch.full((20_000,), level), noise)
        assert noisy.var() == pytest.approx(1.0, abs=0.03)


def test_one_that_knows_the_noise_samples_the_only_action_there_is():
    class Knowing(DiffusionPolicy):
        def forward(self, noisy, level, obs):
            kept = self.kept[level][:, None]
            return (noisy - kept.sqrt() * torch.tensor([0.3, -0.7])) / (1 - kept).sqrt()

    policy = Knowing(
        obs_size=1, action_size=2, hidden=(4,), levels=10, dropout=0.0, normalise=False, rng=torch.Generator()
    )
    drawn = policy.sample(nothing(50), torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn, torch.tensor([[0.3, -0.7]]).expand(50, 2), atol=1e-4, rtol=0)


def test_a_clone_copies_what_is_done_where_it_is_done():
    rng = torch.Generator().manual_seed(0)
    policy = network(hidden=(64, 64), levels=20)
    optimizer = adam(policy.parameters(), 3e-3)
    for _ in range(600):
        obs = torch.randint(2, (128, 1), generator=rng).float()
        descend(optimizer, policy.denoising_loss(obs, torch.cat([0.6 - 1.2 * obs, 0 * obs], 1), rng))
    for seen, wanted in ((0.0, 0.6), (1.0, -0.6)):
        drawn = policy.sample(torch.full((200, 1), seen), rng)
        assert drawn[:, 0].mean() == pytest.approx(wanted, abs=0.1)
        assert drawn[:, 0].std() < 0.15


def test_losses_by_hand_and_a_tie_pulls_neither_way():
    gain = torch.tensor([0.0, 2.0], requires_grad=True)
    assert preference_loss(gain, torch.tensor([1.0, 1.0]), "log_sigmoid").item() == pytest.approx(
        (math.log(2) + math.log(1 + math.exp(-2))) / 2
    )
    assert preference_loss(gain, torch.tensor([1.0, 0.0]), "sigmoid").item() == pytest.approx(
        -(0.5 + 1 / (1 + math.exp(2))) / 2
    )
    for loss in ("log_sigmoid", "sigmoid"):
        (slope,) = torch.autograd.grad(preference_loss(gain, torch.tensor([0.5, 0.5]), loss), gain)
        assert slope[0] == 0


def test_a_policy_implies_no_reward_relative_to_itself():
    rng = torch.Generator().manual_seed(0)
    one, same, other = network(0), network(0), network(1)
    actions, noise, level = torch.randn(9, 2, generator=rng), torch.randn(9, 2, generator=rng), torch.arange(9)
    assert (implied_reward(same, one, nothing(9), actions, level, noise) == 0).all()
    ours = implied_reward(other, one, nothing(9), actions, level, noise)
    torch.testing.assert_close(implied_reward(one, other, nothing(9), actions, level, noise), -ours)


def test_the_chosen_sample_is_the_one_of_the_highest_score_and_one_sample_is_the_clones():
    tuned, clone = network(1), network(0)
    options = {"share": 0.5, "draws": 3}
    chosen = best_of_samples(tuned, clone, nothing(6), samples=4, **options, rng=torch.Generator().manual_seed(5))
    rng = torch.Generator().manual_seed(5)
    drawn = clone.sample(nothing(24), rng).view(6, 4, 2)
    scores = score_samples(tuned, clone, nothing(6), drawn, **options, rng=rng)
    assert torch.equal(chosen, drawn[torch.arange(6), scores.argmax(1)])
    alone = best_of_samples(tuned, clone, nothing(6), samples=1, **options, rng=torch.Generator().manual_seed(5))
    assert torch.equal(alone, clone.sample(nothing(6), torch.Generator().manual_seed(5)))


def test_the_best_of_eight_beats_one_sample_by_a_fifth_on_three_modes():
    rng = torch.Generator().manual_seed(0)
    clone = clone_demonstrations(rng)
    alone = value(clone.sample(nothing(500), rng)).mean()
    assert SAMPLES == 8
    reached = measure(clone, tune(clone, "log_sigmoid", rng), rng)
    assert reached.chosen > alone + 0.2
    assert reached.right > 0.65


def test_a_run_chooses_among_samples_and_eval_among_others(data, tmp_path, capsys):
    assert train(tmp_path / "run", *offline("deformpam", data), method=None)[0] == 0
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert said["labels"] == 60
    assert 0 <= said["reward_accuracy"] <= 1
    for number in (1, 3):
        out = tmp_path / f"{number}.json"
        assert main(["eval", str(tmp_path / "run"), "episodes=2", f"best_of={number}", f"out={out}"]) == 0
        assert json.loads(out.read_text())["best_of"] == number
    saved = load_run(tmp_path / "run")
    obs = torch.zeros(4, saved.obs_shape[0]).numpy()
    again = load_run(tmp_path / "run")
    assert (saved.act(obs) == again.act(obs)).all()
    assert (saved.choosing(1).act(obs) != saved.choosing(8).act(obs)).any()
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "best_of=2", "best_of_std=0.1"]) == 2
    assert "best_of_std= is of method=cpl_kl" in capsys.readouterr().err


def test_units_that_are_dropped_are_the_same_ones_after_a_resume(data, run, tmp_path):
    given = ["train", *offline("deformpam", data), "method.policy.dropout=0.5"]
    folders = [tmp_path / name for name in ("whole", "killed")]
    assert run([*given, f"run_dir={folders[0]}"]) == 0
    assert run([*given, f"run_dir={folders[1]}"], Kill("pbrl.methods.offline:OfflineMethod.step", 18)) == -9
    assert run(["train", f"resume={folders[1]}"]) == 0
    one, other = (load_file(folder / "policy.safetensors") for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_only_copies_is_saved_as_the_clone(data, tmp_path):
    given = [*offline("deformpam", data), "method.clone_share=1"]
    assert train(tmp_path / "run", *given, method=None)[0] == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["reward_accuracy"] is None
    saved = load_run(tmp_path / "run")
    own, reference = saved.policy.tuned.state_dict(), saved.policy.clone.state_dict()
    assert all(torch.equal(own[name], reference[name]) for name in reference)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["method.loss=hinge"], "method.loss=hinge: "),
        (["method.samples=0"], "method.samples=0: expected a whole number of at least 1"),
        (["method.clone_share=0"], "method.clone_share=0: expected a number above 0"),
        (["method.policy.levels=1"], "method.policy.levels=1: expected a whole number of at least 2"),
        (["feedback.pairs=dense"], "feedback.pairs=dense: method=deformpam learns from listed comparisons"),
    ],
)
def test_what_it_cannot_use_is_said_in_one_line(changes, expected, data, tmp_path):
    code, _, err = train(tmp_path / "run", *offline("deformpam", data), *changes, method=None)
    assert (code, expected in err) == (2, True), err
    assert not (tmp_path / "run").exists()
