"""`autoenvbench station ...`: from a box of parts to a verified station. Parses, calls one function, prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.errors import UserError

HELP = "bring up a station of real parts, or its twin"


def add_parser(commands: Any) -> None:
    """Add `station` to the command line's commands."""
    station = commands.add_parser("station", help=HELP)
    actions = station.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int | None], text: str, *, moves: bool = False) -> Any:
        made = actions.add_parser(name, help=text)
        if name not in ("init", "print", "dataset", "twin", "stop", "acknowledge"):
            made.add_argument(
                "file", nargs="?", metavar="FILE", help="station file (default AUTOENVBENCH_STATION, else the twin)"
            )
        if moves:
            made.add_argument("--confirm-motion", action="store_true", help="yes, the arms may move")
            made.add_argument(
                "--dry-run", action="store_true", help="say what would happen; open nothing, move nothing"
            )
        made.set_defaults(run=_guarded(run))
        return made

    init = action("init", _init, "write an example station file")
    init.add_argument("file", metavar="FILE")
    init.add_argument("--like", default="yam-pair", metavar="EXAMPLE", help="yam-pair, twin, or a task's: pin-cell (arms that insert pins), pin-twin, tie-twin (default yam-pair)")  # fmt: skip
    prints = action("print", _print, "write the calibration board and the mat's markers as images for printing")
    prints.add_argument("folder", type=arguments.path, metavar="DIR")
    doctor = action(
        "doctor", _doctor, "check buses, motors, cameras; with --confirm-motion torque signs, too", moves=True
    )
    doctor.add_argument("--json", action="store_true")
    calibrate = action("calibrate", _calibrate, "measure where a camera is, and write it into the file", moves=True)
    calibrate.add_argument("--camera", required=True, metavar="NAME")
    calibrate.add_argument(
        "--arm", metavar="NAME", help="the arm that moves (default: the one that the camera is on, else the first)"
    )
    calibrate.add_argument(
        "--bearing-deg", type=arguments.real(-180, 180), metavar="A", help="joint 1 to take samples around"
    )
    calibrate.add_argument("--lens", action="store_true", help="measure the intrinsics from the same views, too")
    calibrate.add_argument(
        "--samples",
        type=arguments.whole(12, 1000),
        default=24,
        metavar="N",
        help="views of the board (default 24, at least 12)",
    )
    action("validate", _validate, "check the file, the cameras against the mat, and touch the table", moves=True)
    action("home", _home, "bring the arms home and fold them down", moves=True)
    for name, act, text in (
        ("stop", _stop, "stop the arms of a station that is up, from any terminal; it holds until acknowledged"),
        ("acknowledge", _acknowledge, "a person's word that a stopped station may move again, with its next reset"),
    ):
        made = action(name, act, text)
        made.add_argument(
            "run_dir", nargs="?", metavar="RUN", help="a run's folder (default: the only station there is)"
        )
        made.add_argument("--station", metavar="FILE", help="a station file, in place of a run")
    watch = action("watch", _watch, "show the station in a browser, in three dimensions")
    watch.add_argument("--port", type=arguments.port, default=8080)
    watch.add_argument("--seconds", type=arguments.real(0, 1e7), metavar="S", help="end after so long")
    twin = action("twin", _twin, "run the twin in real time as a process of its own, until its standard input closes")
    twin.add_argument(
        "folder", type=arguments.path, metavar="DIR", help="where its serial devices and its station file appear"
    )
    twin.add_argument("file", nargs="?", metavar="FILE", help="station file of kind twin (default: the one that ships)")
    dataset = action("dataset", _dataset, "make a LeRobotDataset of episodes, or episodes of a LeRobotDataset")
    dataset.add_argument(
        "folder",
        type=arguments.path,
        metavar="DIR",
        help="what `record=` was given, data/practice, or a LeRobotDataset",
    )
    dataset.add_argument("out", type=arguments.path, metavar="OUT", help="the folder to make; must not exist")
    dataset.add_argument("--python", metavar="PROGRAM", help="an interpreter that has lerobot (default: this one)")
    dataset.add_argument(
        "--lossless", action="store_true", help="keep images as PNG, pixel for pixel, and not as video"
    )


def _guarded(run: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], int | None]:
    """What a station raises, as an error for users."""

    def guarded(args: argparse.Namespace) -> int | None:
        from enpire_envs.episode_file import EpisodeError
        from enpire_real.bringup.calibrate import PoorCalibration
        from enpire_real.bringup.moves import MotionRefused
        from enpire_real.bus import BusDown, BusTaken
        from enpire_real.cameras import CameraLost
        from enpire_real.cell import CellFault
        from enpire_real.control import Stopped
        from enpire_real.motors import MotorFault, ScaleMismatch
        from enpire_real.perception.markers import MatLost
        from enpire_real.station_file import StationError

        known = (PoorCalibration, MotionRefused, BusDown, BusTaken, CameraLost, CellFault, Stopped, MotorFault, ScaleMismatch,
                 MatLost, StationError)  # fmt: skip
        try:
            return run(args)
        except (*known, EpisodeError, OSError, ImportError) as error:
            raise UserError(str(error)) from None

    return guarded


