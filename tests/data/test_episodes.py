import copy

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pbrl.data.episodes import Episode, EpisodeStore

STATES = 2


def make_episode(length, terminated=False, number=0):
    """Observation t of episode e is (e, t), so that every row says where it came from."""
    steps = np.arange(length + 1, dtype=np.float32)
    return Episode(
        obs=np.stack([np.full(length + 1, number, np.float32), steps], 1),
        actions=np.stack([steps[:-1] + 0.25, steps[:-1] + 0.5, -steps[:-1] - 1], 1) + 100 * number,
        true_reward=steps[:-1] + 1 + 1000 * number,
        terminated=terminated,
        states=np.random.default_rng(number).normal(size=(length + 1, STATES)),
    )


def make_store(*episodes, max_episodes=100):
    """Of (length, terminated) pairs."""
    store = EpisodeStore(max_episodes)
    store.add([make_episode(*e, number=i) for i, e in enumerate(episodes)])
    return store


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("length", "terminated", "starts"),
    [
        (10, False, 7),  # 10 - 4 + 1: whole segments only
        (4, False, 1),
        (3, False, 0),
        (10, True, 9),  # and those with 1 or 2 of the 4 steps in the absorbing state
        (4, True, 3),
        (2, True, 1),
        (1, True, 1),  # an episode that ended at once still counts
    ],
)
def test_number_of_starts_of_4_steps(length, terminated, starts):
    assert make_store((length, terminated)).count_starts(4, last=1).tolist() == [starts]


def test_every_start_is_drawn_equally_often():
    store = make_store((10, False), (5, True), (3, False), (4, False))  # 7 + 4 + 0 + 1 starts of 4 steps
    ids, counts = np.unique(store.sample(12_000, 4, rng()).ids.numpy(), return_counts=True)
    assert len(ids) == 12
    assert chisquare(counts).pvalue > 1e-6


def test_every_pair_of_different_starts_is_drawn_equally_often_and_none_with_itself():
    store = make_store((5, False), (4, True), (3, False))  # 2 + 3 starts of 4 steps
    left, right = store.sample_pairs(20_000, 4, rng())
    pairs, counts = np.unique(np.stack([left.ids, right.ids], 1), axis=0, return_counts=True)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(pairs) == 5 * 4
    assert chisquare(counts).pvalue > 1e-6


def test_episodes_as_long_as_a_segment_are_never_compared_with_themselves():
    left, right = make_store(*[(8, False)] * 4).sample_pairs(1000, 8, rng())
    assert (left.ids != right.ids).all()


def test_one_segment_makes_no_pair():
    with pytest.raises(ValueError, match="a pair compares two different things, and there is one"):
        make_store((8, False)).sample_pairs(1, 8, rng())
    with pytest.raises(ValueError, match="a pair compares"):
        make_store((8, False), (8, False)).sample_pairs(1, 8, rng(), last=1)


def test_no_segment_crosses_an_episode():
    store = make_store((10, False), (5, True), (30, False), (7, True))
    segments = store.sample(5000, 6, rng())
    episode, step = segments.obs[..., 0], segments.obs[..., 1]
    assert (episode == episode[:, :1]).all()
    assert (step.diff(dim=1) == segments.mask).all()


def naive_gather(episodes, picks, length):
    """One segment after the other, step by step: (episode, start) pairs."""
    out = {k: [] for k in ("obs", "actions", "mask", "terminated", "true_reward", "states")}
    for e, start in picks:
        ep = episodes[e]
        rows = {k: [] for k in out}
        for t in range(start, start + length + 1):
            rows["obs"].append(ep.obs[min(t, len(ep))])
            rows["states"].append(ep.states[min(t, len(ep))])
        for t in range(start, start + length):
            real = t < len(ep)
            rows["actions"].append(ep.actions[t] if real else np.zeros(3))
            rows["mask"].append(float(real))
            rows["terminated"].append(float(ep.terminated and t == len(ep) - 1))
            rows["true_reward"].append(ep.true_reward[t] if real else 0)
        for k, v in rows.items():
            out[k].append(v)
    return {k: np.array(v) for k, v in out.items()}


