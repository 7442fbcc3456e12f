"""The twin's speed and the control loop's timing.

    python benchmarks/real.py            # everything, about two minutes
    python benchmarks/real.py --only twin|bus|loop|vision

Speeds are multiples of real time, each the median of three; times are percentiles.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from enpire_real.build import build_station
from enpire_real.bus import open_bus
from enpire_real.damiao import SCALES, Mit
from enpire_real.motion import JointFollow
from enpire_real.motors import Motor, MotorBus
from enpire_real.station import Station
from enpire_real.station_file import StationFile, load_station
from enpire_real.twin.station import SIDES, Twin, make_twin
from enpire_real.yam import GRIPPER, HOME, JOINTS

PERIOD = 0.01
SMALL = {"width_px": 320, "height_px": 240}
SMALL_LENS = {"fx_px": 196.75, "fy_px": 196.75, "cx_px": 159.5, "cy_px": 119.5}


def station_file(cameras: tuple[str, ...] = (), **twin: object) -> StationFile:
    file = load_station()
    assert file.twin is not None
    kept = {}
    for name in cameras:
        intrinsics = file.cameras[name].intrinsics.model_copy(update=SMALL_LENS)
        kept[name] = file.cameras[name].model_copy(update={**SMALL, "intrinsics": intrinsics})
    twin = {"scene": "empty", **twin}
    return file.model_copy(update={"cameras": kept, "tasks": {}, "twin": file.twin.model_copy(update=twin)})


def speed(run: Callable[[float], None], seconds: float) -> float:
    """Multiples of real time."""
    found = []
    for _ in range(3):
        start = time.perf_counter()
        run(seconds)
        found.append(seconds / (time.perf_counter() - start))
    return statistics.median(found)


def wave(t: float) -> np.ndarray:
    return HOME + 0.2 * np.sin(2 * np.pi * 0.5 * t + np.arange(6))


def settle(station: Station) -> dict[str, JointFollow]:
    follow = {}
    for name in station.control.arms:
        follow[name] = JointFollow(
            station.control.commanded(name), np.full(6, 1.5), np.full(6, 8.0), np.full(6, -3.0), np.full(6, 3.6)
        )
        station.control.move(name, follow[name])
        follow[name].aim(HOME)
    station.clock.sleep(3.0)
    return follow


def twin() -> None:
    print("twin, two arms moving, 100 Hz, no cameras (multiples of real time)")
    bare = Twin(station_file())
    print(f"  physics alone                              {speed(lambda s: bare.advance(bare.data.time + s), 20):6.1f}")

    bypassed = Twin(station_file())
    for side in SIDES:
        bypassed.motors[side].state = [1] * 7
        bypassed.motors[side]._timeout_s = [0.0] * 7

    def bypass(seconds: float) -> None:
        for k in range(round(seconds / PERIOD)):
            q = wave(k * PERIOD)
            for side in SIDES:
                motors = bypassed.motors[side]
                motors._command = [Mit(q[i], 0.0, JOINTS[i].kp, JOINTS[i].kd, 0.0) for i in range(6)] + [Mit()]
                motors.changed = True
            bypassed.advance(bypassed.data.time + PERIOD)

    around = speed(bypass, 10)
    print(f"  commands put straight into the motors      {around:6.1f}   (target 20)")

    channels = {side: f"bench-{side}" for side in SIDES}
    _, clock, close = make_twin(station_file(), channels)
    motors = [Motor(j.name, j.motor_id, j.reply_id, SCALES[j.motor], 0.4) for j in (*JOINTS, GRIPPER)]
    drivers = [MotorBus(partial(open_bus, "virtual", channels[side]), motors, clock) for side in SIDES]
    for driver in drivers:
        driver.connect()
        driver.enable()

    def frames(seconds: float) -> None:
        for k in range(round(seconds / PERIOD)):
            q = wave(k * PERIOD)
            for driver in drivers:
                driver.exchange([Mit(q[i], 0.0, JOINTS[i].kp, JOINTS[i].kd, 0.0) for i in range(6)] + [Mit()])
            clock.sleep(PERIOD)

    through = speed(frames, 5)
    print(
        f"  the same through CAN frames and driver     {through:6.1f}   (the bus costs a factor of {around / through:.1f})"
    )
    for driver in drivers:
        driver.close()
    for end in close:
        end()

    whole(())
    whole(("top", "left_wrist", "right_wrist"))


def whole(cameras: tuple[str, ...]) -> None:
    """The whole station: loop, monitor, driver, bus, motors; every frame of every camera drawn and fetched."""
    station = build_station(station_file(cameras))
    with station:
        follow = settle(station)

        def run(seconds: float) -> None:
            for k in range(round(seconds * 30)):
                for one in follow.values():
                    one.aim(wave(k / 30))
                station.clock.sleep(1 / 30)
                for camera in station.cameras.values():
                    camera.latest()
            station.control.check()

        found = speed(run, 4 if cameras else 8)
    what = f"whole station, {len(cameras)} cameras 320 x 240" if cameras else "whole station: loop, monitor, driver"
    print(f"  {what:42} {found:6.1f}   (target {2 if cameras else 5})")


def served(folder: Path, cameras: tuple[str, ...]) -> tuple[subprocess.Popen[str], str]:
    source = folder / "source.yaml"
    source.write_text(yaml.safe_dump(station_file(cameras).model_dump(mode="json")))
    process = subprocess.Popen(
        [sys.executable, "-m", "enpire_real.twin.serve", str(folder / "twin"), str(source)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)


def bus() -> None:
    print("a cycle of 14 motors (7 on each of 2 buses): command all, hear all [ms]")
    for interface in ("virtual", "slcan"):
        with tempfile.TemporaryDirectory() as folder:
            process = None
            if interface == "slcan":
                process, path = served(Path(folder), ())
                station = build_station(load_station(path))
            else:
                station = build_station(station_file(time="real"))
            with station:
                arms = station.control.arms.values()
                station.control.ticker.cancel()  # this program is the loop now
                took = []
                for _ in range(2000):
                    start = time.perf_counter()
                    for arm in arms:
                        reading = arm.reading
                        arm.command(reading.q, np.zeros(6), arm.hold_torque(reading.q))
                    took.append((time.perf_counter() - start) * 1000)
                    time.sleep(0.002)
                print(
                    f"  {interface:8} median {np.median(took):.2f}, p99 {np.percentile(took, 99):.2f}   (target p99 < 5)"
                )
                station.control._hold_measured_pose()
                station.control.ticker = station.clock.every(PERIOD, station.control.tick, "control")
            if process is not None:
                end(process)


def loop() -> None:
    print("100 Hz loop in real time, twin in a process of its own, both arms moving: how late ticks begin [ms]")
    for cameras in ((), ("top", "left_wrist", "right_wrist")):
        with tempfile.TemporaryDirectory() as folder:
            process, path = served(Path(folder), cameras)
            with build_station(load_station(path)) as station:
                follow = settle(station)
                late = station.control.ticker.lateness
                late.clear()
                start = time.monotonic()
                while time.monotonic() - start < 15:
                    for one in follow.values():
                        one.aim(wave(time.monotonic() - start))
                    time.sleep(1 / 30)
                station.control.check()
                found = np.array(late) * 1000
            end(process)
        words = f"{len(cameras)} cameras"
        print(
            f"  {words:10} median {np.median(found):.2f}, p99 {np.percentile(found, 99):.2f}, worst {found.max():.2f} over {len(found)} ticks   (target p99 < 3)"
        )


def vision() -> None:
    from enpire_real.perception.markers import camera_over_mat
    from enpire_real.pusht.equipment import MAT
    from enpire_real.pusht.perception import TFinder

    file = load_station()
    station = build_station(file)
    with station:
        away = np.array(file.tasks["pusht"].avoid_rad)
        from enpire_real.motion import JointMove

        for name in station.control.arms:
            station.control.move(name, JointMove([away], 2.0, 10.0))
        for name in station.control.arms:
            station.control.wait(name, 20)
        station.clock.sleep(0.3)
        image = station.cameras["top"].latest().image
        camera, _ = camera_over_mat(image, station.lens("top"), MAT)
        took = {"first look (search)": [], "following": []}
        for _ in range(50):
            finder = TFinder(station.lens("top"), camera)
            for what in took:
                start = time.perf_counter()
                finder.find(image)
                took[what].append((time.perf_counter() - start) * 1000)
    print("T pose from a 640 x 480 image [ms]")
    for what, found in took.items():
        print(f"  {what:22} median {np.median(found):.1f}, p99 {np.percentile(found, 99):.1f}   (target 30)")


def main() -> None:
    parts = {"twin": twin, "bus": bus, "loop": loop, "vision": vision}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=parts)
    only = parser.parse_args().only
    for name, part in parts.items():
        if only in (None, name):
            part()


if __name__ == "__main__":
    main()