def _load(args: argparse.Namespace) -> tuple[Any, Path | None]:
    from enpire_real.station_file import default_station, load_station

    path = Path(args.file) if args.file else default_station()
    return load_station(path), path


def _init(args: argparse.Namespace) -> None:
    from enpire_real.bringup.file import init

    init(Path(args.file), args.like)
    print(f"{args.file}; edit it, then: autoenvbench station doctor {args.file}")


def _print(args: argparse.Namespace) -> None:
    from enpire_real.bringup.file import print_patterns

    for path in print_patterns(args.folder):
        print(path)


def _doctor(args: argparse.Namespace) -> int:
    from enpire_real.bringup.doctor import devices, examine

    file, _ = _load(args)
    if args.dry_run:
        print(
            f"{file.name}: would open {', '.join(file.arms)} and {', '.join(file.cameras) or 'no cameras'}, and read them"
        )
        if args.confirm_motion:
            print("then bring each arm home and move each joint by 0.06 rad and back")
        return 0
    findings = []
    if not args.json:
        for kind, names in devices().items():
            print(f"{kind}: {', '.join(names) or 'none'}")
    for finding in examine(file, motion=args.confirm_motion):
        findings.append(finding)
        if not args.json:
            print(f"{finding.grade:4}  {finding.what}: {finding.detail}", flush=True)
    if args.json:
        print(
            json.dumps(
                {"station": file.name, "devices": devices(), "findings": [asdict(f) for f in findings]}, indent=1
            )
        )
    return 1 if any(f.grade == "fail" for f in findings) else 0


def _calibrate(args: argparse.Namespace) -> None:
    from enpire_real.bringup.procedures import calibrate_camera, calibration_plan

    file, path = _load(args)
    plan = calibration_plan(file, args.camera, args.arm, args.bearing_deg, args.samples)
    print(plan.instructions)
    if args.dry_run:
        return
    found, kept = calibrate_camera(
        file,
        path,
        plan,
        confirmed=args.confirm_motion,
        lens=args.lens,
        on_sample=lambda n, what: print(f"{n:3}  {what}", flush=True),
    )
    print(f"residual {found.residual_px:.2f} px over {found.samples} samples; {args.camera} is at "
          f"{[round(float(v), 4) for v in found.camera.position]} m of {file.cameras[args.camera].mount}")  # fmt: skip
    print(
        f"written to {path}; as it was: {kept}" if kept else "not written: the twin that ships has no file of its own"
    )


def _validate(args: argparse.Namespace) -> int:
    from enpire_real.bringup.procedures import validate

    file, _ = _load(args)
    print(f"ok    file: {file.name}, {file.kind}, {len(file.arms)} arms, {len(file.cameras)} cameras")
    if args.dry_run:
        print("would look at the mat and touch it at three points")
        return 0
    bad = 0
    for finding in validate(file, motion=args.confirm_motion):
        bad += finding.grade == "fail"
        print(f"{finding.grade:4}  {finding.what}: {finding.detail}", flush=True)
    return 1 if bad else 0


def _stop(args: argparse.Namespace) -> None:
    from autoenvbench.station.by_hand import choose, stop

    print(stop(choose(args.run_dir, args.station, stopped=False)))


def _acknowledge(args: argparse.Namespace) -> None:
    from autoenvbench.station.by_hand import acknowledge, choose

    print(acknowledge(choose(args.run_dir, args.station, stopped=True)))


def _home(args: argparse.Namespace) -> None:
    from enpire_real.bringup.procedures import home

    file, _ = _load(args)
    if args.dry_run:
        print(f"{file.name}: would switch on {', '.join(file.arms)}, move them home, fold them down, switch them off")
        return
    home(file, confirmed=args.confirm_motion)
    print(f"{file.name}: folded down and switched off")


def _watch(args: argparse.Namespace) -> None:
    from enpire_real.viewer import watch

    file, _ = _load(args)
    watch(file, args.port, args.seconds, on_ready=lambda url: print(f"{url}  (Ctrl-C ends)", flush=True))


def _twin(args: argparse.Namespace) -> None:
    from enpire_real.station_file import load_station
    from enpire_real.twin.serve import serve

    file = load_station(args.file)
    if file.twin is None:
        raise UserError(f"{args.file} is a physical station; only a station of kind twin can be simulated")
    print("the twin runs until this program's standard input closes (Ctrl-D)", file=sys.stderr)
    serve(file, args.folder.resolve())


def _dataset(args: argparse.Namespace) -> None:
    from enpire_real.dataset import convert

    print(json.dumps(convert(args.folder, args.out, args.python, video=not args.lossless)))
