"""A mistake is one line that says what, where and what would be valid, and exit code 2."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from pbrl.building import build
from pbrl.cli import main
from pbrl.config import compose_config, load_config, options
from pbrl.errors import UserError

MISTAKES = {
    "feedback.budgets=3": "unknown key 'feedback.budgets'; did you mean feedback.budget",
    "agent.leaning_starts=3": "did you mean agent.learning_starts",
    "zzz=3": "unknown key 'zzz'; valid at the top are steps, seed, run_dir",
    "resum=run": r"unknown key 'resum'; did you mean resume\?",
    "stepss=3": r"did you mean steps\?",
    "inti=run": r"did you mean init\?",
    "+zzz=3": "unknown key 'zzz'; valid at the top are steps, seed, run_dir",
    "+env.kwargs.nan_at=120": "unknown key 'env.kwargs.nan_at'",
    "++env.limit=120": "unknown key 'env.limit'",
    "+feedback.budgets=3": "unknown key 'feedback.budgets'; did you mean feedback.budget",
    "+method.fit.epochs=3": "unknown key 'method.fit.epochs'",
    "env.make.seed=3": "unknown key 'env.make.seed'",
    "hydra.run.dir=x": "unknown key 'hydra.run.dir'",
    "env=walker": "env=walker: valid are ant, .*walker-walk",
    "agent=ddpg": "agent=ddpg: valid are none, ppo, sac, sac_sb3",
    "method=pebbles": "method=pebbles: valid are .*pebble, ",
    "teacher=anna": "teacher=anna: valid are equal, factor_sum, function, hierarchy, human, human_like, ",
    "queries=best": "queries=best: valid are disagreement, ",
    "experiment=mine": "experiment=mine: valid are .*demo, ",
    "env=mybots:Walk-v0": r"no YAML has this name; did you mean env=gym env.id=mybots:Walk-v0\?",
    "env=Walk-v0": r"; one of your own is env=gym env.id=MODULE:Walk-v0",
    "env=Pendulum-v1": r"did you mean env=gym env.id=Pendulum-v1\?",
    "env=halfcheeta": r"; did you mean halfcheetah\?",
    "env=Walker_Walk": r"; did you mean walker-walk",
    "method=peble": r"; did you mean pebble or pearl\?",
    "teacher=orcale": r"; did you mean oracle\?",
    "agent=sca": r"; did you mean sac",
    "queries=disagrement": r"; did you mean disagreement",
    "experiment=peble_cpu": r"; did you mean pebble_cpu",
    "env=dmc": r"env.task must be given, as env.task=VALUE",
    "env=gym": r"env.id must be given, as env.id=VALUE",
    "agent=null": r"agent=null: valid are .*sac",
    "method=3": r"method=3: valid are .*pebble",
    "a b=3": r"'a b' is no key",
    "steps=many": "steps=many: expected a whole number, such as 200000",
    "steps=1e5": r"steps=100000.0: expected a whole number",
    "steps=": "steps=: expected a whole number",
    "steps=true": "expected a whole number",
    "agent.lr=fast": "agent.lr=fast: expected a number, such as 0.0005",
    "agent.hidden=256": r"agent.hidden=256: expected a list, such as \[256, 256\]",
    "method.reset_critic=2": "expected true or false",
    "method.fit.max_updates=some": "method.fit.max_updates=some: expected a whole number, such as 100",
    "data=2024_01_02": r"data=2024_01_02: method=pebble learns online",
    "seed=1,2": "'seed=1,2': expected one value; a list has brackets, .* pbrl bench --help",
    "seed=range(3)": "expected one value; .* pbrl bench --help",
    "env=point_reach,pendulum": "expected one value; .* pbrl bench --help",
    "seed=${zzz}": "zzz",
    "seed": "'seed': expected key=value",
    "agent=[": r"'agent=\[' cannot be read: .*quote special characters",
    "~feedback.budget": "no key can be taken out; null switches a part off",
    "steps=0": "steps=0: expected a whole number of at least 1",
    "seed=-1": "seed=-1: expected a whole number of at least 0",
    "feedback=5": "feedback=5: expected settings, as feedback.budget=...",
    "feedback.segment_length=0": "at least 1",
    "feedback.heldout=1.5": "feedback.heldout=1.5: expected a number from 0 to 0.9",
    "feedback.schedule=cosine": "feedback.schedule=cosine: valid are uniform, decay, increase",
    "feedback.counts=some": "feedback.counts=some: valid are asked, answered",
    "agent.batch_size=0": "agent.batch_size=0: expected a whole number of at least 1",
    "agent.gamma=2": "agent.gamma=2: expected a number from 0 to 1",
    "method.model.members=0": "method.model.members=0: expected a whole number of at least 1",
    "method.fit.stop_accuracy=97": "expected a number from 0 to 1",
    "device=tpu": "device=tpu: valid are cpu, cuda, auto",
}
# What only the parts themselves know.
BUILT = {
    "teacher.beta=-1": "teacher.beta is -1, expected a number >= 0, or null",
    "teacher.beta=high": "teacher.beta is high, expected a number >= 0, or null",
    "teacher.gamma=2": r"teacher.gamma is 2, expected a number in \[0, 1\]",
    "method.model.activation=gelu": "'gelu': valid are relu, leaky_relu, tanh",
    "method.model.head=softmax": "'softmax': valid are tanh, linear",
    "method.model.crop=[5]": r"crop=\[5\]: expected \[shortest, longest\]",
    "method.model.precision=half": "half",
    "method.model.colour=red": "unknown key 'method.model.colour'",
    "+method.model.colour=red": "unknown key 'method.model.colour'",
    "method.model.members=[2]": r"members=\[2\]: expected a whole number",
    "method.model.hidden=[wide]": r"method.model.hidden=\['wide'\]: expected whole numbers from 1 to 65536",
    "agent.learning_rate=fast": "unknown key",
    "agent.activation=gelu": "agent.activation='gelu': valid are relu, tanh, leaky_relu, elu",
    **{
        f"agent.ent_coef={wrong}": f"agent.ent_coef={wrong}: expected a number >= 0, auto, or auto_NUMBER"
        for wrong in ("high", "auto_x", "auto_0", "auto_-1", "auto_nan", "automatic", "-0.1")
    },
    "agent.hidden=[]": "a network has no hidden layer. Use stable_baselines3.SAC instead: agent=sac_sb3",
    "agent=ppo": "method=pebble drives sac, and agent is ppo",
    "queries._target_=pbrl.feedback.samplers.best": "pbrl.feedback.samplers.best",
    "env.make.id=Nothing-v0": "env.id=Nothing-v0 does not exist",
}


def says(capsys, *args):
    """The one line on stderr of a command that a mistake ended."""
    assert main(list(args)) == 2
    line = capsys.readouterr().err
    assert line.startswith("pbrl: ")
    assert line.count("\n") == 1
    return line


@pytest.fixture
def wrong(capsys, tmp_path, monkeypatch):
    """`wrong(*args)`: what `pbrl train ARGS` says, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: says(capsys, "train", "env=point_reach", *args)


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_run_behind(override, wrong, tmp_path):
    assert_matches(MISTAKES[override], wrong(override))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("override", BUILT)
