"""A number is known by the code that decides it, whatever is written about that code."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import pbrl
from pbrl.bench.plan import Composed, make_plan
from pbrl.bench.read_grid import load_grid
from pbrl.bench.sources import APART, changed, code_version, module_version, own_code, yamls_version

CODE = '''"""What it is."""
def double(x):
    """Twice."""
    return 2 * x
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's own, beside which the command is called."""
    file = tmp_path / "mine_for_a_test.py"
    file.write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield file
    module_version.cache_clear()


def version_of(file):
    module_version.cache_clear()
    return module_version(file.stem)


def test_what_code_says_about_itself_does_not_count_and_what_it_does_counts(mine):
    before = version_of(mine)
    mine.write_text("# A comment.\n" + CODE.replace("Twice.", "Two times.").replace("\ndef", "\n\n\ndef"))
    assert version_of(mine) == before
    mine.write_text(CODE.replace("2 * x", "3 * x"))
    assert version_of(mine) != before
    mine.write_text(CODE.replace("2 * x", "3 * ("))  # half written
    assert version_of(mine) != before


def test_a_config_names_code_besides_ours_by_targets_and_ids(mine):
    config = OmegaConf.create(
        {
            "env": {"id": f"{mine.stem}:Env-v0", "make": {"_target_": "pbrl_envs.suites.gym.make_gym"}},
            "agent": {"policy_class": {"_target_": "hydra.utils.get_class", "path": "torch.nn.Linear"}},
            "method": {"parts": [{"_target_": "math.log"}, {"_target_": f"{mine.stem}.Reward"}], "id": "cpl"},
        }
    )
    assert list(own_code(config)) == [mine.stem, "torch"]


def test_a_cell_whose_own_code_changed_is_another(mine, tree, write, tmp_path):
    tree["methods"] = {"mine": {"set": ["method=true_reward", f"env.id={mine.stem}:Env-v0"], "labels": False}}
    tree["envs"] = {"point": {"set": ["env=gym"]}}
    tree["common"] = []
    grid, out, composed = load_grid(write(tree | {"seeds": [0]})), tmp_path / "out", Composed(None)

    def plan():
        return make_plan(grid, grid.cells, out, composed, any_code=False)[0]

    new = plan()
    new.write_record(stamp=new.stamp, code=code_version(), own={mine.stem: version_of(mine)})
    new.job.folder.mkdir(parents=True)
    (new.job.folder / "summary.json").write_text(json.dumps({"status": "finished"}))
    assert plan().state == "done"
    mine.write_text(CODE.replace("2", "3"))
    module_version.cache_clear()
    assert plan().state == "stale"


def test_a_change_since_the_beginning_is_noticed(mine, tmp_path):
    yamls = tmp_path / "yamls"
    for group in ("env", "bench"):
        (yamls / group).mkdir(parents=True)
        (yamls / group / "x.yaml").write_text("a: 1\n")
    module_version(mine.stem), yamls_version(yamls)
    assert not changed([mine.stem], [yamls])
    (yamls / "bench" / "x.yaml").write_text("a: 2\n")  # of another bench
    assert not changed([mine.stem], [yamls])
    (yamls / "env" / "x.yaml").write_text("a: 2\n")
    assert changed([mine.stem], [yamls])
    assert not changed([mine.stem], [])
    mine.write_text(CODE.replace("2", "3"))
    assert changed([mine.stem], [])


def test_what_decides_no_number_is_where_it_is_said_to_be():
    assert [name for name in APART if not (Path(pbrl.__file__).parent / name).exists()] == []
