"""The safety monitor: every command passes it on the way to the bus, and it fails closed.

A command is approved or it is not; nothing is bent into shape here (what moves the arms keeps the limits by itself, so a
command beyond them is a fault). The first objection latches: the arms brake along their own path and hold, and stay so until
`acknowledge`, which the next reset says. A stop by a person (`PEOPLE`) is stronger: it holds as long as its watch complains, which
only a person's acknowledgement ends. An exception in a check is an objection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from enpire_real.collision import CollisionModel


@dataclass(frozen=True, slots=True)
class Limits:
    """What no command and no reading may exceed. Arrays are (n,) over the joints of all arms, in order."""

    lower: np.ndarray  # [rad]
    upper: np.ndarray  # [rad]
    velocity: np.ndarray  # [rad/s]
    acceleration: np.ndarray  # [rad/s^2]
    torque: np.ndarray  # [Nm], of feed-forward and PD together, as it would act now
    tracking: np.ndarray  # [rad] between what was commanded and what is measured
    overshoot: float = 0.1  # [rad] that a reading may be beyond lower or upper
    overspeed: float = 1.5  # times velocity that a reading may show
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
    """What the arms said last, (n,) each."""

    time: float
    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    temperature_c: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and when the arms were stopped."""

    reason: str  # a fixed word, for statistics
    detail: str  # with numbers, for people
    time: float
    person: bool = False  # by a person, and not acknowledged yet

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


PEOPLE = ("emergency_stop", "stopped_by_person")  # the watches through which people stop
_APART = 1e-4  # [m] by which a distance may shrink and still count as kept