def test_what_a_constructor_refuses_is_one_line(override, wrong):
    assert_matches(BUILT[override], wrong("run_dir=run", override))


def assert_matches(pattern, line):
    with pytest.raises(UserError, match=pattern):
        raise UserError(line)


def test_a_new_key_of_a_mapping_takes_a_plus(wrong):
    assert "given as +env.make.kwargs.g=VALUE" in wrong("env=gym", "env.id=Pendulum-v1", "env.make.kwargs.g=9")
    assert compose_config(["env=gym", "env.id=Pendulum-v1", "+env.make.kwargs.g=9"]).env.make.kwargs.g == 9
    assert compose_config(["env=gym", "env.id=Pendulum-v1", "env.make.kwargs={g: 9}"]).env.make.kwargs == {"g": 9}
    assert (
        compose_config(["env=point_reach", "+env.make.kwargs={a:1}", "+env.make.kwargs.b.c=2"]).env.make.kwargs.b.c == 2
    )
    assert compose_config(["+method.reward_std=1"]).method.reward_std == 1  # of which only some files speak
    levels = ["teacher=hierarchy", "+env.levels=[{factor: speed, better: higher, margin: 0}]"]
    assert compose_config(["env=swimmer", *levels]).teacher.levels[0].factor == "speed"
    assert compose_config(["env=point_reach", "+env.make.max_episode_steps=30"]).env.make.max_episode_steps == 30


