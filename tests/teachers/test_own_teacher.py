"""A teacher of one's own: what it has to be, and who is asked is told by its class and not by its name."""

import textwrap

import pytest
import torch
from omegaconf import OmegaConf
from outcome import table
from test_scripted import rewarded
from tiny import collect, train

from pbrl.cli import main
from pbrl.config import compose_config
from pbrl.question_kinds import Rating
from pbrl.teachers.human import NO_TRAINING
from pbrl.teachers.make import asks_people, make_teacher, teacher_class
from pbrl.teachers.teacher import Teacher
from pbrl.viewer.settings import desk_settings, viewer_section

OWN = """
from pbrl.teachers.human import HumanTeacher
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers

class Smooth(Teacher):
    def __init__(self, *, rng):
        pass

    def answer(self, left, right):
        change = [side.actions.diff(dim=1).abs().mean((1, 2)) for side in (left, right)]
        prefers_right = (change[0] > change[1]).float()
        return Answers(prefers_right, prefers_right >= 0)

class Unrelated:
    def __init__(self, *, rng):
        pass

class Crowd(HumanTeacher):
    pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A config dir with teachers of one's own; the options that name it."""
    (tmp_path / "own_teachers_here.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "teacher").mkdir()
    for name in ("Smooth", "Unrelated"):
        yaml = f"name: {name.lower()}\n_target_: own_teachers_here.{name}\n"
        (tmp_path / "teacher" / f"{name.lower()}.yaml").write_text(yaml)
    people = OmegaConf.to_container(compose_config(["teacher=human"]).teacher)
    crowd = OmegaConf.create(people | {"name": "crowd", "_target_": "own_teachers_here.Crowd"})
    OmegaConf.save(crowd, tmp_path / "teacher" / "crowd.yaml")
    monkeypatch.syspath_prepend(tmp_path)
    return ["--config-dir", str(tmp_path)]


def test_one_with_an_answer_alone_teaches_a_run_and_labels_a_data_set(own, tmp_path):
    code, _, err = train(tmp_path / "run", "teacher=smooth", *own)
    assert code == 0, err
    assert table(tmp_path / "run" / "progress.csv")[-1]["feedback/labels"] == "24"
    collect(tmp_path / "data", "teacher=smooth", "labels=return", *own)


def test_what_is_no_teacher_is_refused_before_a_run(own, tmp_path):
    code, _, err = train(tmp_path / "run", "teacher=unrelated", *own)
    assert code == 2
    expected = "expected a class derived from pbrl.teachers.teacher.Teacher"
    assert err == f"pbrl: teacher._target_=own_teachers_here.Unrelated: {expected}\n"
    assert not (tmp_path / "run").exists()


def test_people_are_people_under_any_name(own, tmp_path, capsys):
    config = compose_config(["env=point_reach", "teacher=crowd"], own[1])
    assert asks_people(config.teacher)
    assert main(["tune", "space=pebble", "env=point_reach", "teacher=crowd", f"out={tmp_path / 'tuned'}", *own]) == 2
    assert "teacher=crowd: nobody can answer for every trial" in capsys.readouterr().err
    assert main(["collect", "env=point_reach", "teacher=crowd", f"out={tmp_path / 'set'}", *own]) == 2
    assert "teacher=crowd: the segments of a data set are compared at once, by a script" in capsys.readouterr().err
    assert desk_settings(config, viewer_section(config)).scripts_count
    scripted = compose_config(["env=point_reach", "teacher=oracle"])
    assert not desk_settings(scripted, viewer_section(scripted)).scripts_count


@pytest.mark.parametrize("name", ["factor_sum", "hierarchy", "human", "human_like", "oracle", "replay", "triplet"])
def test_what_each_teacher_of_the_package_says_of_itself(name):
    node = compose_config([f"teacher={name}"]).teacher
    found = teacher_class(node)
    assert asks_people(node) == (name == "human")
    assert found.at_once == (name not in ("human", "replay"))
    reads = {"factor_sum": "factors", "hierarchy": "factors", "triplet": "videos"}
    assert found.reads == reads.get(name, "true rewards")


def test_no_teacher_asks_nobody():
    assert not asks_people(compose_config(["teacher=none"]).teacher)


def test_a_teacher_without_an_answer_says_so():
    segments = rewarded(1.0)
    with pytest.raises(ValueError, match="Teacher answers no questions about pairs of segments"):
        Teacher().answer(segments, segments)
    with pytest.raises(ValueError, match="Teacher answers no questions of kind rating"):
        Rating(segments, "stars", 1, 5).put_to(Teacher())


def test_only_those_who_read_factors_mind_which_there_are():
    oracle = make_teacher(compose_config(["teacher=oracle"]).teacher, factor_names=("speed",), rng=torch.Generator())
    assert oracle.answer(rewarded(1.0), rewarded(2.0)).prefers_right.tolist() == [1]


def test_folders_whose_people_train_nobody_say_that_people_answer():
    config = compose_config(["env=point_reach"])
    config.teacher = NO_TRAINING
    assert asks_people(config.teacher)
    assert desk_settings(config, viewer_section(config)).scripts_count
