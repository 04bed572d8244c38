"""A teacher and a sampler that are plain functions."""


def better(left, right):
    """By true return."""
    gain = right.true_reward.sum(1) - left.true_reward.sum(1)
    return 0.5 + 0.5 * gain.sign()


def last(model, left, right, n, asked, rng):
    """The last n candidates."""
    return list(range(len(left)))[-n:]
