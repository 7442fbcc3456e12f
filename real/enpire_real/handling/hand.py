"""An arm that handles small things: straight moves of a hand that points down, feeling its way, gripping.

Positions are of the tool's tip (that of a thing which is held well) in the station's frame [m]. Every skill is bounded in way, force and
time, and says what happened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from enpire_envs.cell import CellFault
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.motion import JointMove, ToolServo
from enpire_real.station import Station
from enpire_real.yam import HOME

JOINT_SPEED, JOINT_ACCELERATION = 1.5, 8.0  # of moves between poses [rad/s], [rad/s^2]
SPEED, SLOW = 0.10, 0.015  # of straight moves, and of those that may meet something [m/s]
ACCELERATION = 1.0  # [m/s^2]
OPEN, WIDE = 0.22, 0.5  # openings: around a handle and inside its collar's edge; clear of everything
HELD = (0.085, 0.140)  # what the gripper measures around a handle of 10 mm
SETTLED = 0.0003  # how near to its goal a straight move is over [m]
PULL = 35.0  # most force when something is pulled or pressed that does not give [N]
LEASE_S = 40.0  # a policy may think for 30 s before it is ended
_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # the hand's axes: approach down, camera ahead
# The hand as a spring, whatever the arm's own joints yield: stiffness [N/m], largest force it commands [N] along x, y, z, how fast what
# is felt is brought to that [1/s], and how far it may be corrected for it [m, rad].
STIFFNESS, STRONGEST = 1500.0, np.array([25.0, 25.0, 30.0])
_RATE, _RATE_TURN, _CORRECTION, _CORRECTION_TURN = 3.0, 3.0, 0.08, 0.12
_FASTEST, _FASTEST_TURN, _CALM_S = 0.04, 0.15, 0.05  # of corrections [m/s, rad/s], and how calmly they change [s]
_STANDING, _RISE, _RISE_SPEED = 0.10, 0.01, 0.3  # after a stop: up to a height, in steps of [m], at [rad/s]
_SMOOTH = 0.4  # share of a new wrench that counts, per tick


@dataclass(frozen=True, slots=True)
class Met:
    """How a straight move ended.

    Attributes:
        arrived: at its goal, and not stopped by force.
        force: the largest that was felt on the way [N].
        height: of the tip at the end, by the measured joints [m].
    """

    arrived: bool
    force: float
    height: float


class Hand:
    """One arm of a station with bare fingers.

    Args:
        station: the whole station; `home` moves all of its arms.
        arm: its name in the station file.

    Attributes:
        servo: what moves the tip straight; None while it is folded or on its way.
        yaw: of the hand about the vertical [rad].
    """

    def __init__(self, station: Station, arm: str) -> None:
        self.name = arm
        self.servo: ToolServo | None = None
        self.yaw = 0.0
        self._station, self._control, self._clock = station, station.control, station.clock
        self._arm = station.control.arms[arm]
        self._model = self._arm.model
        self._base = np.array(station.file.arms[arm].base_m)
        self._force = np.zeros(3)  # low-passed, by the joints' torques, station axes
        self._bias = np.zeros(3)
        self._commanded_at = 0.0
        self._correction, self._correcting = np.zeros(6), np.zeros(6)  # of the commanded pose [m, rad], and its rate
        station.control.observers.append(self._feel)
        station.control.monitor.watches["lease"] = self._lease

    # -- where it is, and what it feels ------------------------------------------------------------------------------
    def tip(self) -> np.ndarray:
        """(3,) by the measured joints."""
        return self._model.forward(self._control.reading(self.name).q).position + self._base

    def target(self) -> np.ndarray:
        """(3,) where the tip was last sent."""
        return self.tip() if self.servo is None else self.servo.target + self._base

    def flange(self) -> Pose:
        """In the station's frame, by the measured joints."""
        return Pose(self._base, np.eye(3)) @ self._model.flange(self._control.reading(self.name).q)

    def force(self) -> np.ndarray:
        """(3,) what the surroundings exert on the tip [N], station axes, since `tare`."""
        return self._force - self._bias

    def tare(self) -> None:
        """What is felt at rest now is nought."""
        self._clock.sleep(0.3)
        forces = []
        for _ in range(20):
            self._clock.sleep(self._control.period)
            forces.append(self._force.copy())
        self._bias = np.mean(forces, axis=0)

    def _feel(self, snapshot: object) -> None:
        reading = self._control.reading(self.name)
        still = np.zeros_like(reading.q)
        # What moving takes by itself is no wrench.
        moving = self._arm.needed_torque(reading.q, reading.dq, still) - self._arm.needed_torque(
            reading.q, still, still
        )
        felt = self._model.external_wrench(reading.q, reading.tau - moving, point_contact=True)
        self._force = self._force + _SMOOTH * (felt.force - self._force)
        if self.servo is not None and self._control.motion(self.name) is self.servo:
            self._yield(self.servo, reading.q)

    def _yield(self, servo: ToolServo, q: np.ndarray) -> None:
        """Correct what is commanded until the hand presses like a spring between the target and where it is, and is upright."""
        here = self._model.forward(q)
        wanted = np.clip(STIFFNESS * (servo.at - here.position), -STRONGEST, STRONGEST)
        jacobian = self._model.jacobian(q)
        compliance = jacobian[:3] / self._arm.kp @ jacobian[:3].T  # of the arm as it stands [m/N]
        dt = self._control.period
        leaning = Rotation.from_matrix(self._upright() @ here.rotation.T).as_rotvec()
        twist = np.concatenate([_RATE * compliance @ (wanted + self.force()), _RATE_TURN * leaning])
        fastest = np.repeat([_FASTEST, _FASTEST_TURN], 3)
        self._correcting += dt / _CALM_S * (np.clip(twist, -fastest, fastest) - self._correcting)
        most = np.repeat([_CORRECTION, _CORRECTION_TURN], 3)
        self._correction = np.clip(self._correction + dt * self._correcting, -most, most)

    # -- moving ------------------------------------------------------------------------------------------------------
    def fold_out(self, over: np.ndarray, yaw: float) -> None:
        """From anywhere to straight down over a point (3,), by joint moves. Raises Stopped, CellFault if that is out of reach."""
        self.yaw = yaw
        self.joints({self.name: self.joints_at(over)})
        self._begin_servo(over - self._base)

    def joints_at(self, over: np.ndarray) -> np.ndarray:
        """Joint angles (6,) with the hand straight down over a point (3,). Raises CellFault if that is out of reach."""
        self._correction, self._correcting = np.zeros(6), np.zeros(6)
        angles, error = self._model.inverse(self._pose(over - self._base), np.array([0.0, 1.9, 1.7, -1.4, 0.0, 0.0]))
        if error > 1e-3:
            raise CellFault(f"the {self.name} arm cannot reach over {np.round(over, 3)} m")
        return angles

    def within(self, angles: np.ndarray) -> np.ndarray:
        """Joint angles (6,) clipped to the joints' ranges."""
        return np.clip(angles, self._model.lower + 0.03, self._model.upper - 0.03)

    def _begin_servo(self, at: np.ndarray) -> None:
        """Straight moves from a point (3,) on, in the arm's base frame, where the arm stands commanded."""
        limits, rows = self._control.monitor.limits, self._control.rows(self.name)
        self._correction, self._correcting = np.zeros(6), np.zeros(6)
        self._commanded_at = self._clock.now()
        self.servo = ToolServo(
            self._model, self._pose, at, speed=SPEED, acceleration=ACCELERATION,
            joint_speed=0.9 * limits.velocity[rows], joint_acceleration=0.9 * limits.acceleration[rows],
        )  # fmt: skip
        self._control.move(self.name, self.servo)

    def joints(self, goals: dict[str, np.ndarray], speed: float = JOINT_SPEED) -> None:
        """Joint moves of several arms, and wait. Raises Stopped."""
        self.servo = None
        for name, goal in goals.items():
            self._control.move(name, JointMove([goal], speed, JOINT_ACCELERATION))
        for name in goals:
            self._control.wait(name, 20.0)

    def steer(self, to: np.ndarray) -> None:
        """Send the tip to a point (3,). Returns at once."""
        assert self.servo is not None, "fold_out() comes first"
        self._commanded_at = self._clock.now()
        self.servo.target = to - self._base

    def line(self, to: np.ndarray, *, speed: float = SPEED, most: float = PULL, settle: bool = False) -> Met:
        """Straight to a point (3,), unless more than `most` [N] is felt; `settle`: and wait until the tip is there to 0.3 mm, if it comes
        so near. Raises Stopped, CellFault."""
        servo = self._ready()
        start, felt = self.target(), 0.0
        length = float(np.linalg.norm(to - start))
        steps = max(1, round(length / (speed * self._control.period)))
        for k in range(steps + 200):
            self.steer(start + (to - start) * min((k + 1) / steps, 1.0))
            self._clock.sleep(self._control.period)
            self._control.check()
            force = float(np.linalg.norm(self.force()))
            felt = max(felt, force)
            if force > most:
                self.steer(self.servo_at())
                return Met(False, felt, float(self.tip()[2]))
            if k >= steps and np.abs(servo.target - servo.at).max() < 2e-4:
                break
        calm = 0
        for _ in range(100 if settle else 0):  # what is felt settles, and the corrections with it
            self._clock.sleep(2 * self._control.period)
            self._control.check()
            calm = calm + 1 if np.abs(self.tip() - to).max() < SETTLED else 0
            if calm == 5:
                break
        self._control.check()
        return Met(True, felt, float(self.tip()[2]))

    def servo_at(self) -> np.ndarray:
        """(3,) where the servo commands the tip now."""
        assert self.servo is not None
        return self.servo.at + self._base

    def descend(self, way: float, *, force: float = 4.0) -> Met:
        """Straight down by at most `way` [m] until `force` [N] is felt from below; stays there. `arrived`: it met nothing."""
        self._ready()
        self.tare()
        start, felt = self.target(), 0.0
        for k in range(round(way / (SLOW * self._control.period))):
            self.steer(start - [0, 0, (k + 1) * SLOW * self._control.period])
            self._clock.sleep(self._control.period)
            self._control.check()
            felt = max(felt, float(self.force()[2]))
            if felt > force:
                self._clock.sleep(0.1)
                return Met(False, felt, float(self.tip()[2]))
        return Met(True, felt, float(self.tip()[2]))

    def rest(self) -> None:
        """Stop pressing: the pose that is measured becomes the one commanded."""
        self.steer(self.tip())

    def lift(self, to: float) -> Met | None:
        """Straight up to a height, slowly at first: what is held comes along. None if the arm is not at work."""
        if self.servo is not None and self._control.motion(self.name) is not self.servo:
            self.servo = None  # a stop took the arm away
        if self.servo is None:
            self._stand_up()
            return None
        here = self.tip()
        self.steer(here)
        self._clock.sleep(0.1)
        up = np.array([here[0], here[1], max(to, here[2])])
        knee = np.minimum(up, here + np.array([0, 0, 0.03]))
        self.line(knee, speed=SLOW)
        return self.line(up)

    def _stand_up(self) -> None:
        """After a stop the hand may be in the middle of its work: straight up from there, if it points down, before joints move.

        It stays as it leans: to be turned upright at once would take more torque than there is.
        """
        q = self._control.commanded(self.name)
        here = self._model.forward(q)
        if here.rotation[2, 0] > -0.9:
            return
        rising = []
        for height in np.arange(here.position[2], _STANDING - self._base[2], _RISE) + _RISE:
            q, error = self._model.inverse(Pose(np.array([*here.position[:2], height]), here.rotation), q)
            if error > 1e-3:
                break
            rising.append(q)
        self._control.move(self.name, JointMove(rising, _RISE_SPEED, JOINT_ACCELERATION))
        self._control.wait(self.name, 20.0)

    def home(self) -> None:
        """All arms to their home pose, this one lifted first. Raises Stopped."""
        self.lift(0.10)
        self.joints(dict.fromkeys(self._control.arms, HOME))

    # -- gripping ----------------------------------------------------------------------------------------------------
    def grip(self) -> bool:
        """Close, and say whether a handle is between the fingers."""
        self._arm.opening = 0.0
        self._clock.sleep(0.8)
        self._control.check()
        return self.holds()

    def open(self, opening: float = OPEN) -> None:
        """Let go."""
        self._arm.opening = opening
        self._clock.sleep(0.6)
        self._control.check()

    def holds(self) -> bool:
        """Whether the fingers close on something as wide as a handle."""
        return self._arm.opening == 0.0 and HELD[0] < self._control.reading(self.name).gripper < HELD[1]

    # -- parts -------------------------------------------------------------------------------------------------------
    def _ready(self) -> ToolServo:
        self._control.check()
        if self.servo is None or self._control.motion(self.name) is not self.servo:
            raise CellFault("the arm is not over the fixture: it was moved away in the middle of its work")
        return self.servo

    def _pose(self, point: np.ndarray) -> Pose:
        turn = Rotation.from_rotvec(self._correction[3:]).as_matrix()
        return Pose(point + self._correction[:3], turn @ self._upright())

    def _upright(self) -> np.ndarray:
        """The hand's rotation when it points straight down."""
        return Rotation.from_euler("z", self.yaw).as_matrix() @ _DOWN

    def _lease(self, now: float) -> str | None:
        """Whoever has the arm over the fixture must go on commanding it."""
        if (
            self.servo is None
            or self._control.motion(self.name) is not self.servo
            or now - self._commanded_at <= LEASE_S
        ):
            return None
        return f"the arm has stood over the fixture for {now - self._commanded_at:.0f} s without a command"
