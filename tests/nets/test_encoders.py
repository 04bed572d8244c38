import pytest
import torch

from pbrl.nets.encoders import ImageEncoder, random_shift


def test_a_picture_becomes_fifty_numbers():
    encoder = ImageEncoder((20, 16, 3), torch.Generator().manual_seed(0))
    images = torch.randint(0, 256, (2, 20, 16, 3), dtype=torch.uint8)
    assert encoder(images).shape == (2, 50)
    assert encoder(images).abs().max() <= 1


def test_too_small_a_picture():
    with pytest.raises(ValueError, match="too small"):
        ImageEncoder((14, 64, 3), torch.Generator())
    ImageEncoder((15, 15, 3), torch.Generator())
    with pytest.raises(ValueError, match="at least 31 x 31"):
        ImageEncoder((30, 64, 3), torch.Generator(), (2, 2, 2, 1))
    assert ImageEncoder((31, 31, 3), torch.Generator(), (2, 2, 2, 1)).trunk.in_features == 32  # one pixel is left


def test_a_shift_moves_all_frames_of_a_clip_alike():
    images = torch.randint(0, 256, (6, 3, 10, 10, 1), dtype=torch.uint8)
    images[:, 1:] = images[:, :1]
    shifted = random_shift(images, 4, torch.Generator().manual_seed(0))
    assert (shifted[:, 1:] == shifted[:, :1]).all()
    assert shifted.dtype == torch.uint8
    assert not torch.equal(shifted, images)


def test_a_shift_is_a_shift():
    image = torch.arange(100.0).view(1, 1, 10, 10, 1)
    moves = {(r, c) for r in range(-2, 3) for c in range(-2, 3)}
    for seed in range(20):
        shifted = random_shift(image, 2, torch.Generator().manual_seed(seed))[0, 0, :, :, 0]
        row, column = divmod(int(shifted[5, 5]), 10)
        assert (row - 5, column - 5) in moves
        torch.testing.assert_close(shifted[3:7, 3:7], image[0, 0, row - 2 : row + 2, column - 2 : column + 2, 0])


def test_no_shift_is_no_change():
    images = torch.randint(0, 256, (2, 3, 10, 10, 3), dtype=torch.uint8)
    torch.testing.assert_close(random_shift(images, 0, torch.Generator()), images)
