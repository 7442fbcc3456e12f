"""What is printed for Push-T: the pusher in the hand, and the mat with its four markers."""

from __future__ import annotations

import mujoco

from enpire_real.hand_tools import Tool
from enpire_real.perception.markers import MarkerMat

#: A peg clamped between the fingers; `tip` is the centre of its round end.
PUSHER = Tool(
    "pusher",
    tip=(0.200, 0.0, 0.0),
    tip_radius=0.015,
    shapes={
        "pusher": {
            "type": mujoco.mjtGeom.mjGEOM_CAPSULE, "size": [0.015, 0, 0], "fromto": (0.142, 0, 0, 0.200, 0, 0),
            "rgba": (0.16, 0.27, 0.55, 1), "condim": 3, "friction": (0.5, 0.005, 0.0001),
        }
    },
    clamped=True,
)  # fmt: skip

#: The mat; its frame is the arena's.
MAT = MarkerMat({20: (-0.345, 0.280), 21: (0.345, 0.280), 22: (0.345, -0.280), 23: (-0.345, -0.280)}, side_m=0.080)