@pytest.mark.parametrize("max_episodes", [100, 4], ids=["all kept", "some dropped"])
def test_gather_equals_a_loop_over_steps(max_episodes):
    lengths = [(9, True), (12, False), (5, True), (20, False), (6, True), (11, False)]
    store = make_store(*lengths, max_episodes=max_episodes)
    episodes = [make_episode(*e, number=i) for i, e in enumerate(lengths)]
    first = np.cumsum([0, *(n + 1 for n, _ in lengths)])
    segments = store.sample(500, 5, rng())
    picks = [(e := int(np.searchsorted(first, i, side="right")) - 1, i - first[e]) for i in segments.ids.tolist()]
    expected = naive_gather(episodes, picks, 5)
    for name, value in expected.items():
        actual = store.states(segments.ids.numpy(), 5) if name == "states" else getattr(segments, name).numpy()
        np.testing.assert_array_equal(actual, value, err_msg=name)
    assert {e for e, _ in picks} == set(range(len(lengths) - len(store), len(lengths)))


def test_a_terminated_episode_goes_on_in_its_absorbing_state():
    store = make_store((4, True))
    segment = store.gather(np.array([2]), 4)  # steps 2 and 3 are real
    assert segment.mask.tolist() == [[1, 1, 0, 0]]
    assert segment.terminated.tolist() == [[0, 1, 0, 0]]
    assert segment.obs[0, :, 1].tolist() == [2, 3, 4, 4, 4]
    assert segment.true_reward.tolist() == [[3, 4, 0, 0]]
    assert segment.actions[0, 2:].abs().sum() == 0


def test_a_time_limit_is_no_termination_and_is_never_padded():
    store = make_store((8, False))
    segments = store.sample(100, 8, rng())
    assert segments.terminated.sum() == 0
    assert segments.mask.min() == 1


def test_segments_come_from_the_last_episodes_only():
    store = make_store(*[(8, False)] * 6)
    for last in (1, 3, 6, 50):
        drawn = store.sample(400, 4, rng(), last=last).obs[:, 0, 0].unique()
        assert drawn.tolist() == list(range(6 - min(last, 6), 6))


def test_only_the_last_episodes_are_kept_and_ids_stay_their_own():
    store, seen = EpisodeStore(3), {}
    for number in range(40):
        store.add([make_episode(5 + number % 4, number % 2 == 0, number)])
        segments = store.sample(50, 3, rng(number))
        assert set(segments.obs[:, 0, 0].tolist()) <= {number - 2, number - 1, number}
        for i, (episode, step) in zip(segments.ids.tolist(), segments.obs[:, 0].tolist(), strict=True):
            assert seen.setdefault(i, (episode, step)) == (episode, step)
    assert len(store) == 3
    with pytest.raises(ValueError, match="no longer in the EpisodeStore"):
        store.gather(np.array([0]), 3)


def test_too_short_episodes_are_said_so():
    store = make_store((5, False), (3, False))
    with pytest.raises(ValueError, match=r"no segment of 6 steps in the last 2 episodes \(lengths \[5 3\]\)"):
        store.sample(1, 6, rng())
    with pytest.raises(ValueError, match="in the last 0 episodes"):
        EpisodeStore(5).sample(1, 2, rng())


@pytest.mark.parametrize("n", [1, 3, 7, 100])
def test_recent_steps_are_the_tail_of_all_kept_steps(n):
    store = make_store((4, True), (3, False), (5, True), max_episodes=2)
    obs, actions, reward = store.recent_steps(n)
    kept = [make_episode(3, False, 1), make_episode(5, True, 2)]
    np.testing.assert_array_equal(obs, np.concatenate([e.obs[:-1] for e in kept])[-n:])
    np.testing.assert_array_equal(actions, np.concatenate([e.actions for e in kept])[-n:])
    np.testing.assert_array_equal(reward, np.concatenate([e.true_reward for e in kept])[-n:])


def test_a_restored_store_goes_on_like_the_old_one():
    old, new = make_store(*[(6, i % 2 == 0) for i in range(9)], max_episodes=4), EpisodeStore(4)
    new.load_state_dict(copy.deepcopy(old.state_dict()))
    for number in range(9, 30):
        for store in (old, new):
            store.add([make_episode(4 + number % 5, number % 3 == 0, number)])
        a, b = (store.sample(60, 4, rng(number), last=3) for store in (old, new))
        for name in ("obs", "actions", "mask", "terminated", "true_reward", "ids"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_an_empty_store_can_be_saved_and_restored():
    store = EpisodeStore(3)
    store.load_state_dict(EpisodeStore(3).state_dict())
    store.add([make_episode(5)])
    assert store.sample(1, 5, rng()).ids.tolist() == [0]
