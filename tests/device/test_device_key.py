"""`device=` from the command line."""

import json

import pytest
import torch
from fake_device import META
from tiny import train

from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.methods.pebble import Pebble
from pbrl.native import binding
from pbrl.nets.devices import CPU, chosen_device
from pbrl.training import check
from pbrl.training.run_dir import versions

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize(
    ("device", "said"),
    [
        pytest.param("cuda", "valid here are cpu and auto", marks=NO_GPU),
        ("gpu", "device=gpu: valid"),
        ("cuda:0", "device=cuda:0: valid"),
        ("null", "device=None: valid"),
    ],
)
def test_a_device_that_cannot_be_had_is_one_line_and_leaves_no_folder(tmp_path, device, said):
    code, _, err = train(tmp_path / "run", f"device={device}")
    assert code == 2
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "run").exists()


@NO_GPU
def test_auto_takes_the_cpu_and_a_run_says_what_made_its_updates(tmp_path):
    code, _, err = train(tmp_path / "run", "device=auto", "steps=130")
    assert code == 0, err
    for file in ("versions.json", "summary.json"):
        noted = json.loads((tmp_path / "run" / file).read_text())
        noted = noted.get("versions", noted)
        assert noted["device"] == "cpu"
        library, reason = binding.load()
        assert noted["sac_kernel"] == (f"none: {reason}" if library is None else library.kind)


def test_on_a_gpu_torch_makes_the_updates_and_versions_say_so(monkeypatch):
    monkeypatch.setattr("pbrl.nets.devices.chosen_device", lambda name: torch.device("cuda"))
    assert versions(1, "auto")["sac_kernel"] == "none: it runs on the CPU alone, and the device is cuda"


def test_a_method_of_the_cpu_says_so(monkeypatch):
    monkeypatch.setattr(check, "chosen_device", lambda name: META)
    monkeypatch.setattr(Pebble, "accelerated", False)
    assert check.device_of(compose_config(["method=pebble", "device=auto"]), object.__new__(Pebble)) == CPU
    with pytest.raises(UserError, match="device=cuda: method=pebble learns on the CPU alone"):
        check.device_of(compose_config(["method=pebble", "device=cuda"]), object.__new__(Pebble))


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert chosen_device("auto") == chosen_device("cuda") == torch.device("cuda:0")
    assert chosen_device("cpu") == CPU
