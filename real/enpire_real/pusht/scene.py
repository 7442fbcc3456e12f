"""Push-T's skills: push with the tip, look from the avoid pose, bring the T to a start by pushing it there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pusht.geometry import clearance, in_frame
from enpire_envs.pusht.scene import Arena
from enpire_envs.pusht.task import SPEED, PushT

from enpire_real.kinematics import Pose
from enpire_real.motion import JointMove, ToolServo
from enpire_real.perception import Estimate, MatLost, TFinder, camera_in_arena
from enpire_real.pusht.task import START_ANGLE, START_DISTANCE, TIP_ROOM, RealPushTReadings
from enpire_real.station import Station
from enpire_real.yam import HOME

JOINT_SPEED, JOINT_ACCELERATION = 2.0, 12.0  # of moves between poses [rad/s], [rad/s^2]
TIP_ACCELERATION = 4.0  # [m/s^2]
# Straight down near the foot, leaning outward where that is out of reach: distance [m] -> tilt [rad].
_TILT_FROM, _TILT_TO, _TILT = 0.33, 0.67, math.radians(42)
LEASE_S = 40.0  # a policy may think for 30 s before it is ended
_LOOKS = 10  # images before the T counts as not visible
_PUSH_STEPS = 600  # control steps that a reset may push for
_OUTSIDE = 0.06  # how far beyond the arena a reset may go after a T that was pushed out [m]
_MOST_REACH = 0.70  # of the pushing arm, from its foot [m]
_TOLERANCE = 0.6  # of what `ready` allows: the reset aims closer
_VIEW = 0.33  # half side of the policy's top view [m], as the simulated camera's


class PushTScene:
    """One arm with the pusher over the mat. Positions are in the arena's frame unless said.

    Args:
        station: with a `pusht` section in its file.
        arena: the task's.
        control_hz: the task's.
    """

    def __init__(self, station: Station, arena: Arena, control_hz: float) -> None:
        config = station.file.pusht
        if config is None:
            raise ValueError(
                f"the station file of {station.file.name!r} has no `pusht` section: say which arm pushes, which camera looks and "
                "where the mat lies (see twin.yaml)"
            )
        self.station, self.arena, self._config, self._dt = station, arena, config, 1.0 / control_hz
        self._control, self._clock = station.control, station.clock
        self._model = station.control.arms[config.arm].model
        yaw = math.radians(config.yaw_deg)
        self._turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        self._origin = np.array(config.origin_m) - np.array(station.file.arms[config.arm].base_m[:2])
        self.servo: ToolServo | None = None  # None while the arm is not over the mat
        self._room = np.array(arena.half)  # where the tip may go, +- [m]
        self._finder: TFinder | None = None
        self._eye: Pose | None = None
        self._estimate: Estimate | None = None
        self._seen_at = -math.inf
        self._began = 0.0
        self._due = 0.0
        self._late = 0
        self.force = np.zeros(3)
        self._renewed = 0.0
        station.control.observers.append(self._feel)
        station.control.monitor.watches["lease"] = self._lease

    # -- the Cell's verbs --------------------------------------------------------------------------------------------
    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        self.avoid()
        self._locate_mat()
        self._look()
        if not self._near(start["block"], _TOLERANCE):
            self._push_to(start["block"])
            self.avoid()
            self._look()
        if not self._near(start["block"], 1.0):
            return  # `ready` will say so; the environment tries again
        tip = self._beside_block(start["tip"])
        self.hover(tip)
        self._lower()
        self._began = self._clock.now()
        self._due, self._late = self._began, 0

    def drive(self, command: np.ndarray) -> None:
        """`command`: velocity (2,) of the tip's target [m/s]."""
        self._control.check()
        if self.servo is None:
            raise CellFault("the arm is not over the mat: it was moved away in the middle of an episode")
        now = self._renewed = self._clock.now()
        self._late = self._late + 1 if now > self._due + 0.5 * self._dt else 0
        if self._late:
            self._due = now  # it held the last command meanwhile; its own period starts now
        to = self._within(np.array(self._target()) + command * self._dt)
        self.servo.target = self._to_base(to, self._config.tip_height_m)
        self._due += self._dt
        self._clock.sleep(self._due - self._clock.now())
        self._control.check()

    def read(self) -> RealPushTReadings:
        self._control.check()
        frame = self.station.cameras[self._config.camera].latest()
        assert self._finder is not None, "reset() comes first"
        estimate = self._finder.find(frame.image)
        if estimate.valid:
            self._estimate, self._seen_at = estimate, frame.time
        if self._estimate is None:
            raise CellFault("the T has not been seen yet: is it on the mat, red side up?")
        now = self._clock.now()
        return RealPushTReadings(
            time=now - self._began, tip=self._tip(), tip_target=self._target(), block=self._estimate.pose,
            force=float(np.hypot(*self.force[:2])), age=now - self._seen_at, valid=estimate.valid, late=self._late,
        )  # fmt: skip

    def view(self, camera: str) -> np.ndarray | None:
        """The mat from straight above, as the simulated top camera shows it; other cameras as they are."""
        if camera != "top" or self._eye is None:
            return None
        frame = self.station.cameras[self._config.camera].latest().image
        lens = self.station.lens(self._config.camera)
        corners = np.array([(-_VIEW, _VIEW, 0), (_VIEW, _VIEW, 0), (_VIEW, -_VIEW, 0), (-_VIEW, -_VIEW, 0)])
        pixels = lens.project(self._eye.inverse().apply(corners)).astype(np.float32)
        side = 480
        square = np.array([(0, 0), (side, 0), (side, side), (0, side)], dtype=np.float32)
        return cv2.warpPerspective(frame, cv2.getPerspectiveTransform(pixels, square), (side, side))

    @property
    def probes(self) -> Mapping[str, Callable[[], None]]:
        return {"clear_view": self._clear_view}

    def _clear_view(self) -> None:
        self.avoid()
        self._look()

    # -- poses -------------------------------------------------------------------------------------------------------
    def home(self) -> None:
        """All arms to their home pose, the pushing one lifted first."""
        self.lift()
        self._joints(dict.fromkeys(self._control.arms, HOME))

    def avoid(self) -> None:
        """All arms out of the camera's view."""
        self.lift()
        away = np.array(self._config.avoid_rad)
        if all(np.abs(self._control.commanded(name) - away).max() < 1e-3 for name in self._control.arms):
            return
        self._joints(dict.fromkeys(self._control.arms, away))

    def resume(self) -> None:
        """Back over the mat, lifted, where the tip was last commanded."""
        if self.servo is None:
            self.hover((0.0, -self.arena.half[1]))

    def _joints(self, goals: dict[str, np.ndarray]) -> None:
        for name, goal in goals.items():
            self._control.move(name, JointMove([goal], JOINT_SPEED, JOINT_ACCELERATION))
        for name in goals:
            self._control.wait(name, 15.0)

    def lift(self) -> None:
        """Up from the mat, if it is there."""
        if self.servo is not None and not self._in_hand():  # a stop took the arm away, and it may lie anywhere
            self.servo = None
            self._joints({self._config.arm: HOME})
        if self.servo is not None:
            target = self.servo.target.copy()
            target[2] = self._config.lift_height_m
            self.servo.target = target
            self.settle()
            self.servo = None

    @property
    def camera(self) -> str:
        """The camera that looks at the mat, by its name in the station file."""
        return self._config.camera

    @property
    def eye(self) -> Pose | None:
        """Where that camera is over the mat, as the last reset measured it."""
        return self._eye

    @property
    def arm(self) -> str:
        """The pushing arm's name."""
        return self._config.arm

    def tip_height(self) -> float:
        """Of the centre of the pusher's round end over the table, by the measured joints [m]."""
        at = self._model.forward(self._control.reading(self._config.arm).q).position[2]
        return float(at + self.station.file.arms[self._config.arm].base_m[2])

    def is_free(self, point: tuple[float, float]) -> bool:
        """Whether the T is not seen at `point`. Looks; the arm must be out of the way."""
        self._locate_mat()
        self._look()
        assert self._estimate is not None
        return clearance(point, self._estimate.pose) > self.arena.tip_radius + TIP_ROOM

    def _in_hand(self) -> bool:
        """Whether the servo over the mat has the arm."""
        return self.servo is not None and self._control.motion(self._config.arm) is self.servo

    def hover(self, tip: tuple[float, float]) -> None:
        """From anywhere above the table to lifted over `tip`."""
        point = self._to_base(np.array(tip), self._config.lift_height_m)
        bearing = math.atan2(point[1], point[0])
        angles, error = self._model.inverse(self._pose(point), np.array([bearing, 2.0, 1.6, -1.0, 0.0, 0.0]))
        if error > 1e-3:
            raise CellFault(f"the {self._config.arm} arm cannot reach over {np.round(tip, 3)} m on the mat")
        self._joints({self._config.arm: angles})
        limits, rows = self._control.monitor.limits, self._control.rows(self._config.arm)
        self._renewed = self._clock.now()
        self.servo = ToolServo(
            self._model, self._pose, point, speed=SPEED, acceleration=TIP_ACCELERATION,
            joint_speed=0.9 * limits.velocity[rows], joint_acceleration=0.9 * limits.acceleration[rows],
        )  # fmt: skip
        self._control.move(self._config.arm, self.servo)

    def _lower(self) -> None:
        assert self.servo is not None
        target = self.servo.target.copy()
        target[2] = self._config.tip_height_m
        self.servo.target = target
        self.settle()

    def settle(self) -> None:
        """Until the servo has arrived and the arm with it."""
        assert self.servo is not None
        for _ in range(500):
            self._control.check()
            if np.abs(self.servo.target - self.servo.at).max() < 2e-4:
                break
            self._clock.sleep(self._control.period)
        self._clock.sleep(0.1)
        self._control.check()

    # -- looking -----------------------------------------------------------------------------------------------------
    def _locate_mat(self) -> None:
        """Where the camera stands over the mat, now: it may have been knocked since the last episode."""
        self._clock.sleep(0.15)  # for a frame without the arm
        for _ in range(_LOOKS):
            image = self.station.cameras[self._config.camera].latest().image
            try:
                eye, _ = camera_in_arena(image, self.station.lens(self._config.camera))
                break
            except MatLost as lost:
                problem = lost
                self._clock.sleep(0.1)
        else:
            raise CellFault(str(problem))
        moved = self._eye is None or (
            np.linalg.norm(self._eye.position - eye.position) > 0.003
            or np.abs(self._eye.rotation - eye.rotation).max() > 0.004
        )
        if moved:
            self._eye = eye
            self._finder = TFinder(self.station.lens(self._config.camera), eye)

    def _look(self) -> None:
        """A fresh, unobstructed look at the T: two images that agree."""
        assert self._finder is not None
        self._clock.sleep(0.15)
        before: Estimate | None = None
        for _ in range(_LOOKS):
            frame = self.station.cameras[self._config.camera].latest()
            estimate = self._finder.find(frame.image)
            if estimate.valid and before is not None and _agree(before, estimate):
                self._estimate, self._seen_at = estimate, frame.time
                return
            before = estimate if estimate.valid else None
            self._clock.sleep(0.07)
        raise CellFault("the T is not to be seen: is it on the mat, red side up, and nothing over it?")

    # -- resetting by pushing ----------------------------------------------------------------------------------------
    def _push_to(self, goal: list[float]) -> None:
        """Push the T to `goal` (x, y, yaw), planned on a coarse model of it, until it is near or the steps are used up.

        It looks again from the avoid pose whenever the pushing arm hides the T.
        """
        half = (self.arena.half[0] + _OUTSIDE, self.arena.half[1] + _OUTSIDE)
        self._room = np.array(half)
        try:
            self._push(goal, half)
        finally:
            self._room = np.array(self.arena.half)

    def _push(self, goal: list[float], half: tuple[float, float]) -> None:
        from enpire_envs.reference.pusht import Expert  # hidden in every cage; only stations reset

        arena = Arena(half=half, goal=tuple(goal), tip_radius=self.arena.tip_radius, walls=False)  # type: ignore[arg-type]
        task = PushT(arena, "coverage", "delta", "ideal", "full")
        planner = Expert(SimpleNamespace(task=task, cell=self))  # type: ignore[arg-type]
        planner.reset(None)
        assert self._estimate is not None
        self.hover(self._beside_block([0.0, -half[1]]))
        self._lower()
        self._due = self._clock.now()
        for step in range(_PUSH_STEPS):
            if step % 5 == 0:
                readings = self.read()
                if readings.age > 1.0:
                    tip = self._tip()
                    self.avoid()
                    self._look()
                    planner.reset(None)
                    self.hover(self._beside_block(list(tip)))
                    self._lower()
                    self._due = self._clock.now()
                if self._near(goal, _TOLERANCE):
                    return
            self.drive(planner.act(None) * SPEED)

    def _near(self, goal: list[float], share: float) -> bool:
        assert self._estimate is not None
        dx, dy, turn = in_frame(self._estimate.pose, goal)
        return math.hypot(dx, dy) <= share * START_DISTANCE and abs(turn) <= share * START_ANGLE

    def _beside_block(self, tip: list[float]) -> tuple[float, float]:
        """`tip`, or where the pusher may come down nearby without touching the T."""
        assert self._estimate is not None
        room = self.arena.tip_radius + TIP_ROOM
        wanted = np.array(tip)
        if clearance(wanted, self._estimate.pose) > room:
            return float(wanted[0]), float(wanted[1])
        for reach in np.arange(0.01, 0.5, 0.01):
            for angle in np.linspace(-math.pi, math.pi, 24, endpoint=False):
                point = wanted + reach * np.array([math.cos(angle), math.sin(angle)])
                if (self._within(point) == point).all() and clearance(point, self._estimate.pose) > room:
                    return float(point[0]), float(point[1])
        raise CellFault("there is no free place for the pusher on the mat")

    def _within(self, point: np.ndarray) -> np.ndarray:
        """The nearest point (2,) where the tip may go: in the arena (in a reset: around it), in reach."""
        point = np.clip(point, -self._room, self._room)
        from_foot = self._origin + self._turn @ point
        far = math.hypot(*from_foot)
        if far > _MOST_REACH:
            point = self._turn.T @ (from_foot * (_MOST_REACH / far) - self._origin)
        return point

    # -- frames ------------------------------------------------------------------------------------------------------
    def _to_base(self, point: np.ndarray, height: float) -> np.ndarray:
        """(3,) in the pushing arm's base frame of an arena point (2,) at `height` over the table."""
        x, y = self._origin + self._turn @ point
        return np.array([x, y, height - self.station.file.arms[self._config.arm].base_m[2]])

    def _tip(self) -> tuple[float, float]:
        """Where the tip is, by the measured joints."""
        at = self._model.forward(self._control.reading(self._config.arm).q).position[:2]
        x, y = self._turn.T @ (at - self._origin)
        return float(x), float(y)

    def _target(self) -> tuple[float, float]:
        if self.servo is None:
            return self._tip()
        x, y = self._turn.T @ (self.servo.target[:2] - self._origin)
        return float(x), float(y)

    def _pose(self, point: np.ndarray) -> Pose:
        """The tool's pose for its tip at `point` (base frame): down, leaning outward when far away."""
        x, y, _ = point
        bearing = math.atan2(y, x)
        share = min(max((math.hypot(x, y) - _TILT_FROM) / (_TILT_TO - _TILT_FROM), 0.0), 1.0)
        tilt = _TILT * share * share * (3 - 2 * share)  # smooth: a kink here would be a jerk of the joints
        c, s = math.cos(bearing), math.sin(bearing)
        along = np.array([c * math.sin(tilt), s * math.sin(tilt), -math.cos(tilt)])
        side = np.array([-s, c, 0.0])
        return Pose(point, np.stack([along, side, np.cross(along, side)], axis=1))

    def _lease(self, now: float) -> str | None:
        """Whoever has the arm over the mat must go on commanding it."""
        if not self._in_hand() or now - self._renewed <= LEASE_S:
            return None
        return f"the arm has stood over the mat for {now - self._renewed:.0f} s without a command"

    def _feel(self, snapshot: object) -> None:
        """Low-passed external force on the tool, from the joint torques."""
        reading = self._control.reading(self._config.arm)
        self.force += 0.15 * (self._model.external_force(reading.q, reading.tau) - self.force)


def _agree(a: Estimate, b: Estimate) -> bool:
    dx, dy, turn = in_frame(a.pose, b.pose)
    return math.hypot(dx, dy) < 0.002 and abs(turn) < math.radians(1)
