"""The whole job as a task: starts, observation, sub-goals, danger and verdict."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enpire_envs.cell import Cell
from enpire_envs.contact import CONTROL_HZ, POSE_NAMES, WRENCH_NAMES, ContactSafety, SafetyLimits
from enpire_envs.cut_zip_tie.levels import CutLevel
from enpire_envs.cut_zip_tie.parts import BLADE, PIVOT
from enpire_envs.cut_zip_tie.scene import TOOTH
from enpire_envs.cut_zip_tie.task import APART, OPENED, STEP, TURN
from enpire_envs.end_effector import length
from enpire_envs.task import Progress, Start, Verdict, box, climb, is_finite, read_start
from enpire_envs.tie_zip_tie.levels import TieLevel
from enpire_envs.tie_zip_tie.scene import HALF_Y, HALF_Z, LINK, LINKS, SLOT
from enpire_envs.tie_zip_tie.task import ENOUGH, SLIP, TieZipTie
from enpire_envs.zip_tie_full.scene import CAMERAS, FullReadings
from enpire_envs.zip_tie_full.senses import Senses

TAIL = 0.050  # strap that has to be pulled through the head before it is tight [m]
TIGHT = LINKS * LINK - SLOT - TAIL  # length of the loop then [m]
REACH = 0.15  # of the end effector from its start, each way [m]
ACROSS = 0.003  # how far the cutter may be from its place along y, drawn per episode [m]
FALLEN = -0.05  # the strap has been dropped when its mean height is below [m]
LIMITS = SafetyLimits(low=(-REACH, -REACH, -REACH), high=(REACH, REACH, REACH), force=40.0)


class ZipTieFull:
    """Threading, pulling and cutting as a `Task`. See `ZipTieFullEnv` for what every argument means."""

    name = "ZipTieFull"
    control_hz = CONTROL_HZ
    stages: tuple[str, ...] = ("start", "tip_in", "locked", "tight", "fetched", "at_tail", "severed", "success")
    act_cpu_ms = 250.0
    camera = "overview"
    cameras: tuple[str, ...] = CAMERAS
    obs_types: tuple[str, ...] = ("state", "environment_state_agent_pos", "pixels_agent_pos")

    def __init__(self, tie: TieLevel, cut: CutLevel, sensing: str) -> None:
        self.max_steps = tie.max_steps
        self._tie, self._noisy = tie, sensing == "noisy"
        self._cut = cut
        self._tying = TieZipTie(tie, sensing)
        #: The middle of the allowed stub [m].
        self.aim = (TOOTH + cut.longest) / 2
        self._hand_eye, self._play, self._home = np.zeros(3), 1.0, np.zeros(2)
        self.action_space = box([1.0] * 7)
        self._scale = np.append(np.array([STEP] * 3 + [TURN] * 3) * self.control_hz, 1.0)
        own = [*[0.4] * 3, *[1.2] * 3, 1.0, 2.0, 1.0, *[200.0] * 3, *[20.0] * 3, 1.0, 1.0]
        head = tip = [*[0.5] * 3, 2.0, 2.0, 200.0, 1.0]
        self.agent_pos_space = box(own)
        self.state_space = box([*own, *head, *tip, 0.3, *[0.6] * 6, 200.0, 1.0])
        self.action_names = [*POSE_NAMES, "gripper"]
        self.agent_pos_names = [*POSE_NAMES, "jaw", "jaw_torque", "gripper", *WRENCH_NAMES, "has_strap", "has_cutter"]
        seen = [f"{what}_{part}" for what in ("slot", "tip") for part in ("x", "y", "z", "ry", "rz", "age", "valid")]
        cutter = [*(f"{what}_{axis}" for what in ("handle", "blade") for axis in "xyz"), "cutter_age", "cutter_valid"]
        self.state_names = [*self.agent_pos_names, *seen, "past", *cutter]

    def install(self, rng: np.random.Generator) -> None:
        """Draw how well a station's camera is calibrated, and the play of its joints."""
        spec = self._tie.station
        assert spec is not None
        self._hand_eye = rng.uniform(-spec.hand_eye, spec.hand_eye, 3)
        self._play = float(rng.uniform(*spec.backlash))

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """Tying's start, and {"cutter": [x, y, yaw]}: how far the cutter is from where the station has it [m, rad]."""
        spread = self._cut.usual if starts == "id" else self._cut.wide
        turned = 2 * math.radians(spread.turned)
        off = [rng.uniform(-spread.along, spread.along), rng.uniform(-ACROSS, ACROSS), rng.uniform(-turned, turned)]
        return {**self._tying.sample_start(rng, starts), "cutter": [float(v) for v in off]}

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where the tip would not lie before the slot, or the cutter not on its post."""
        cutter = read_start(start, cutter="x y yaw")["cutter"]
        if abs(cutter[0]) > 0.03 or abs(cutter[1]) > 0.01 or abs(cutter[2]) > 0.4:
            raise ValueError("bad start: the cutter must be within 0.03 m (x), 0.01 m (y) and 0.4 rad of its place")
        return {**self._tying.check_start(start), "cutter": cutter}

    def ready(self, readings: FullReadings, start: Start) -> str | None:
        """Whether the whole strap is in the fingers with its tip within 1 mm of its start, and the cutter lies on its post."""
        if readings.severed or readings.loop_cut:
            return "the strap has been cut already"
        if readings.has_cutter:
            return "the gripper holds the cutter"
        return self._tying.ready(readings, start)

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: FullReadings, rng: np.random.Generator) -> None:
        """Clear sub-goals, draw this episode's sensors and their errors."""
        self._stage = 0
        self._safety = ContactSafety(LIMITS, readings.pose)
        hand_eye = self._hand_eye if self._noisy else np.zeros(3)
        self._senses = Senses(
            self._tie, self._cut, self._noisy, self._play, hand_eye, 1 / self.control_hz, rng, readings
        )

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s], and the gripper (above 0 closes) or how fast the jaw closes (share)."""
        return action * self._scale

    def observe(self, readings: FullReadings) -> np.ndarray:
        """(40,) float32; see `ZipTieFullEnv`."""
        return self._senses.state(readings)

    def agent_pos(self, readings: FullReadings) -> np.ndarray:
        """(17,) float32: what the robot's own joints say; see `ZipTieFullEnv`."""
        return self._senses.own(readings)

    def update(self, readings: FullReadings) -> Progress:
        """Climb the sub-goals: tip in the slot, locked, tight, cutter fetched, blades about the tail, severed where it may be."""
        (x, y, z), past = readings.tip.tolist(), readings.past
        cut = self._cut_well(readings)
        entered = past > 0 or (0.0005 < x < SLOT and abs(y) < HALF_Y and abs(z) < HALF_Z)
        reached = (
            entered,
            cut or past >= ENOUGH,
            readings.loop <= TIGHT,
            readings.has_cutter,
            cut or self._between(readings),
            cut,
        )
        self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    def _cut_well(self, readings: FullReadings) -> bool:
        return readings.severed and self._spoilt(readings) is None

    def _between(self, readings: FullReadings) -> bool:
        """Whether the tail runs between the blades, where it may be cut."""
        if not readings.has_cutter or readings.past < TOOTH:
            return False
        nodes = np.array([readings.along_blades(readings.in_scene(node)) for node in readings.nodes])
        for k in np.flatnonzero(nodes[:-1, 0] * nodes[1:, 0] < 0):
            share = nodes[k, 0] / (nodes[k, 0] - nodes[k + 1, 0])
            _, along, above = nodes[k] + share * (nodes[k + 1] - nodes[k])
            from_head = (k + share) * LINK - readings.loop - SLOT
            opening = along * math.tan(readings.jaw)
            if TOOTH <= from_head <= self._cut.longest and 0.002 < along < BLADE and -0.001 < above < opening + 0.001:
                return True
        return False

    def potential(self, readings: FullReadings) -> float:
        """Strap beyond the head, then the way to the cutter, then that of its blades to the tail, the cut, and the gap; without enough strap
        the cutter is worth nothing."""
        if self._cut_well(readings):
            return 0.9 + 0.1 * min(readings.gap / APART, 1.0)
        if readings.loop > TIGHT + SLIP:
            off = length(readings.tip) if readings.past == 0 else 0.0
            return 0.1 * math.exp(-off / 0.005) + 0.4 * min(max(readings.past, 0.0) / TAIL, 1.0)
        if not readings.has_cutter:
            handle = readings.pivot + PIVOT * readings.blades[:, 1]
            return 0.5 + 0.1 * math.exp(-length(handle - readings.pose[:3]) / 0.05)
        across, along, above = readings.along_blades(readings.in_scene(np.array([SLOT + self.aim, 0.0, 0.0])))
        return 0.6 + 0.2 * math.exp(-math.hypot(across, along - BLADE / 2, above - 0.002) / 0.02)

    def extras(self, readings: FullReadings) -> dict[str, float]:
        """`past`: strap beyond the head, `loop`: before it, `gap` [m], and `force` [N]."""
        return {"past": readings.past, "loop": readings.loop, "gap": readings.gap, "force": readings.force}

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: FullReadings) -> str | None:
        """Outside the workspace, the strap dropped or nowhere, too much force for too long, or penetration."""
        nodes = readings.nodes
        here = is_finite(nodes) and float(np.abs(nodes).max()) < 0.3
        held_up = here and readings.in_scene(nodes.mean(axis=0))[2] > FALLEN
        return self._safety.violation(readings, lost=None if held_up else "strap_dropped")

    def candidate(self, readings: FullReadings) -> bool:
        """A good cut with the blades open again and a gap; or one that nothing can make good."""
        if not readings.severed:
            return readings.loop_cut
        return self._spoilt(readings) is not None or (readings.jaw > OPENED and readings.gap > APART)

    def _spoilt(self, readings: FullReadings) -> str | None:
        """Why a cut was the wrong one; the first one decides, so that nobody finds the head by trimming the tail in slices."""
        if readings.loop_cut:
            return "loop_cut"
        if not readings.severed:
            return None
        if readings.past < TOOTH:
            return "cut_too_close"
        if readings.past > self._cut.longest:
            return "cut_too_long"
        return "loose" if readings.loop > TIGHT + SLIP else None

    def verify(self, cell: Cell) -> Verdict:
        """Let what is loose fall, pull the strap back with 10 N for half a second, and look: locked, tight, apart, and a stub in range."""
        spoilt = self._spoilt(cell.read())
        if spoilt is not None:
            return Verdict(False, spoilt)
        after: Any = cell.probe("tug")
        if not after.severed or after.past > self._cut.longest:
            return Verdict(False, "not_severed")
        if after.past < TOOTH or after.loop > TIGHT + 2 * SLIP:
            return Verdict(False, "unlocked")
        return Verdict(True) if after.gap > APART else Verdict(False, "not_separated")
