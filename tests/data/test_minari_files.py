"""Minari data sets, made here: nothing is downloaded."""

import json
import tempfile
import warnings
from pathlib import Path

import damages
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from pbrl.cli import main
from pbrl.config import compose_config
from pbrl.data.datasets import load_dataset, write_dataset, write_rows
from pbrl.data.episodes import Episode
from pbrl.data.formats.minari import env_overrides, read
from pbrl.data.importing import import_recording
from pbrl.data.minari_files import keeps_images, write_minari
from pbrl.data.unit_actions import parse_actions
from pbrl.errors import UserError

minari = pytest.importorskip("minari", reason="minari is not installed; get it with: pip install 'pbrl[data]'")
from minari.data_collector import EpisodeBuffer  # noqa: E402

BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64)


def read_minari(name, clip, actions=None):
    """Episodes of a Minari data set as they are imported, and where each came from."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"actions": actions, "clip": clip, "frames": False, "make_state": None}
        found = import_recording(read(Path(name), {}), Path(folder), Path(name), **options)
        meta = {"env_name": None, "env": None, "teacher": None, "command": "", **found.about}
        rows = found.rows | {"source": found.source}
        cut = {"segment_length": 1, "ids": np.zeros(1), "split": np.zeros(1), "scores": {}, "comparisons": {}}
        write_rows(Path(folder) / "set", meta=meta, rows=rows, **cut)
        data = load_dataset(Path(folder) / "set")
        return data.episodes, [data.meta["sources"][k] for k in data.source]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """`make(observations=..., actions=..., ...)`: the folder of a Minari data set with two episodes of 3 steps."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def create(observations=None, actions=None, infos=None, observation_space=BOX, action_space=ACTIONS):
        observations = np.arange(8, dtype="f4").reshape(4, 2) if observations is None else observations
        actions = np.array([[-2.0, 0], [0, 5], [2, 10]]) if actions is None else actions
        buffers = [
            EpisodeBuffer(
                observations=observations,
                actions=actions,
                rewards=np.array([1.0, 2, 3]),
                terminations=np.array([False, False, ended]),
                truncations=np.array([False, False, not ended]),
                infos=infos or {},
            )
            for ended in (True, False)
        ]
        spaces_of = {"observation_space": observation_space, "action_space": action_space}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about authors and links
            minari.create_dataset_from_buffers("made/test-v0", buffers, **spaces_of)
        return tmp_path / "minari" / "made" / "test-v0"

    return create


def test_actions_are_scaled_and_endings_kept(make):
    make()
    episodes, named = read_minari("made/test-v0", clip=False)
    assert named == ["made/test-v0"] * 2
    assert [e.terminated for e in episodes] == [True, False]
    for e in episodes:
        np.testing.assert_allclose(e.actions, [[-1, -1], [0, 0], [1, 1]])
        np.testing.assert_array_equal(e.obs, np.arange(8).reshape(4, 2))
        assert e.true_reward.tolist() == [1, 2, 3]
        assert (e.states, e.success) == (None, None)


def test_a_folder_names_one_too(make):
    assert len(read_minari(str(make()), clip=False)[0]) == 2


def test_dictionaries_are_flattened_in_the_order_of_their_keys(make):
    space = spaces.Dict({"b": spaces.Box(-1, 1, (2,)), "a": spaces.Box(-9, 9, (1, 1))})
    parts = {"b": np.ones((4, 2), "f4"), "a": np.arange(4, dtype="f4").reshape(4, 1, 1)}
    make(parts, observation_space=space)
    np.testing.assert_array_equal(read_minari("made/test-v0", clip=False)[0][0].obs[2], [2, 1, 1])


def test_success_is_that_of_any_step(make):
    make(infos={"success": np.array([0.0, 0, 1, 0])})
    assert read_minari("made/test-v0", clip=False)[0][0].success == 1


def test_actions_outside_are_refused_or_cut_off(make):
    make(actions=np.array([[-2.0, 0], [0, 5], [2.5, 10]]))
    with pytest.raises(UserError, match=r"action\[0\] of step 2 in episode 0 is 2.5, expected -2 to 2"):
        read_minari("made/test-v0", clip=False)
    assert read_minari("made/test-v0", clip=True)[0][0].actions[2, 0] == 1


