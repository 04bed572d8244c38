"""Videos of a square: how far down it is counts, how far right it is and its colour do not."""

import torch

from pbrl.data.videos import Videos

SIDE, FRAMES = 16, 5


def make_squares(n, rng):
    """Each starts near the top and moves down and sideways at its own speed; the return is how far down it ends."""
    down = _path(n, rng, start=3.0)
    right = _path(n, rng, start=12.0)
    colour = torch.randint(80, 256, (n, 1, 3), generator=rng)
    frames = torch.zeros(n, FRAMES, SIDE, SIDE, 3, dtype=torch.uint8)
    for row in range(n):
        for t in range(FRAMES):
            y, x = int(down[row, t]), int(right[row, t])
            frames[row, t, y : y + 4, x : x + 4] = colour[row, 0].to(torch.uint8)
    return Videos(frames, down[..., None], down[:, -1])


def _path(n, rng, start):
    """(n, FRAMES) places from 0 to 12: a straight line from a random start to a random end."""
    first = start * torch.rand(n, 1, generator=rng)
    last = 12 * torch.rand(n, 1, generator=rng)
    return first + (last - first) * torch.linspace(0, 1, FRAMES)
