"""States of an environment's simulator from the qpos and qvel that recordings of MuJoCo have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from pbrl.building import build
from pbrl.data.importing import MakeState


@contextmanager
def state_maker(env: dict[str, Any] | None) -> Iterator[MakeState | None]:
    """Yield a function from qpos and qvel to what `save_state` gives; None where the environment is not of MuJoCo.

    env: its config, as in meta.json. The function raises ValueError for numbers of another model.
    """
    made = None if env is None else build(OmegaConf.create(env["make"]))
    try:
        simulator = None
        if made is not None and made.has_wrapper_attr("has_state") and made.get_wrapper_attr("has_state"):
            made.reset(seed=0)
            simulator = made.get_wrapper_attr("simulator")
        if made is None or simulator is None:
            yield None
            return
        save, data = made.get_wrapper_attr("save_state"), simulator.data

        def make_state(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
            for name, value in (("qpos", qpos), ("qvel", qvel)):
                wanted = getattr(data, name).shape
                if value.shape != wanted:
                    raise ValueError(f"{name} has shape {value.shape}, the environment's is {wanted}")
                getattr(data, name)[:] = value
            return save()

        yield make_state
    finally:
        if made is not None:
            made.close()
