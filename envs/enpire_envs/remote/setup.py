"""`autoenvbench setup`: makes the environments of the simulators that cannot share this interpreter."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import enpire_envs
from enpire_envs.remote.env import missing_assets, official_assets
from enpire_envs.remote.venvs import (
    ABOUT,
    ASSETS_VARIABLE,
    PACKAGE_ASSETS,
    ROBOCASA,
    SIMULATORS,
    STANDIN,
    NotInstalled,
    SetupFailed,
    Simulator,
    simulators_dir,
)

_STANDIN = Path(enpire_envs.__file__).parent / "simulators" / "standin.py"
_WARM_UP = (
    "import robosuite; env = robosuite.make('Lift', robots='Panda', has_renderer=False, has_offscreen_renderer=False, "
    "use_camera_obs=False); env.reset(); env.step(env.action_spec[0] * 0)"
)
_LIST = (
    "import json, os; from robocasa.environments.kitchen.kitchen import REGISTERED_KITCHEN_ENVS as names; import robocasa; "
    "print(json.dumps([sorted(n for n in names if n != 'Kitchen'), os.path.dirname(robocasa.__file__) + '/models/assets']))"
)


def setup(name: str, *, assets: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Make the environment unless it is whole already, and check RoboCasa's assets. Raises SetupFailed."""
    simulator = _named(name)
    if assets is not None and simulator is not ROBOCASA:
        raise SetupFailed("--assets belongs to robocasa: autoenvbench setup robocasa --assets FOLDER")
    if assets is not None and (missing := missing_assets(assets)):
        raise SetupFailed(f"{assets} is not RoboCasa's assets folder: it lacks {', '.join(missing)}")
    home = simulators_dir()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupFailed(
            f"cannot make {home}: {error.strerror}; name another folder: export AUTOENVBENCH_SIMULATORS=..."
        ) from None
    with (home / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second one waits, and then finds it made
        if simulator.installed:
            say(f"{name} is installed in {simulator.path}")
        else:
            _make(simulator, say)
        about = simulator.about()
        if simulator is ROBOCASA and about.get("standin") != _digest():
            say("making the stand-in kitchen")
            _build_standin()
            about["standin"] = _digest()
            _note(simulator, about)
        if assets is not None:
            about["assets"] = str(assets.resolve())
            _note(simulator, about)
    if simulator is ROBOCASA:
        say(kitchens(about))
    return about


def kitchens(about: dict[str, Any]) -> str:
    """Which kitchens there are, and how to get the others."""
    if (folder := official_assets()) is not None:
        return f"RoboCasa's own kitchens, from {folder}"
    return (
        "the stand-in kitchen (its scores are not RoboCasa scores). For RoboCasa's own, about 10 GB:\n"
        f"  {ROBOCASA.python} -m robocasa.scripts.download_kitchen_assets\n"
        f"  autoenvbench setup robocasa --assets {about.get(PACKAGE_ASSETS)}"
    )


def kitchen_tasks() -> list[str]:
    """RoboCasa's tasks by name. Raises SetupFailed."""
    try:
        return list(ROBOCASA.about()["tasks"])
    except NotInstalled as error:
        raise SetupFailed(str(error)) from None


def check(name: str) -> str:
    """The state of one simulator in a line."""
    simulator = _named(name)
    return f"installed in {simulator.path}" if simulator.installed else f"not installed; autoenvbench setup {name}"


def _make(simulator: Simulator, say: Callable[[str], None]) -> None:
    shutil.rmtree(simulator.path, ignore_errors=True)
    say(f"making {simulator.path} (a minute or two)")
    _run([sys.executable, "-m", "venv", str(simulator.path)])
    pip = [str(simulator.python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    _run([*pip, *simulator.requirements])
    about: dict[str, Any] = {"requirements": list(simulator.requirements)}
    if simulator is ROBOCASA:
        # robosuite's helpers are compiled here, once for all.
        _run([str(simulator.python), "-s", "-c", _WARM_UP], _environment())
        listed = _run([str(simulator.python), "-s", "-c", _LIST], _environment())
        about["tasks"], about[PACKAGE_ASSETS] = json.loads(listed.splitlines()[-1])
    _note(simulator, about)
    say(f"{simulator.name} is ready")


def _build_standin() -> None:
    """Made anew whenever the program that makes it has changed."""
    _run([str(ROBOCASA.python), "-s", str(_STANDIN), str(ROBOCASA.path / STANDIN)], _environment())


def _digest() -> str:
    return hashlib.sha256(_STANDIN.read_bytes()).hexdigest()[:16]


def _environment() -> dict[str, str]:
    return {"MUJOCO_GL": "egl", **{name: value for name, value in os.environ.items() if name != ASSETS_VARIABLE}}


def _note(simulator: Simulator, about: dict[str, Any]) -> None:
    scratch = simulator.path / f"{ABOUT}.part"
    scratch.write_text(json.dumps(about, indent=1))
    scratch.rename(simulator.path / ABOUT)


def _run(command: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise SetupFailed(
            f"`{' '.join(command)}` failed:\n{said}\nMend that and say the same again; nothing half-made is used"
        )
    return done.stdout


def _named(name: str) -> Simulator:
    if name not in SIMULATORS:
        raise SetupFailed(f"unknown simulator {name!r}; known: {', '.join(SIMULATORS)}")
    return SIMULATORS[name]
