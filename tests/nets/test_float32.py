"""What computes float32 products, chosen by the processor, and never what would round them."""

import subprocess
import sys

import pytest
import torch

from pbrl.nets import precision

MATMUL = getattr(torch.backends.mkldnn, "matmul", None)
pytestmark = pytest.mark.skipif(not hasattr(MATMUL, "fp32_precision"), reason="this torch has no such setting")


@pytest.fixture(autouse=True)
def untouched():
    before = MATMUL.fp32_precision
    MATMUL.fp32_precision = "none"
    yield
    MATMUL.fp32_precision = before


@pytest.fixture
def processor(monkeypatch):
    def processor(vendor, *features, exact=True):
        monkeypatch.setattr(precision, "processor_vendor", lambda: vendor)
        monkeypatch.setattr(precision, "processor_features", lambda: frozenset(features))
        monkeypatch.setattr(precision, "products_are_exact", lambda: exact)

    return processor


def choose():
    return precision.choose_float32_products.__wrapped__(), MATMUL.fp32_precision


def test_where_mkl_is_slow_and_onednn_exact_onednn_is_taken(processor):
    processor("AuthenticAMD", "avx2", "fma")
    if not torch.backends.mkl.is_available():
        pytest.skip("this torch has no MKL")
    assert choose() == ("by oneDNN, which takes its fast path on this processor and rounds nothing", "bf16")


@pytest.mark.parametrize(
    ("vendor", "features", "exact"),
    [
        ("GenuineIntel", ("avx512f",), True),
        ("", (), True),  # unknown
        ("AuthenticAMD", ("avx512_bf16", "amx_tile"), True),
        ("AuthenticAMD", ("avx512_bf16",), False),
    ],
    ids=["MKL is fast", "unknown", "AMX rounds", "products come out rounded"],
)
def test_anywhere_else_nothing_is_touched(processor, vendor, features, exact):
    processor(vendor, *features, exact=exact)
    text, setting = choose()
    assert text.startswith("by torch's default")
    assert setting == "none"


def test_what_a_user_has_set_stays(processor):
    processor("AuthenticAMD", "avx2")
    MATMUL.fp32_precision = "ieee"
    text, setting = choose()
    assert text.startswith("as set")
    assert setting == "ieee"


def test_products_here_are_float32_after_the_choice():
    choose()
    torch.manual_seed(0)
    x, y = torch.randn(384, 256), torch.randn(256, 320)
    exact = x.double() @ y.double()
    error = float(((x @ y).double() - exact).norm() / exact.norm())
    assert error < 1e-6  # of bfloat16: about 2e-3
    assert precision.products_are_exact()


def test_rounding_is_seen(monkeypatch):
    linear = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, w: linear(x.bfloat16(), w.bfloat16()).float())
    assert not precision.products_are_exact()


def test_memory_does_not_grow_with_the_shapes_that_were_multiplied():
    """Each shape costs half a MiB of compiled code where oneDNN computes, as bfloat16 always."""
    code = """
import resource, sys, torch
from pbrl.nets.precision import prepare_torch
prepare_torch(1)
b = torch.ones(3, 64, 64, dtype=torch.bfloat16)
def peak(shapes):
    for m in shapes:
        torch.bmm(torch.ones(3, m, 64, dtype=torch.bfloat16), b)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = peak(range(1, 201))
print((peak(range(201, 601)) - first) // 1024)
"""
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 40
