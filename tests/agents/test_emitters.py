"""A population of small policies that explores: novelty by hand, who acts when, and what they show of a room."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from pbrl.agents.emitters import Emitters, act, look, novelty
from pbrl.config import compose_config
from pbrl.nets.autoencoder import Autoencoder
from pbrl.tabular import cheetah_moves
from pbrl.tabular.walled_room import CELLS, EPISODE, START, STEP, WalledRoom, coverage

NUMBERS = {
    **{"k": 5, "reference": 64, "normalise": False, "population": 4, "emitters": 2, "mutation": 1.0, "hidden": 4},
    **{"turn": None, "moments": 1, "code": 2, "coder_hidden": 8, "coder_lr": 3e-3, "coder_updates": 10},
    **{"neighbours": 5, "surprise": 0.0, "archive": 1000},
}


def make(n_envs=1, seed=0, first=10_000, **changes):
    """Emitters at the start of a run, and the agent whose episodes they follow."""
    agent = SimpleNamespace(n_envs=n_envs, episode_steps=[0] * n_envs, stored_obs=None)
    rng = torch.Generator().manual_seed(seed)
    made = Emitters(**{**NUMBERS, **changes})
    about = {"feedback": SimpleNamespace(first=first), "time_limit": 10}
    made.begin(SimpleNamespace(agent=agent, rng=lambda name: rng, obs_shape=(2,), action_size=2, **about))
    return made, agent


def play(made, agent, steps, first=0):
    """Actions (steps, n_envs, 2) in episodes of 10 steps, at observations that the step alone decides."""
    found = []
    for t in range(first, first + steps):
        agent.episode_steps[:] = [t % 10] * agent.n_envs
        obs = np.random.default_rng(t).uniform(-1, 1, (agent.n_envs, 2)).astype(np.float32)
        found.append(made.behave(obs))
    return np.stack(found)


def test_novelty_is_the_mean_distance_to_the_nearest_others():
    codes = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    torch.testing.assert_close(novelty(codes, 1), torch.tensor([1.0, 18**0.5, 1.0]))
    torch.testing.assert_close(novelty(codes, 9), torch.tensor([3.0, (5 + 18**0.5) / 2, (1 + 18**0.5) / 2]))
    assert novelty(torch.ones(3, 2), 2).tolist() == [0, 0, 0]
    assert novelty(torch.ones(1, 2), 2).tolist() == [0]


def test_novelty_is_that_of_pyribs():
    archives = pytest.importorskip("ribs.archives")
    codes = np.random.default_rng(0).normal(size=(40, 2))
    for i in range(len(codes)):
        others = np.delete(codes, i, 0)
        archive = archives.ProximityArchive(solution_dim=1, measure_dim=2, k_neighbors=7, novelty_threshold=0.0)
        archive.add(np.zeros((len(others), 1)), np.zeros(len(others)), others)
        expected = archive.compute_novelty(codes[i : i + 1])
        assert novelty(torch.from_numpy(codes), 7)[i].item() == pytest.approx(np.asarray(expected).item(), rel=1e-5)


def test_a_policy_of_known_weights_acts_as_by_hand():
    """Two inputs, one hidden unit, one action: tanh(2 tanh(x + 3 y + 0.5) - 1); the second policy is all zeros."""
    genomes = torch.tensor([[1.0, 3.0, 0.5, 2.0, -1.0], [0.0] * 5])
    done = act(genomes, [(2, 1), (1, 1), (1, 1), (1, 1)], torch.tensor([[0.2, -0.1], [5.0, 5.0]]))
    torch.testing.assert_close(done, torch.tensor([[np.tanh(2 * np.tanh(0.4) - 1)], [0.0]], dtype=torch.float32))


def test_what_was_done_is_seen_at_evenly_spaced_moments_the_last_included():
    seen = np.arange(20, dtype=np.float32).reshape(10, 2)
    assert look(seen, 1).tolist() == [18, 19]
    assert look(seen, 3).tolist() == [6, 7, 12, 13, 18, 19]
    assert look(seen[:1], 2).tolist() == [0, 1, 0, 1]


def test_an_autoencoder_decodes_a_plane_and_not_what_leaves_it():
    rng = torch.Generator().manual_seed(0)
    plane = torch.randn(200, 2, generator=rng) @ torch.randn(2, 6, generator=rng)
    coder = Autoencoder(6, code=2, hidden=32, lr=1e-2, rng=rng)
    assert coder.fit(plane, 600) < 0.05
    away = plane + 3 * torch.linalg.svd(plane).Vh[-1]
    assert coder(away)[1].mean() > 10 * coder(plane)[1].mean()


@pytest.mark.parametrize(("turn", "policies"), [(None, 3), (4, 8)])
def test_one_policy_acts_until_its_turn_or_its_episode_ends(turn, policies):
    made, agent = make(turn=turn)
    acted = []
    for t in range(26):  # episodes of 10 steps
        play(made, agent, 1, first=t)
        acted.append(tuple(made.acting[0].tolist()))
    assert len(set(acted)) == policies
    assert acted[0] == acted[3]
    assert acted[9] != acted[10]
    assert made.played == policies - 1


def test_offspring_are_mutations_of_the_most_novel():
    """Nine policies did the same and one something else: with one emitter and hardly any noise all follow that one."""
    made, _ = make(population=10, emitters=1, mutation=1e-4, neighbours=1)
    genes = made.acting.shape[1]
    made.genomes = torch.arange(10.0)[:, None].expand(10, genes) / 10
    made.looks = torch.cat([torch.zeros(9, 2) + 1e-3 * torch.arange(9.0)[:, None], torch.ones(1, 2)])
    made._choose_parents()
    for _ in range(3):
        assert (made._offspring() - 0.9).abs().max() < 1e-3


def test_the_least_novel_leave_a_full_archive():
    made, _ = make(population=2, archive=3, neighbours=1)
    made.genomes = torch.zeros(5, made.acting.shape[1])
    made.looks = torch.tensor([[0.0, 0.0], [0.001, 0.0], [0.0, 5.0], [5.0, 0.0], [-5.0, -5.0]])
    made._choose_parents()
    assert made.looks[-3:].tolist() == [[0.0, 5.0], [5.0, 0.0], [-5.0, -5.0]]


def test_saved_and_loaded_it_goes_on_as_if_never_stopped():
    """In the middle of a turn, after several generations."""
    made, agent = make(n_envs=2, turn=4, surprise=0.5)
    play(made, agent, 47)
    state, rng = made.state_dict(), made.rng.get_state()
    expected = play(made, agent, 60, first=47)
    other, agent = make(n_envs=2, turn=4, surprise=0.5, seed=9)
    other.load_state_dict(state)
    other.rng.set_state(rng)  # which the run saves
    np.testing.assert_array_equal(play(other, agent, 60, first=47), expected)


def test_speeds_and_pitches_are_counted_in_cells_and_a_whole_turn_is_none():
    obs = np.zeros((2, 3, 17))
    assert cheetah_moves.coverage(obs) == 1 / 256
    obs[0, 0, 1] = 2 * np.pi + 1e-3  # the same pitch
    assert cheetah_moves.coverage(obs) == 1 / 256
    obs[0, 1, 8], obs[0, 2, 8], obs[1, 1, 8] = 3.9, 70.0, -70.0  # the fastest forward, again, and backward
    obs[1, 2, 1] = np.pi
    assert cheetah_moves.coverage(obs) == 4 / 256


def test_a_first_session_before_the_first_generation_is_told(capsys):
    """Four policies have a turn of an episode, 10 steps, each, or of 5."""
    make(first=41)
    make(first=21, turn=5)
    assert capsys.readouterr().err == ""
    make(first=40)
    assert "feedback.first=40: the first 4 policies are over at step 40" in capsys.readouterr().err
    make(first=20, turn=5)
    assert "over at step 20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"population": 0}, "population=0"),
        ({"mutation": 0.0}, "mutation=0"),
        ({"surprise": 2}, "surprise=2"),
        ({"turn": 0}, "turn=0"),
        ({"population": 8, "archive": 5}, "archive=5 is fewer than population=8"),
        ({"mutation": 11.0}, "mutation=11.0: expected a number from 0 to 10"),
        ({"coder_lr": 2.0}, "coder_lr=2.0: expected a number from 0 to 1"),
    ],
)
def test_numbers_that_it_cannot_use_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Emitters(**{**NUMBERS, **wrong})


def in_the_room(behave, agent, episodes):
    """All places (episodes, EPISODE + 1, 2) of so many episodes."""
    env, found = WalledRoom(), []
    for _ in range(episodes):
        places = [env.reset()[0]]
        for t in range(EPISODE):
            agent.episode_steps[0] = t
            places.append(env.step(behave(places[-1][None])[0])[0])
        found.append(places)
    return np.array(found)


def test_walls_stop_the_point_and_gaps_let_it_through():
    env = WalledRoom()
    env.reset()
    for _ in range(30):
        obs = env.step(np.array([1.0, 0.0]))[0]
    assert 1 / 3 - STEP <= (obs[0] + 1) / 2 < 1 / 3  # y = START[1], below the gap
    for _ in range(30):
        env.step(np.array([0.0, 1.0]))
    for _ in range(30):
        obs = env.step(np.array([1.0, 0.0]))[0]
    assert 2 / 3 - STEP <= (obs[0] + 1) / 2 < 2 / 3


def test_coverage_counts_cells_by_hand():
    start = 2 * np.array(START) - 1
    assert coverage(start) == 1 / CELLS**2
    assert coverage(np.array([[-1, -1], [1, 1], [0.99, 0.99]])) == 2 / CELLS**2


def test_emitters_cover_more_of_a_room_than_actions_at_random():
    numbers = OmegaConf.to_container(compose_config(["method=diverse", "method.explore.turn=20"]).method.explore)
    made, agent = make(**{k: v for k, v in numbers.items() if k != "_target_"})
    rng = np.random.default_rng(0)
    ours = coverage(in_the_room(made.behave, agent, 60))
    random = coverage(in_the_room(lambda obs: rng.uniform(-1, 1, (1, 2)), agent, 60))
    assert ours > 1.5 * random
