"""A data set of a bench is what today's arguments, configs and code would make."""

import json

import pytest

from pbrl.bench import data_sets
from pbrl.bench.data_sets import _keep_or_set_aside, _recipe
from pbrl.bench.grid import EnvEntry
from pbrl.errors import UserError


@pytest.fixture
def env():
    return EnvEntry("point", ("env=point_reach", "steps=300"), collect=("episodes=5",))


@pytest.fixture
def made(env, tmp_path):
    """The folder of a bench that has collected."""
    (tmp_path / "data" / "point").mkdir(parents=True)
    (tmp_path / "data" / "point" / "meta.json").touch()
    (tmp_path / "data" / "point.made").write_text(json.dumps(_recipe(env, tmp_path, None)))
    return tmp_path


def there(env, out, any_code=False):
    return _keep_or_set_aside(env, out, _recipe(env, out, None), any_code)


def test_what_would_be_made_again_alike_is_kept(env, made):
    assert there(env, made)
    assert there(EnvEntry("point", ("env=point_reach", "steps=9"), collect=("episodes=5", "noise=0.3")), made)


@pytest.mark.parametrize(
    "other", [("episodes=6",), ("episodes=5", "teacher=mistake"), ("episodes=5", "+env.make.max_episode_steps=30")]
)
def test_what_would_be_made_otherwise_goes_aside(made, other):
    assert not there(EnvEntry("point", ("env=point_reach",), collect=other), made)
    (old,) = (made / "old" / "data").iterdir()
    assert sorted(path.name for path in old.iterdir()) == ["point", "point.made"]
    assert list((made / "data").iterdir()) == []


def test_what_another_run_acted_or_judged_in_is_made_again(tmp_path):
    judged = ("labels=regret_critic", f"critic=run:{tmp_path / 'run'}@300")
    (tmp_path / "run").mkdir()
    for collect in (judged, ("episodes=5", f"policies=random,run:{tmp_path / 'run'}")):
        env = EnvEntry("point", ("env=point_reach",), collect=collect)
        versions = []
        for text in ("one", "one", "two"):
            (tmp_path / "run" / "summary.json").write_text(text)
            versions.append(_recipe(env, tmp_path, None)["version"])
        assert versions[0] == versions[1] != versions[2]


def test_what_other_code_made_is_made_again_unless_any_code_will_do(env, made, monkeypatch):
    monkeypatch.setattr(data_sets, "code_version", lambda: "00000000")
    assert there(env, made, any_code=True)
    assert not there(env, made)


def test_data_of_others_are_never_moved(env, made):
    (made / "data" / "point.made").unlink()
    with pytest.raises(UserError, match="was not made by this bench"):
        there(env, made)


def test_a_mistake_in_collect_is_told_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match=r"^envs.point.collect: unknown key 'episods'; did you mean episodes"):
        _recipe(EnvEntry("point", ("env=point_reach",), collect=("episods=5",)), tmp_path, None)
