"""What a method of one's own does wrong ends its run with one line that names the class and what it should be."""

import re

import pytest
from tiny import TINY

from pbrl.cli import main

CODE = """
from pbrl.methods.pebble import Pebble


class {name}(Pebble):
    {body}
"""
MISTAKES = {
    "Column": (
        "def of_steps(self, steps): return super().of_steps(steps)[:, None]",
        r"Column.of_steps returned rewards of shape \(\d+, 1\); expected \(\d+,\), one for each step",
    ),
    "Silent": (
        "def learn_model(self): super().learn_model()",
        "Silent.learn_model returned None; expected a dictionary",
    ),
    "Wordy": (
        "def learn_model(self): return super().learn_model() | {'mood': 'good'}",
        "reward/mood='good': expected a number, as in every column of progress.csv",
    ),
    "Counts": (
        """def __init__(self, **numbers):
        super().__init__(**numbers)
        self.fits = 0

    def learn_model(self):
        self.fits += 1
        return super().learn_model()""",
        "Counts.fits was set by __init__ and has changed since: what changes is set in begin",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_it_is_one_line(name, tmp_path, monkeypatch, capsys):
    body, expected = MISTAKES[name]
    (tmp_path / "method").mkdir()
    (tmp_path / f"mistake_{name}.py").write_text(CODE.format(name=name, body=body))
    yaml = f"# @package _global_\ndefaults:\n  - pebble\n  - _self_\nmethod:\n  _target_: mistake_{name}.{name}\n"
    (tmp_path / "method" / "mine.yaml").write_text(yaml)
    monkeypatch.syspath_prepend(tmp_path)
    method = [text for text in TINY["pebble"] if text != "method=pebble"]
    assert main(["train", "--config-dir", str(tmp_path), "method=mine", *method, f"run_dir={tmp_path / 'run'}"]) == 2
    assert re.search(f"^pbrl: {expected}", capsys.readouterr().err, re.MULTILINE)


def test_a_misspelt_class_is_told_from_a_module_that_is_not_there(tmp_path, monkeypatch, refusal):
    (tmp_path / "misspelt_here.py").write_text("import torch\nclass LinearReward: pass\n")
    (tmp_path / "method").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def said(target):
        (tmp_path / "method" / "mine.yaml").write_text(f"# @package _global_\nmethod:\n  _target_: {target}\n")
        return refusal("train", "--config-dir", tmp_path, "method=mine", "env=point_reach", f"run_dir={tmp_path}/run")

    missing = "misspelt_here has no 'LinearRewrad'; valid are LinearReward; did you mean LinearReward?"
    assert said("misspelt_here.LinearRewrad") == f"pbrl: method._target_=misspelt_here.LinearRewrad: {missing}\n"
    assert "pbrl.methods has no 'pebbel'; valid are" in said("pbrl.methods.pebbel.Pebble")
    nowhere = "No module named 'nowhere_here'; a module of your own lies in the folder where pbrl is called"
    assert nowhere in said("nowhere_here.LinearReward")
