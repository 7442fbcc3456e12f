"""The control loop: at a fixed rate, ask the motions, ask the monitor, talk to the motors. Nothing else may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from enpire_real.arm import ArmReading
from enpire_real.bus import BusDown
from enpire_real.clock import Clock, Ticker
from enpire_real.kinematics import ArmModel
from enpire_real.motion import Braking, Hold, Motion
from enpire_real.motors import MotorFault
from enpire_real.safety import Command, Monitor, Reading, Stop, within_torque

_DEAD_S = 0.5
_SINK_S, _SLOW = 3.0, 0.1  # how long arms may take to come to rest after a fault [s], and what counts as rest [rad/s]


class Arm(Protocol):
    """What the loop drives: a YAM on its bus, or another maker's arm behind LeRobot."""

    dof: int
    model: ArmModel
    kp: np.ndarray
    kd: np.ndarray
    opening: float  # that the gripper is commanded to, 0 to 1
    reading: ArmReading | None

    def connect(self) -> ArmReading: ...

    def look(self) -> ArmReading: ...

    def enable(self) -> None: ...

    def feed_forward(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray, dt: float) -> np.ndarray: ...

    def needed_torque(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray) -> np.ndarray: ...

    def command(self, q: np.ndarray, dq: np.ndarray, tau: np.ndarray) -> ArmReading: ...

    def damp(self, most: np.ndarray) -> None: ...

    def recover(self) -> None: ...

    def disable(self) -> None: ...

    def close(self) -> None: ...


class Stopped(RuntimeError):
    """The arms were stopped; `stop` says why."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(str(stop))
        self.stop = stop


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The station's state after a tick; (n,) arrays over the joints of all arms, in order."""

    time: float
    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    commanded: np.ndarray
    stop: Stop | None


