"""Looks a station over, from the cables up: what answers, how fast, and whether torques point the right way."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from enpire_real.arm import Arm, YamDriver
from enpire_real.bringup.moves import move_to
from enpire_real.build import build_station
from enpire_real.bus import BusDown, BusTaken
from enpire_real.cameras import CameraLost
from enpire_real.control import Stopped
from enpire_real.damiao import State
from enpire_real.motion import JointMove
from enpire_real.motors import MotorFault, ScaleMismatch
from enpire_real.station import Station
from enpire_real.station_file import StationFile
from enpire_real.yam import HOME

Grade = Literal["ok", "warn", "fail", "skip"]
_CYCLES = 200
_WIGGLE = 0.06  # [rad]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome."""

    what: str
    grade: Grade
    detail: str


def devices() -> dict[str, list[str]]:
    """What this machine has that could be a station's: CAN interfaces, serial adapters, cameras."""
    nets = [
        p.name
        for p in Path("/sys/class/net").glob("*")
        if (p / "type").exists() and (p / "type").read_text().strip() == "280"
    ]
    return {
        "CAN interfaces": sorted(nets),
        "serial adapters": sorted(glob.glob("/dev/ttyACM*") + glob.glob("/dev/ttyUSB*")),
        "cameras": sorted(glob.glob("/dev/video*")),
    }


def examine(file: StationFile, *, motion: bool) -> Iterator[Finding]:
    """Check after check; with `motion`, the arms go home and each joint moves a little.

    Nothing is raised for what is wrong with the station: it is a finding.
    """
    yield from _machine()
    station = build_station(file)
    try:
        for lock in station.locks:
            lock.acquire()
        answered = True
        for name, arm in station.control.arms.items():
            try:
                arm.connect()
            except (BusDown, MotorFault, ScaleMismatch) as error:
                answered = False
                yield Finding(f"arm {name}", "fail", str(error))
            else:
                yield from _arm(station, name, arm)
        yield from _cameras(station)
        if not motion:
            yield Finding("torque signs", "skip", "moves the arms; ask for it with --confirm-motion")
        elif answered:
            yield from _torque_signs(file)
    except BusTaken as error:
        yield Finding("bus", "fail", str(error))
    finally:
        for camera in station.cameras.values():
            camera.close()
        for arm in station.control.arms.values():
            arm.close()
        station.close()


def _machine() -> Iterator[Finding]:
    late = []
    due = time.monotonic()
    for _ in range(200):
        due += 0.005
        time.sleep(max(due - time.monotonic(), 0))
        late.append(time.monotonic() - due)
    worst = float(np.percentile(late, 99)) * 1000
    yield Finding("timing", "ok" if worst < 3 else "warn", f"wakes up {worst:.2f} ms late (99th percentile of 200)")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        yield Finding("real-time priority", "ok", "granted to the control loop")
    except OSError:
        yield Finding(
            "real-time priority",
            "warn",
            "not allowed: add `<user> - rtprio 50` to /etc/security/limits.conf and log in again",
        )


def _arm(station: Station, name: str, arm: Arm) -> Iterator[Finding]:
    if isinstance(arm, YamDriver):
        yield from _bus(station, name, arm)
    reading = arm.reading
    assert reading is not None
    limits = station.control.monitor.limits
    rows = station.control.rows(name)
    out = (reading.q < limits.lower[rows] - 0.1) | (reading.q > limits.upper[rows] + 0.1)
    yield Finding(
        f"arm {name}: zeros", "fail" if out.any() else "ok",
        f"joints at {np.round(reading.q, 2).tolist()} rad" + ("; beyond their range: fold the arm and zero it (real/README.md)" if out.any() else ""),
    )  # fmt: skip


