"""The safety monitor: every command passes it on the way to the bus, and it fails closed.

A command is approved or refused, never changed (what moves the arms keeps the limits by itself, so a command beyond them is a
fault). The first violation latches: the arms brake along their own path and hold, and stay so until `acknowledge`, which the next
reset calls. A stop by a person (`PERSON_WATCHES`) is stronger: it holds as long as its watch complains, which only a person's
acknowledgement ends. An exception in a check is a violation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from enpire_real.collision import CollisionModel


@dataclass(frozen=True, slots=True)
class Limits:
    """What no command and no reading may exceed. Arrays are (n,) over the joints of all arms, in order.

    Attributes:
        lower, upper: of commanded positions [rad].
        velocity: of commands [rad/s].
        acceleration: from one command to the next [rad/s^2].
        torque: of feed-forward and the motors' own PD loop together, as it would act now [Nm].
        tracking: between what is commanded and what is measured [rad].
        overshoot: that a measured position may be beyond `lower` or `upper` [rad].
        overspeed: measured velocities may be so many times `velocity`.
        temperature_c: of the hottest motor.
        feedback_age_s: of the oldest reading when a command is reviewed.
    """

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    torque: np.ndarray
    tracking: np.ndarray
    overshoot: float = 0.1
    overspeed: float = 1.5
    temperature_c: float = 80.0
    feedback_age_s: float = 0.050


@dataclass(frozen=True, slots=True)
class Command:
    """What is about to be sent to all arms, (n,) each: position [rad], velocity [rad/s], feed-forward torque [Nm]."""

    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray


@dataclass(frozen=True, slots=True)
class Reading:
    """What the arms measured last.

    Attributes:
        time: of the oldest arm's answer [s on the station's clock].
        q, dq, tau: (n,) positions [rad], velocities [rad/s], torques [Nm].
        temperature_c: of the hottest motor.
    """

    time: float
    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    temperature_c: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and when the arms were stopped.

    Attributes:
        reason: a fixed word, for statistics.
        detail: with numbers, for people.
        time: [s on the station's clock].
        person: by a person, and not acknowledged yet.
    """

    reason: str
    detail: str
    time: float
    person: bool = False

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


PERSON_WATCHES = ("emergency_stop", "stopped_by_person")  # the watches through which people stop
_DISTANCE_TOLERANCE = 1e-4  # [m] by which a distance may shrink and still count as kept


class Violation(Exception):
    """A limit that a command or a reading does not keep; raised and caught inside the monitor."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


#: Called with the time [s], it returns what is wrong, or None.
Watch = Callable[[float], str | None]
#: (n,) torques [Nm] that a planned motion needs: of angles [rad], velocities [rad/s], accelerations [rad/s^2], (n,) each.
Dynamics = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_TORQUE_SHARE = 0.8  # of a torque limit, for the plan of braking; the rest is for what the model does not know
_MAX_BRAKING_S = 0.5  # [s] that braking may take, however little torque is left


@dataclass(frozen=True, slots=True)
class BrakingPlan:
    """The way to rest from one command on: along its path, every joint slower in proportion, at rest after `ticks`.

    What the collision margin is checked with, and what a stop then does: the same object.

    Attributes:
        q, velocity: (n,) where and how fast it begins [rad], [rad/s].
        ticks: of the control loop until rest, at least 1.
        period: of the control loop [s].
    """

    q: np.ndarray
    velocity: np.ndarray
    ticks: int
    period: float

    def at(self, tick: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions [rad] and velocities [rad/s], (n,) each, after so many ticks."""
        k = min(tick, self.ticks)
        left = 1.0 - k / self.ticks
        return self.q + self.velocity * self.period * (k - k * (k + 1) / (2 * self.ticks)), self.velocity * left

    @property
    def rest(self) -> np.ndarray:
        """(n,) positions where it ends [rad]."""
        return self.at(self.ticks)[0]


def limit_torque(command: Command, reading: Reading, kp: np.ndarray, kd: np.ndarray, limit: np.ndarray) -> Command:
    """The command with a feed-forward that keeps the whole torque, PD included, within +-`limit` (n,) [Nm].

    `kp`, `kd`: (n,) gains of the motors' own loops [Nm/rad], [Nm s/rad].
    """
    pd = kp * (command.q - reading.q) + kd * (command.dq - reading.dq)
    total = np.clip(np.nan_to_num(pd + command.tau), -limit, limit)
    return Command(command.q, command.dq, total - pd)


