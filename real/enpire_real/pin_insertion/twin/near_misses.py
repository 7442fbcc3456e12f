"""Scenes near the verdict's thresholds, brought about on a twin by its own hand. For audits and tests: it asks the twin where the pin is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, HOLE_RADIUS, PITCH
from enpire_envs.pin_insertion.task import DEEP_ENOUGH

from enpire_real.pin_insertion.scene import PinRealScene
from enpire_real.pin_insertion.task import GUARD
from enpire_real.twin.station import Twin

_TOLERANCE = HOLE_DEPTH - DEEP_ENOUGH  # how far off its hole's ground a pin may be [m]
_STEP, _STEPS = 0.0003, 400  # by which the hand goes down between two looks at the truth [m], and how often
_GUIDED = 0.001  # the hole guides what is so deep [m]
_OVER, _GAIN = (
    0.0002,
    0.1,
)  # so near the hole's axis the tip is brought before [m], with this share of what is missing a step
#: How far the hand may be ahead of where it gets to before the pin is not forced further [m], above and below half the depth: the deeper the tip,
#: the less may be pressed before what is commanded leaves the workspace.
_BLOCKED = (0.008, 0.004)
_WOBBLE, _TURN = 0.0004, 0.5  # a hand that goes round so far [m], by so much a step [rad], does not jam
_KINDS, _SHARES = ("near", "over", "beside"), (0.7, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A scene that a verdict is asked about.

    Attributes:
        kind: "near" (depth within twice the threshold, either side), "over" (anywhere above that), "beside" (in the hole beside the
            target).
        depth: of the tip below the plate [m].
    """

    kind: str
    depth: float

    @property
    def near(self) -> bool:
        """Whether it is within twice the threshold, on either side."""
        return self.kind != "beside" and is_near(self.depth)


def is_near(depth: float) -> bool:
    """Whether a depth [m] is within twice the threshold, on either side."""
    return HOLE_DEPTH - 2 * _TOLERANCE <= depth <= HOLE_DEPTH - _TOLERANCE / 2


def draw_near_miss(rng: np.random.Generator) -> NearMiss:
    """Draw a scene: most of them within twice the threshold, as many that are in as out."""
    kind = str(rng.choice(_KINDS, p=_SHARES))
    off = _TOLERANCE * (rng.uniform(0.5, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, 2.0))
    if kind == "over":
        off = rng.uniform(2 * _TOLERANCE, HOLE_DEPTH + 0.002)
    if kind == "beside":
        off = rng.uniform(0.0, _TOLERANCE)
    return NearMiss(kind, HOLE_DEPTH - off)


def bring_about(scene: PinRealScene, miss: NearMiss) -> bool:
    """Move the pin there, after a reset; returns whether it is there to half a millimetre. Raises Stopped, CellFault."""
    twin = scene.station.twin
    assert twin is not None
    beside = np.array([0.0, PITCH if scene.target[1] <= 0 else -PITCH, 0.0]) if miss.kind == "beside" else 0.0
    mouth = scene.target + beside
    hand, turn = scene.hand, scene.eyes.fixture.rotation
    hand.lift(scene.height(0.010))
    middle = hand.target()
    for k in range(_STEPS):
        tip = twin.truth()["pin_tip"]
        depth, off = -float(tip[2]), np.append((mouth - tip)[:2], 0.0)
        if depth >= miss.depth:
            break
        if depth < _GUIDED:  # by the truth, until the hole guides it
            middle = middle + _GAIN * turn @ off
        if depth < -_GUIDED or depth > 0.0 or np.linalg.norm(off) < _OVER:
            middle[2] = max(middle[2] - _STEP, hand.tip()[2] - _BLOCKED[depth > HOLE_DEPTH / 2])
        around = _WOBBLE * np.array([math.cos(_TURN * k), math.sin(_TURN * k), 0.0]) * (depth > _GUIDED)
        hand.steer(middle + around)
        scene.station.clock.sleep(0.02)
        scene.station.control.check()
    scene.hand.rest()
    scene.station.clock.sleep(0.3)
    return abs(-float(twin.truth()["pin_tip"][2]) - miss.depth) <= 0.0005


def slide(twin: Twin, by: float) -> None:
    """The pin so much lower between the fingers [m], which keep their grip."""
    with twin.lock:
        start = int(twin.model.joint("pin").qposadr[0])
        axis = twin.data.body("pin").xmat.reshape(3, 3)[:, 2]
        twin.data.qpos[start : start + 3] -= by * axis


def is_in(scene: PinRealScene) -> bool | None:
    """Whether the pin really is in the target hole, deep enough; None within the guard band around that depth."""
    twin = scene.station.twin
    assert twin is not None
    tip = twin.truth()["pin_tip"] - scene.target
    depth = -float(tip[2])
    inside = math.hypot(*tip[:2]) < HOLE_RADIUS
    if inside and abs(depth - DEEP_ENOUGH) <= GUARD:
        return None
    return inside and depth > DEEP_ENOUGH
