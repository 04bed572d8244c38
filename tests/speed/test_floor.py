import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pbrl.speed.fixtures import CHEETAH, fast_sac
from pbrl.speed.floor import mlp, sac_update


def test_an_update_of_two_hidden_layers_counted_by_hand():
    # B = 1, O = 3, A = 2, layers of 4 and 5. Between them lie 20 weights: 3 forward passes and 2 gradients for each of
    # 2 critics, 1 pass back to the action, 2 forward passes and 2 gradients of the actor.
    hidden = 2 * 20 * (2 * 5 + 1 + 4)
    # First layers: (3 + 2) * 4 critic weights in 3 passes and 1 gradient, twice; 2 * 4 back to the action; 3 * 4 actor
    # weights in 2 passes and 1 gradient. Last layers: 5 critic weights in 3 passes and 2 gradients, twice, and once
    # back to the action; 5 * 4 actor weights in 2 passes and 2 gradients.
    thin = 2 * (20 * 4 * 2 + 8 + 12 * 3 + 5 * 5 * 2 + 5 + 20 * 4)
    assert sac_update(3, 2, [4, 5], batch=1) == (hidden, thin)


def test_a_network_counted_by_hand():
    # 3 -> 4 -> 5 -> 1 on two rows: 12, 20 and 5 weights. Backward, each has a gradient; so have the inputs of all but
    # the first.
    assert mlp([3, 4, 5, 1], rows=2, training=False) == (2 * 2 * 20, 2 * 2 * (12 + 5))
    assert mlp([3, 4, 5, 1], rows=2, training=True) == (2 * 2 * 3 * 20, 2 * 2 * (2 * 12 + 3 * 5))


def test_a_batch_twice_as_large_is_twice_the_work():
    one, two = (sac_update(17, 6, [256, 256], batch) for batch in (256, 512))
    assert two == (2 * one.hidden, 2 * one.thin)


def test_at_a_rate_of_one_operation_per_second_the_seconds_are_the_operations():
    work = sac_update(17, 6, [256, 256], 256)
    assert work.seconds(1, 1) == sum(work)
    assert work.seconds(2, 1) == work.hidden / 2 + work.thin


@pytest.mark.parametrize("width", [64, 256])
def test_the_fast_sac_makes_these_products_and_hardly_more(width):
    model = fast_sac(torch.float32, width, backend="torch")
    model.train(1, 256)
    with FlopCounterMode(display=False) as counter:
        model.train(1, 256)
    least = sum(sac_update(*CHEETAH, [width, width], 256))
    # A product with one column is a multiplication and not counted; back to the action, both critics take every row.
    assert 0.995 * least < counter.get_total_flops() < 1.08 * least
