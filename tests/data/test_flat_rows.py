"""D4RL's two conventions of rows, OGBench's third, and CPL's segments."""

import numpy as np
import pytest

from pbrl.data.datasets import load_dataset

LENGTHS = (8, 6, 10)  # the first ends by termination, the second by its time limit, the third with the file
M = sum(LENGTHS)
FIRST = np.cumsum(LENGTHS) - LENGTHS


def rows(following=False):
    obs = np.arange(M, dtype="f4")[:, None] * [1, 10]
    terminal, timeout = np.zeros(M, bool), np.zeros(M, bool)
    terminal[7] = timeout[13] = True
    data = {"observations": obs.astype("f4"), "actions": np.linspace(-1, 1, 2 * M, dtype="f4").reshape(M, 2)}
    data |= {"rewards": np.arange(M, dtype="f4"), "terminals": terminal, "timeouts": timeout}
    return data | ({"next_observations": data["observations"] + 0.5} if following else {})


def as_qlearning(data):
    """D4RL's qlearning_dataset: no row with a timeout, not the last row, and the next row as what followed."""
    kept = [i for i in range(len(data["rewards"]) - 1) if not data["timeouts"][i]]
    named = {name: data[name][kept] for name in ("observations", "actions", "rewards", "terminals")}
    return named | {"next_observations": data["observations"][[i + 1 for i in kept]]}


def write(path, data):
    if path.suffix == ".npz":
        np.savez(path, **data)
        return path
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in data.items():
            file[name] = array
    return path


def load(output, path, *options):
    said = output("data", "import", f"from={path}", f"out={path.parent / 'set'}", "segment_length=4", *options)
    return load_dataset(path.parent / "set"), said


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_of_d4rls_file_only_steps_with_a_known_next_observation_are_learned_from(output, tmp_path, suffix):
    """The end of an MDP needs none."""
    data, said = load(output, write(tmp_path / f"d{suffix}", rows()))
    assert [(len(e), e.terminated) for e in data.episodes] == [(8, True), (5, False), (9, False)]
    assert "2 last steps left out" in said
    for e, first in zip(data.episodes, FIRST, strict=True):
        assert e.true_reward.tolist() == list(range(first, first + len(e)))
        expected = first + np.arange(len(e) + 1)
        expected[-1] -= e.terminated  # unknown, and not looked at
        np.testing.assert_array_equal(e.obs[:, 0], expected)


def test_next_observations_of_d4rls_file_are_taken(output, tmp_path):
    data, said = load(output, write(tmp_path / "d.npz", rows(following=True)))
    assert [len(e) for e in data.episodes] == list(LENGTHS)
    assert [e.obs[-1, 0] for e in data.episodes] == [7.5, 13.5, 23.5]
    assert "left out" not in said


def test_qlearning_dataset_has_the_same_episodes_in_other_rows(output, tmp_path):
    data, _ = load(output, write(tmp_path / "q.npz", as_qlearning(rows())))
    assert [(len(e), e.terminated) for e in data.episodes] == [(8, True), (5, False), (9, False)]
    assert [e.true_reward[0] for e in data.episodes] == FIRST.tolist()
    assert [e.obs[-1, 0] for e in data.episodes] == [7, 13, 23]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("timeouts"), "timeouts missing; valid are the arrays of D4RL's file"),
        (lambda d: d.update(rewards=np.zeros(3)), "rewards has 3 rows, observations has 24, expected as many"),
        (lambda d: d.update(terminals=np.full(M, 2)), "terminals[0] is 2, expected 0 or 1"),
        (lambda d: d.update(actions=2 * d["actions"]), "action[0] of step 0 in episode 0 is -2, expected -1 to 1"),
        (lambda d: d["rewards"].__setitem__(3, np.nan), "episode 0: reward[3] is nan, expected finite numbers"),
    ],
)
def test_rows_that_do_not_fit_are_one_line(refusal, tmp_path, change, message):
    change(data := rows())
    assert message in refusal("data", "import", write(tmp_path / "d.npz", data), f"out={tmp_path / 'set'}")
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]


