"""How a robot that cuts zip ties senses itself and sees its work at the ranked levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from enpire_envs.cut_zip_tie.levels import CutLevel
from enpire_envs.cut_zip_tie.parts import BLADE, PIVOT
from enpire_envs.cut_zip_tie.scene import CutReadings
from enpire_envs.levels import EncoderSpec, Hiding, HidingSpec, JointEncoders, JointTorqueWrench, WanderingPose
from enpire_envs.wrench import Wrench

#: What `Proprioception` returns: end effector's position and angles, jaw's angle and torque, gripper's opening, wrench.
PROPRIOCEPTION = 15
#: How far below where a tail can hang a fallen one is no longer looked for [m].
_FALL = HidingSpec(edges=((-0.01, 0.01),), blur=0.003)


class Felt(Protocol):
    """What of a task's readings the robot's own joints feel; see `CutReadings`."""

    pose: np.ndarray
    wrench: Wrench
    jaw: float
    torque: float
    opening: float


class Proprioception:
    """What the robot's own joints say, once per control period.

    Args:
        level: whose `senses` they are; without any, they are exact.
        play: factor on the encoders' backlash.
        dt: control period [s].
        rng: of the episode.
        start: at which the episode begins; what is sensed there is called zero.
    """

    def __init__(self, level: CutLevel, play: float, dt: float, rng: np.random.Generator, start: Felt) -> None:
        self._encoders = self._torques = None
        if level.senses:
            senses = level.senses
            specs = [*[senses.linear] * 3, *[senses.angular] * 3, senses.jaw]
            self._encoders = JointEncoders([_played(spec, play) for spec in specs], rng)
            self._torques = JointTorqueWrench(senses.torques, dt, rng, more=[senses.jaw_torque])
        self._zero = np.zeros(7)
        self._zero[:6] = self._joints(start)[:6]

    def read(self, r: Felt) -> np.ndarray:
        """(15,): pose relative to the start (6) [m, rad], jaw [rad] and its torque [Nm], gripper's opening, wrench (6) [N, Nm]."""
        loads = np.append(r.wrench.vector, r.torque)
        felt = self._torques.read(loads) if self._torques else loads
        sensed = np.empty(PROPRIOCEPTION)
        sensed[:7] = self._joints(r) - self._zero
        sensed[7], sensed[8], sensed[9:] = felt[6], r.opening, felt[:6]
        return sensed

    def _joints(self, r: Felt) -> np.ndarray:
        angles = np.append(r.pose, r.jaw)
        return self._encoders.read(angles, np.append(r.wrench.vector, r.torque)) if self._encoders else angles


def _played(spec: EncoderSpec, factor: float) -> EncoderSpec:
    return replace(spec, backlash=factor * spec.backlash)


class Perception:
    """What a perception model says of cutter and tie; without one, the truth."""

    def __init__(self, level: CutLevel, dt: float, rng: np.random.Generator, start: CutReadings) -> None:
        self._models = [WanderingPose(spec, dt, rng) if spec else None for spec in (level.cutter, level.tie)]
        self._origin = np.tile(start.pose[:3], 2)
        self._root, self._tip = start.pieces[0, 0].copy(), start.tip
        self._fall = Hiding(_FALL if level.tie else HidingSpec.sharp(1), rng)

    def read(self, r: CutReadings, below: float) -> np.ndarray:
        """(16,): the cutter's handle and the middle of its lower blade's edge, where the tail leaves the head and its tip, relative to the
        start [m]; then the age [s] and validity of each pair. Once the tip has fallen, which is so far `below` where it can hang [m], the tie
        is where it was, and not valid."""
        fallen = self._fall.hides(below)
        if not fallen:
            self._tip = r.tip
        along = r.blades[:, 1]
        truths: Sequence[np.ndarray] = (
            np.concatenate([r.pivot + PIVOT * along, r.pivot - BLADE / 2 * along]),
            np.concatenate([self._root, self._tip]),
        )
        seen = np.empty(16)
        for k, (model, truth) in enumerate(zip(self._models, truths, strict=True)):
            place = truth - self._origin
            hidden = fallen and k == 1
            estimate, age, valid = model.read(place, hidden) if model else (place, 0.0, not hidden)
            seen[6 * k : 6 * k + 6] = estimate
            seen[12 + 2 * k : 14 + 2 * k] = age, valid
        return seen
