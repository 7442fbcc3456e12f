"""What the tip can do: move a little, and not out of its square."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

_SCENE = ElementTree.parse(Path(__file__).with_name("scene.xml")).getroot()
HALF_WIDTH, STEP = float(_SCENE.attrib["half_width"]), float(_SCENE.attrib["step"])  # [m]


def moved(tip: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Where the tip (2,) [m] is after an action (2,) in [-1, 1]."""
    return np.clip(tip + STEP * np.clip(action, -1, 1), -HALF_WIDTH, HALF_WIDTH)
