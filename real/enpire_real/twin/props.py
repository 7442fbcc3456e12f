"""What lies on the twin's table: each task brings its own, and the empty table has none."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import mujoco
import numpy as np

from enpire_real.station_file import EMPTY_TABLE, StationFile
from enpire_real.tasks import find_task


class TwinProps(Protocol):
    """A task's things in the twin's MuJoCo model."""

    def build(self, spec: mujoco.MjSpec, friction: float) -> None:
        """Add bodies to the station's model: station frame, table top at z = 0 [m, kg].

        `friction` is this table's, relative to the drawings' (about 1).
        """

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, placement: Any) -> None:
        """Lay them out once, before the first step: at `placement`, which is in the props' own terms, or drawn where it is None."""

    def truth(self, data: mujoco.MjData) -> dict[str, Any]:
        """Where they are, for tests that audit perception and verifier."""


@runtime_checkable
class LivelyProps(TwinProps, Protocol):
    """Things that do what MuJoCo does not do by itself, as a ratchet that catches."""

    def tick(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Before physics goes on, by a control period at most."""


class EmptyTable:
    """Nothing on the table."""

    def build(self, spec: mujoco.MjSpec, friction: float) -> None:
        """Nothing to add."""

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, placement: Any) -> None:
        """Nothing to lay out. Raises ValueError for a placement."""
        if placement is not None:
            raise ValueError(f"there is nothing on the twin's table that could lie at {placement}; set twin.scene")

    def truth(self, data: mujoco.MjData) -> dict[str, Any]:
        """Nothing."""
        return {}


def make_props(file: StationFile) -> TwinProps:
    """The props that the file's `twin.scene` names. Raises StationError if that task has no section."""
    assert file.twin is not None, "a twin needs a station file of kind twin"
    scene = file.twin.scene
    if scene == EMPTY_TABLE:
        return EmptyTable()
    kit = find_task(scene)
    return kit.make_props(file.section(scene, kit.section))
