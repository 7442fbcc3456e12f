"""The control loop: at a fixed rate it asks the motions, has the safety monitor review, and talks to the motors.

Nothing else talks to the motors. Joint vectors are (n,) over the joints of all arms, in the order of `Control.arms`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from enpire_real.arm import Arm, ArmReading
from enpire_real.bus import BusDown
from enpire_real.clock import Clock, Ticker
from enpire_real.motion import BrakeThen, Hold, Motion
from enpire_real.motors import MotorFault
from enpire_real.safety import Command, Monitor, Reading, Stop, limit_torque

_LOOP_TIMEOUT_S = 0.5  # without a tick, before the loop counts as dead
_MAX_REST_S, _REST_SPEED = (
    3.0,
    0.1,
)  # how long arms may take to come to rest after a fault [s], and what counts as rest [rad/s]


class Stopped(RuntimeError):
    """The arms are stopped; `stop` says why."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(str(stop))
        self.stop = stop


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The station's state after a tick.

    Attributes:
        time: of the tick [s on the station's clock].
        q, dq, tau: (n,) measured positions [rad], velocities [rad/s], torques [Nm].
        commanded: (n,) positions last commanded [rad].
        stop: why the arms are stopped, or None.
    """

    time: float
    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    commanded: np.ndarray
    stop: Stop | None


class Control:
    """Owns the arms from `start` to `close`. All methods but `tick` may be called from any thread.

    Args:
        arms: by name; the order is that of all joint vectors.
        monitor: reviews every command.
        clock: what time is; its ticker calls `tick`.
        rate_hz: of the loop.

    Attributes:
        period: of the loop [s].
        observers: called after each tick with the snapshot, on the loop's thread; must not block. One that raises stops the arms.
        snapshot: of the last tick; None before the first.
        ticker: what calls `tick`, with how late it was; None while the loop does not run.
    """

    def __init__(self, arms: Mapping[str, Arm], monitor: Monitor, clock: Clock, rate_hz: float) -> None:
        self.arms, self.monitor, self.clock = arms, monitor, clock
        self.period = 1.0 / rate_hz
        self.observers: list[Callable[[Snapshot], None]] = []
        ends = np.cumsum([arm.dof for arm in arms.values()]).tolist()
        self._rows = {name: slice(end - arm.dof, end) for (name, arm), end in zip(arms.items(), ends, strict=True)}
        self._motions: dict[str, Motion] = {name: Hold() for name in arms}
        self._lock = threading.Lock()  # between a tick and whoever changes what it does
        self._commanded = np.zeros(ends[-1])
        self._velocity = np.zeros_like(self._commanded)
        self._reading: Reading | None = None
        self._answered_at: dict[str, float] = {}  # when each arm last answered
        self._damped = False  # after a motor or bus fault: the arms sink slowly and follow no command
        self._braking_ticks = 0  # since a stop began to brake
        self.snapshot: Snapshot | None = None
        self.ticker: Ticker | None = None

    # -- motions -----------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Connect, switch on, hold, and begin to tick. Raises what the drivers raise, with all motors off again."""
        try:
            for arm in self.arms.values():
                arm.connect()
            for arm in self.arms.values():
                arm.enable()
            self._hold_measured_pose()
        except BaseException:
            self._switch_off()
            raise
        self.ticker = self.clock.every(self.period, self.tick, "control", urgent=True)

    def move(self, name: str, motion: Motion) -> None:
        """Give an arm a motion, and return at once; one that is under way brakes first. Raises Stopped if the arms are stopped."""
        with self._lock:
            if self.monitor.stop is not None:
                raise Stopped(self.monitor.stop)
            rows = self._rows[name]
            velocity = self._velocity[rows]
            if np.abs(velocity).max() > 1e-6:  # motions begin at rest
                motion = BrakeThen(velocity, 0.25 * self.monitor.limits.acceleration[rows], motion)
            self._motions[name] = motion

    def wait(self, name: str, timeout_s: float) -> None:
        """Until the arm's motion is done. Raises Stopped; a motion that takes longer than `timeout_s` stops the arms."""
        deadline = self.clock.now() + timeout_s
        while not self._motions[name].done:
            self.check()
            if self.clock.now() > deadline:
                self.stop("motion_timeout", f"the {name} arm was not there after {timeout_s:.0f} s")
            self.clock.sleep(self.period)
        self.check()

    def check(self) -> None:
        """Raises Stopped if the arms are stopped, or if the loop itself has died (the motors' watchdogs damp the arms then)."""
        if self.monitor.stop is not None:
            raise Stopped(self.monitor.stop)
        now = self.clock.now()
        if self.snapshot is not None and now - self.snapshot.time > _LOOP_TIMEOUT_S:
            raise Stopped(self.monitor.trip(now, "loop_dead", "the control loop does not tick any more"))

    def stop(self, reason: str, detail: str, *, person: bool = False) -> None:
        """Stop the arms from outside the loop. Waits for nothing.

        Args:
            reason: a fixed word, for statistics.
            detail: for people.
            person: whether a person stops; only a person's acknowledgement ends that.
        """
        self.monitor.trip(self.clock.now(), reason, detail, person=person)

    def check_person_stops(self) -> None:
        """Ask now, and not at the next tick, whether a person stops or has acknowledged."""
        self.monitor.check_person_stops(self.clock.now())

    def acknowledge(self) -> None:
        """Go on after a stop: reopen a bus that failed, switch motors on again, hold where the arms are.

        Raises MotorFault or BusDown if the fault is still there; Stopped if a check still objects, if a person's stop holds, or if
        somebody stops meanwhile.
        """
        self.check_person_stops()
        if self.monitor.stop is not None and self.monitor.stop.person:
            raise Stopped(self.monitor.stop)
        trip_count = self.monitor.trip_count
        # Still braking: going on from rest in the middle of it would jerk.
        for _ in range(round(_MAX_REST_S / self.period)):
            if self._damped or not self._velocity.any():
                break
            self.clock.sleep(self.period)
        if self._damped:
            with self._lock:
                for arm in self.arms.values():
                    arm.recover()
            # What sinks is slowed down first; holding it where it is would jerk.
            for _ in range(round(_MAX_REST_S / self.period)):
                self.clock.sleep(self.period)
                if self._reading is not None and np.abs(self._reading.dq).max() < _REST_SPEED:
                    break
        with self._lock:
            self._hold_measured_pose(trip_count)
            self._damped = False
            self._motions = {name: Hold() for name in self.arms}
        self.clock.sleep(2 * self.period)
        self.check()

    def motion(self, name: str) -> Motion:
        """An arm's motion, the one that follows if it still brakes; `Hold` after a stop was acknowledged."""
        motion = self._motions[name]
        return motion.then if isinstance(motion, BrakeThen) else motion

    def rows(self, name: str) -> slice:
        """Which elements of joint vectors are an arm's."""
        return self._rows[name]

    def commanded(self, name: str) -> np.ndarray:
        """(dof,) joint angles last commanded to an arm [rad]."""
        return self._commanded[self._rows[name]].copy()

    def reading(self, name: str) -> ArmReading:
        """What an arm measured last. `start` comes first."""
        reading = self.arms[name].reading
        assert reading is not None, "start() comes first"
        return reading

    @property
    def running(self) -> bool:
        """Whether the loop ticks."""
        return self.ticker is not None

    def close(self, *, as_they_are: bool = False) -> None:
        """Stop ticking and switch the motors off. Safe to call twice.

        `as_they_are`: leave the motors to their own watchdogs instead, which damp: arms that were switched off would fall.
        """
        if self.ticker is not None:
            self.ticker.cancel()
            self.ticker = None
            self._switch_off(disable=not as_they_are)

    # -- the tick ----------------------------------------------------------------------------------------------------
    def tick(self) -> None:
        """One period: check for people's stops, command and read all arms, hand the snapshot to the observers. Raises nothing: what
        goes wrong stops the arms."""
        # In virtual time it is this very thread that holds the lock while it waits for motors: no tick then.
        if not self._lock.acquire(blocking=not self.clock.virtual):
            return
        try:
            now = self.clock.now()
            self.monitor.check_person_stops(now)
            if not self._damped:
                self._drive(now)
            if self._damped:
                self._damp_arms()
            assert self._reading is not None
            reading = self._reading
            self.snapshot = Snapshot(now, reading.q, reading.dq, reading.tau, self._commanded, self.monitor.stop)
        finally:
            self._lock.release()
        for observer in self.observers:
            try:
                observer(self.snapshot)
            except Exception as error:
                self.stop("observer_failed", repr(error))

    def _drive(self, now: float) -> None:
        """Send the motions' next command if the monitor approves it, else the next one of braking."""
        assert self._reading is not None, "start() comes first"
        command, velocity = None, self._velocity
        if self.monitor.stop is None:
            try:
                wanted = np.concatenate(
                    [self._motions[name].step(self._commanded[rows], self.period) for name, rows in self._rows.items()]
                )
                velocity = (wanted - self._commanded) / self.period
                command = Command(wanted, velocity, self._feed_forward(wanted, velocity))
            except Exception as error:
                self.monitor.trip(now, "motion_failed", str(error) or repr(error))
        try:
            if command is None or self.monitor.review(now, command, self._reading) is not None:
                command = self._braking()
            else:
                self._braking_ticks = 0
            self._velocity = command.dq
            self._commanded = command.q
            self._send(command)
        except Exception as fault:
            self._damped = True
            known = isinstance(fault, MotorFault | BusDown)
            self.monitor.trip(now, "motor_fault" if known else "loop_error", str(fault) or repr(fault))

    def _braking(self) -> Command:
        """One tick further on the way to rest that the monitor planned with the last command it approved."""
        monitor = self.monitor
        assert self._reading is not None
        self._braking_ticks += 1
        if monitor.braking is None:
            q, velocity = self._commanded, np.zeros_like(self._commanded)
        else:
            q, velocity = monitor.braking.at(self._braking_ticks)
        command = Command(q, velocity, self._feed_forward(q, velocity))
        return limit_torque(command, self._reading, monitor.kp, monitor.kd, monitor.limits.torque)

    def _feed_forward(self, q: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """(n,) torques [Nm] to send with a command."""
        acceleration = (velocity - self._velocity) / self.period
        return np.concatenate([
            arm.feed_forward(q[rows], velocity[rows], acceleration[rows], self.period)
            for arm, rows in zip(self.arms.values(), self._rows.values(), strict=True)
        ])  # fmt: skip

    def _send(self, command: Command) -> None:
        for name, rows in self._rows.items():
            self.arms[name].command(command.q[rows], command.dq[rows], command.tau[rows])
            self._answered_at[name] = self.clock.now()
        self._collect()

    def _damp_arms(self) -> None:
        """After a motor or bus fault: the arms that can still be reached sink slowly instead of falling."""
        for name, arm in self.arms.items():
            try:
                arm.damp(self.monitor.limits.torque[self._rows[name]])
                self._answered_at[name] = self.clock.now()
            except Exception:
                continue  # its own watchdog does the same
        self._collect()

    def _collect(self) -> None:
        """Join the arms' readings to the station's."""
        readings = [self.reading(name) for name in self.arms]
        self._reading = Reading(
            min(self._answered_at.values()),  # as old as the oldest of the arms' answers
            np.concatenate([r.q for r in readings]),
            np.concatenate([r.dq for r in readings]),
            np.concatenate([r.tau for r in readings]),
            max(r.temperature_c for r in readings),
        )

    def _hold_measured_pose(self, trip_count: int | None = None) -> None:
        """Take the measured pose for the commanded one, at rest. Raises MotorFault, BusDown: an old pose will not do.

        `trip_count`: stops that were asked for after the monitor's count was this one stay.
        """
        for name, arm in self.arms.items():
            arm.read_joints()
            self._answered_at[name] = self.clock.now()
        self._collect()
        assert self._reading is not None
        limits = self.monitor.limits
        self._commanded = np.clip(self._reading.q, limits.lower, limits.upper)
        self._velocity, self._braking_ticks = np.zeros_like(self._commanded), 0
        self.monitor.acknowledge(self._commanded, trip_count)

    def _switch_off(self, *, disable: bool = True) -> None:
        for arm in self.arms.values():
            for act in (arm.disable, arm.close) if disable else (arm.close,):
                try:
                    act()
                except Exception:
                    continue  # the others must be switched off all the same; this one's watchdog ends it