def test_a_mapping_that_is_given_again_is_replaced_where_no_part_has_settings_in_it(tmp_path):
    barfi = ["env=point_reach", "method=barfi", "method.helper={distance: 1.0}"]
    assert compose_config([*barfi, "method.helper={effort: 2.0}"]).method.helper == {"effort": 2.0}
    assert compose_config([*barfi, "method.helper=null"]).method.helper is None
    (tmp_path / "experiment").mkdir()
    own = "# @package _global_\nmethod: {helper: {speed: 3.0}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(own)
    for given in ([], ["method.helper={effort: 2.0}"]):
        assert compose_config(["experiment=mine", *barfi, *given], str(tmp_path)).method.helper == (
            {"effort": 2.0} if given else {"distance": 1.0}
        )
    criteria = ["viewer.criteria={}", "viewer.criteria={a: 'Which is near?'}", "viewer.criteria={b: 'Which is quick?'}"]
    assert compose_config(criteria).viewer.criteria == {"b": "Which is quick?"}
    model = compose_config(["method.model={lr: 0.5}", "method.model={hidden: [8]}"]).method.model
    assert (model.lr, model.hidden) == (0.5, [8])  # settings of a part: the others stay
    with pytest.raises(UserError, match=r"unknown key 'method.model.hiden'; did you mean method.model.hidden"):
        compose_config(["method.model={hiden: [8]}"])


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_several_runs_are_a_bench(flag, wrong):
    assert "pbrl bench --help" in wrong(flag, "seed=0,1")


def test_no_message_about_a_value_names_a_class_of_ours(wrong):
    for override in ("method.model.hidden=[wide]", "+agent.colour=red", "+teacher.colour=red", "teacher.beta=high"):
        assert "pbrl." not in wrong("run_dir=run", override).removeprefix("pbrl: ")


def test_a_key_of_another_agent_is_not_suggested_as_itself(wrong):
    line = wrong("method=prefppo", "agent.learning_starts=5")
    assert "unknown key 'agent.learning_starts'" in line
    assert "did you mean agent.learning_starts" not in line


