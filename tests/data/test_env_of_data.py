"""Which environment a data set says it is of, and what of that is taken."""

import json

import pytest
from omegaconf import OmegaConf

from pbrl.collection.collect import describe_env
from pbrl.config import compose_config, config_dir
from pbrl.data.env_of_data import as_word, env_overrides
from pbrl.errors import UserError

LABELS = {"format": "pbrl-labels", "version": 1, "created_by": "pbrl", "annotators": ["a"], "counts": {}}
LABELS |= {"true_reward": True, "sha256": "0" * 64}


@pytest.fixture
def data(tmp_path):
    """`data(env_name=..., env=...)`: the folder of a label set of that environment, as far as meta.json tells."""

    def create(**env):
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "meta.json").write_text(json.dumps(LABELS | {"env_name": None, "env": None} | env))
        return folder

    return create


@pytest.mark.parametrize(
    "chosen",
    [
        ["env=hopper"],
        ["env=point_reach", "+env.make.max_episode_steps=30"],
        ["env=drawer-open", "env.goal_observable=false"],
        ["env=metaworld", "env.task=door-open-v3"],
        ["env=dmc", "env.task=humanoid-run"],
        [
            "env=gym",
            "env.id=my_bots:Reach-v0",
            "env.max_episode_steps=40",
            '+env.make.kwargs={goal:[0.5,1],name:"it\'s"}',
        ],
        ["env=gym", "env.id=Pendulum-v1", "env.name=my pendulum", "env.make.max_episode_steps=7"],
    ],
)
def test_the_overrides_give_the_very_environment(data, chosen):
    wanted = compose_config(chosen).env
    found = compose_config(env_overrides(data(**describe_env(wanted)), [config_dir()])).env
    assert OmegaConf.to_container(found) == OmegaConf.to_container(wanted)


def test_a_yaml_of_the_users_own_comes_first(data, tmp_path):
    (tmp_path / "own" / "env").mkdir(parents=True)
    (tmp_path / "own" / "env" / "bot.yaml").write_text("name: bot\nmake: {_target_: my_bots.make}\n")
    folder = data(env_name="bot", env={"name": "bot", "make": {"_target_": "my_bots.make", "speed": 2}})
    overrides = env_overrides(folder, [tmp_path / "own", config_dir()])
    assert overrides == ["env=bot", "++env.make.speed=2"]
    with pytest.raises(UserError, match="of env=bot, which no YAML here makes; give env=NAME"):
        env_overrides(folder, [config_dir()])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"_target_": "os.system"}, "env.make._target_=os.system"),
        ({"_args_": ["rm"]}, "env.make._args_"),
        ({"id": "${oc.env:HOME}"}, "env.make.id"),
        ({"factors": {"f": {"_target_": "os.system"}}}, "env.make.factors.f._target_"),
        ({"more": [{"_target_": "os.system"}]}, "env.make.more"),
    ],
)
def test_no_function_and_no_lookup_is_taken_from_the_data(data, change, says):
    about = describe_env(compose_config(["env=point_reach"]).env)
    about["env"]["make"] |= change
    with pytest.raises(UserError, match="expected plain numbers and words") as error:
        env_overrides(data(**about), [config_dir()])
    assert says in str(error.value)


def test_data_that_does_not_say(data, tmp_path):
    with pytest.raises(UserError, match="does not say which environment it is of; give env=NAME, or env=none"):
        env_overrides(data(), [config_dir()])
    with pytest.raises(UserError, match="there is no such folder"):
        env_overrides(tmp_path / "nowhere", [config_dir()])


def test_words_are_read_back_as_they_were():
    value = {"a": [1, 2.5, None, True, "it's \\'so\\'", "x=1,y: {z}"], "b": {"c": "null"}}
    assert OmegaConf.to_container(compose_config([f"+env.make.kwargs={as_word(value)}"]).env.make.kwargs) == value
