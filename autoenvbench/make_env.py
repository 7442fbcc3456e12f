"""Environments by id, with errors that say what to type instead."""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import json
import threading
from pathlib import Path
from typing import Any

import enpire_envs
import enpire_real
import gymnasium as gym
from enpire_envs.cell import CellFault
from enpire_envs.remote.venvs import NotInstalled

import autoenvbench
from autoenvbench.errors import UserError
from autoenvbench.sandbox.cage import Track


def make_env(env_id: str, kwargs: dict[str, Any] | None = None) -> gym.Env[Any, Any]:
    """The environment as a station runs it. Raises UserError for an unknown id or argument."""
    if env_id not in gym.registry:
        near = difflib.get_close_matches(env_id, autoenvbench.ENV_IDS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(autoenvbench.ENV_IDS)}"
        raise UserError(f"unknown environment {env_id!r}; {hint} (`autoenvbench envs` lists them)")
    try:
        return gym.make(env_id, render_mode="rgb_array", disable_env_checker=True, **(kwargs or {}))
    except NotInstalled as error:
        raise UserError(f"cannot make {env_id}: {error}") from None
    except (TypeError, ValueError, CellFault) as error:
        raise UserError(f"cannot make {env_id} with {kwargs}: {error}") from None


def is_real(env_id: str) -> bool:
    """Whether the id is one of stations of arms and cameras (or their twins)."""
    return env_id in enpire_real.ENV_IDS


def is_robocasa(env_id: str) -> bool:
    """Whether the id is a kitchen of RoboCasa's."""
    return env_id.startswith("ENPIRE/RoboCasa-")


def default_track(env_id: str) -> Track:
    """A robot's simulator is not part of its own station."""
    return "station" if is_real(env_id) else "open"


def parse_env_args(pairs: list[str]) -> dict[str, Any]:
    """`["criterion=pose", "observation_width=64"]` as keyword arguments."""
    kwargs: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key.isidentifier() and equals):
            raise UserError(f"cannot read the environment argument {pair!r}; write it like criterion=pose")
        try:
            kwargs[key] = json.loads(value)
        except json.JSONDecodeError:
            kwargs[key] = value
    return kwargs


def fingerprint(env: gym.Env[Any, Any], kwargs: dict[str, Any] | None = None) -> str:
    """SHA-256 over task code, scene, arguments and physics version: rows with different ones are never compared.

    The code is the environment's own package and what it imports from the suite, so that a new task beside it changes
    nothing. NumPy's version is left out: its streams of random numbers are the same in all of them (a test holds them to
    it), so a release of NumPy would only split the board.
    """
    import mujoco

    sha = hashlib.sha256()
    sources = _sources(Path(inspect.getfile(type(env.unwrapped))))
    about = getattr(env.unwrapped, "about", None)
    if about is not None:  # it runs elsewhere, by other code and other versions
        sources |= _sources(
            suites()["enpire_envs"] / (about["entry"].removeprefix("enpire_envs.").replace(".", "/") + ".py")
        )
        sha.update(json.dumps([about["versions"], about["cell"], about["limit"]], sort_keys=True).encode())
    for file in sorted(sources):
        sha.update(file.name.encode() + b"\0" + file.read_bytes())
    spec_id = env.spec.id if env.spec else ""
    # the folder of snapshots does not affect episodes
    kwargs = {key: value for key, value in (kwargs or {}).items() if key != "snapshots"}
    sha.update(json.dumps([spec_id, kwargs, mujoco.__version__], sort_keys=True).encode())
    station = getattr(getattr(env.unwrapped, "cell", None), "station", None)
    if station is not None:  # another station is another environment
        where = {"twin": {"link"}, "arms": {"__all__": {"bus"}}}  # which socket its cables are in is not
        sha.update(station.file.model_dump_json(exclude=where).encode())
    return sha.hexdigest()[:16]


def suites() -> dict[str, Path]:
    """The packages of environments, and where they lie."""
    return {package.__name__: Path(str(package.__file__)).parent for package in (enpire_envs, enpire_real)}


# Python 3.11 counts the depth of a parse per interpreter, so two threads that parse at once end in a SystemError.
_PARSING = threading.Lock()


def _sources(module: Path) -> set[Path]:
    """A module's file, the files of its package that it imports, directly or not, and the scenes beside them."""
    packages = suites()
    found: set[Path] = set()
    queue = [module]
    while queue:
        file = queue.pop()
        if file in found or not file.is_file():
            continue
        found.add(file)
        found.update(
            p for p in file.parent.glob("*.xml") if file.parent not in packages.values() or p.stem == file.stem
        )
        with _PARSING:
            tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            for name in filter(None, names):
                package, _, rest = name.partition(".")
                if package in packages and rest:
                    queue.append(packages[package] / (rest.replace(".", "/") + ".py"))
    return found
