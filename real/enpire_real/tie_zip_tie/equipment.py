"""What tying needs: a head on a post over a plate with markers, a feeder for straps, a tray for used ones, fingertips in green.

The fixture's frame: origin in the middle of the plate's top, x away from the arm, y to its left, z up. The head is clamped on its side, so
that a hand that points down holds the strap by its faces: the slot's frame has x along the slot, y up and z to the right.
"""

from __future__ import annotations

import numpy as np
from enpire_envs.tie_zip_tie.scene import FINGER, HALF_Y, HALF_Z, LINK, LINKS, SLOT, THICKNESS, WALL

from enpire_real.hand_tools import Tool
from enpire_real.kinematics import Pose
from enpire_real.perception.markers import MarkerMat
from enpire_real.yam import GRIPPER_STROKE

PAD_MIDDLE = 0.1362  # of the fingers' pads, from the flange along the approach direction [m]
PAD_HALF = (0.0082, 0.0017, FINGER)  # fingertips for straps: up, across, along the strap [m]
#: What is seen of both when they are closed, above them the fingers: half sizes, and the middle from theirs, in the slot's frame [m].
TIPS_HALF, TIPS_MIDDLE = np.array([FINGER, 0.0074, 0.0034]), np.array([0.0, -0.0008, 0.0])

#: A hand whose fingertips hold a strap; `tip` is the middle between them.
HAND = Tool("strap_hand", tip=(PAD_MIDDLE, 0.0, 0.0))

# -- openings of the gripper, 0 closed to 1 open --------------------------------------------------------------------------------
OPEN = 0.012 / GRIPPER_STROKE  # what a policy's wide open is
HELD = (0.5 * THICKNESS / GRIPPER_STROKE, (THICKNESS + 0.0006) / GRIPPER_STROKE)  # what it measures around a strap

# -- the fixture ----------------------------------------------------------------------------------------------------------------
PLATE_HALF, PLATE_HEIGHT = 0.045, 0.040  # half its side; its top over the table
RISE = 0.032  # of the slot's middle over the plate
#: The slot's frame in the fixture's.
SLOT_FRAME = Pose(np.array([0.0, 0.0, RISE]), np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
PLATE = MarkerMat(
    {36: (-0.034, 0.014), 37: (-0.012, 0.016), 38: (0.024, 0.014), 39: (-0.034, -0.014), 40: (-0.012, -0.016),
     41: (0.024, -0.014)},
    side_m=0.013,
)  # fmt: skip
#: Where the feeder presents the tip of a new strap, which points along x; where one that was drawn out is let go of; the slot's frame.
FEED, TRAY = np.array([-0.020, 0.010, -0.095]), np.array([0.165, 0.0, 0.0])
FEED_CLIP = 3  # the link by which the feeder holds a strap
STRAP = LINKS * LINK  # its length [m]
#: What of head and hand cameras look for: half sizes of boxes, and the middle of the head, in the slot's frame.
HEAD_HALF, HEAD_MIDDLE = np.array([SLOT / 2, HALF_Y + WALL, HALF_Z + WALL]), np.array([SLOT / 2, 0.0, 0.0])
#: Colours (RGB); nothing else at the fixture has them.
BLUE, ORANGE, RED, GREEN = (0.16, 0.36, 0.75), (0.93, 0.60, 0.15), (0.85, 0.16, 0.12), (0.10, 0.62, 0.25)