def test_an_existing_run_is_never_overwritten(wrong, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("data")
    assert wrong("run_dir=run") == "pbrl: run_dir=run exists; choose another\n"
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "config.yaml").touch()
    assert "choose another, or go on with: pbrl train 'resume=my run'\n" in wrong("run_dir=my run")
    (tmp_path / "file").touch()
    assert "run_dir=file exists" in wrong("run_dir=file")
    assert "run_dir=file/run cannot be made: Not a directory" in wrong("run_dir=file/run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_resume_says_what_is_no_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "nowhere is not a run directory: there is no such folder" in says(capsys, "train", "resume=nowhere")
    for given in (["resume=/dev/null"], ["method=cpl", "data=/dev/null"]):
        assert "it is a device, a pipe or a socket, expected a folder" in says(capsys, "train", *given)
    assert "empty is not a run directory: it has no config.yaml" in says(capsys, "train", "resume=empty")
    assert "beside resume=RUN_DIR there are steps=N" in says(capsys, "train", "resume=empty", "seed=5")
    for content, message in (
        ("env: [", "is damaged or not a YAML file"),
        ("just words", "is not the config of a run"),
        ("- 1", "is not the config of a run"),
        ("steps: 5", "is not the config of a run: it has no env"),
    ):
        (tmp_path / "empty" / "config.yaml").write_text(content)
        assert message in says(capsys, "train", "resume=empty")


def test_a_damaged_yaml_of_the_users_own_is_told_with_its_line(wrong, tmp_path):
    (tmp_path / "method").mkdir()
    file = tmp_path / "method" / "own.yaml"
    for text, problem in (
        ("alpha: 1\nalpha: 2\n", "found duplicate key alpha, line 2"),
        ("a: [1\nb: 2\n", "expected ',' or ']', but got ':', line 2"),
    ):
        file.write_text(text)
        line = wrong("method=own", "--config-dir", str(tmp_path))
        assert line == f"pbrl: {file} is damaged or not a YAML file ({problem})\n"


def test_unknown_commands_and_flags_name_the_valid_ones(capsys):
    assert "unknown command 'trian': valid are demo, train" in says(capsys, "trian")
    for alone in ("--version", "-V", "--help", "help"):
        assert f"{alone} takes nothing more, and --x was given" in says(capsys, alone, "--x")
    assert "unknown option --fast: valid are --cfg, --config-dir, --help" in says(capsys, "train", "--fast")
    assert "--config-dir needs a value" in says(capsys, "train", "--config-dir")
    assert "--config-dir nowhere: there is no such folder" in says(capsys, "train", "--config-dir", "nowhere")


def test_a_folder_of_ones_own_adds_to_the_groups(tmp_path):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "sloppy.yaml").write_text("defaults: [mistake, _self_]\nname: sloppy\nmistake: 0.4\n")
    config = compose_config(["env=point_reach", "teacher=sloppy", "teacher.mistake=0.3"], str(tmp_path))
    assert (config.teacher.name, config.teacher.mistake, config.teacher.gamma) == ("sloppy", 0.3, 1.0)
    with pytest.raises(UserError, match=r"did you mean teacher.mistake"):
        compose_config(["teacher=sloppy", "teacher.mistakes=0.3"], str(tmp_path))


def test_the_command_line_wins_over_an_experiment_and_it_over_the_defaults():
    plain, demo, own = (
        compose_config(o) for o in ([], ["experiment=demo"], ["experiment=demo", "feedback.first=77", "env=hopper"])
    )
    assert plain.feedback.first != demo.feedback.first != own.feedback.first == 77
    assert (demo.env.name, own.env.name) == ("halfcheetah", "hopper")
    assert own.feedback.budget == demo.feedback.budget


def test_values_of_the_right_kind_pass():
    given = ["agent.gamma=1", "method.model.crop=[4,5]", "teacher.beta=2", "run_dir=7", "feedback.heldout=0"]
    config = compose_config(given)
    assert (config.agent.gamma, config.method.model.crop, config.teacher.beta) == (1, [4, 5], 2)


def test_cfg_prints_a_config_that_can_be_read_again(capsys, tmp_path):
    assert main(["train", "--cfg", "env=metaworld", "env.task=door-open-v3"]) == 0
    file = tmp_path / "config.yaml"
    file.write_text(capsys.readouterr().out)
    config = load_config(file)
    assert config.env.make.task == config.env.name == "door-open-v3"


def test_build_passes_arguments_on_and_plain_lists():
    made = build(OmegaConf.create({"_target_": "builtins.dict", "sizes": [1, 2]}), more=3)
    assert made == {"sizes": [1, 2], "more": 3}
    assert type(made["sizes"]) is list


def test_every_group_has_options_and_config_comes_without_importing_torch():
    for group in ("env", "agent", "method", "teacher", "queries", "experiment"):
        assert options(group)
    code = "import sys, pbrl.config; pbrl.config.compose_config([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