class Control:
    """Owns the arms from `start` to `close`.

    Args:
        arms: by name; the order is that of all joint vectors.
        observers: called after each tick with the snapshot; must not block.
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
        self._heard: dict[str, float] = {}  # when each arm last answered
        self._limp = False
        self._braked = 0  # ticks on the way to rest
        self.snapshot: Snapshot | None = None
        self.ticker: Ticker | None = None

    # -- for those who move ------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Connect, switch on, hold, and begin to tick. Raises what the drivers raise, with all motors off again."""
        try:
            for arm in self.arms.values():
                arm.connect()
            for arm in self.arms.values():
                arm.enable()
            self._adopt()
        except BaseException:
            self._off()
            raise
        self.ticker = self.clock.every(self.period, self.tick, "control", urgent=True)

    def move(self, name: str, motion: Motion) -> None:
        """Give an arm a motion; one that is under way brakes first. Raises Stopped if the arms are stopped."""
        with self._lock:
            if self.monitor.stop is not None:
                raise Stopped(self.monitor.stop)
            rows = self._rows[name]
            velocity = self._velocity[rows]
            if np.abs(velocity).max() > 1e-6:  # motions begin at rest
                motion = Braking(velocity, 0.25 * self.monitor.limits.acceleration[rows], motion)
            self._motions[name] = motion

    def wait(self, name: str, timeout_s: float) -> None:
        """Until the arm's motion is done. Raises Stopped, or trips and raises if it takes too long."""
        deadline = self.clock.now() + timeout_s
        while not self._motions[name].done:
            self.check()
            if self.clock.now() > deadline:
                self.stop("motion_timeout", f"the {name} arm was not there after {timeout_s:.0f} s")
            self.clock.sleep(self.period)
        self.check()

    def check(self) -> None:
        """Raises Stopped if the arms are stopped, or if the loop itself has died (the motors' watchdogs then hold)."""
        if self.monitor.stop is not None:
            raise Stopped(self.monitor.stop)
        now = self.clock.now()
        if self.snapshot is not None and now - self.snapshot.time > _DEAD_S:
            raise Stopped(self.monitor.trip(now, "loop_dead", "the control loop does not tick any more"))

    def stop(self, reason: str, detail: str, *, person: bool = False) -> None:
        """Stop the arms from outside the loop, from any thread. Waits for nothing."""
        self.monitor.trip(self.clock.now(), reason, detail, person=person)

    def heed(self) -> None:
        """Look now, and not at the next tick, whether a person stops."""
        self.monitor.heed(self.clock.now())

    def acknowledge(self) -> None:
        """Go on after a stop: reopen a bus that failed, switch motors on again, hold where the arms are.

        Raises MotorFault or BusDown if the fault is still there; Stopped if a check still objects, if a person's stop holds, or if
        somebody stops meanwhile.
        """
        self.heed()
        if self.monitor.stop is not None and self.monitor.stop.person:
            raise Stopped(self.monitor.stop)
        trips = self.monitor.trips
        for _ in range(
            round(_SINK_S / self.period)
        ):  # still braking: going on from rest in the middle of it would jerk
            if self._limp or not self._velocity.any():
                break
            self.clock.sleep(self.period)
        if self._limp:
            with self._lock:
                for arm in self.arms.values():
                    arm.recover()
            # What sinks is slowed down first; holding it where it is would jerk.
            for _ in range(round(_SINK_S / self.period)):
                self.clock.sleep(self.period)
                if self._reading is not None and np.abs(self._reading.dq).max() < _SLOW:
                    break
        with self._lock:
            self._adopt(trips)
            self._limp = False
            self._motions = {name: Hold() for name in self.arms}
        self.clock.sleep(2 * self.period)
        self.check()

    def motion(self, name: str) -> Motion:
        """What an arm is doing; after a stop was acknowledged it only holds."""
        motion = self._motions[name]
        return motion.then if isinstance(motion, Braking) else motion

    def rows(self, name: str) -> slice:
        """Where an arm's joints are in joint vectors."""
        return self._rows[name]

    def commanded(self, name: str) -> np.ndarray:
        """Joint angles last commanded."""
        return self._commanded[self._rows[name]].copy()

    def reading(self, name: str) -> ArmReading:
        reading = self.arms[name].reading
        assert reading is not None, "start() comes first"
        return reading

    @property
    def running(self) -> bool:
        return self.ticker is not None

    def close(self, *, as_they_are: bool = False) -> None:
        """Stop ticking and switch the motors off. Safe to call twice.

        `as_they_are`: leave the motors to their own watchdogs instead, which damp: arms that were switched off would fall.
        """
        if self.ticker is not None:
            self.ticker.cancel()
            self.ticker = None
            self._off(disable=not as_they_are)

    # -- the tick ----------------------------------------------------------------------------------------------------
    def tick(self) -> None:
        # In virtual time it is this very thread that holds the lock while it waits for motors: no tick then.
        if not self._lock.acquire(blocking=not self.clock.virtual):
            return
        try:
            now = self.clock.now()
            self.monitor.heed(now)
            if not self._limp:
                self._drive(now)
            if self._limp:
                self._give_way()
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
                self._braked = 0
            self._velocity = command.dq
            self._commanded = command.q
            self._send(command)
        except Exception as fault:
            self._limp = True
            known = isinstance(fault, MotorFault | BusDown)
            self.monitor.trip(now, "motor_fault" if known else "loop_error", str(fault) or repr(fault))

    def _braking(self) -> Command:
        """One tick further on the way to rest that the monitor planned with the last command it approved."""
        monitor = self.monitor
        assert self._reading is not None
        self._braked += 1
        if monitor.braking is None:
            q, velocity = self._commanded, np.zeros_like(self._commanded)
        else:
            q, velocity = monitor.braking.at(self._braked)
        command = Command(q, velocity, self._feed_forward(q, velocity))
        return within_torque(command, self._reading, monitor.kp, monitor.kd, monitor.limits.torque)

    def _feed_forward(self, q: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        acceleration = (velocity - self._velocity) / self.period
        return np.concatenate([
            arm.feed_forward(q[rows], velocity[rows], acceleration[rows], self.period)
            for arm, rows in zip(self.arms.values(), self._rows.values(), strict=True)
        ])  # fmt: skip

    def _send(self, command: Command) -> None:
        for name, rows in self._rows.items():
            self.arms[name].command(command.q[rows], command.dq[rows], command.tau[rows])
            self._heard[name] = self.clock.now()
        self._collect()

    def _give_way(self) -> None:
        """After a motor or bus fault: the arms that can still be reached sink slowly instead of falling."""
        for name, arm in self.arms.items():
            try:
                arm.damp(self.monitor.limits.torque[self._rows[name]])
                self._heard[name] = self.clock.now()
            except Exception:
                continue  # its own watchdog does the same
        self._collect()

    def _collect(self) -> None:
        readings = [self.reading(name) for name in self.arms]
        self._reading = Reading(
            min(self._heard.values()),  # as old as the arm that was heard longest ago
            np.concatenate([r.q for r in readings]),
            np.concatenate([r.dq for r in readings]),
            np.concatenate([r.tau for r in readings]),
            max(r.temperature_c for r in readings),
        )

    def _adopt(self, trips: int | None = None) -> None:
        """Take the measured pose for the commanded one. Raises MotorFault, BusDown: an old pose will not do."""
        for name, arm in self.arms.items():
            arm.look()
            self._heard[name] = self.clock.now()
        self._collect()
        assert self._reading is not None
        limits = self.monitor.limits
        self._commanded = np.clip(self._reading.q, limits.lower, limits.upper)
        self._velocity, self._braked = np.zeros_like(self._commanded), 0
        self.monitor.acknowledge(self._commanded, trips)

    def _off(self, *, disable: bool = True) -> None:
        for arm in self.arms.values():
            for act in (arm.disable, arm.close) if disable else (arm.close,):
                try:
                    act()
                except Exception:
                    continue  # the others must be switched off all the same; this one's watchdog ends it
