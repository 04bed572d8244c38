"""The simulator's state as one flat array: to render a stored moment later, or to continue from it."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from pbrl.errors import EnvError, UserError, one_line
from pbrl_envs import gl

_STATE = mujoco.mjtState
# mjSTATE_INTEGRATION less the applied forces: six numbers a body, zero in every suite, kept at every stored step.
_SPEC = int(_STATE.mjSTATE_INTEGRATION) & ~int(_STATE.mjSTATE_QFRC_APPLIED) & ~int(_STATE.mjSTATE_XFRC_APPLIED)

_SHADOW_MAP = 1024  # pixels a side; the usual 4096 take most of a frame's time without a GPU


class SimState(gym.Wrapper):
    """Adds `save_state`, `load_state` and `render_state`; rendering never disturbs the running episode.

    A state is [mjSTATE_INTEGRATION without applied forces, model fields, attributes] in float64:

    - model_fields: arrays of mjModel that the task moves between episodes, such as `body_pos`; None says that it
      changes more than can be stored, then there is no state;
    - attributes: numbers of the task object, such as `goal`.

    A task of your own names its in the class attributes `sim_state_model_fields` and `sim_state_attributes`. The step
    counter of a time limit is not part of the state.
    """

    def __init__(
        self,
        env: gym.Env,
        name: str,
        *,
        model_fields: tuple[str, ...] | None = (),
        attributes: tuple[str, ...] = (),
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(env)
        self._name = name
        self._owner = env.unwrapped
        self._simulator = _find_simulator(self._owner)
        if self._simulator is not None:
            quality = self._simulator.model.vis.quality
            quality.shadowsize = min(quality.shadowsize, _SHADOW_MAP)
        self._storable = model_fields is not None
        self._model_fields = model_fields or tuple(getattr(self._owner, "sim_state_model_fields", ()))
        self._attributes = attributes or tuple(getattr(self._owner, "sim_state_attributes", ()))
        self._frame_size = frame_size
        self._scratch: mujoco.MjData | None = None  # pictures are drawn from this copy
        self._was_reset = False
        self._size = 0  # of a state, once there was one
        self._has_drawn = False
        self._free_viewer: weakref.finalize[Any, Any] | None = None

    @property
    def has_state(self) -> bool:
        return self._storable and (self._simulator is not None or bool(self._attributes))

    @property
    def simulator(self) -> Any:
        """The object that holds MuJoCo's `model` and `data`, and its `mujoco_renderer`; None outside MuJoCo."""
        return self._simulator

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self._was_reset = True
        return super().reset(**kwargs)

    def save_state(self) -> np.ndarray | None:
        """Everything needed to render and to continue this moment; None where the simulator is not known."""
        if not self.has_state:
            return None
        parts = []
        if self._simulator is not None:
            model, data = self._simulator.model, self._simulator.data
            physics = np.empty(mujoco.mj_stateSize(model, _SPEC))
            mujoco.mj_getState(model, data, physics, _SPEC)
            parts = [physics, *(self._numbers(model, field) for field in self._model_fields)]
        parts += [self._numbers(self._owner, attribute) for attribute in self._attributes]
        state = np.concatenate(parts, dtype=np.float64)
        self._size = self._size or len(state)
        if len(state) != self._size:
            raise EnvError(f"env={self._name}: its state has {len(state)} numbers now, and had {self._size} before")
        return state

    def load_state(self, state: np.ndarray) -> None:
        """Put the simulator into a state of this environment, saved by this instance or another one."""
        if not self.has_state:
            raise UserError(f"env={self._name} has no simulator state that can be stored; MuJoCo environments have")
        if not self._was_reset:
            self.reset(seed=0)
        rest = np.array(state, dtype=np.float64)
        expected = np.shape(self.save_state())  # type: ignore[arg-type]
        if rest.shape != expected:
            raise UserError(f"state of env={self._name} has shape {rest.shape}, expected {expected}")
        if self._simulator is not None:
            rest = self._load_physics(rest)
        for attribute in self._attributes:
            current = getattr(self._owner, attribute)
            size = _as_numbers(current).size
            setattr(self._owner, attribute, _like(current, rest[:size]))
            rest = rest[size:]

    def render(self) -> Any:
        """The frame of this moment."""
        if self.render_mode != "rgb_array":
            return self._render_task()
        with self._protect_episode():
            return self._frame()

    def render_state(self, state: np.ndarray) -> np.ndarray:
        """The (H, W, 3) uint8 frame of a saved state; the running episode goes on as if nothing had happened."""
        if self.render_mode != "rgb_array":
            raise UserError(f"env={self._name} was made with render_mode={self.render_mode}; rendering needs rgb_array")
        if not self._was_reset:
            self.reset(seed=0)
        with self._protect_episode():
            self.load_state(state)
            return self._frame()

    def close(self) -> None:
        if self._free_viewer is not None:
            self._free_viewer()
        super().close()

    def _numbers(self, owner: Any, name: str) -> np.ndarray:
        try:
            return _as_numbers(getattr(owner, name))
        except (AttributeError, TypeError, ValueError) as error:
            where = "sim_state_attributes" if owner is self._owner else "sim_state_model_fields"
            raise EnvError(f"env={self._name}: {where} names {name}, of which no numbers can be had: {error}") from None

    def _load_physics(self, state: np.ndarray) -> np.ndarray:
        model, data = self._simulator.model, self._simulator.data
        rest = state[mujoco.mj_stateSize(model, _SPEC) :]
        for field in self._model_fields:
            values = getattr(model, field)
            values[:] = rest[: values.size].reshape(values.shape)
            rest = rest[values.size :]
        physics = state[: mujoco.mj_stateSize(model, _SPEC)]
        mujoco.mj_setState(model, data, physics, _SPEC)
        mujoco.mj_forward(model, data)
        mujoco.mj_setState(model, data, physics, _SPEC)  # mj_forward changed the solver's warm start
        return rest

    @contextmanager
    def _protect_episode(self) -> Iterator[None]:
        """Work on a copy of the simulation: whatever happens inside, the live one stays as it was to the last bit."""
        attributes = {attribute: getattr(self._owner, attribute) for attribute in self._attributes}
        if self._simulator is not None:
            model, live = self._simulator.model, self._simulator.data
            fields = {field: getattr(model, field).copy() for field in self._model_fields}
            self._scratch = self._scratch or mujoco.MjData(model)
            _copy_state(model, live, self._scratch)
            self._use_data(self._scratch)
        try:
            yield
        finally:
            for attribute, value in attributes.items():
                setattr(self._owner, attribute, value)
            if self._simulator is not None:
                for field, value in fields.items():
                    getattr(model, field)[:] = value
                self._use_data(live)

    def _use_data(self, data: mujoco.MjData) -> None:
        renderer = getattr(self._simulator, "mujoco_renderer", None)
        for holder in (self._simulator, renderer, getattr(renderer, "viewer", None)):
            if holder is not None:
                holder.data = data

    def _frame(self) -> np.ndarray:
        if self._simulator is not None:
            self._make_viewer_current()
            # After a step geom positions lag one substep behind qpos; without this a loaded state would look different.
            mujoco.mj_forward(self._simulator.model, self._simulator.data)
        frame = self._draw()
        return frame if self._frame_size is None else _resized(frame, self._frame_size)

    def _make_viewer_current(self) -> None:
        renderer = getattr(self._simulator, "mujoco_renderer", None)
        if renderer is not None and renderer.viewer is not None:
            renderer.viewer.make_context_current()  # another environment of this process may have drawn since
            for terrain in range(self._simulator.model.nhfield):
                mujoco.mjr_uploadHField(self._simulator.model, renderer.viewer.con, terrain)
            return
        # The viewer aims its free camera when it opens; open it on the rest pose so that all instances see the same.
        model, data = self._simulator.model, self._simulator.data
        rest_pose = mujoco.MjData(model)
        mujoco.mj_forward(model, rest_pose)
        self._use_data(rest_pose)
        self._draw()
        self._use_data(data)
        if renderer is not None:
            self._free_viewer = weakref.finalize(self, _free, renderer.viewer)
            atexit.register(self._free_viewer)  # registered now, so that it runs before EGL's own clean-up

    def _draw(self) -> np.ndarray:
        if self._simulator is not None and not self._has_drawn:
            gl.require_backend()
        frame = self._render_task()
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.dtype != np.uint8:
            raise self._no_frames()
        self._has_drawn = True
        return np.array(frame)  # the task may draw the next one into the same array

    def _render_task(self) -> Any:
        try:
            return self.env.render()
        except UserError:
            raise
        except NotImplementedError as error:
            raise self._no_frames() from error
        except gym.error.DependencyNotInstalled as error:
            raise UserError(f"env={self._name} cannot render: {error}") from error
        except Exception as error:
            why = f"raised {type(error).__name__} when it was drawn: {one_line(error)}"
            raise EnvError(f"env={self._name} {why}") from error

    def _no_frames(self) -> UserError:
        return UserError(f"env={self._name} draws no frames with render_mode=rgb_array")