@dataclass(slots=True)
class Monitor:
    """Reviews commands. `review` belongs to the control loop; `trip` may be called, and `stop` read, from any thread.

    Attributes:
        limits: the station's.
        kp, kd: (n,) gains that the motors execute commands with [Nm/rad], [Nm s/rad].
        period: of the control loop [s].
        collision: distances between links, and to the table.
        workspace: arm -> (low, high) corners (3,) for its tool's tip [m], station frame.
        watches: further reasons to stop, by name (emergency stop, lease, cameras).
        dynamics: torques of a planned motion; None for arms whose torques are unknown.
        braking: the way to rest from the last approved command on; None where there was none yet.
        stop: why the arms are stopped, or None.
        trip_count: how often `trip` was called.
    """

    limits: Limits
    kp: np.ndarray
    kd: np.ndarray
    period: float
    collision: CollisionModel
    workspace: dict[str, tuple[np.ndarray, np.ndarray]]
    watches: dict[str, Watch] = field(default_factory=dict)
    dynamics: Dynamics | None = None
    braking: BrakingPlan | None = None
    stop: Stop | None = None
    trip_count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)  # held for assignments only: a stop never waits
    _planned: BrakingPlan | None = None
    _last_q: np.ndarray | None = None
    _last_v: np.ndarray | None = None
    # Pairs of geoms that were too close at the last command [m].
    _too_close: dict[tuple[int, int], float] = field(default_factory=dict)
    _outside_by: dict[str, float] = field(default_factory=dict)  # how far tools were outside their workspace then

    def review(self, now: float, command: Command, reading: Reading) -> Stop | None:
        """None if the command may be sent, else why not. The first violation stays until it is acknowledged.

        `now`: [s on the station's clock].
        """
        if self.stop is not None:
            return self.stop
        try:
            velocity = self._check(now, command, reading)
        except Violation as violation:
            self._latch(Stop(violation.reason, violation.detail, now))
        except Exception as error:
            self._latch(Stop("safety_check_error", repr(error), now))
        else:
            self._last_q, self._last_v, self.braking = command.q, velocity, self._planned
        return self.stop

    def trip(self, now: float, reason: str, detail: str, *, person: bool = False) -> Stop:
        """Stop for a reason from outside, from any thread. Returns the stop that holds: an earlier one stands, unless only this one is
        a person's."""
        with self._lock:
            self.trip_count += 1
        return self._latch(Stop(reason, detail, now, person))

    def check_person_stops(self, now: float) -> None:
        """Stop if a person stops; end a person's stop where a person has acknowledged it. Called on every tick, stopped or not."""
        try:
            complaints = [(name, self.watches[name](now)) for name in PERSON_WATCHES if name in self.watches]
        except Exception as error:
            self._latch(Stop("safety_check_error", repr(error), now))
            return
        for name, complaint in complaints:
            if complaint is not None:
                held = self._latch(Stop(name, complaint, now, person=True))
                self.stop = replace(
                    held, detail=complaint
                )  # a button that was released is not pressed any more, but holds
                return
        with self._lock:
            if self.stop is not None and self.stop.person:
                self.stop = replace(self.stop, person=False)  # from here on it is like any other

    def acknowledge(self, q: np.ndarray, trip_count: int | None = None) -> None:
        """Go on at rest from commanded positions `q` (n,) [rad]. What is still wrong stops the arms again with the next command.

        A person's stop stays, and so does one that was asked for since `trip_count` was read (None: none is kept for that).
        """
        with self._lock:
            if not (self.stop is not None and self.stop.person) and trip_count in (None, self.trip_count):
                self.stop = None
        self._last_q, self._last_v, self.braking = np.array(q, dtype=np.float64), np.zeros_like(q), None
        self._too_close = self.collision.too_close(self._last_q)
        self._outside_by = self._outside()

    def _latch(self, stop: Stop) -> Stop:
        with self._lock:
            if self.stop is None or (stop.person and not self.stop.person):
                self.stop = stop
            return self.stop

    def _check(self, now: float, command: Command, reading: Reading) -> np.ndarray:
        """The velocity (n,) [rad/s] that the command means. Raises Violation."""
        limits = self.limits
        n = len(limits.lower)
        for name, values in (("q", command.q), ("dq", command.dq), ("tau", command.tau)):
            if values.shape != (n,):
                raise Violation("malformed_command", f"{name} has shape {values.shape}, expected {(n,)}")
        if not np.isfinite(command.q + command.dq + command.tau).all():
            raise Violation("not_finite", "a command holds a NaN or an infinity")
        if not now - reading.time <= limits.feedback_age_s:
            raise Violation("stale_feedback", f"joints were last read {(now - reading.time) * 1000:.0f} ms ago")
        for name, watch in self.watches.items():
            if (complaint := watch(now)) is not None:
                raise Violation(name, complaint)
        if self._last_q is None or self._last_v is None:
            raise Violation("not_started", "acknowledge() comes first: it takes the pose that the arms start from")

        _check_range("joint_limit", command.q, limits.lower, limits.upper, "rad")
        velocity = (command.q - self._last_q) / self.period
        _check_magnitude("velocity_limit", velocity, limits.velocity, "rad/s")
        _check_magnitude("velocity_limit", command.dq, limits.velocity, "rad/s")
        _check_magnitude("acceleration_limit", (velocity - self._last_v) / self.period, limits.acceleration, "rad/s^2")
        off = command.q - reading.q
        _check_magnitude("tracking_error", off, limits.tracking, "rad")
        _check_magnitude(
            "torque_limit", self.kp * off + self.kd * (command.dq - reading.dq) + command.tau, limits.torque, "Nm"
        )

        _check_range(
            "measured_position", reading.q, limits.lower - limits.overshoot, limits.upper + limits.overshoot, "rad"
        )
        _check_magnitude("measured_velocity", reading.dq, limits.velocity * limits.overspeed, "rad/s")
        if not reading.temperature_c <= limits.temperature_c:
            raise Violation("temperature", f"a motor is at {reading.temperature_c:.0f} C")

        # The command, and where the arms would come to rest if it were the last: a stop must fit into the margins, too.
        close, outside = self.collision.too_close(command.q), self._outside()
        self._planned = self._brake(command.q, velocity, self.kp * off + self.kd * (command.dq - reading.dq))
        if velocity.any():
            rest = self._planned.rest
            _check_range("joint_limit", rest, limits.lower - 1e-9, limits.upper + 1e-9, "rad after braking")
            for pair, distance in self.collision.too_close(rest).items():
                close[pair] = min(distance, close.get(pair, np.inf))
            outside = {name: max(amount, outside[name]) for name, amount in self._outside().items()}
        for pair, distance in close.items():
            # What starts too close (an arm that lay on its rest) may move apart, and only apart.
            if distance < self._too_close.get(pair, np.inf) - _DISTANCE_TOLERANCE:
                raise Violation("collision_margin", self.collision.describe(pair, distance))
        # Measured from the farthest so far, or small steps would add up.
        self._too_close = {pair: max(distance, self._too_close.get(pair, -np.inf)) for pair, distance in close.items()}
        for name, amount in outside.items():
            tolerance = _DISTANCE_TOLERANCE if amount else 0.0
            if not amount <= self._outside_by.get(name, 0.0) + tolerance:  # from outside, only inward
                raise Violation("workspace_limit", f"the {name} tool would be {amount * 1000:.0f} mm outside")
        self._outside_by = {name: min(amount, self._outside_by.get(name, 0.0)) for name, amount in outside.items()}
        return velocity

    def _brake(self, q: np.ndarray, velocity: np.ndarray, pd: np.ndarray) -> BrakingPlan:
        """The shortest way to rest along the path that keeps the limits of acceleration, and of torque beside `pd` (n,) [Nm]."""
        limits = self.limits
        seconds = float(np.max(np.abs(velocity) / limits.acceleration))
        if self.dynamics is not None and velocity.any():
            standing = self.dynamics(q, velocity, np.zeros_like(q))
            inertia = standing - self.dynamics(q, velocity, -velocity)  # torques per 1/s of braking, against the motion
            room = _TORQUE_SHARE * limits.torque - np.where(inertia > 0, -1.0, 1.0) * (standing + pd)
            with np.errstate(divide="ignore", invalid="ignore"):
                need = np.where(np.abs(inertia) > 1e-9, np.abs(inertia) / np.maximum(room, 1e-9), 0.0)
            seconds = min(max(seconds, float(need.max())), max(seconds, _MAX_BRAKING_S))
        return BrakingPlan(q, velocity, max(int(np.ceil(seconds / self.period - 1e-9)), 1), self.period)

    def _outside(self) -> dict[str, float]:
        """How far each tool is out of its workspace, for the pose that `collision` looked at last [m]."""
        found = {}
        for name, (low, high) in self.workspace.items():
            tip = self.collision.tip(name)
            found[name] = max(float(np.max(low - tip)), float(np.max(tip - high)), 0.0)
        return found


def _check_magnitude(reason: str, values: np.ndarray, limit: np.ndarray, unit: str) -> None:
    """Raises Violation for the first joint beyond +-`limit`."""
    good = np.abs(values) <= limit
    if not good.all():  # also for a NaN
        k = int(np.argmin(good))
        raise Violation(reason, f"joint {k + 1}: {values[k]:.3g} {unit}, allowed {limit[k]:.3g}")


def _check_range(reason: str, values: np.ndarray, low: np.ndarray, high: np.ndarray, unit: str) -> None:
    """Raises Violation for the first joint that is not from `low` to `high`."""
    good = (values >= low) & (values <= high)
    if not good.all():
        k = int(np.argmin(good))
        raise Violation(reason, f"joint {k + 1}: {values[k]:.3f} {unit}, allowed {low[k]:.3f} to {high[k]:.3f}")