def test_qpos_and_qvel_become_states_of_the_environment_that_is_named(output, tmp_path):
    """Those that the environment itself would have saved there."""
    import gymnasium as gym

    env = gym.make("Hopper-v5", exclude_current_positions_from_observation=False)
    obs, _ = env.reset(seed=0)
    data = {name: [] for name in ("observations", "actions", "rewards", "infos/qpos", "infos/qvel")}
    for _ in range(6):
        step = (obs[1:], np.zeros(3), 0.0, env.unwrapped.data.qpos.copy(), env.unwrapped.data.qvel.copy())
        for column, value in zip(data.values(), step, strict=True):
            column.append(value)
        obs = env.step(np.zeros(3))[0]
    env.close()
    flags = {"terminals": np.zeros(6, bool), "timeouts": np.arange(6) == 5}
    path = write(tmp_path / "h.hdf5", {k: np.array(v) for k, v in data.items()} | flags)
    found, _ = load(output, path, "env=hopper", "splits=1,0,0")
    (episode,) = found.episodes
    assert episode.states.shape[0] == 6
    for i, state in enumerate(episode.states):
        assert set(data["infos/qpos"][i]) | set(data["infos/qvel"][i]) <= set(state)


def test_the_last_row_of_ogbench_is_what_followed(output, tmp_path):
    data = {"observations": rows()["observations"], "actions": rows()["actions"]}
    data |= {"terminals": np.isin(np.arange(M), FIRST[1:] - 1) | (np.arange(M) == M - 1), "qpos": np.zeros((M, 3))}
    found, said = load(output, write(tmp_path / "maze-v0.npz", data))
    assert [(len(e), e.terminated) for e in found.episodes] == [(7, False), (5, False), (9, False)]
    assert [e.obs[-1, 0] for e in found.episodes] == [7, 13, 23]
    assert found.meta["sources"] == ["maze-v0"]
    assert "rewards unknown" in said
    assert "left out" not in said


def test_ogbench_may_be_several_files_and_have_choices(output, tmp_path):
    (tmp_path / "powder").mkdir()
    for i in range(3):
        data = {"observations": np.full((6, 8, 8, 6), i, np.uint8), "actions": np.arange(6) % 3}
        write(tmp_path / "powder" / f"p-{i}.npz", data | {"terminals": np.arange(6) == 5})
    found, said = load(output, tmp_path / "powder")
    assert [e.actions.argmax(1).tolist() for e in found.episodes] == [[0, 1, 2, 0, 1]] * 3
    assert found.meta["actions"] == {"discrete": 3}
    assert found.episodes[1].obs.shape == (6, 8, 8, 6)
    assert "actions one of 3" in said


def test_a_method_of_numbers_refuses_choices_in_one_line(output, refusal, tmp_path):
    data = {"observations": rows()["observations"], "actions": np.arange(M) % 3, "rewards": rows()["rewards"]}
    data |= {"terminals": rows()["terminals"], "timeouts": rows()["timeouts"]}
    load(output, write(tmp_path / "d.npz", data), "labels=return", "comparisons=5", "heldout=1")
    train = ("env=none", "method=ipl", "steps=3", f"run_dir={tmp_path / 'run'}")
    assert "has choices of 3 for actions" in refusal("train", f"data={tmp_path / 'set'}", *train)


def cpl(n=12, t=5):
    rng = np.random.default_rng(0)
    data = {"obs": rng.normal(size=(n, t, 3)), "action": rng.uniform(-1, 1, (n, t, 2)), "reward": np.ones((n, t))}
    return data | {"rl_sum": np.arange(n, dtype="f4") - n, "reward_sum": np.full(n, 5.0)}


def test_cpl_segments_keep_their_scores(output, tmp_path):
    data, _ = load(output, write(tmp_path / "cpl.npz", cpl()))
    assert set(data.scores) == {"return", "regret_critic"}
    np.testing.assert_array_equal(data.scores["regret_critic"], data.episode_of - 12)
    np.testing.assert_allclose(data.segments.obs[:, :-1], cpl()["obs"][data.episode_of], rtol=1e-6)
    assert data.meta["last_obs"] is False
    assert data.segments.steps == 5


def test_dense_comparisons_of_cpl_segments_train(output, tmp_path):
    path = write(tmp_path / "cpl.npz", cpl())
    output("data", "import", path, f"out={tmp_path / 'set'}")
    train = ("env=none", "method=cpl", "steps=3", "feedback.pairs=dense", "feedback.heldout=0", "report=false")
    output("train", f"data={tmp_path / 'set'}", *train, f"run_dir={tmp_path / 'run'}")
