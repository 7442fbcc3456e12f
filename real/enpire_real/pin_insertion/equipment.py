"""What is printed for pin insertion: the pin with its handle, and the fixture with nine holes, a nest and markers.

The fixture's frame: origin on the middle hole's axis at the plate's top, x away from the arm, y to its left, z up.
"""

from __future__ import annotations

from enpire_envs.pin_insertion.levels import INTRO
from enpire_envs.pin_insertion.scene import HOLE_RADIUS, PIN_LENGTH, PITCH

from enpire_real.hand_tools import Tool
from enpire_real.perception.markers import MarkerMat
from enpire_real.yam import PAD_END

# -- the pin: shaft, then a collar that the fingers' ends press on, then a square handle that they hold [m] --------------------
COLLAR_HALF, COLLAR = 0.012, 0.003  # half its side, and its thickness
HANDLE_HALF, HANDLE = 0.005, 0.018
STUB_RADIUS = HOLE_RADIUS - INTRO.clearance[0] / 2 - INTRO.chamfer  # of the shaft's end, below its step
PIN_MASS = 0.030  # [kg]: a lighter one creeps in a simulated grasp

#: A hand whose fingers stand on the collar of the pin that they hold; `tip` is the pin's.
HAND = Tool("pin_hand", tip=(PAD_END + COLLAR + PIN_LENGTH, 0.0, 0.0))

# -- the fixture ----------------------------------------------------------------------------------------------------------------
PLATE_HALF, PLATE_HEIGHT = 0.045, 0.060  # half its side; its top over the table
NEST = (0.0, 0.085)  # where a pin stands between its uses: a wide bore with a funnel, as high as the plate
NEST_HALF, NEST_MOUTH, NEST_BORE, NEST_FUNNEL = 0.016, 0.007, 0.0025, 0.0045  # half sides, and the funnel's depth
#: On the plate, around the holes; the plate's frame.
PLATE = MarkerMat(
    {
        24: (-0.032, 0.032),
        25: (0.032, 0.032),
        26: (0.032, -0.032),
        27: (-0.032, -0.032),
        33: (0.0, 0.033),
        34: (0.0, -0.033),
    },
    side_m=0.018,
)
#: On the side that the side camera sees: x along it, y up, z towards the camera; origin below the middle hole, at the plate's top.
FACE = MarkerMat(
    {
        28: (-0.030, -0.015),
        29: (0.0, -0.015),
        30: (0.030, -0.015),
        31: (-0.030, -0.044),
        32: (0.0, -0.044),
        35: (0.030, -0.044),
    },
    side_m=0.022,
)
#: Where the plate is bare: a pin may touch down here.
BARE = (0.030, 0.0)
#: Colours that perception looks for (RGB); nothing else on the table has them.
GREEN, ORANGE = (0.10, 0.62, 0.25), (0.90, 0.42, 0.08)


def hole(column: int, row: int) -> tuple[float, float]:
    """Where a hole's axis is in the fixture's frame [m]; column along x, row along y, 0 to 2."""
    return (column - 1) * PITCH, (row - 1) * PITCH
