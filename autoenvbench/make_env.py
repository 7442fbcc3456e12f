"""Environments by id, with errors that say what to type instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from enpire_envs import registry
from enpire_envs.cell import CellFault
from enpire_envs.contract import contract_of, step_limit
from enpire_envs.remote.venvs import NotInstalled

from autoenvbench.errors import UserError
from autoenvbench.record.stations import ARGUMENT, PrivateStations, Scope, Source, Stations
from autoenvbench.sandbox.cage import Track, shown_in_cages


def make_env(env_id: str, kwargs: dict[str, Any] | None = None) -> gym.Env[Any, Any]:
    """The environment as a station runs it. Raises UserError for an unknown id or argument, and for a level that has an id of its own."""
    if env_id not in gym.registry:
        known = registry.listed_ids()
        near = difflib.get_close_matches(env_id, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        broken = "".join(f"; the task {name} could not be loaded: {why}" for name, why in registry.problems.items())
        raise UserError(f"unknown environment {env_id!r}; {hint} (`autoenvbench envs` lists them){broken}")
    if (own := _id_of_level(env_id, (kwargs or {}).get("level"))) is not None:
        level = (kwargs or {})["level"]
        raise UserError(
            f"the level {level} has an id of its own, under which its results are filed: type --env {own} without level={level}"
        )
    try:
        env = gym.make(env_id, render_mode="rgb_array", disable_env_checker=True, **(kwargs or {}))
        step_limit(env)  # what it says to a station is checked before anything is built on it
        return env
    except NotInstalled as error:
        raise UserError(f"cannot make {env_id}: {error}") from None
    except (TypeError, ValueError, CellFault) as error:
        raise UserError(f"cannot make {env_id} with {kwargs}: {error}") from None


def _id_of_level(env_id: str, level: object) -> str | None:
    """The id of this task (and variant of it) at a level, if there is one."""
    entry = registry.entry_of(env_id)
    if entry is None:
        return None

    def rest(given: str) -> dict[str, Any]:
        return {name: value for name, value in entry.envs[given].items() if name != "level"}

    return next((i for i, own in entry.levels.items() if own.name == level and rest(i) == rest(env_id)), None)


def is_real(env_id: str) -> bool:
    """Whether the id is one of stations of arms and cameras (or their twins)."""
    entry = registry.entry_of(env_id)
    return entry is not None and entry.real


def default_track(env_id: str) -> Track:
    """The track that runs are on unless they are told otherwise: the level's. (A robot's simulator is not part of its own station.)"""
    level = registry.level_of(env_id)
    return "station" if is_real(env_id) else "open" if level is None else level.track


def default_pace(env_id: str, kwargs: dict[str, Any], track: Track) -> float:
    """The pace that runs have unless they are told otherwise: real time on a robot, the level's pace on the level's own track, and else
    as fast as possible. Raises UserError for a station file that cannot be read."""
    if is_real(env_id):
        return _pace_of_station(kwargs)
    level = registry.level_of(env_id)
    return level.pace if level is not None and level.track == track else 0.0


def _pace_of_station(kwargs: dict[str, Any]) -> float:
    from enpire_real.station_file import StationError, default_station, load_station

    try:
        file = load_station(kwargs.get("station") or default_station())
    except StationError as error:
        raise UserError(str(error)) from None
    return 0.0 if file.twin is not None and file.twin.time == "virtual" else 1.0


@dataclass(frozen=True, slots=True)
class ChosenStations:
    """Where the numbers of stations come from (`record.stations`).

    Attributes:
        source: None where all stations are the same.
        scope: whose stations are drawn; None where none is.
        private: the file's, of source "private".
    """

    source: Source | None = None
    scope: Scope | None = None
    private: PrivateStations | None = None

    def drawn(self, secret: bytes) -> Stations | None:
        """The numbers by a run's secret; None where they do not depend on it."""
        numbers = None if self.private is None else self.private.numbers
        return None if self.scope is None else Stations(self.scope, secret, numbers)


def choose_stations(
    env: gym.Env[Any, Any], kwargs: Mapping[str, Any], private: str | Path | None, held_out: int, *, cells: int = 1
) -> ChosenStations:
    """How the stations of an environment are chosen: by its level, unless its arguments name one.

    Args:
        private: path of a file of private numbers, or None.
        held_out: how many held-out starts there are, and so stations where each has another one.

    Raises:
        UserError: private numbers that cannot be used, or that nothing here has a use for.
    """
    level = registry.level_of(env.spec.id) if env.spec else None
    scope = level.stations if level is not None and "station" in contract_of(env).reset_options else None
    if private is not None and (scope is None or ARGUMENT in kwargs):
        raise UserError(
            f"there is one station alone, by --env-arg {ARGUMENT}: leave that or --private-stations out"
            if scope is not None
            else f"all stations of {env.spec.id if env.spec else env} are the same: leave --private-stations out"
        )
    if scope is None:
        return ChosenStations()
    if ARGUMENT in kwargs:
        return ChosenStations("public")
    if private is None:
        return ChosenStations("run", scope)
    if shown_in_cages(Path(private)):
        raise UserError(
            f"{private} lies where every cage shows it; keep private stations outside of Python's and our own folders"
        )
    return ChosenStations("private", scope, PrivateStations.load(Path(private), scope, cells=cells, held_out=held_out))


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