def _find_simulator(owner: Any) -> Any:
    """The object that holds `model` and `data`; some robotics tasks keep it one level down."""
    parts = (getattr(owner, part, None) for part in ("point_env", "ant_env", "robot_env"))
    for holder in (*parts, owner):
        model, data = getattr(holder, "model", None), getattr(holder, "data", None)
        if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
            return holder
    return None


def _free(viewer: Any) -> None:
    """Free a viewer in its own context; left to the garbage collector it would free the textures of another one."""
    viewer.make_context_current()
    viewer.con.free()
    viewer.free()


def _copy_state(model: mujoco.MjModel, source: mujoco.MjData, target: mujoco.MjData) -> None:
    everything = int(_STATE.mjSTATE_INTEGRATION)
    state = np.empty(mujoco.mj_stateSize(model, everything))
    mujoco.mj_getState(model, source, state, everything)
    mujoco.mj_setState(model, target, state, everything)


def _as_numbers(value: Any) -> np.ndarray:
    return np.array([np.nan]) if value is None else np.array(value, dtype=np.float64).ravel()


def _like(current: Any, numbers: np.ndarray) -> Any:
    """The numbers in the shape and type of the current value; a lone NaN stands for None."""
    if isinstance(current, np.ndarray) and current.ndim > 0:
        return numbers.reshape(current.shape).astype(current.dtype)
    if isinstance(current, (tuple, list)):
        return type(current)(numbers)
    if numbers.size == 1 and np.isnan(numbers[0]):
        return None
    return float(numbers[0]) if current is None else type(current)(numbers[0])


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