def _bus(station: Station, name: str, arm: YamDriver) -> Iterator[Finding]:
    clock = station.clock
    took = []
    before = arm.bus.stats.resent
    for _ in range(_CYCLES):
        start = time.perf_counter()
        feedback = arm.bus.refresh()
        took.append(time.perf_counter() - start)
        clock.sleep(0.002)
    p99 = float(np.percentile(took, 99)) * 1000
    resent = arm.bus.stats.resent - before
    share = resent / (_CYCLES * len(feedback))
    detail = f"7 motors answer in {np.median(took) * 1000:.2f} ms, 99 % within {p99:.2f} ms; {resent} of {_CYCLES * len(feedback)} frames lost"
    yield Finding(f"arm {name}: bus", "ok" if p99 < 5 and share < 0.01 else "warn", detail)
    hot = max(max(f.mos_c, f.rotor_c) for f in feedback)
    yield Finding(f"arm {name}: temperature", "ok" if hot < 60 else "warn", f"the hottest motor is at {hot} C")
    faults = [
        f"{m.name} {State(f.state).description}"
        for m, f in zip(arm.bus.motors, feedback, strict=True)
        if f.state > State.ENABLED
    ]
    yield Finding(
        f"arm {name}: motors", "fail" if faults else "ok", ", ".join(faults) or "no faults, scales as the file says"
    )


def _cameras(station: Station) -> Iterator[Finding]:
    for name, camera in station.cameras.items():
        config = station.file.cameras[name]
        try:
            camera.start()
            station.clock.sleep(0.4)
            first, count, last = station.clock.now(), 0, camera.stamp()
            while station.clock.now() - first < 2.0:
                station.clock.sleep(0.002)
                if camera.stamp() > last:
                    last, count = camera.stamp(), count + 1
            image = camera.latest().image
        except (CameraLost, ImportError) as error:
            yield Finding(f"camera {name}", "fail", str(error))
            continue
        rate = count / 2.0
        dark = float(image.mean())
        good = rate > 0.9 * config.fps_hz and 15 < dark < 245
        light = "" if 15 < dark < 245 else "; the image is " + ("black" if dark <= 15 else "burnt out")
        yield Finding(f"camera {name}", "ok" if good else "warn", f"{rate:.1f} of {config.fps_hz:g} frames/s{light}")
        if config.calibrated is None:
            yield Finding(
                f"camera {name}: pose", "warn", "nominal numbers; `autoenvbench station calibrate` measures them"
            )


def _torque_signs(file: StationFile) -> Iterator[Finding]:
    """Whether a positive command turns each joint the positive way, and gravity pulls as the model says."""
    station = build_station(file)
    try:
        with station:
            control = station.control
            for name, arm in control.arms.items():
                if not isinstance(arm, YamDriver):
                    yield Finding(f"arm {name}: directions", "skip", "its own driver's matter")
                    continue
                move_to(station, {name: HOME})
                reading = control.reading(name)
                model = arm.model.torque(reading.q)
                held = [k for k in range(arm.dof) if abs(model[k]) > 1.0]
                off = [
                    f"joint{k + 1} {reading.tau[k]:.1f} instead of {model[k]:.1f} Nm"
                    for k in held
                    if not 0.6 < reading.tau[k] / model[k] < 1.6
                ]
                yield Finding(
                    f"arm {name}: gravity torques",
                    "fail" if off else "ok",
                    "; ".join(off) or "as the model says, at home",
                )
                wrong = []
                for k in range(arm.dof):
                    before = control.reading(name).q[k]
                    control.move(name, JointMove([HOME + _WIGGLE * np.eye(arm.dof)[k]], 0.5, 3.0))
                    control.wait(name, 10)
                    control.clock.sleep(0.2)
                    moved = control.reading(name).q[k] - before
                    if not 0.5 * _WIGGLE < moved < 1.5 * _WIGGLE:
                        wrong.append(f"joint{k + 1} moved {moved:+.3f} for {_WIGGLE:+.3f} rad")
                    move_to(station, {name: HOME})
                yield Finding(
                    f"arm {name}: directions", "fail" if wrong else "ok", "; ".join(wrong) or "all joints follow"
                )
    except (Stopped, MotorFault, BusDown, ScaleMismatch, CameraLost, BusTaken) as error:
        yield Finding("torque signs", "fail", str(error))
