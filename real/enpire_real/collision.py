"""How close the arms are to themselves, to each other and to the table, for any joint angles."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from enpire_real.hand_tools import BARE_HAND, Tool
from enpire_real.yam import FINGER_GEOMS, add_arm

_NOTICE = 0.05  # pairs farther apart than this [m] are not looked at


@dataclass(frozen=True, slots=True)
class Body:
    """An arm's shape: a YAM with its tool, or any other by its MJCF. `base`: its foot in the station's frame [m]."""

    base: tuple[float, float, float]
    tool: Tool = BARE_HAND
    mjcf: Path | None = None


class _Scratch(threading.local):
    """What MuJoCo works in, one for each thread."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.data = mujoco.MjData(model)


class CollisionModel:
    """All arms of a station over a table whose top is at z = 0. Any number of threads may ask.

    Args:
        arms: what each one is made of; joint vectors have their joints in this order.
        arm_margin: least distance between links, of one arm or two [m].
        table_margin: least height of links above the table [m].
        tool_table_margin: the same for tools and fingers, which work there [m].
    """

    def __init__(
        self,
        arms: dict[str, Body],
        *,
        arm_margin: float,
        table_margin: float,
        tool_table_margin: float,
    ) -> None:
        spec = mujoco.MjSpec()
        spec.compiler.degree = False
        table = spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(2, 2, 0.1))
        table.margin = _NOTICE
        for name, arm in arms.items():
            if arm.mjcf is None:
                add_arm(spec, f"{name}_", arm.base, tool=arm.tool, wrist_camera=True, fingers=False)
                standing = [f"{name}_base", f"{name}_link1"]
            else:
                child = mujoco.MjSpec.from_file(str(arm.mjcf))
                standing = [f"{name}_{body.name}" for body in child.bodies[1:3]]
                spec.attach(child, prefix=f"{name}_", frame=spec.worldbody.add_frame(pos=arm.base))
            for body in standing:  # they stand on the table
                spec.add_exclude(bodyname1="world", bodyname2=body)
        for geom in spec.geoms:
            geom.margin = _NOTICE
        self.model = spec.compile()
        self._scratch = _Scratch(self.model)
        names = [self.model.geom(k).name for k in range(self.model.ngeom)]
        self._names = names
        works_low = (*FINGER_GEOMS, *(shape for arm in arms.values() for shape in arm.tool.shapes))
        tool = np.array([any(part in n for part in works_low) for n in names])
        is_table = np.array([n == "table" for n in names])
        # Needed distance by pair of geoms.
        self._needed = np.full((len(names), len(names)), arm_margin)
        self._needed[is_table, :] = self._needed[:, is_table] = table_margin
        both = np.outer(is_table, tool)
        self._tool_on_table = both | both.T
        self._needed[self._tool_on_table] = tool_table_margin
        self._tip = {name: self.model.site(f"{name}_tool").id for name in arms}

    def too_close(self, q: np.ndarray) -> dict[tuple[int, int], float]:
        """Pairs of geoms that are nearer than they may be, with their distance [m], negative when they overlap.

        `q` (n,) over the joints of all arms.
        """
        model, data = self.model, self._scratch.data
        data.qpos[: len(q)] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        if not data.ncon:
            return {}
        contact = data.contact
        first, second = contact.geom[: data.ncon].T
        distance = contact.dist[: data.ncon]
        found: dict[tuple[int, int], float] = {}
        for k in np.flatnonzero(distance < self._needed[first, second]):
            pair = (int(first[k]), int(second[k]))
            found[pair] = min(float(distance[k]), found.get(pair, np.inf))
        return found

    def allow_tool_below(self, depth: float) -> None:
        """Let the tool be commanded so far into the table [m], as feeling for its surface needs."""
        self._needed[self._tool_on_table] = -depth

    def describe(self, pair: tuple[int, int], distance: float) -> str:
        """Describes a pair of `too_close` and its distance [m]."""
        return f"{self._names[pair[0]]} and {self._names[pair[1]]} at {distance * 1000:.0f} mm"

    def tip(self, name: str) -> np.ndarray:
        """(3,) tool position of the pose that this thread looked at last, station frame [m]."""
        return np.asarray(self._scratch.data.site_xpos[self._tip[name]])
