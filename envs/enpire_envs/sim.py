"""`SimCell`: a MuJoCo cell at end-effector level. It resets by writing the state."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import logger

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # headless: must be decided before MuJoCo is imported

import mujoco

from enpire_envs.cell import CellFault, CellKind


class SimScene(Protocol):
    """The MuJoCo side of one task: its model and how to place, drive and read it."""

    @property
    def mutable(self) -> tuple[str, ...]:
        """Arrays of the model that `place` and the episode change, by name: part of a snapshot."""

    def build(self) -> mujoco.MjModel:
        """Compile the model."""

    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """Write `start` into freshly reset data; draw this episode's physical variation into the model."""

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Write the controls that hold for the coming control period."""

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> Any:
        """The task's readings."""

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """What the verifier may do, by name."""


class SimCell:
    """Joins a `SimScene` to the `Cell` contract.

    Args:
        scene: the task's scene.
        control_hz: control rate; must be a whole number of physics steps.
    """

    kind = CellKind.SIM

    def __init__(self, scene: SimScene, control_hz: float) -> None:
        model = scene.build()
        substeps = 1.0 / (control_hz * model.opt.timestep)
        if abs(substeps - round(substeps)) > 1e-6:
            raise ValueError(f"{control_hz} Hz is {substeps:.3f} physics steps of {model.opt.timestep} s, not whole")
        self._attach(scene, round(substeps), mujoco.MjData(model))

    def _attach(self, scene: SimScene, substeps: int, data: mujoco.MjData) -> None:
        self.scene, self.substeps, self.data = scene, substeps, data
        self.model: mujoco.MjModel = data.model
        self._warnings: np.ndarray = data.warning.number  # a view: how often MuJoCo has warned of each
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        self._viewer: Any = None  # a MuJoCo viewer, or False where there is no display

    def __getstate__(self) -> dict[str, Any]:
        """What a copy goes on from, bit for bit: all but renderers and windows, of which it opens its own."""
        return {"scene": self.scene, "substeps": self.substeps, "data": self.data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._attach(**state)  # the model is copied with its data, as this episode has changed it

    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """Write `start` into the state; `rng` draws this episode's physical variation."""
        mujoco.mj_resetData(self.model, self.data)
        self.scene.place(self.model, self.data, start, rng)
        mujoco.mj_forward(self.model, self.data)

    def apply(self, command: np.ndarray) -> None:
        """Hold `command` for one control period."""
        self.scene.drive(self.model, self.data, command)
        mujoco.mj_step(self.model, self.data, self.substeps)

    def read(self) -> Any:
        """The task's readings. Raises CellFault where MuJoCo has warned in this episode."""
        # MuJoCo answers divergence by a warning and a silent reset to the initial state; we must not.
        if any(self._warnings.tolist()):
            names = [w.name.removeprefix("mjWARN_") for w in _WARNINGS if self._warnings[w.value]]
            raise CellFault(f"MuJoCo warned of {', '.join(names)}: the physics of this episode cannot be trusted")
        return self.scene.read(self.model, self.data)

    def probe(self, name: str) -> Any:
        """Act for the verifier and read. Raises ValueError with the probes that there are."""
        try:
            act = self.scene.probes[name]
        except KeyError:
            raise ValueError(
                f"this cell has no probe {name!r}; it has: {', '.join(sorted(self.scene.probes))}"
            ) from None
        act(self.model, self.data)
        return self.read()

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything that decides what happens next, so that the same commands replay bit for bit."""
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return {"state": state, **{name: getattr(self.model, name).copy() for name in self.scene.mutable}}

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Go back to a snapshot of this cell, or of another one of the same scene."""
        for name in self.scene.mutable:
            getattr(self.model, name)[:] = snapshot[name]
        mujoco.mj_setState(self.model, self.data, snapshot["state"], _STATE)
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, snapshot["state"], _STATE)  # forward may touch the warm start

    def frame(self, camera: str, width: int, height: int) -> np.ndarray:
        """What a camera of the model sees, (height, width, 3) uint8."""
        renderer = self._renderers.get((width, height))
        if renderer is None:
            quality = self.model.vis.quality
            samples = quality.offsamples
            if (
                max(width, height) <= _SMALL
            ):  # what policies see: smooth edges take three quarters of a CPU's time for it
                quality.offsamples = 0
            renderer = mujoco.Renderer(self.model, height, width)
            quality.offsamples = samples
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False  # 45 ms a frame on a CPU
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            self._renderers[width, height] = renderer
        renderer.update_scene(self.data, camera)
        return renderer.render()

    def show(self) -> None:
        """Bring an interactive window up to date; without a display, say so once and go on."""
        if self._viewer is None:
            if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
                logger.warn('render_mode="human" needs a display and there is none; use "rgb_array" here')
                self._viewer = False
            else:
                import mujoco.viewer

                self._viewer = mujoco.viewer.launch_passive(self.model, self.data)
        if self._viewer:
            self._viewer.sync()

    def close(self) -> None:
        """Close window and renderers. Safe to call twice."""
        if self._viewer:
            self._viewer.close()
        self._viewer = None
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()


_SMALL = 128  # [px]
#: Bitwise repeatable; mjSTATE_FULLPHYSICS lacks the solver's warm start and drifts in contact.
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_WARNINGS = [w for w in mujoco.mjtWarning.__members__.values() if w.value < mujoco.mjtWarning.mjNWARNING.value]
