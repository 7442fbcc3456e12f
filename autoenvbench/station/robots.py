"""Robots by name: `station:NAME` of a cluster, or a station file of this machine, one for each cell of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.make_env import is_real

PREFIX = "station:"  # of a robot on another machine: its name is the resource that its machine offers
PATIENCE_S = (
    15.0  # until one that nobody offers, or that another run has, is given up: the run before may just have ended
)
MOST = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def parse_robots(text: str) -> int | list[str]:
    """`--stations`: a number of simulated cells, or names. Raises UserError."""
    if text.strip().isdecimal():
        if not 1 <= (number := int(text)) <= MOST:
            raise UserError(f"--stations {text}: 1 to {MOST} robots")
        return number
    robots = [part.strip() for part in text.split(",")]
    for robot in robots:
        if robot.startswith(PREFIX):
            if not _NAME.fullmatch(robot.removeprefix(PREFIX)):
                raise UserError(
                    f"--stations: {robot!r} is no name; a station's has up to 32 letters, digits, - and _, as in station:left"
                )
        elif not Path(robot).is_file():
            raise UserError(
                f"--stations: {robot!r} is neither a number of robots, nor station:NAME of a cluster, nor a station file that is there "
                "(`autoenvbench station init FILE` writes one)"
            )
    if len(robots) > MOST:
        raise UserError(f"--stations: {len(robots)} robots; a run has {MOST} at most")
    robots = [robot if robot.startswith(PREFIX) else str(Path(robot).resolve()) for robot in robots]
    names = [robot_name(robot) for robot in robots]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"--stations: {', '.join(twice)} is there twice; a robot has one cell, and each a name of its own"
        )
    return robots


def robot_name(robot: str) -> str:
    """What its cell is called: `left` of station:left, and of left.yaml."""
    return robot.removeprefix(PREFIX) if robot.startswith(PREFIX) else Path(robot).stem


def check_robots(robots: Sequence[str], env: str, env_kwargs: dict[str, object], ray: str | None) -> None:
    """Whether a run of this environment can have these robots, as far as that can be known here. Raises UserError."""
    far = [robot for robot in robots if robot.startswith(PREFIX)]
    files = [robot for robot in robots if not robot.startswith(PREFIX)]
    if far and ray is None:
        raise UserError(f"{', '.join(far)}: say of which Ray cluster, with --ray auto or --ray ADDRESS")
    if ray is not None and not far:
        raise UserError("--ray is for robots of a cluster; name them with --stations station:NAME,...")
    if files and not is_real(env):
        raise UserError(f"{env} is simulated and has no station file; type --stations {len(robots)}")
    if robots and "station" in env_kwargs:
        raise UserError(
            "--env-arg station=FILE and --stations both say which robot: leave the first out (a machine of a cluster has its own file, "
            "which AUTOENVBENCH_STATION names where `ray start` is typed)"
        )


def kwargs_here(env_kwargs: dict[str, object], robots: Sequence[str]) -> dict[str, object]:
    """The environment's arguments with which the run looks at it on this machine: as its first robot here, if it has one."""
    files = [robot for robot in robots if not robot.startswith(PREFIX)]
    return {**env_kwargs, "station": files[0]} if files else env_kwargs
