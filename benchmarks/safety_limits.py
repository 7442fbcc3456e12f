"""Audit: what reaches the motors of a twin, whatever its motions ask for and whenever they are stopped.

Every command, approved or braking, is held against the limits of position, velocity, acceleration and torque (feed-forward and PD
with the last reading), and every stop against the place that the collision margin was checked with. It goes on where
an earlier run with the same `--state` ended, and prints one JSON line at the end:

    python benchmarks/safety_limits.py --commands 1000000 --stops 1000 --state limits.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
from enpire_real.build import build_station
from enpire_real.motion import JointFollow, JointMove
from enpire_real.station import Station
from enpire_real.station_file import load_station
from enpire_real.yam import HOME

ZERO = {"commands": 0, "braking": 0, "over_torque": 0, "over_other": 0, "worst_torque_nm": -math.inf, "stops": 0,
        "worst_rest_rad": 0.0, "worst_settled_rad": 0.0}  # fmt: skip


def make_station(seed: int) -> Station:
    """A twin without cameras, at home."""
    file = load_station()
    assert file.twin is not None
    twin = file.twin.model_copy(update={"seed": seed, "scene": "empty"})
    station = build_station(file.model_copy(update={"cameras": {}, "tasks": {}, "twin": twin}))
    station.start()
    go_home(station)
    return station


def go_home(station: Station) -> None:
    for name in station.control.arms:
        station.control.move(name, JointMove([HOME], 1.5, 8.0))
    for name in station.control.arms:
        station.control.wait(name, 20)


class Witness:
    """Stands between the loop and the drivers, and holds each command against the limits."""

    def __init__(self, station: Station) -> None:
        self.counts: dict[str, Any] = dict(ZERO)
        limits = station.control.monitor.limits
        self._last: dict[str, np.ndarray] = {}  # velocity of the last command
        for name, arm in station.control.arms.items():
            rows = station.control.rows(name)
            self._watch(station, name, arm, rows, limits)

    def _watch(self, station: Station, name: str, arm: Any, rows: slice, limits: Any) -> None:
        command, counts = arm.command, self.counts

        def witnessed(q: np.ndarray, dq: np.ndarray, tau: np.ndarray) -> Any:
            reading = arm.reading
            torque = np.abs(arm.kp * (q - reading.q) + arm.kd * (dq - reading.dq) + tau) - limits.torque[rows]
            change = np.abs(dq - self._last.get(name, np.zeros_like(dq)))
            good = (q >= limits.lower[rows] - 1e-9) & (q <= limits.upper[rows] + 1e-9)
            good &= np.abs(dq) <= limits.velocity[rows] + 1e-9
            good &= change <= limits.acceleration[rows] * station.control.period + 1e-6
            counts["commands"] += 1
            counts["braking"] += station.control.monitor.stop is not None
            counts["over_torque"] += not (torque <= 1e-9).all()
            counts["over_other"] += not good.all()
            counts["worst_torque_nm"] = max(counts["worst_torque_nm"], float(torque.max()))
            self._last[name] = dq.copy()
            return command(q, dq, tau)

        arm.command = witnessed


class Adversary:
    """Honest steps, rushes, jumps, NaN; now and then a push right up to the limits of speed and acceleration."""

    done = False

    def __init__(self, rng: np.random.Generator, station: Station, name: str) -> None:
        limits, rows = station.control.monitor.limits, station.control.rows(name)
        self._rng, self._kind, self._left = rng, 0, 0
        self._velocity, self._acceleration = limits.velocity[rows], limits.acceleration[rows]
        self._v = np.zeros(len(self._velocity))
        self._way = self._v

    def step(self, q: np.ndarray, dt: float) -> np.ndarray:
        if self._left == 0:
            self._kind, self._left = int(self._rng.integers(6)), int(self._rng.integers(5, 40))
            self._way = self._rng.uniform(-1, 1, len(q))
        self._left -= 1
        if self._kind == 5:
            wild = (q * math.nan, self._rng.uniform(-10, 10, len(q)), q + 0.04 * self._way)[int(self._rng.integers(3))]
            return np.asarray(wild)
        share = (0.05, 0.1, 0.2, 0.4, 0.99)[self._kind]
        wanted = share * self._velocity * self._way
        most = share * self._acceleration * dt
        self._v = self._v + np.clip(wanted - self._v, -most, most)
        return q + self._v * dt


def fuzz(station: Station, rng: np.random.Generator, commands: int) -> dict[str, Any]:
    """At least so many commands to each motor driver, from adversaries that are acknowledged after every stop."""
    witness, control = Witness(station), station.control
    while witness.counts["commands"] < commands:
        if control.monitor.stop is not None:
            station.clock.sleep(0.3)
            control.acknowledge()
            if rng.random() < 0.3:
                go_home(station)
        for name in control.arms:
            control.move(name, Adversary(rng, station, name))
        for _ in range(40):
            station.clock.sleep(0.01)
            if control.monitor.stop is not None:
                break
    station.clock.sleep(0.5)
    return witness.counts


def stops(station: Station, rng: np.random.Generator, count: int) -> dict[str, Any]:
    """So many stops in the middle of moves of up to 2 rad/s and 12 rad/s^2, from home to poses around it."""
    witness, control = Witness(station), station.control
    limits = control.monitor.limits
    done = 0
    while done < count:
        go_home(station)
        for name in control.arms:
            rows = control.rows(name)
            low, high = (
                np.maximum(limits.lower[rows] + 0.1, HOME - 0.6),
                np.minimum(limits.upper[rows] - 0.1, HOME + 0.6),
            )
            if rng.random() < 0.5:
                control.move(name, JointMove([rng.uniform(low, high), HOME], 2.0, 12.0))
            else:
                follow = JointFollow(HOME, np.full(6, 2.0), np.full(6, 12.0), limits.lower[rows], limits.upper[rows])
                follow.aim(rng.uniform(low, high))
                control.move(name, follow)
        station.clock.sleep(rng.uniform(0.05, 0.6))
        plan = control.monitor.braking
        if control.monitor.stop is None and (plan is None or np.abs(plan.velocity).max() < 0.1):
            continue  # not in motion
        control.stop("audit", "now")
        station.clock.sleep(0.8)
        assert control.snapshot is not None
        if plan is not None and control.monitor.stop.reason == "audit":  # type: ignore[union-attr]
            off = float(np.abs(control.snapshot.commanded - plan.rest).max())
            settled = float(np.abs(control.snapshot.q - plan.rest).max())
            witness.counts["worst_rest_rad"] = max(witness.counts["worst_rest_rad"], off)
            witness.counts["worst_settled_rad"] = max(witness.counts["worst_settled_rad"], settled)
            done += 1
            witness.counts["stops"] += 1
        control.acknowledge()
    return witness.counts


def add(total: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        total[key] = max(total[key], value) if key.startswith("worst") else total[key] + value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--stops", type=int, default=1000)
    parser.add_argument("--state", type=Path, help="where it keeps how far it is")
    args = parser.parse_args()
    state: dict[str, Any] = {"seed": 0, "fuzzed": dict(ZERO), "stopped": dict(ZERO)}
    if args.state and args.state.exists():
        state = json.loads(args.state.read_text())
    while state["fuzzed"]["commands"] < args.commands or state["stopped"]["stops"] < args.stops:
        station, rng = make_station(state["seed"]), np.random.default_rng(state["seed"])
        if state["stopped"]["stops"] < args.stops:
            add(state["stopped"], stops(station, rng, min(50, args.stops - state["stopped"]["stops"])))
        else:
            add(state["fuzzed"], fuzz(station, rng, min(20_000, args.commands - state["fuzzed"]["commands"])))
        station.control.close()
        state["seed"] += 1
        if args.state:
            args.state.write_text(json.dumps(state))
        print(f"{state['stopped']['stops']} stops, {state['fuzzed']['commands']} commands", file=sys.stderr)
    print(json.dumps({"fuzzed": state["fuzzed"], "stopped": state["stopped"]}))


if __name__ == "__main__":
    main()
