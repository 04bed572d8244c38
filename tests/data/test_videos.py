import pytest
import torch

from pbrl.data.videos import Triplets, VideoPairs, Videos


def blank(n=3, f=2):
    return Videos(torch.zeros(n, f, 4, 5, 3, dtype=torch.uint8), torch.zeros(n, f, 6), torch.arange(float(n)))


def test_rows_of_videos():
    videos = blank()[torch.tensor([2, 0])]
    assert len(videos) == 2
    assert videos.true_return.tolist() == [2, 0]
    assert videos.frame_shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": torch.zeros(3, 2, 4, 5, dtype=torch.uint8)}, r"\(3, 2, 4, 5\), expected \(N, F, H, W, C\)"),
        ({"frames": torch.zeros(3, 2, 4, 5, 3)}, r"float32, expected torch.uint8"),
        ({"features": torch.zeros(3, 1, 6)}, r"\(3, 1, 6\), expected \(3, 2, K\)"),
        ({"true_return": torch.zeros(2)}, r"\(2,\), expected \(3,\)"),
    ],
)
def test_videos_that_do_not_fit_together(change, message):
    videos = blank()
    fields = {"frames": videos.frames, "features": videos.features, "true_return": videos.true_return}
    with pytest.raises(ValueError, match=message):
        Videos(**fields | change)


def test_rows_of_questions():
    one, two, three = torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4, 5])
    assert Triplets(one, two, three, torch.tensor([0.0, 0.5])).rows.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert VideoPairs(one, two, torch.tensor([0.0, 1.0])).rows.tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("first", "answer", "message"),
    [
        (torch.tensor([1]), torch.zeros(2), r"first has shape \(1,\), expected \(2,\)"),
        (torch.tensor([1, -1]), torch.zeros(2), "first must be rows"),
        (torch.tensor([1.0, 2.0]), torch.zeros(2), "first must be rows"),
        (torch.tensor([1, 4]), torch.zeros(2), r"Triplets 1 has the rows \[0, 4, 4\], expected different videos"),
        (torch.tensor([0, 1]), torch.zeros(2), r"Triplets 0 has the rows \[0, 0, 3\], expected different videos"),
        (torch.tensor([1, 2]), torch.zeros(3), r"closer_second has shape \(3,\), expected \(2,\)"),
        (torch.tensor([1, 2]), torch.tensor([0, 1.5]), r"closer_second has values outside \[0, 1\]"),
        (torch.tensor([1, 2]), torch.tensor([0, torch.nan]), r"closer_second has values outside \[0, 1\]"),
    ],
)
def test_triplets_that_make_no_sense(first, answer, message):
    with pytest.raises(ValueError, match=message):
        Triplets(torch.tensor([0, 0]), first, torch.tensor([3, 4]), answer)
