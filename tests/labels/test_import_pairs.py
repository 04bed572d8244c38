"""People's answers from npz files of pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pbrl.errors import UserError
from pbrl.labels.import_pairs import import_pairs
from pbrl.labels.import_set import import_labels
from pbrl.labels.sets import export_labels, load_label_set

PEOPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "human_preferences"
ABOUT = {"env_name": "walker2d", "env": None, "command": "pbrl data import"}


def arrays(n=6, t=5, images=False):
    rng = np.random.default_rng(0)
    obs = [rng.standard_normal((n, t, 3)) for _ in "12"]
    if images:
        obs = [rng.integers(0, 256, (n, t, 8, 8, 3), np.uint8) for _ in "12"]
    actions = [rng.uniform(-1, 1, (n, t, 2)) for _ in "12"]
    label = np.array([0, 1, 0.5, 1, 1, 0])[:n]
    return dict(zip(("obs_1", "obs_2", "action_1", "action_2", "label"), (*obs, *actions, label), strict=True))


def load(tmp_path, content, **options):
    np.savez(tmp_path / "pairs.npz", allow_pickle=True, **content)
    settings = {"annotator": "people", "clip": False} | options
    import_pairs(tmp_path / "pairs.npz", tmp_path / "set", ABOUT, **settings)
    return load_label_set(tmp_path / "set")


def test_every_number_arrives_and_label_1_means_the_second(tmp_path):
    content = arrays()
    labels = load(tmp_path, content)
    assert labels.prefers_right.tolist() == content["label"].tolist()
    for side, number in (("left", 1), ("right", 2)):
        segments = getattr(labels.pairs, side)
        np.testing.assert_array_equal(segments.obs[:, :-1], content[f"obs_{number}"].astype("f4"))
        np.testing.assert_array_equal(segments.actions, content[f"action_{number}"].astype("f4"))
        assert segments.mask.all()
        assert not segments.terminated.any()
    assert labels.meta["annotators"] == ["people"]
    assert labels.meta["counts"] == {"answers": 6, "decisive": 5, "equal": 1, "skipped": 0, "queries": 6}
    assert labels.comparisons.prefers_right.tolist() == content["label"].tolist()


def test_what_the_file_does_not_know_is_not_made_up(tmp_path):
    labels = load(tmp_path, arrays())
    assert labels.last_obs is False
    assert labels.meta["true_reward"] is False
    assert labels.pairs.left.true_reward.isnan().all()
    torch.testing.assert_close(labels.pairs.left.obs[:, -1], labels.pairs.left.obs[:, -2])


def test_a_label_set_of_a_run_knows_its_last_observations(tmp_path):
    from pbrl.labels.store import LabelStore
    from pbrl.types import Answers, Segments

    shapes = ((4, 1), (3, 1), (3,), (3,), (3,))
    obs, actions, mask, terminated, reward = (torch.zeros(2, *s) for s in shapes)
    segments = Segments(obs, actions, mask + 1, terminated, reward, torch.arange(2))
    with LabelStore(tmp_path / "run") as store:
        queries = store.ask(1, 0, segments, segments, sampler="uniform")
        store.answer(queries, Answers(torch.ones(2), torch.ones(2, dtype=torch.bool)), "anna")
    export_labels(tmp_path / "run", tmp_path / "set")
    assert load_label_set(tmp_path / "set").last_obs is True


def test_a_run_does_not_take_repeated_observations_for_real_ones(tmp_path):
    load(tmp_path, arrays())
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="does not know the last observation of its segments"):
        import_labels(tmp_path / "run", tmp_path / "set")
    assert not list((tmp_path / "run").iterdir())


def test_images_stay_bytes(tmp_path):
    labels = load(tmp_path, arrays(images=True))
    assert labels.pairs.left.obs.dtype == torch.uint8
    assert labels.pairs.left.obs.shape == (6, 6, 8, 8, 3)


def test_actions_outside_are_cut_off_only_where_that_is_wanted(tmp_path):
    content = arrays()
    content["action_2"][3, 1, 0] = 1.5
    with pytest.raises(UserError, match=r"action_2\[3, 1, 0\] is 1.5, expected -1 to 1; .* clip=true"):
        load(tmp_path, content)
    assert load(tmp_path, content, clip=True).pairs.right.actions[3, 1, 0] == 1


def test_nothing_is_overwritten(tmp_path):
    load(tmp_path, arrays())
    with pytest.raises(UserError, match="set exists and is not overwritten"):
        load(tmp_path, arrays())


def put(name, index, value):
    def change(content):
        content[name][index] = value

    return change


def replace(name, change):
    return lambda content: content.update({name: change(content[name])})


DAMAGES = {
    "missing": (lambda c: c.pop("action_2"), "action_2 missing; it has action_1, label, obs_1, obs_2"),
    "pickle": (replace("label", lambda x: np.array([{}], object)), "pickled objects are never loaded"),
    "text": (replace("label", lambda x: x.astype(str)), "label has dtype <U"),
    "label value": (put("label", 2, 2), r"label\[2\] is 2.0, expected 0 to 1, where 1 is for the second"),
    "label nan": (put("label", 1, np.nan), r"label\[1\] is nan, expected 0 to 1"),
    "label shape": (replace("label", lambda x: x[:, None]), r"label has shape \(6, 1\), expected \(N,\)"),
    "labels": (replace("label", lambda x: x[1:]), r"action_1 has shape \(6, 5, 2\), expected \(5, T, A\)"),
    "flat": (replace("obs_1", lambda x: x[..., 0]), r"obs_1 has shape \(6, 5\), expected \(6, T, O\)"),
    "steps": (replace("obs_1", lambda x: x[:, 1:]), "steps differ .obs_1 4, obs_2 5, action_1 5, action_2 5."),
    "sizes": (replace("obs_2", lambda x: x[..., 1:]), r"obs_1 and obs_2 are float64\(6, 5, 3\) and float64\(6, 5, 2\)"),
    "obs nan": (put("obs_1", (1, 2, 0), np.nan), r"left/obs\[1, 2, 0\] is nan, expected finite numbers"),
    "action nan": (put("action_1", (1, 2, 0), np.nan), r"action_1\[1, 2, 0\] is nan, expected -1 to 1"),
    "empty": (lambda c: c.update({k: v[:0] for k, v in c.items()}), "has no comparisons"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_malformed_file_is_refused_in_one_line(tmp_path, damage):
    content = arrays()
    change, message = DAMAGES[damage]
    change(content)
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "pairs.npz") in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_numbers_of_another_environment_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"observations of shape \(3,\) .* the environment has \(17,\) and \(6,\)"):
        load(tmp_path, arrays(), sizes=((17,), (6,)))
    assert len(load(tmp_path, arrays(), sizes=((3,), (2,)))) == 6


def test_segments_without_steps_are_refused(tmp_path):
    with pytest.raises(UserError, match="segments have no steps"):
        load(tmp_path, arrays(t=0))


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"pairs\.npz is missing"):
        import_pairs(tmp_path / "pairs.npz", tmp_path / "set", ABOUT, annotator="people", clip=False)
    (tmp_path / "pairs.npz").write_text("hello")
    with pytest.raises(UserError, match="is damaged or not an npz file"):
        import_pairs(tmp_path / "pairs.npz", tmp_path / "set", ABOUT, annotator="people", clip=False)


@pytest.mark.skipif(not PEOPLE.is_dir(), reason=f"needs the human preferences in {PEOPLE}, which are no part of pbrl")
@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("walker2d_medium_expert_human_100", (100, 17, 6), (30, 24, 46)),
        ("can_ph_human_100", (50, 53, 7), (24, 34, 42)),
    ],
)
def test_answers_of_people_arrive(tmp_path, name, shape, counts):
    import_pairs(PEOPLE / f"{name}.npz", tmp_path / "set", ABOUT, annotator="people", clip=False)
    labels = load_label_set(tmp_path / "set")
    assert labels.pairs.shape == shape
    assert tuple(np.unique(labels.prefers_right, return_counts=True)[1].tolist()) == counts


@pytest.mark.parametrize("how", ["length", "mask"])
def test_sides_of_unequal_length_keep_their_steps(tmp_path, how):
    """What lies behind the end of a side is not looked at."""
    content, lengths = arrays(n=3), {1: np.array([5, 2, 3]), 2: np.array([1, 4, 5])}
    for number, length in lengths.items():
        mask = np.arange(5) < length[:, None]
        content[f"action_{number}"][~mask] = np.nan
        content |= {f"length_{number}": length} if how == "length" else {f"mask_{number}": mask}
    labels = load(tmp_path, content)
    for side, number in (("left", 1), ("right", 2)):
        segments = getattr(labels.pairs, side)
        assert segments.mask.sum(1).tolist() == lengths[number].tolist()
        for i, n in enumerate(lengths[number]):
            np.testing.assert_array_equal(segments.obs[i, :n], content[f"obs_{number}"][i, :n].astype("f4"))
            assert (segments.obs[i, n:] == segments.obs[i, n - 1]).all()  # what followed is not known
            np.testing.assert_array_equal(segments.actions[i, :n], content[f"action_{number}"][i, :n].astype("f4"))
            assert (segments.actions[i, n:] == 0).all()


def test_the_last_known_step_of_a_short_side_has_no_next_observation(tmp_path):
    from pbrl.data.offline_sources import load_offline

    load(tmp_path, arrays(n=3) | {"length_1": np.array([5, 2, 3])})
    options = {"label": None, "budget": None, "pairs": "fixed", "heldout": 0.0, "rng": torch.Generator()}
    data = load_offline(tmp_path / "set", **options)
    assert (data.known_next(data.segments).sum(1) == data.segments.mask.sum(1) - 1).all()


def test_arrays_of_unequal_length_say_how_far_they_go(tmp_path):
    content = arrays(n=3)
    content["obs_2"], content["action_2"] = content["obs_2"][:, :3], content["action_2"][:, :3]
    with pytest.raises(UserError, match="sides of unequal length need length_1 and length_2, or mask_1 and mask_2"):
        load(tmp_path, content)
    labels = load(tmp_path, content | {"length_1": np.full(3, 5), "length_2": np.full(3, 3)})
    assert labels.pairs.right.mask.sum(1).tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"length_1": np.array([5, 0, 3])}, r"length_1\[1\] is 0, expected 1 to 5"),
        ({"length_1": np.array([5, 6, 3])}, r"length_1\[1\] is 6, expected 1 to 5"),
        ({"length_1": np.array([5, 5])}, r"length_1 has shape \(2,\), expected \(3,\)"),
        ({"mask_2": np.zeros((3, 5))}, r"mask_2\[0, 0\] is 0.0, expected 1 on the first step"),
        ({"mask_2": np.tile([1, 0, 1, 1, 1], (3, 1))}, r"mask_2\[0, 2\] is 1, expected 0 after a 0"),
        ({"mask_2": np.ones((3, 5)), "length_2": np.array([5, 4, 5])}, "mask_2 and length_2 say different things"),
    ],
)
def test_wrong_lengths_are_one_line(tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, arrays(n=3) | more)
