import numpy as np
import pytest
import torch

from pbrl.nets.policies import Policy, best_of


def make(obs_shape=(3,), action_size=2, hidden=(8,), dropout=0.0, normalise=False, seed=0, **more):
    rng = torch.Generator().manual_seed(seed)
    return Policy(
        obs_shape=obs_shape,
        action_size=action_size,
        hidden=hidden,
        dropout=dropout,
        normalise=normalise,
        rng=rng,
        **more,
    )


def test_log_prob_is_minus_the_squared_error():
    policy, obs, actions = make(), torch.randn(4, 5, 3), torch.randn(4, 5, 2)
    expected = -((policy(obs) - actions) ** 2).sum(-1)
    torch.testing.assert_close(policy.log_prob(obs, actions), expected)
    assert expected.shape == (4, 5)


def test_actions_stay_in_the_box():
    assert np.abs(make().act(np.full((1, 3), 1e6, np.float32))).max() <= 1


def test_acting_drops_nothing_and_training_goes_on_dropping():
    policy, obs = make(dropout=0.5, hidden=(64,)), np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(policy.act(obs), policy.act(obs))
    assert policy.training
    assert not torch.equal(policy(torch.from_numpy(obs)), policy(torch.from_numpy(obs)))


def test_dropout_keeps_the_mean():
    policy = make(dropout=0.25)
    h = torch.ones(200, 500)
    assert float(policy.dropout(h).mean()) == pytest.approx(1, abs=0.01)
    assert float((policy.dropout(h) == 0).float().mean()) == pytest.approx(0.25, abs=0.01)


def test_dropout_out_of_range():
    with pytest.raises(ValueError, match="dropout is 1"):
        make(dropout=1.0)


def test_scaled_observations_give_the_same_policy():
    obs = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    plain, scaled = make(normalise=True), make(normalise=True)
    plain.observe(obs)
    scaled.observe(1000 * obs + 5)
    np.testing.assert_allclose(plain.act(obs), scaled.act(1000 * obs + 5), atol=1e-3)


@pytest.mark.parametrize(
    ("obs_shape", "hidden", "millions"),
    [((35,), (512, 512), 0.283), ((64, 64, 3), (1024, 1024), 2.13)],  # Hejna et al. 2024, table 2 for the images
)
def test_size_of_the_published_networks(obs_shape, hidden, millions):
    parameters = sum(p.numel() for p in make(obs_shape, 4, hidden).parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.01)


def test_best_of_many_moves_towards_the_learned_mean():
    policy, reference, obs = make(seed=1), make(seed=2), np.zeros((1, 3), np.float32)
    obs += 1
    chosen = best_of(policy, reference, obs, 4096, 0.02, torch.Generator().manual_seed(0))
    towards = policy.act(obs) - reference.act(obs)
    moved = chosen - reference.act(obs)
    assert float((moved * towards).sum()) > 0.9 * np.linalg.norm(moved) * np.linalg.norm(towards)


def test_best_of_without_spread_is_the_reference():
    policy, reference, obs = make(seed=1), make(seed=2), np.ones((4, 3), np.float32)
    chosen = best_of(policy, reference, obs, 3, 0.0, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(chosen, reference.act(obs))


def test_choices_have_probabilities_that_sum_to_one_and_the_likeliest_is_done():
    policy = make(action_size=4, choice=True)
    obs = torch.randn(6, 3)
    every = torch.eye(4).expand(6, 4, 4)
    log_prob = policy.log_prob(obs[:, None].expand(6, 4, 3), every)  # of each choice at each observation
    torch.testing.assert_close(log_prob.exp().sum(1), torch.ones(6))
    np.testing.assert_array_equal(policy.act(obs.numpy()).argmax(1), log_prob.argmax(1))
    assert set(policy.act(obs.numpy()).flatten()) == {0, 1}
    assert "one_of_n" in policy.state_dict()
    assert "one_of_n" not in make().state_dict()  # weights of before are read as they were


def test_an_encoder_of_pictures_learns_at_least_at_its_own_rate():
    assert [group["lr"] for group in make().rates(1e-4)] == [1e-4]
    policy = make((32, 32, 3))
    encoder, rest = policy.rates(1e-4)
    assert (encoder["lr"], rest["lr"]) == (1e-3, 1e-4)
    assert [group["lr"] for group in policy.rates(1e-2)] == [1e-2, 1e-2]
    assert len(encoder["params"]) + len(rest["params"]) == len(list(policy.parameters()))
