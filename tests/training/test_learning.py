"""The whole loop learns: what the pieces' tests cannot see."""

import numpy as np

from pbrl.config import compose_config
from pbrl.training.build import build_run
from pbrl.training.evaluate import Evaluator
from pbrl.training.run_dir import RunDir
from pbrl_envs.suites.gym import make_gym

EPISODE = 50
QUICK = [
    "env=point_reach",
    f"+env.make.max_episode_steps={EPISODE}",
    "method=pebble",
    "steps=3500",
    "feedback.budget=300",
    "feedback.first=500",
    "feedback.every=200",
    "feedback.per_session=20",
    "feedback.segment_length=10",
    "feedback.pool_episodes=20",
    "feedback.candidates=3",
    "method.model.hidden=[64,64]",
    "method.model.lr=1e-3",
    "method.fit.max_epochs=30",
    "method.fit.stop_accuracy=0.95",
    "agent.hidden=[64,64]",
    "agent.batch_size=64",
    "agent.learning_starts=500",
    "agent.gradient_steps=2",
    "agent.lr=1e-3",
    "agent.tau=0.02",
    "agent.gamma=0.95",
    "evaluation.every=10000",
    "evaluation.episodes=1",
    "checkpoint.every=10000",
]


def test_pebble_reaches_goals_that_it_knows_from_300_comparisons_alone(tmp_path):
    config = compose_config([*QUICK, "seed=9", f"run_dir={tmp_path / 'run'}"])
    run = build_run(config, RunDir.create(config, []))
    assert run.train()
    rng = np.random.default_rng(0)
    evaluate = Evaluator(lambda: make_gym("pbrl_envs/PointReach-v0", max_episode_steps=EPISODE), episodes=50, seed=1)
    learned = evaluate(lambda obs: run.parts.agent.act(obs, deterministic=True)).returns
    random = evaluate(lambda obs: rng.uniform(-1, 1, (len(obs), 2)).astype(np.float32)).returns
    gain = learned - random  # from the same starts to the same goals
    assert learned.mean() > 1.4 * random.mean()
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5
    assert run.method.quality()["true_accuracy"] > 0.8