def test_choices_become_one_of_n(make):
    make(actions=np.array([5, 7, 6]), action_space=spaces.Discrete(3, start=5))
    episodes, _ = read_minari("made/test-v0", clip=False)
    assert episodes[0].actions.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_actions_without_bounds_take_those_that_are_named(make):
    make(action_space=spaces.Box(-np.inf, np.inf, (2,)))
    with pytest.raises(
        UserError, match=r"action\[0\] of step 0 in episode 0 is -2, expected -1 to 1; actions=low,high"
    ):
        read_minari("made/test-v0", clip=False)
    for named in ("-2:2,0:10", "data"):
        episodes, _ = read_minari("made/test-v0", clip=False, actions=parse_actions(named))
        np.testing.assert_allclose(episodes[1].actions, [[-1, -1], [0, 0], [1, 1]])
    episodes, _ = read_minari("made/test-v0", clip=False, actions=parse_actions("-10,10"))
    np.testing.assert_allclose(episodes[1].actions, [[-0.2, 0], [0, 0.5], [0.2, 1]], atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_space": spaces.MultiBinary(2), "actions": np.ones((3, 2), np.int8)}, "needs a bounded Box of one"),
        ({"observation_space": spaces.Discrete(9), "observations": np.arange(4)}, "pbrl needs numbers: a Box"),
        ({"observations": np.zeros((3, 2), "f4")}, "3 observations, 3 actions and 3 rewards, expected one more"),
    ],
)
def test_what_does_not_fit_is_refused(make, options, message):
    folder = make(**options)
    with pytest.raises(UserError, match=message) as caught:
        read_minari("made/test-v0", clip=False)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_that_a_data_set_names_is_not_run(make):
    """Without its spaces Minari would make the environment that the file describes."""
    file = make() / "data" / "metadata.json"
    meta = json.loads(file.read_text())
    del meta["action_space"]
    file.write_text(json.dumps(meta))
    with pytest.raises(UserError, match="does not hold observation_space and action_space"):
        read_minari("made/test-v0", clip=False)


def test_damaged_and_missing_ones_are_one_line(make, tmp_path):
    for name in ("made/other-v0", str(tmp_path), "no id"):
        with pytest.raises(UserError, match="is no Minari data set here, neither an id nor a folder"):
            read_minari(name, clip=False)
    folder = make()
    (folder / "data" / "main_data.hdf5").write_bytes(b"no")
    with pytest.raises(UserError, match="cannot be read as a Minari data set") as caught:
        read_minari("made/test-v0", clip=False)
    assert "\n" not in str(caught.value)
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(UserError, match=r"metadata\.json is damaged or not JSON"):
        read_minari("made/test-v0", clip=False)


def dataset(folder, images=False):
    rng = np.random.default_rng(0)
    episodes = []
    for k, n in enumerate((5, 7, 6)):
        obs = rng.standard_normal((n + 1, 3)).astype("f4")
        if images:
            obs = rng.integers(0, 256, (n + 1, 32, 32, 3), np.uint8)
        actions = rng.uniform(-1, 1, (n, 2)).astype("f4")
        success = None if k == 1 else 1.0
        episodes.append(Episode(obs, actions, rng.standard_normal(n).astype("f4"), k == 2, None, success))
    write_dataset(
        folder,
        meta={"env_name": "x", "env": None, "sources": ["a", "b"], "teacher": None, "command": "made here"},
        episodes=episodes,
        source=np.array([0, 1, 0]),
        segment_length=4,
        ids=np.array([0, 6, 14]),
        split=np.array([0, 1, 2]),
        scores={},
        comparisons={},
    )
    return load_dataset(folder)


@pytest.mark.parametrize("images", [False, True])
def test_episodes_come_back_from_minari(tmp_path, images):
    data = dataset(tmp_path / "set", images)
    if images and not keeps_images(minari):
        with pytest.raises(UserError, match="would change images; valid is"):
            write_minari(data, "point/mixed-v0", tmp_path / "minari")
        return
    folder = write_minari(data, "point/mixed-v0", tmp_path / "minari")
    assert folder == tmp_path / "minari" / "point" / "mixed-v0"
    episodes, named = read_minari(str(folder), clip=False)
    assert named == ["a", "b", "a"]
    for one, two in zip(episodes, data.episodes, strict=True):
        for name in ("obs", "actions", "true_reward"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert one.obs.dtype == two.obs.dtype
        assert (one.terminated, one.success) == (two.terminated, two.success)


def test_minari_itself_finds_what_was_exported(tmp_path, monkeypatch):
    write_minari(dataset(tmp_path / "set"), "point/mixed-v0", tmp_path / "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    found = minari.load_dataset("point/mixed-v0")
    assert found.total_steps == 18
    assert list(minari.list_local_datasets()) == ["point/mixed-v0"]
    notes = list(found.storage.get_episode_metadata(range(3)))
    assert [n["split"] for n in notes] == ["train", "validation", "test"]


def test_a_relative_folder_will_do(tmp_path, monkeypatch):
    data = dataset(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    assert (write_minari(data, "point/mixed-v0", Path("mine")) / "data").is_dir()
    assert (tmp_path / "mine" / "point" / "mixed-v0").is_dir()


def test_an_export_overwrites_nothing_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    data = dataset(tmp_path / "set")
    with pytest.raises(UserError, match=r"id=mixed: expected \[NAMESPACE/\]NAME-vNUMBER"):
        write_minari(data, "mixed", tmp_path / "minari")
    write_minari(data, "mixed-v0", tmp_path / "minari")
    with pytest.raises(UserError, match="exists and is not overwritten"):
        write_minari(data, "mixed-v0", tmp_path / "minari")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(minari, "create_dataset_from_buffers", stop)
    with pytest.raises(KeyboardInterrupt):
        write_minari(data, "other-v0", tmp_path / "minari")
    assert [p.name for p in (tmp_path / "minari").iterdir()] == ["mixed-v0"]


def with_spec(folder, spec):
    file = folder / "data" / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"env_spec": json.dumps(spec)}))


