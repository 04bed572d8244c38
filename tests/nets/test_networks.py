import numpy as np
import pytest
import torch
from torch.nn.functional import leaky_relu

from pbrl.nets.networks import Dropout, RunningNorm, StackedMLP

ACTIVATIONS = {"relu": torch.relu, "leaky_relu": leaky_relu, "tanh": torch.tanh}


def make_net(activation="tanh", seed=0):
    return StackedMLP(3, [4, 8, 6, 2], activation, torch.Generator().manual_seed(seed))


def member(net, e, x, activation):
    """Member e alone, by its formula."""
    for i, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        x = x @ weight[e] + bias[e]
        if i < len(net.weights) - 1:
            x = ACTIVATIONS[activation](x)
    return x


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(5, 4), (3, 5, 4)], ids=["shared input", "own input"])
def test_stacked_members_equal_separate_ones(activation, shape):
    net, x = make_net(activation), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    stacked = net(x)
    for e in range(3):
        own = x if x.ndim == 2 else x[e]
        torch.testing.assert_close(stacked[e], member(net, e, own, activation), rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before)


def test_a_member_learns_from_its_own_output_alone():
    net = make_net()
    net(torch.ones(5, 4))[1].sum().backward()
    for p in net.parameters():
        assert p.grad[1].abs().sum() > 0
        assert p.grad[[0, 2]].abs().sum() == 0


def test_initial_weights_are_those_of_torch_linear():
    # uniform within 1/sqrt(fan_in), standard deviation bound/sqrt(3); 10^5 draws: a relative error of 1 % is 20 sigma
    net = StackedMLP(10, [25, 400, 1], "relu", torch.Generator().manual_seed(0))
    weight = net.weights[0].detach()
    assert weight.abs().max() <= 1 / 5
    assert float(weight.std()) == pytest.approx(0.2 / 3**0.5, rel=0.01)
    assert net.biases[1].detach().abs().max() <= 1 / 20
    assert len(weight.unique()) > 0.99 * weight.numel()


def test_the_generator_alone_decides_the_weights():
    one, same, other = (make_net(seed=s).weights[0] for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


DATA = np.random.default_rng(0).normal([0, 1000, -3], [1e-3, 1, 50], (997, 3))


@pytest.mark.parametrize("cuts", [[], [1], [500], list(range(1, 997)), [0, 3, 3, 900]], ids=len)
def test_running_norm_is_mean_and_variance_of_everything_in_any_chunking(cuts):
    norm = RunningNorm(3)
    for chunk in np.split(DATA, cuts):
        norm.observe(torch.from_numpy(chunk))
    np.testing.assert_allclose(norm.mean, DATA.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(norm.var, DATA.var(0), rtol=1e-9)
    assert int(norm.count) == 997


def test_running_norm_standardises_and_clips():
    norm = RunningNorm(3, clip=10.0)
    x = torch.from_numpy(DATA)
    assert torch.equal(norm(x), x)  # nothing seen: the identity
    norm.observe(x)
    out = norm(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(out[:, 1:].std(0, unbiased=False), torch.ones(2).double(), atol=1e-6, rtol=0)
    assert norm(torch.full((1, 3), 1e9)).tolist() == [[10, 10, 10]]
    assert norm(x.float()).dtype == torch.float32


def test_a_dimension_that_never_varied_stays_finite():
    norm = RunningNorm(1)
    norm.observe(torch.full((10, 1), 5.0))
    assert float(norm(torch.tensor([[5.0]]))) == 0
    assert torch.isfinite(norm(torch.tensor([[6.0]]))).all()


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5])
def test_dropout_drops_independent_units_and_keeps_the_mean(p):
    n = 999 * 1001  # not a multiple of four
    dropped = (Dropout(p, torch.Generator().manual_seed(0))(torch.ones(999, 1001)) == 0).flatten().double()
    assert abs(dropped.mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
    for lag in (1, 2, 3, 4, 1001):
        together = ((dropped[lag:] - p) * (dropped[:-lag] - p)).mean()
        assert abs(together) < 5 * p * (1 - p) / n**0.5
    kept = Dropout(p, torch.Generator().manual_seed(0))(torch.full((10_000,), 3.0)).unique()
    assert kept.tolist() == pytest.approx([0, 3 / (1 - p)], rel=1e-4)


def test_dropout_follows_its_generator_and_ends_with_training():
    x = torch.randn(7, 5)
    first, second = (Dropout(0.5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), x)
    assert torch.equal(first.eval()(x), x)
