import pytest
import torch

from pbrl.native.binding import load
from pbrl.speed import fixtures

MATMUL = getattr(torch.backends.mkldnn, "matmul", None)


@pytest.mark.skipif(load()[0] is None, reason="no kernel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_limit_is_above_what_products_reach(dtype):
    job = fixtures.spinning(dtype)
    if job is None:
        pytest.skip("no such products in hardware")
    x, out = torch.randn(256, 256).to(dtype), torch.empty(256, 256, dtype=dtype)
    product = fixtures.timed(lambda: torch.mm(x, x, out=out))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        limits = [job(1) for _ in range(5)]
        reached = [product(30) / (30 * 2 * 256**3 / 1e9) for _ in range(5)]
    finally:
        torch.set_num_threads(before)
    assert min(limits) < 1.05 * min(reached)


@pytest.mark.skipif(not hasattr(MATMUL, "fp32_precision"), reason="this torch has no such setting")
def test_what_is_compared_with_computes_as_torch_does_by_itself():
    before, seen = MATMUL.fp32_precision, []
    try:
        MATMUL.fp32_precision = "ieee"
        fixtures.as_shipped(lambda units: seen.append(MATMUL.fp32_precision) or 1.0)(1)
        assert (seen, MATMUL.fp32_precision) == (["none"], "ieee")
    finally:
        MATMUL.fp32_precision = before