SPEC = json.loads(gym.make("Pendulum-v1", g=9.0, max_episode_steps=50).spec.to_json())


def test_the_environment_that_a_minari_data_set_names(make):
    folder = make()
    assert env_overrides(str(folder)) == []
    with_spec(folder, SPEC)
    config = compose_config(env_overrides(str(folder))).env
    assert (config.name, config.make.id, config.make.max_episode_steps) == ("Pendulum-v1", "Pendulum-v1", 50)
    assert config.make.kwargs == {"g": 9.0}
    assert config.make._target_ == "pbrl_envs.suites.gym.make_gym"


@pytest.mark.parametrize("spec", [SPEC | {"id": 3}, SPEC | {"kwargs": {"a": "${oc.env:HOME}"}}, {}, [1]])
def test_a_specification_that_is_more_than_plain_values(make, spec):
    folder = make()
    with_spec(folder, spec)
    with pytest.raises(UserError, match="give env=NAME"):
        env_overrides(str(folder))


def test_an_import_notes_the_environment_that_fits(make, tmp_path, capsys):
    pendulum = make(
        np.ones((4, 3), "f4"), observation_space=spaces.Box(-8, 8, (3,)), action_space=spaces.Box(-2, 2, (1,)),
        actions=np.ones((3, 1), "f4"),
    )  # fmt: skip
    cut = ("segments=4", "segment_length=2", "splits=1,0,0")

    def imported(name, *more):
        out = tmp_path / name
        assert main(["data", "import", str(pendulum), "format=minari", f"out={out}", *cut, *more]) == 0
        return json.loads((out / "meta.json").read_text())["env_name"], capsys.readouterr().err

    assert imported("nameless")[0] is None
    with_spec(pendulum, SPEC)
    assert imported("own")[0] == "Pendulum-v1"
    assert imported("other", "env=pendulum")[0] == "pendulum"
    assert imported("none", "env=none")[0] is None
    with_spec(pendulum, SPEC | {"id": "MountainCarContinuous-v0", "kwargs": {}})
    name, said = imported("unlike")
    assert name is None
    assert "env=MountainCarContinuous-v0 is not noted" in said
    with_spec(pendulum, SPEC | {"id": "Elsewhere-v0"})
    name, said = imported("elsewhere")
    assert name == "Elsewhere-v0"
    assert "cannot be made here" in said


def resize(episode, name, rows):
    """Another size of one array of an episode."""
    array = episode[name][()]
    del episode[name]
    episode[name] = np.resize(array, (rows, *array.shape[1:])) if isinstance(rows, int) else np.zeros(rows, array.dtype)


ODD = {
    "wider observations": (lambda e: resize(e, "observations", (4, 5)), r"shape \(5,\) .* its data set has \(2,\)"),
    "narrower observations": (lambda e: resize(e, "observations", (4, 1)), r"shape \(1,\) .* its data set has \(2,\)"),
    "wider actions": (lambda e: resize(e, "actions", (3, 7)), r"actions of shape \(7,\), its data set has \(2,\)"),
    "fewer observations": (lambda e: resize(e, "observations", 3), "3 observations, 3 actions and 3 rewards"),
    "more rewards": (lambda e: resize(e, "rewards", 9), "4 observations, 3 actions and 9 rewards"),
    "no rewards": (lambda e: e.__delitem__("rewards"), "cannot be read as a Minari data set"),
    "no terminations": (lambda e: resize(e, "terminations", 0), "cannot be read as a Minari data set"),
    "flat observations": (lambda e: resize(e, "observations", (4,)), r"shape \(1,\) .* its data set has \(2,\)"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_episode_of_another_size_is_one_line(make, odd):
    h5py = pytest.importorskip("h5py")
    folder, (change, message) = make(), ODD[odd]
    with h5py.File(folder / "data" / "main_data.hdf5", "r+") as file:
        change(file["episode_1"])
    with pytest.raises(UserError, match=message) as caught:
        read_minari("made/test-v0", clip=False)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["metadata.json", "main_data.hdf5"])
@pytest.mark.parametrize("damage", damages.ANY)
def test_damaged_files_are_one_line(make, name, damage):
    file = make() / "data" / name
    damages.ANY[damage](file)
    with pytest.raises(UserError) as caught:
        read_minari("made/test-v0", clip=False)
    assert "\n" not in str(caught.value)
