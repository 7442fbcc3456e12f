"""The cutting job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from enpire_envs.cell import Cell
from enpire_envs.contact import CONTROL_HZ, POSE_NAMES, WRENCH_NAMES, ContactSafety, SafetyLimits, wrench_sensor
from enpire_envs.cut_zip_tie.levels import CutLevel, Starts
from enpire_envs.cut_zip_tie.parts import BLADE, LYING
from enpire_envs.cut_zip_tie.scene import TOOTH, CutReadings
from enpire_envs.cut_zip_tie.senses import Perception, Proprioception
from enpire_envs.end_effector import length
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, climb, is_finite, read_start

STEP = 0.0005  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.4)
APART = 0.005  # [m]
OPENED = 0.35  # the jaw's angle after the cut [rad]
AHEAD = (0.055, 0.065)  # from the tail to the gripper at the start, along y [m]
BESIDE = 0.012  # further away where the tie may be turned towards it [m]
BIAS = 0.001  # of the estimates, uniform +- per component [m]
NOISE = 0.0002  # of what is looked at again, standard deviation [m]
REACH = 0.12  # of the end effector from its start, each way [m]
LIMITS = SafetyLimits(low=(-REACH, -REACH, -REACH), high=(REACH, REACH, REACH), force=40.0)
CUTTER_Y = 0.072  # where a cutter lies [m]
FALLEN = {"intro": -0.03, "ranked": -0.04}  # below this a tip is not looked for [m]


class CutZipTie:
    """Cutting as a `Task`. See `CutZipTieEnv` for what every argument means."""

    name = "CutZipTie"
    control_hz = CONTROL_HZ
    stages: tuple[str, ...] = ("start", "grasped", "at_tail", "closed", "severed")
    act_cpu_ms = 250.0
    camera = "side"

    def __init__(self, level: CutLevel, sensing: str, lying: bool) -> None:
        self.max_steps = level.max_steps
        self._sensing, self._lying = sensing, lying
        self._level = level if sensing == "noisy" else replace(level, senses=None, cutter=None, tie=None, camera=None)
        #: The middle of the allowed stub [m].
        self.aim = (TOOTH + level.longest) / 2
        self._robot = level.station is not None  # senses and sees as a robot does, and has a place of its own
        self._fallen = FALLEN["ranked" if self._robot else "intro"]
        self._tie, self._cutter, self._play = np.zeros(6), np.zeros(2), 1.0
        self.action_space = box([1.0] * 7)
        self._scale = np.append(np.array([STEP] * 3 + [TURN] * 3) * self.control_hz, 1.0)
        pose, wrench = [0.3] * 3 + [1.0] * 3, [200.0] * 3 + [20.0] * 3
        proprioception = [*pose, 1.0, 1.0, 1.0, *wrench]
        felt = [*POSE_NAMES, "jaw", "jaw_torque", "gripper", *WRENCH_NAMES]
        self.action_names = [*POSE_NAMES, "jaw"]
        self.cameras: tuple[str, ...] = ("side",)
        self.obs_types: tuple[str, ...] = ALL_OBS_TYPES
        if level.images:
            self.cameras, self.obs_types = ("side", "wrist"), ("pixels_agent_pos",)
            self.agent_pos_space = self.state_space = box(proprioception[2:])
            self.agent_pos_names = self.state_names = felt[2:]
        elif self._robot:
            self.obs_types = ("state", "environment_state_agent_pos")
            self.agent_pos_space = box(proprioception)
            self.state_space = box([*proprioception, *[0.5] * 12, *[60.0, 1.0] * 2])
            self.agent_pos_names = felt
            looks = [f"{what}_{how}" for what in ("cutter", "tie") for how in ("age", "valid")]
            self.state_names = [*felt, *_points("handle", "blade", "head", "tip"), *looks]
        else:
            self.agent_pos_space = box([*pose, 1.0])
            self.state_space = box([*proprioception, *[0.5] * 3, 4.0, *[0.5] * 3, *[0.5] * 3, 1.0])
            self.agent_pos_names = self.action_names
            self.state_names = [
                *felt[:8],
                "held",
                *felt[9:],
                *_points("blade"),
                "blade_yaw",
                *_points("head", "tip"),
                "tip_valid",
            ]

    def install(self, rng: np.random.Generator) -> None:
        """Draw where this station usually has ties and the cutter, and how worn its joints are."""
        station = self._level.station
        assert station is not None
        self._tie = rng.uniform(-1, 1, 6) * (*station.tie, 0, 0, math.radians(station.tie_yaw))
        self._cutter = rng.uniform(-1, 1, 2) * station.cutter
        self._play = float(rng.uniform(*station.backlash))

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A gripper before the tail: {"pose": [x, y, z, rx, ry, rz], "tail": [up, aside]} [m, rad]; "cutter": [x, y, yaw] where it lies, and
        "tie": [x, y, z, rx, ry, rz] where stations differ."""
        level = self._level
        wild = starts == "ood" or (level.wild > 0 and rng.random() < level.wild)
        spread = level.wide if wild else level.usual
        turned, (up, aside) = math.radians(spread.turned), np.radians(spread.tail)
        turn = rng.uniform(-turned, turned, 3).tolist()
        start: Start = {"tail": [float(rng.uniform(-up, up)), float(rng.uniform(-aside, aside))]}
        tie = np.zeros(6)
        if not self._lying:
            pose = [
                self.aim + rng.uniform(-spread.along, spread.along),
                rng.uniform(*AHEAD),
                -0.002 + rng.uniform(-spread.up, spread.up),
                *turn,
            ]
        else:
            cutter = [rng.uniform(-spread.along, spread.along), CUTTER_Y + rng.uniform(-0.003, 0.003), 2 * turn[2]]
            cutter[:2] += self._cutter
            pose = [
                *(np.array(cutter[:2]) + rng.uniform(-spread.up, spread.up, 2)),
                LYING + rng.uniform(0.035, 0.045),
                0.0,
                0.0,
                0.0,
            ]
            start["cutter"] = [float(v) for v in cutter]
        if self._robot:
            tie = self._tie + rng.uniform(-1, 1, 6) * _six(spread)
            start["tie"] = tie.tolist()
            if not self._lying:
                pose[:3] = pose[:3] + tie[:3] + np.array([0, BESIDE, 0])
        return {"pose": [float(v) for v in pose], **start}  # fmt: skip

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where blades would touch, or the cutter not lie on its stand."""
        rows = {"pose": "x y z rx ry rz", "tail": "up aside"}
        rows |= {"cutter": "x y yaw"} if self._lying else {}
        rows |= {"tie": "x y z rx ry rz"} if self._robot else {}
        made = read_start(start, **rows)
        pose, tail = made["pose"], made["tail"]
        if max(map(abs, pose[:3])) > 0.1 or max(map(abs, pose[3:])) > 0.25 or max(map(abs, tail)) > 0.5:
            raise ValueError("bad start: positions go to 0.1 m, turns to 0.25 rad, and the tail's angles to 0.5 rad")
        if not self._lying and pose[1] < 0.045:
            raise ValueError(f"bad start: y = {pose[1]} would put the blades into the tie; expected 0.045 m or more")
        if self._lying:
            x, y, yaw = made["cutter"]
            if pose[2] < LYING + 0.015 or abs(x) > 0.04 or abs(y - CUTTER_Y) > 0.015 or abs(yaw) > 0.5:
                raise ValueError(
                    f"bad start: the cutter must lie on its stand (x within 0.04 m, y within 0.015 m of {CUTTER_Y} m) "
                    f"and the gripper start above it (z at least {LYING + 0.015:.3f} m)"
                )
        if self._robot and (max(map(abs, made["tie"][:3])) > 0.025 or max(map(abs, made["tie"][3:])) > 0.5):
            raise ValueError("bad start: the tie is within 0.025 m of the origin and turned by up to 0.5 rad")
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
        if self._robot:
            dt = 1 / self.control_hz
            self._felt = Proprioception(self._level, self._play, dt, rng, readings)
            self._seen = Perception(self._level, dt, rng, readings)
            self._sensed_at = -1.0
            return
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
        """(26,) float32, or (31,) at `state`; see `CutZipTieEnv`."""
        below = float(self._fallen - readings.tip[2])  # what has fallen to the bench is not looked for
        if self._robot:
            felt = self.agent_pos(readings)
            return (
                felt
                if self._level.images
                else np.concatenate([felt, self._seen.read(readings, below)], dtype=np.float32)
            )
        felt, _, _ = self._wrench.read(readings.wrench.vector)
        noise = self._noise * self._rng.standard_normal((2, 3))
        if below < 0:
            self._seen_tip = readings.tip - self._origin[:3] + self._tip_bias + noise[0]
        along = -readings.blades[:, 1]
        middle = readings.pivot + along * (BLADE / 2) - self._origin[:3] + self._blades_bias
        if self._lying:
            middle = middle + noise[1]
        yaw = math.atan2(along[0], -along[1])
        parts = [readings.pose - self._origin, (readings.jaw, readings.torque, float(readings.held)), felt, middle, (yaw,),
                 self._head, self._seen_tip, (float(below < 0),)]  # fmt: skip
        return np.concatenate(parts, dtype=np.float32)

    def agent_pos(self, readings: CutReadings) -> np.ndarray:
        """(7,) float32: the end effector relative to its start [m, rad] and the jaw's angle [rad]. At `state` (15,), and where policies see by
        cameras (13,), without x and y: see `CutZipTieEnv`. The same however often it is asked in a control period."""
        if not self._robot:
            return np.append(readings.pose - self._origin, readings.jaw).astype(np.float32)
        if readings.time != self._sensed_at:
            self._sensed_at = readings.time
            self._sensed = self._felt.read(readings).astype(np.float32)
        return self._sensed[2:].copy() if self._level.images else self._sensed.copy()

    def update(self, readings: CutReadings) -> Progress:
        """Climb the stages: grasped, blades about the tail, closed on it."""
        if self._stage < 3:
            cut = self._cut_well(readings)
            between = cut or self._between(readings)
            reached = (readings.held, between, cut or (between and self._presses(readings)))
            self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    def _cut_well(self, readings: CutReadings) -> bool:
        return readings.severed and TOOTH <= readings.stub <= self._level.longest and self._spoilt(readings) is None

    @staticmethod
    def _presses(readings: CutReadings) -> bool:
        """Whether something between the blades resists their closing."""
        return readings.torque < -0.05

    def _between(self, readings: CutReadings) -> bool:
        """Whether the tail runs between the blades, where it may be cut."""
        root, end = readings.pieces[0]
        a, b = readings.along_blades(root).tolist(), readings.along_blades(end).tolist()
        if a[0] * b[0] >= 0:
            return False
        share = a[0] / (a[0] - b[0])
        along, above = (a[k] + share * (b[k] - a[k]) for k in (1, 2))
        from_head = share * length(end - root)
        opening = along * math.tan(readings.jaw)
        return TOOTH <= from_head <= self._level.longest and 0.002 < along < BLADE and -0.001 < above < opening + 0.001

    def potential(self, readings: CutReadings) -> float:
        """Holding the cutter, nearness of the blades to where the tail should be cut, pressing there, then the cut, then the gap."""
        if self._cut_well(readings):
            return 0.7 + 0.3 * min(readings.gap / APART, 1.0)
        root, end = readings.pieces[0]
        axis = (end - root) / max(length(end - root), 1e-6)
        across, along, above = readings.along_blades(root + self.aim * axis)
        off = math.hypot(across, along - BLADE / 2, above - 0.002)
        pressing = self._between(readings) and self._presses(readings)
        return 0.1 * readings.held + 0.3 * math.exp(-off / 0.01) + 0.2 * pressing

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

    def _spoilt(self, readings: CutReadings) -> str | None:
        if readings.loop_cut:
            return "loop_cut"
        if readings.other_cut:
            return "wrong_strap_cut"
        if readings.severed and readings.stub < TOOTH:
            return "cut_too_close"
        # trimming from the tip inwards would find the head without looking for it
        return "cut_too_long" if self._level.once and readings.severed and readings.stub > self._level.longest else None

    def verify(self, cell: Cell) -> Verdict:
        """Let what is loose fall, pull the stub back into the head with 10 N, and look at both pieces."""
        spoilt = self._spoilt(cell.read())
        if spoilt is not None:
            return Verdict(False, spoilt)
        after: Any = cell.probe("tug")
        if not (after.severed and after.stub <= self._level.longest):
            return Verdict(False, "not_severed")
        if after.stub < TOOTH:
            return Verdict(False, "unlocked")
        if after.gap <= APART:
            return Verdict(False, "not_separated")
        return Verdict(True)


def _six(spread: Starts) -> np.ndarray:
    """How far a tie may be off (6,) [m, rad]."""
    return np.array([*spread.tie, *np.radians(spread.tie_turn)])


def _points(*names: str) -> list[str]:
    return [f"{name}_{axis}" for name in names for axis in "xyz"]
