"""How a robot that ties and cuts senses itself and sees its work: tying's eyes and encoders, cutting's jaw and cutter."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from enpire_envs.cut_zip_tie.levels import CutLevel, CutSenses
from enpire_envs.cut_zip_tie.parts import PIVOT
from enpire_envs.cut_zip_tie.senses import Proprioception
from enpire_envs.levels import Hiding, HidingSpec, WanderingPose, WanderSpec
from enpire_envs.randomise import SensingSpec, Sensor
from enpire_envs.tie_zip_tie.levels import TieLevel
from enpire_envs.tie_zip_tie.scene import behind_faces
from enpire_envs.zip_tie_full.scene import MIDDLE, FullReadings

#: How far a cut-off tail is from the strap when the perception model sees that it is gone [m].
_FALL = HidingSpec(edges=((0.01, 0.03),), blur=0.005)


class Senses:
    """One episode's senses. Everything is relative to the end effector's start.

    Args:
        tie: whose head, tip and length beyond the head are seen so, and whose encoders these are.
        cut: whose jaw, wrench and cutter.
        noisy: whether they are sensed as badly as the levels say, or exactly.
        play: factor on the encoders' backlash.
        hand_eye: (3,) how far the camera's estimates are off for good [m].
        dt: control period [s].
        rng: of the episode.
        start: at which it begins.
    """

    def __init__(
        self, tie: TieLevel, cut: CutLevel, noisy: bool, play: float, hand_eye: np.ndarray, dt: float, rng: np.random.Generator,
        start: FullReadings,
    ) -> None:  # fmt: skip
        self._joints = Proprioception(replace(cut, senses=joints(tie, cut) if noisy else None), play, dt, rng, start)
        self._dt, self._hand_eye, self._origin = dt, hand_eye, start.pose[:3].copy()
        assert tie.seen is not None
        assert tie.past is not None
        head, tip = tie.seen if noisy else (_exact(5), _exact(5))
        self._head, self._tip = WanderingPose(head, dt, rng), WanderingPose(tip, dt, rng)
        self._cutter = WanderingPose(cut.cutter if cut.cutter and noisy else _exact(6), dt, rng)
        self._length = Sensor(tie.past if noisy else SensingSpec.ideal(1), dt, rng)
        self._felt_at = -1.0
        assert tie.hiding is not None
        self._head_hides = Hiding(tie.hiding if noisy else HidingSpec.sharp(6), rng)
        self._fall_hides = Hiding(_FALL if noisy else HidingSpec.sharp(1), rng)
        self._tip_at = self._place_of_tip(start)

    def own(self, r: FullReadings) -> np.ndarray:
        """(17,) float32: pose, jaw, its torque, gripper's opening, wrench; whether it holds the strap, and the cutter. The same however often
        it is asked in a control period."""
        if r.time != self._felt_at:
            self._felt_at = r.time
            self._felt = np.append(self._joints.read(r), (r.held, r.has_cutter)).astype(np.float32)
        return self._felt.copy()

    def state(self, r: FullReadings) -> np.ndarray:
        """(40,) float32: `own`; the head's pose (5), age, valid; the tip's; length beyond the head; handle and blades (6), age, valid."""
        shift = self._hand_eye - self._origin
        head = self._head.read(np.concatenate([r.head[:3] + shift, r.head[4:]]))
        tip = self._see_tip(r)
        past, _, _ = self._length.read(np.array([r.past]))
        along = r.blades[:, 1]
        handle, blade = r.pivot + PIVOT * along, r.pivot - MIDDLE * along
        cutter = self._cutter.read(np.concatenate([handle + shift, blade + shift]))
        return np.concatenate(
            [self.own(r), head[0], head[1:], tip[0], tip[1:], past, cutter[0], cutter[1:]], dtype=np.float32
        )

    def _see_tip(self, r: FullReadings) -> tuple[np.ndarray, float, bool]:
        """The tip's pose (5,), its age and validity. It is lost inside the head, and once it was cut off and has fallen; until then it is
        where it was."""
        if not r.severed:
            self._tip_at = self._place_of_tip(r)
        inside, fallen = self._head_hides.hides(*behind_faces(r.tip)), self._fall_hides.hides(r.gap)
        return self._tip.read(self._tip_at, hidden=fallen if r.severed else inside)

    def _place_of_tip(self, r: FullReadings) -> np.ndarray:
        """Of the strap's tip, and how its last link is turned (5,) [m, rad]."""
        end = r.axes @ (r.nodes[-1] - r.nodes[-2])
        turned = (math.atan2(-end[2], end[0]), math.atan2(end[1], math.hypot(end[0], end[2])))
        return np.array([*(r.in_scene(r.tip) + self._hand_eye - self._origin), *turned])


def joints(tie: TieLevel, cut: CutLevel) -> CutSenses:
    """How the robot's joints sense: tying's encoders, and of cutting the jaw and the torques."""
    assert cut.senses is not None
    assert tie.encoders is not None
    linear, angular = tie.encoders
    return replace(cut.senses, linear=linear, angular=angular)


def _exact(n: int) -> WanderSpec:
    return WanderSpec(
        radius=(0.0,) * n, seconds=1.0, period=1, latency=0, dropout=0.0, outlier=0.0, outlier_size=(0.0, 0.0)
    )
