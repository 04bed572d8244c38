"""Opening the page on which people watch a policy: its folder, the policy, who helps, and the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from pbrl.config import load_config
from pbrl.errors import UserError
from pbrl.files import new_folder
from pbrl.labels.store import LabelStore
from pbrl.teachers.human import NO_TRAINING
from pbrl.training.saved import load_run
from pbrl.training.saved_run import SavedRun
from pbrl.viewer.settings import viewer_section
from pbrl.watching.live import Act, Live
from pbrl_envs.experts import find_expert

NO_LIMIT = 1000  # steps of an episode where the task has no time limit


def open_watching(run: Path, out: Path, expert: Path | None, seed: int, overrides: dict[str, str]) -> int:
    """Serve the page until Ctrl-C; return the exit code. out: where episodes are kept, new or that of the last time."""
    from pbrl.viewer.opened import remove_if_refused
    from pbrl.viewer.serve import serve

    saved = load_run(run)
    helper = None if expert is None else helping_run(saved, expert)
    section = viewer_section(saved.config, {k: v for k, v in overrides.items() if k != "renew"})
    make_live = partial(live_of, saved, helper, (section.width, section.height), seed)
    make_live(0).close()  # what cannot be shown is said before anybody comes
    with remove_if_refused(out, keep_in(out, saved)):
        return serve(out, overrides, watch=make_live)


def helping_run(saved: SavedRun, expert: Path) -> Act:
    """Load the policy of another run of the same task."""
    try:
        helper = load_run(expert)
    except UserError as error:
        raise UserError(f"expert={expert}: {error}") from None
    ours, theirs = ((run.obs_shape, run.action_size) for run in (saved, helper))
    if ours != theirs:
        raise UserError(f"expert={expert}: it has observations and actions of {theirs}, {saved.path} {ours}")
    return helper.act


def keep_in(out: Path, saved: SavedRun) -> bool:
    """Make the folder, or check that it is of this task; return whether it was not there already."""
    if out.exists():
        kept: Any = load_config(out / "config.yaml") if (out / "config.yaml").is_file() else {}
        if (kept.get("env"), kept.get("teacher")) != (saved.config.env, NO_TRAINING):  # a run keeps its own answers
            raise UserError(f"out={out}: no watched episodes of this task are kept there; valid is a new folder")
        return False
    config = saved.config.copy()
    config.teacher = NO_TRAINING
    with new_folder(out, private=True) as folder:
        OmegaConf.save(config, folder / "config.yaml")
        with LabelStore(folder) as store:
            store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return True


def live_of(saved: SavedRun, helper: Act | None, size: tuple[int, int], seed: int, number: int) -> Live:
    """Make a person's simulator. number: of its first episode."""
    env = saved.make_env()
    limit = env.spec.max_episode_steps if env.spec is not None else None
    try:
        limit = limit or int(env.get_wrapper_attr("_max_episode_steps") or NO_LIMIT)
    except AttributeError:
        limit = NO_LIMIT
    own = find_expert(env)
    act: Act | None = helper or (None if own is None else _of_single(own.act))
    if own is None or helper is not None:
        env.close()
    make: Callable[..., object] = saved.make_env
    about: dict[str, Any] = {"horizon": limit, "size": size, "seed": seed, "number": number}
    return Live(make, saved.act, act, **about)  # type: ignore[arg-type]


def _of_single(act: Callable[[np.ndarray], np.ndarray]) -> Act:
    return lambda obs: np.stack([act(row) for row in obs])
