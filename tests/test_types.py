import pytest
import torch

from pbrl.types import Comparisons, Segments


def make_segments(n=2, steps=4, first=0):
    """Every number is its own: row, step and column can be read off it."""
    obs = torch.arange(n * (steps + 1) * 3).reshape(n, steps + 1, 3).float() + 1000 * first
    actions = torch.arange(n * steps * 2).reshape(n, steps, 2).float()
    flags = torch.arange(n * steps).reshape(n, steps).float()
    return Segments(obs, actions, flags + 0.25, flags + 0.5, flags, torch.arange(n) + first, actions + 0.75)


def make_comparisons(n=3, prefers_right=0.5):
    return Comparisons(make_segments(n), make_segments(n, first=9), torch.full((n,), prefers_right), torch.arange(n))


@pytest.mark.parametrize(
    ("field", "shape", "message"),
    [
        ("obs", (2, 4, 3), r"Segments.obs has shape \(2, 4, 3\), expected \(2, 5, O\)"),
        ("actions", (2, 4), r"Segments.actions has shape \(2, 4\), expected \(N, T, A\)"),
        ("mask", (2, 5), r"Segments.mask has shape \(2, 5\), expected \(2, 4\)"),
        ("terminated", (2,), r"Segments.terminated has shape \(2,\), expected \(2, 4\)"),
        ("true_reward", (2, 4, 1), r"Segments.true_reward has shape \(2, 4, 1\), expected \(2, 4\)"),
        ("ids", (3,), r"Segments.ids has shape \(3,\), expected \(2,\)"),
    ],
)
def test_a_wrong_shape_is_named_with_both_shapes(field, shape, message):
    with pytest.raises(ValueError, match=message):
        Segments(**vars(make_segments()) | {field: torch.zeros(shape)})


def test_crop_takes_the_same_steps_of_every_field_and_one_observation_more():
    whole, start = make_segments(), torch.tensor([2, 0])
    crop = whole.crop(start, 2)
    for i, s in enumerate(start.tolist()):
        assert torch.equal(crop.obs[i], whole.obs[i, s : s + 3])
        for name in ("actions", "mask", "terminated", "true_reward", "factors"):
            assert torch.equal(getattr(crop, name)[i], getattr(whole, name)[i, s : s + 2])
    assert torch.equal(crop.ids, whole.ids)


def test_cat_of_parts_is_the_whole():
    whole = make_comparisons()
    again = Comparisons.cat([whole[:1], whole[torch.tensor([1, 2])]])
    for name in ("prefers_right", "annotator"):
        assert torch.equal(getattr(again, name), getattr(whole, name))
    for side in ("left", "right"):
        for name, tensor in vars(getattr(whole, side)).items():
            assert torch.equal(getattr(getattr(again, side), name), tensor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": make_segments(2)}, "right has 2 segments of 4 steps, expected 3 of 4"),
        ({"right": make_segments(3, steps=5)}, "right has 3 segments of 5 steps, expected 3 of 4"),
        ({"prefers_right": torch.zeros(3, 1)}, r"prefers_right has shape \(3, 1\), expected \(3,\)"),
        ({"annotator": torch.zeros(2)}, r"annotator has shape \(2,\), expected \(3,\)"),
        ({"prefers_right": torch.tensor([0, 0.5, 1.1])}, r"outside \[0, 1\]"),
        ({"prefers_right": torch.tensor([0, 0.5, torch.nan])}, r"outside \[0, 1\]"),
    ],
)
def test_comparisons_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Comparisons(**vars(make_comparisons()) | change)
