from types import SimpleNamespace

import pytest
import torch

from pbrl.speed import parts

F32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (None, {"torch": [F32, BF16]}),
        (SimpleNamespace(has_half=False), {"native": [F32], "torch": [F32, BF16]}),
        (SimpleNamespace(has_half=True), {"native": [F32, BF16], "torch": [F32, BF16]}),
    ],
    ids=["no kernel", "without bfloat16", "with bfloat16"],
)
def test_updates_are_measured_by_what_there_is(monkeypatch, library, expected):
    monkeypatch.setattr(parts, "load", lambda: (library, None))
    monkeypatch.setattr(parts, "_dtypes", lambda: [F32, BF16])
    assert parts._backends() == expected
