"""What a twin needs where things are held by friction and fit into each other: firm fingers, and printed markers to find them by."""

from __future__ import annotations

import mujoco

from enpire_real.kinematics import Pose
from enpire_real.perception.markers import MarkerMat, marker_image
from enpire_real.twin.scene import add_print

#: Arguments of a geom that is seen and not felt.
PAINT = {"contype": 0, "conaffinity": 0, "mass": 0}


def firm_fingers(spec: mujoco.MjSpec, arm: str) -> None:
    """Give an arm pads that give as little as a simulation may have it: what is held by friction creeps otherwise."""
    spec.option.impratio = 100
    for finger in ("left", "right"):
        pad = spec.geom(f"{arm}_pad_tip_{finger}")
        pad.solref[:2], pad.solimp[:3] = (0.004, 1.0), (0.99, 0.999, 0.0005)
    tie = spec.equality(f"{arm}_fingers")  # one motor drives both fingers through stiff racks
    tie.solref[:2], tie.solimp[:3] = (0.004, 1.0), (0.99, 0.999, 0.0005)


def add_markers(spec: mujoco.MjSpec, body: mujoco.MjsBody, mat: MarkerMat, sheet: Pose) -> None:
    """Glue a sheet of markers to a body at a pose of the body's frame."""
    frame = body.add_frame(pos=sheet.position, quat=sheet.quat())
    side, box = mat.side_m / 2, mujoco.mjtGeom.mjGEOM_BOX
    for marker, (x, y) in mat.centres.items():
        add_print(spec, f"marker{marker}", marker_image(marker, 240))
        paper = body.add_geom(name=f"marker{marker}_paper", type=box, pos=(x, y, 0.00005),
                              size=(side + 0.003, side + 0.003, 0.00005), rgba=(1, 1, 1, 1), **PAINT)  # fmt: skip
        ink = body.add_geom(name=f"marker{marker}", type=box, pos=(x, y, 0.00015), size=(side, side, 0.00005),
                            material=f"marker{marker}", **PAINT)  # fmt: skip
        paper.set_frame(frame)
        ink.set_frame(frame)
