"""What a hand may hold, as data: shapes and tip. Another tool is one more `Tool`.

A tool's weight is in no model: the flange's inertia is given, and MuJoCo adds none of its shapes to it. The control loop's slow
integral carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mujoco


@dataclass(frozen=True, slots=True)
class Tool:
    """A rigid thing in an arm's hand. Frame: the flange's, +x along the approach direction [m].

    Attributes:
        name: as station files write it.
        tip: (3,) the point that works: where kinematics, workspace limits and task scenes say that the tool is.
        tip_radius: how far the tool reaches beyond `tip` [m], 0 for a point.
        shapes: geom name -> arguments of `mujoco.MjsBody.add_geom` (type, size, friction, ...). The collision model
            and the twin are made of them.
        clamped: the fingers hold it and stay closed.
    """

    name: str
    tip: tuple[float, float, float]
    tip_radius: float = 0.0
    shapes: dict[str, dict[str, Any]] = field(default_factory=dict)
    clamped: bool = False

    def add_to(self, flange: mujoco.MjsBody, prefix: str) -> None:
        """Add the tool's geoms to an arm's flange; their names get the arm's prefix."""
        for name, shape in self.shapes.items():
            flange.add_geom(name=f"{prefix}{name}", **shape)


#: The grasp site: between the pads of closed fingers, from the flange along the approach direction [m].
GRASP_SITE = 0.1347
BARE_HAND = Tool("none", tip=(GRASP_SITE, 0.0, 0.0))
