"""TensorBoard's config, hyperparameters, clips and scatter; and loggers, by stand-ins for their libraries."""

import json
import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest
from outcome import table, weights
from tensorboard.backend.event_processing.event_accumulator import IMAGES, TENSORS, EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tiny import train

from pbrl.training.callbacks import Callback


def events(folder):
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={IMAGES: 0, TENSORS: 0})
    found.Reload()
    return found


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, gl_backend):
    folder = tmp_path_factory.mktemp("filmed") / "run"
    assert train(folder, "tensorboard.clips=true", "report=true", "steps=240")[0] == 0
    return folder


def test_the_config_is_there(filmed):
    text = events(filmed).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    feedback.per_session: 6\n" in text


def test_hyperparameters_stand_beside_what_was_reached(filmed):
    found = events(filmed).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    told = HParamsPluginData.FromString(found).session_start_info.hparams
    assert told["method.name"].string_value == "pebble"
    assert told["agent.batch_size"].number_value == 16
    reached = events(filmed).Scalars("hparam/final_return")[-1].value
    assert reached == pytest.approx(json.loads((filmed / "summary.json").read_text())["final_return"], rel=1e-5)


def test_each_evaluation_has_a_clip_that_moves(filmed):
    clips = events(filmed).Images("eval/clip")
    steps = [int(row["env_steps"]) for row in table(filmed / "evaluations.csv")]
    assert [clip.step for clip in clips] == steps
    assert all(clip.encoded_image_string.startswith(b"GIF89a") for clip in clips)
    assert {file.name for file in (filmed / "videos").glob("evaluation_*")} == {f"evaluation_{k}.mp4" for k in steps}


def test_the_scatter_is_drawn_at_the_end(filmed):
    (scatter,) = events(filmed).Images("reward/learned_and_true")
    assert scatter.step == 240
    assert scatter.encoded_image_string.startswith(b"\x89PNG")


def test_what_is_drawn_changes_no_number(filmed, tmp_path):
    assert train(tmp_path / "run", "steps=240")[0] == 0
    assert table(tmp_path / "run" / "evaluations.csv") == table(filmed / "evaluations.csv")
    one, other = weights(tmp_path / "run"), weights(filmed)
    assert all(bool((one[name] == other[name]).all()) for name in one | other)
    assert not events(tmp_path / "run").Tags()[IMAGES]


def test_clips_need_an_environment_of_their_own(tmp_path):
    for alone in ("evaluation.envs=1", "evaluation.every=null"):
        code, _, said = train(tmp_path / "run", "tensorboard.clips=true", alone)
        assert code == 2
        assert "tensorboard.clips=true films evaluations in an environment of its own" in said
    assert not (tmp_path / "run").exists()


class Wandb(SimpleNamespace):
    """As much of wandb as is called."""

    def __init__(self):
        super().__init__(begun=[], rows=[], finished=0, id="abc", metrics=[])

    def init(self, **settings):
        self.begun.append(settings)
        return self

    def define_metric(self, *names, **settings):
        self.metrics.append((names, settings))

    def log(self, row):
        self.rows.append(row)

    def finish(self):
        self.finished += 1


class Mlflow(SimpleNamespace):
    """As much of mlflow as is called."""

    def __init__(self):
        super().__init__(begun=[], rows=[], params={}, ended=0, experiment=None, uri=None)

    def set_tracking_uri(self, uri):
        self.uri = uri

    def set_experiment(self, name):
        self.experiment = name

    def start_run(self, **settings):
        self.begun.append(settings)
        return SimpleNamespace(info=SimpleNamespace(run_id="xyz"))

    def log_params(self, params):
        assert len(params) <= 100
        self.params |= params

    def log_metrics(self, metrics, step):
        self.rows.append((step, metrics))

    def end_run(self):
        self.ended += 1


def test_wandb_hears_of_all_rows_and_a_resumed_run_is_the_same_one(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", library := Wandb())
    assert train(tmp_path / "run", "logger=wandb", "logger.project=mine", "logger.mode=offline")[0] == 0
    (begun,) = library.begun
    assert (begun["project"], begun["mode"], begun["name"], begun["id"]) == ("mine", "offline", "run", None)
    assert begun["config"]["feedback.per_session"] == 6
    assert library.metrics == [(("*",), {"step_metric": "step"})]
    logged = [row for row in library.rows if "time/fps" in row]
    rows = table(tmp_path / "run" / "progress.csv")
    assert [row["step"] for row in logged] == [int(row["time/total_timesteps"]) for row in rows]
    assert [row["eval/mean_reward"] for row in library.rows if "eval/mean_reward" in row] == [
        float(row["return_mean"]) for row in table(tmp_path / "run" / "evaluations.csv")
    ]
    assert library.finished == 1
    from pbrl.cli import main

    assert main(["train", f"resume={tmp_path / 'run'}", "steps=400"]) == 0
    assert (library.begun[1]["id"], library.begun[1]["resume"]) == ("abc", "allow")


def test_mlflow_hears_of_all_rows(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", library := Mlflow())
    assert train(tmp_path / "run", "logger=mlflow", f"logger.uri={tmp_path / 'server'}")[0] == 0
    assert (library.experiment, library.uri, library.ended) == ("pbrl", str(tmp_path / "server"), 1)
    assert (library.begun, library.params["method.name"]) == ([{"run_id": None, "run_name": "run"}], "pebble")
    steps = [step for step, row in library.rows if "time/fps" in row]
    assert steps == [int(row["time/total_timesteps"]) for row in table(tmp_path / "run" / "progress.csv")]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_says_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    code, _, said = train(tmp_path / "run", f"logger={name}")
    assert code == 2
    assert f"logger={name} needs {name}; get it with: " in said
    assert f"[{name}]" in said
    assert not (tmp_path / "run").exists()


class Own(Callback):
    heard: ClassVar[list[int]] = []

    def on_log(self, run, metrics):
        self.heard.append(run.step)


def test_a_logger_of_ones_own_is_a_callback(tmp_path):
    code, _, said = train(tmp_path / "run", f"logger._target_={__name__}.Own")
    assert code == 0, said
    assert Own.heard == [int(row["time/total_timesteps"]) for row in table(tmp_path / "run" / "progress.csv")]
