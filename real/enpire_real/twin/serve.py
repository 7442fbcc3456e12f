"""The twin as a process of its own, in real time: CAN over pseudo-terminals, cameras over mapped files.

Run by `autoenvbench station twin DIR`. DIR then holds `left` and `right` (serial devices of USB-CAN adapters, as far as a driver
can tell), one `.frame` file per camera, and `station.yaml`, the file of the station that it is. A file `DIR/stop` is the
emergency stop: while it exists, the motors have no power. Faults come as JSON lines on standard input, whose closing ends the
process: {"motors": {"left": {"lost": 0.05}}, "frozen_cameras": ["top"], "hand_in_view": true}.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml

from enpire_real.clock import WallClock
from enpire_real.station_file import StationFile, YamArm, load_station
from enpire_real.twin.cameras import TwinCamera
from enpire_real.twin.frames import FrameWriter
from enpire_real.twin.real_time import RealTime
from enpire_real.twin.slcan import Adapter
from enpire_real.twin.station import Twin


def linked_file(file: StationFile, folder: Path) -> dict[str, Any]:
    """The station file, as plain data, of a twin that is served in `folder`."""
    data = file.model_dump(mode="json")
    data["kind"] = "twin"
    data["twin"] = {**data.get("twin", {}), "link": str(folder), "time": "real"}
    for name in file.arms:
        data["arms"][name]["bus"] = {"interface": "slcan", "channel": str(folder / name)}
    data["safety"]["emergency_stop"] = {"type": "file", "path": str(folder / "stop")}
    return data


def serve(file: StationFile, folder: Path) -> None:
    """Until standard input closes."""
    folder.mkdir(parents=True, exist_ok=True)
    twin = Twin(file)
    real_time = RealTime(twin, {})
    adapters = [
        Adapter(folder / name, lambda i, d, side=name: twin.reply_to(side, i, d))  # type: ignore[misc]
        for name, arm in file.arms.items()
        if isinstance(arm, YamArm)
    ]
    done = threading.Event()
    threading.Thread(target=_commands, args=(twin, done), daemon=True).start()
    clock, config = WallClock(), file.twin
    assert config is not None
    cameras = {}
    for k, (name, settings) in enumerate(file.cameras.items()):
        camera = TwinCamera(
            name, settings, clock, twin, noise=config.noise, latency=config.latency_ms / 1000, seed=config.seed + k
        )
        camera.start()
        cameras[name] = (camera, FrameWriter(folder / f"{name}.frame", settings.width_px, settings.height_px))
    (folder / "station.yaml").write_text(yaml.safe_dump(linked_file(file, folder), sort_keys=False))
    shown = dict.fromkeys(cameras, 0.0)
    stop, ready = folder / "stop", False
    try:
        while not done.is_set():
            twin.faults.emergency_stop = stop.exists()
            for name, (camera, writer) in cameras.items():  # one thread draws for all: a renderer belongs to it
                if (stamp := camera.stamp()) > shown[name]:
                    frame = camera.latest()
                    writer.write(frame.image, frame.time)
                    shown[name] = stamp
            if not ready and all(shown.values()):  # a first picture takes long, and motors must answer from now on
                print(folder / "station.yaml", flush=True)
                ready = True
            time.sleep(0.002)
    finally:
        for adapter in adapters:
            adapter.close()
        real_time.close()
        for camera, _ in cameras.values():
            camera.close()


def _commands(twin: Twin, done: threading.Event) -> None:
    for line in sys.stdin:
        try:
            wanted = json.loads(line)
        except ValueError:
            print(f"not JSON: {line.strip()}", file=sys.stderr)
            continue
        with twin.lock:
            for side, faults in wanted.pop("motors", {}).items():
                for key, value in faults.items():
                    setattr(twin.motors[side].faults, key, set(value) if key == "dead" else value)
                twin.motors[side].changed = True
            for key, value in wanted.items():
                setattr(twin.faults, key, set(value) if isinstance(value, list) else value)
    done.set()


def main() -> None:
    """`python -m enpire_real.twin.serve DIR [FILE]`."""
    folder = Path(sys.argv[1]).resolve()
    serve(load_station(sys.argv[2] if len(sys.argv) > 2 else None), folder)


if __name__ == "__main__":
    main()