class Objection(Exception):
    """Raised inside the monitor by a check."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


Watch = Callable[[float], str | None]
#: (n,) torques [Nm] that a planned motion needs: of angles [rad], velocities [rad/s], accelerations [rad/s^2], (n,) each.
Dynamics = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_SHARE = 0.8  # of a torque limit that braking plans with; the rest is for what the model does not know
_LONGEST = 0.5  # [s] that braking may take, however little torque is left


@dataclass(frozen=True, slots=True)
class Braking:
    """The way to rest from one command on: along its path, every joint slower in proportion, at rest after `ticks`.

    What the collision margin is checked with, and what a stop then does: the same object.
    """

    q: np.ndarray  # [rad] where it begins
    velocity: np.ndarray  # [rad/s] there
    ticks: int
    period: float

    def at(self, tick: int) -> tuple[np.ndarray, np.ndarray]:
        """Angles and velocities, (n,) each, after so many ticks."""
        k = min(tick, self.ticks)
        left = 1.0 - k / self.ticks
        return self.q + self.velocity * self.period * (k - k * (k + 1) / (2 * self.ticks)), self.velocity * left

    @property
    def rest(self) -> np.ndarray:
        """(n,) where it ends."""
        return self.at(self.ticks)[0]


def within_torque(command: Command, reading: Reading, kp: np.ndarray, kd: np.ndarray, most: np.ndarray) -> Command:
    """The command with a feed-forward that keeps the whole torque, PD included, within `most` (n,)."""
    pd = kp * (command.q - reading.q) + kd * (command.dq - reading.dq)
    total = np.clip(np.nan_to_num(pd + command.tau), -most, most)
    return Command(command.q, command.dq, total - pd)


@dataclass(slots=True)
class Monitor:
    """Reviews commands.

    Attributes:
        limits: the station's.
        kp, kd: the gains that commands are executed with, (n,).
        period: of the control loop [s].
        workspace: (low, high) corners [m] for each arm's tool, in the order of `collision`'s arms, station frame.
        watches: further reasons to stop, by name: called with the time, they return what is wrong or None
            (emergency stop, lease, cameras).
    """

    limits: Limits
    kp: np.ndarray
    kd: np.ndarray
    period: float
    collision: CollisionModel
    workspace: dict[str, tuple[np.ndarray, np.ndarray]]
    watches: dict[str, Watch] = field(default_factory=dict)
    dynamics: Dynamics | None = None  # None: arms whose torques are unknown
    braking: Braking | None = None  # from the last approved command on
    stop: Stop | None = None
    trips: int = 0  # how often somebody outside has asked for a stop
    _lock: threading.Lock = field(default_factory=threading.Lock)  # held for assignments only: nobody waits to stop
    _planned: Braking | None = None
    _last_q: np.ndarray | None = None
    _last_v: np.ndarray | None = None
    _close: dict[tuple[int, int], float] = field(default_factory=dict)  # pairs that were too close at the last command
    _out: dict[str, float] = field(default_factory=dict)  # how far tools were outside their workspace then

    def review(self, now: float, command: Command, reading: Reading) -> Stop | None:
        """None if the command may be sent; else why not. The first objection stays until it is acknowledged."""
        if self.stop is not None:
            return self.stop
        try:
            velocity = self._check(now, command, reading)
        except Objection as objection:
            self._latch(Stop(objection.reason, objection.detail, now))
        except Exception as error:
            self._latch(Stop("safety_check_error", repr(error), now))
        else:
            self._last_q, self._last_v, self.braking = command.q, velocity, self._planned
        return self.stop

    def trip(self, now: float, reason: str, detail: str, *, person: bool = False) -> Stop:
        """Stop for a reason from outside, from any thread; an earlier one stands, unless only this one is a person's."""
        with self._lock:
            self.trips += 1
        return self._latch(Stop(reason, detail, now, person))

    def heed(self, now: float) -> None:
        """Whether a person stops, or has acknowledged. Asked on every tick, stopped or not."""
        try:
            complaints = [(name, self.watches[name](now)) for name in PEOPLE if name in self.watches]
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
                self.stop = replace(self.stop, person=False)  # from here on it is as any other

    def acknowledge(self, q: np.ndarray, trips: int | None = None) -> None:
        """Go on from commanded angles `q` at rest. What still holds will object again at once.

        A person's stop stays, and so does one that was asked for after the count of `trips`.
        """
        with self._lock:
            if not (self.stop is not None and self.stop.person) and trips in (None, self.trips):
                self.stop = None
        self._last_q, self._last_v, self.braking = np.array(q, dtype=np.float64), np.zeros_like(q), None
        self._close = self.collision.too_close(self._last_q)
        self._out = self._outside()

    def _latch(self, stop: Stop) -> Stop:
        with self._lock:
            if self.stop is None or (stop.person and not self.stop.person):
                self.stop = stop
            return self.stop

    def _check(self, now: float, command: Command, reading: Reading) -> np.ndarray:
        limits = self.limits
        n = len(limits.lower)
        for name, values in (("q", command.q), ("dq", command.dq), ("tau", command.tau)):
            if values.shape != (n,):
                raise Objection("malformed_command", f"{name} has shape {values.shape}, expected {(n,)}")
        if not np.isfinite(command.q + command.dq + command.tau).all():
            raise Objection("not_finite", "a command holds a NaN or an infinity")
        if not now - reading.time <= limits.feedback_age_s:
            raise Objection("stale_feedback", f"joints were last read {(now - reading.time) * 1000:.0f} ms ago")
        for name, watch in self.watches.items():
            if (complaint := watch(now)) is not None:
                raise Objection(name, complaint)
        if self._last_q is None or self._last_v is None:
            raise Objection("not_started", "acknowledge() has not said where the arms start")

        _within("joint_limit", command.q, limits.lower, limits.upper, "rad")
        velocity = (command.q - self._last_q) / self.period
        _below("velocity_limit", velocity, limits.velocity, "rad/s")
        _below("velocity_limit", command.dq, limits.velocity, "rad/s")
        _below("acceleration_limit", (velocity - self._last_v) / self.period, limits.acceleration, "rad/s^2")
        off = command.q - reading.q
        _below("tracking_error", off, limits.tracking, "rad")
        _below("torque_limit", self.kp * off + self.kd * (command.dq - reading.dq) + command.tau, limits.torque, "Nm")

        _within("measured_position", reading.q, limits.lower - limits.overshoot, limits.upper + limits.overshoot, "rad")
        _below("measured_velocity", reading.dq, limits.velocity * limits.overspeed, "rad/s")
        if not reading.temperature_c <= limits.temperature_c:
            raise Objection("temperature", f"a motor is at {reading.temperature_c:.0f} C")

        # The command, and where the arms would come to rest if it were the last: a stop must fit into the margins, too.
        close, outside = self.collision.too_close(command.q), self._outside()
        self._planned = self._brake(command.q, velocity, self.kp * off + self.kd * (command.dq - reading.dq))
        if velocity.any():
            rest = self._planned.rest
            _within("joint_limit", rest, limits.lower - 1e-9, limits.upper + 1e-9, "rad after braking")
            for pair, distance in self.collision.too_close(rest).items():
                close[pair] = min(distance, close.get(pair, np.inf))
            outside = {name: max(amount, outside[name]) for name, amount in self._outside().items()}
        for pair, distance in close.items():
            # What starts too close (an arm that lay on its rest) may move apart, and only apart.
            if distance < self._close.get(pair, np.inf) - _APART:
                raise Objection("collision_margin", self.collision.describe(pair, distance))
        # Measured from the farthest so far, or a hair at a time would add up.
        self._close = {pair: max(distance, self._close.get(pair, -np.inf)) for pair, distance in close.items()}
        for name, amount in outside.items():
            if not amount <= self._out.get(name, 0.0) + (_APART if amount else 0.0):  # from outside, only inward
                raise Objection("workspace_limit", f"the {name} tool would be {amount * 1000:.0f} mm outside")
        self._out = {name: min(amount, self._out.get(name, 0.0)) for name, amount in outside.items()}
        return velocity

    def _brake(self, q: np.ndarray, velocity: np.ndarray, pd: np.ndarray) -> Braking:
        """The shortest way to rest along the path that keeps the limits of acceleration, and of torque beside `pd` (n,) [Nm]."""
        limits = self.limits
        seconds = float(np.max(np.abs(velocity) / limits.acceleration))
        if self.dynamics is not None and velocity.any():
            standing = self.dynamics(q, velocity, np.zeros_like(q))
            inertia = standing - self.dynamics(q, velocity, -velocity)  # torques per 1/s of braking, against the motion
            room = _SHARE * limits.torque - np.where(inertia > 0, -1.0, 1.0) * (standing + pd)
            with np.errstate(divide="ignore", invalid="ignore"):
                need = np.where(np.abs(inertia) > 1e-9, np.abs(inertia) / np.maximum(room, 1e-9), 0.0)
            seconds = min(max(seconds, float(need.max())), max(seconds, _LONGEST))
        return Braking(q, velocity, max(int(np.ceil(seconds / self.period - 1e-9)), 1), self.period)

    def _outside(self) -> dict[str, float]:
        """How far each tool is out of its workspace, for the pose that `collision` looked at last [m]."""
        found = {}
        for name, (low, high) in self.workspace.items():
            tip = self.collision.tip(name)
            found[name] = max(float(np.max(low - tip)), float(np.max(tip - high)), 0.0)
        return found


def _below(reason: str, values: np.ndarray, most: np.ndarray, unit: str) -> None:
    good = np.abs(values) <= most
    if not good.all():  # also for a NaN
        k = int(np.argmin(good))
        raise Objection(reason, f"joint {k + 1}: {values[k]:.3g} {unit}, allowed {most[k]:.3g}")


def _within(reason: str, values: np.ndarray, low: np.ndarray, high: np.ndarray, unit: str) -> None:
    good = (values >= low) & (values <= high)
    if not good.all():
        k = int(np.argmin(good))
        raise Objection(reason, f"joint {k + 1}: {values[k]:.3f} {unit}, allowed {low[k]:.3f} to {high[k]:.3f}")
