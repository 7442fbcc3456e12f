"""The cutting job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enpire_envs.cell import Cell
from enpire_envs.contact import CONTROL_HZ, POSE_NAMES, WRENCH_NAMES, ContactSafety, SafetyLimits, wrench_sensor
from enpire_envs.cut_zip_tie.scene import BLADE, LYING, STAND_Y, TOOTH, CutReadings
from enpire_envs.end_effector import length
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, climb, is_finite, read_start

STEP = 0.0005  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.4)
AIM = 0.007  # the middle of the allowed stub [m]
LONGEST = 0.012  # stub [m]; the shortest is what the head still holds
APART = 0.005  # [m]
OPENED = 0.35  # the jaw's angle after the cut [rad]
AHEAD = (0.055, 0.065)  # from the tail to the gripper at the start, along y [m]
BIAS = 0.001  # of the estimates, uniform +- per component [m]
NOISE = 0.0002  # of what is looked at again, standard deviation [m]
REACH = 0.12  # of the end effector from its start, each way [m]
LIMITS = SafetyLimits(low=(-REACH, -REACH, -REACH), high=(REACH, REACH, REACH), force=40.0)
#: along the tail and up +- [m]; gripper turned +- [rad]; tail up +-, aside +- [rad]
ERRORS = {
    "id": (0.012, 0.008, math.radians(3), math.radians(6), math.radians(10)),
    "ood": (0.018, 0.012, math.radians(6), math.radians(12), math.radians(20)),
}


class CutZipTie:
    """Cutting as a `Task`. See `CutZipTieEnv` for what every argument means."""

    name = "CutZipTie"
    control_hz = CONTROL_HZ
    max_steps = 600
    stages: tuple[str, ...] = ("start", "grasped", "at_tail", "closed", "severed")
    act_cpu_ms = 250.0
    camera = "side"
    cameras: tuple[str, ...] = ("side",)
    obs_types: tuple[str, ...] = ALL_OBS_TYPES

    def __init__(self, sensing: str, lying: bool) -> None:
        self._sensing, self._lying = sensing, lying
        self.action_space = box([1.0] * 7)
        self._scale = np.append(np.array([STEP] * 3 + [TURN] * 3) * self.control_hz, 1.0)
        pose = [0.3] * 3 + [1.0] * 3
        self.agent_pos_space = box([*pose, 1.0])
        wrench = [200.0] * 3 + [20.0] * 3
        self.state_space = box([*pose, 1.0, 1.0, 1.0, *wrench, *[0.5] * 3, 4.0, *[0.5] * 3, *[0.5] * 3, 1.0])
        self.action_names = self.agent_pos_names = [*POSE_NAMES, "jaw"]
        blade, seen = (
            (f"blade_{axis}" for axis in "xyz"),
            (f"{what}_{axis}" for what in ("head", "tip") for axis in "xyz"),
        )
        self.state_names = [
            *POSE_NAMES, "jaw", "jaw_torque", "held", *WRENCH_NAMES, *blade, "blade_yaw", *seen, "tip_valid",
        ]  # fmt: skip

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A gripper before the tail: {"pose": [x, y, z, rx, ry, rz], "tail": [up, aside]} [m, rad]; "cutter": [x, y, yaw] where it lies."""
        x, z, turned, up, aside = ERRORS[starts]
        turn = rng.uniform(-turned, turned, 3).tolist()
        tail = [float(rng.uniform(-up, up)), float(rng.uniform(-aside, aside))]
        if not self._lying:
            pose = [AIM + rng.uniform(-x, x), rng.uniform(*AHEAD), -0.002 + rng.uniform(-z, z), *turn]
            return {"pose": [float(v) for v in pose], "tail": tail}
        cutter = [rng.uniform(-x, x), STAND_Y + 0.012 + rng.uniform(-0.003, 0.003), 2 * turn[2]]
        pose = [*(np.array(cutter[:2]) + rng.uniform(-z, z, 2)), LYING + rng.uniform(0.035, 0.045), 0.0, 0.0, 0.0]
        return {"pose": [float(v) for v in pose], "tail": tail, "cutter": [float(v) for v in cutter]}

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where blades would touch, or the cutter not lie on its stand."""
        lying = {"cutter": "x y yaw"} if self._lying else {}
        made = read_start(start, pose="x y z rx ry rz", tail="up aside", **lying)
        pose, tail = made["pose"], made["tail"]
        if max(map(abs, pose[:3])) > 0.1 or max(map(abs, pose[3:])) > 0.25 or max(map(abs, tail)) > 0.5:
            raise ValueError("bad start: positions go to 0.1 m, turns to 0.25 rad, and the tail's angles to 0.5 rad")
        if not self._lying and pose[1] < 0.045:
            raise ValueError(f"bad start: y = {pose[1]} would put the blades into the tie; expected 0.045 m or more")
        if self._lying:
            x, y, yaw = made["cutter"]
            if pose[2] < LYING + 0.015 or abs(x) > 0.025 or abs(y - STAND_Y - 0.012) > 0.006 or abs(yaw) > 0.5:
                raise ValueError(
                    f"bad start: the cutter must lie on its stand (x within 0.025 m, y within 0.006 m of {STAND_Y + 0.012:.3f} m) "
                    f"and the gripper start above it (z at least {LYING + 0.015:.3f} m)"
                )
        return made

    def ready(self, readings: CutReadings, start: Start) -> str | None:
        """Whether the gripper is within 1 mm of its start, with its cutter, and the tie whole."""
        off = float(np.abs(readings.pose - start["pose"])[:3].max())
        if off > 0.001:
            return f"the gripper is {off * 1000:.2f} mm from its start"
        if readings.severed or readings.loop_cut:
            return "the tie has been cut already"
        return None if readings.held or self._lying else "the gripper does not hold the cutter"

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: CutReadings, rng: np.random.Generator) -> None:
        """Clear stages, draw the errors of the estimates and the drift of the wrench."""
        self._stage = 0
        self._origin = readings.pose
        self._safety = ContactSafety(LIMITS, readings.pose)
        noisy = self._sensing == "noisy"
        bias = rng.uniform(-BIAS, BIAS, (3, 3)) if noisy else np.zeros((3, 3))
        self._head = -readings.pose[:3] + bias[0]
        # a cutter in the hand is where the hand is; one that was picked up is where the camera saw it
        self._tip_bias, self._blades_bias = bias[1], bias[2] if self._lying else np.zeros(3)
        self._noise, self._rng = (NOISE if noisy else 0.0), rng
        self._wrench = wrench_sensor(self._sensing, rng)
        self._seen_tip = np.zeros(3)

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s] and how fast the jaw closes (share)."""
        return action * self._scale

    def observe(self, readings: CutReadings) -> np.ndarray:
        """(26,) float32; see `CutZipTieEnv`."""
        felt, _, _ = self._wrench.read(readings.wrench.vector)
        noise = self._noise * self._rng.standard_normal((2, 3))
        visible = readings.tip[2] > -0.03  # what has fallen to the bench is not looked for
        if visible:
            self._seen_tip = readings.tip - self._origin[:3] + self._tip_bias + noise[0]
        along = -readings.blades[:, 1]
        middle = readings.pivot + along * (BLADE / 2) - self._origin[:3] + self._blades_bias
        if self._lying:
            middle = middle + noise[1]
        yaw = math.atan2(along[0], -along[1])
        parts = [readings.pose - self._origin, (readings.jaw, readings.torque, float(readings.held)), felt, middle, (yaw,),
                 self._head, self._seen_tip, (float(visible),)]  # fmt: skip
        return np.concatenate(parts, dtype=np.float32)

    def agent_pos(self, readings: CutReadings) -> np.ndarray:
        """(7,) float32: the end effector relative to its start [m, rad] and the jaw's angle [rad]."""
        return np.append(readings.pose - self._origin, readings.jaw).astype(np.float32)

    def update(self, readings: CutReadings) -> Progress:
        """Climb the stages: grasped, blades about the tail, closed on it."""
        if self._stage < 3:
            cut = self._cut_well(readings)
            between = cut or self._between(readings)
            reached = (readings.held, between, cut or (between and readings.torque < -0.05))
            self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    @staticmethod
    def _cut_well(readings: CutReadings) -> bool:
        return readings.severed and TOOTH <= readings.stub <= LONGEST and not readings.loop_cut

    @staticmethod
    def _between(readings: CutReadings) -> bool:
        """Whether the tail runs between the blades, where it may be cut."""
        root, end = readings.pieces[0]
        a, b = readings.along_blades(root).tolist(), readings.along_blades(end).tolist()
        if a[0] * b[0] >= 0:
            return False
        share = a[0] / (a[0] - b[0])
        along, above = (a[k] + share * (b[k] - a[k]) for k in (1, 2))
        from_head = share * length(end - root)
        opening = along * math.tan(readings.jaw)
        return TOOTH <= from_head <= LONGEST and 0.002 < along < BLADE and -0.001 < above < opening + 0.001

    def dense_reward(self, readings: CutReadings) -> float:
        """Nearness of the blades to where the tail should be cut, then the cut, then the gap."""
        if self._cut_well(readings):
            return 0.7 + 0.3 * min(readings.gap / APART, 1.0)
        root, end = readings.pieces[0]
        axis = (end - root) / max(length(end - root), 1e-6)
        across, along, above = readings.along_blades(root + AIM * axis)
        off = math.hypot(across, along - BLADE / 2, above - 0.002)
        return 0.4 * math.exp(-off / 0.01) + (0.2 if self._stage >= 3 else 0.0)

    def extras(self, readings: CutReadings) -> dict[str, float]:
        """`stub` and `gap` [m], `force` [N]."""
        return {"stub": readings.stub, "gap": readings.gap, "force": readings.force}

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: CutReadings) -> str | None:
        """Outside the workspace, a strap that is nowhere, too much force for too long, or penetration."""
        here = is_finite(readings.pieces)
        return self._safety.violation(readings, lost=None if here else "strap_lost")

    def candidate(self, readings: CutReadings) -> bool:
        """A cut with the blades open again and a gap; or one that nothing can make good."""
        return self._spoilt(readings) is not None or (
            self._cut_well(readings) and readings.jaw > OPENED and readings.gap > APART
        )

    @staticmethod
    def _spoilt(readings: CutReadings) -> str | None:
        if readings.loop_cut:
            return "loop_cut"
        return "cut_too_close" if readings.severed and readings.stub < TOOTH else None

    def verify(self, cell: Cell) -> Verdict:
        """Let what is loose fall, pull the stub back into the head with 10 N, and look at both pieces."""
        spoilt = self._spoilt(cell.read())
        if spoilt is not None:
            return Verdict(False, spoilt)
        after: Any = cell.probe("tug")
        if not (after.severed and after.stub <= LONGEST):
            return Verdict(False, "not_severed")
        if after.stub < TOOTH:
            return Verdict(False, "unlocked")
        if after.gap <= APART:
            return Verdict(False, "not_separated")
        return Verdict(True)
