"""Which environments take ranks: by the registry of the tasks installed here, never by what a row says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import gymnasium
from enpire_envs.contract import ContractError
from enpire_envs.fingerprint import fingerprint
from enpire_envs.registry import Level, TaskEntry, entries, entry_of, level_of

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env


def unranked_because(env_id: str, kwargs: Mapping[str, Any], fingerprint: str | None = None) -> list[str]:
    """Why no result on this environment takes a rank, in words; empty where results may.

    Args:
        env_id, kwargs: as they were asked for.
        fingerprint: that a row has, if there is a row: one of another level of the task gives the row away.
    """
    entry = entry_of(env_id)
    if env_id not in gymnasium.registry:
        return [
            f"{env_id} is not registered here, so that nobody knows its level; install the package that brings it, then build again"
        ]
    if entry is None:
        made_of = next((other for other in entries() if other.levels and _makes(env_id, other)), None)
        if made_of is not None:
            return [f"{env_id} is {_first(made_of)} under another name; run one of the task's own ids"]
        return []
    level = level_of(env_id)
    if level is None:
        return []
    if not level.ranked:
        return [_tutorial(entry, level)]
    if kwargs:
        given = ", ".join(f"{name}={value!r}" for name, value in sorted(kwargs.items()))
        return [f"the level {level.name} is ranked as it is, and this ran with {given}; leave out --env-arg"]
    other = None if fingerprint is None else _fingerprints(entry.package).get(fingerprint)
    if other not in (None, env_id):
        return [f"it says {env_id}, and its fingerprint is that of {other}"]
    return []


def history(env_id: str) -> bool:
    """Whether an id stands for a level that is never ranked, so that its rows are kept for history alone."""
    level = level_of(env_id)
    return level is not None and not level.ranked


def _tutorial(entry: TaskEntry, level: Level) -> str:
    ranked = next((env_id for env_id, other in entry.levels.items() if other.ranked), None)
    instead = f"run {ranked}" if ranked else "this task has no ranked level yet"
    return f"{level.name} is for tutorials and never ranked; {instead}"


def _first(entry: TaskEntry) -> str:
    return next(iter(entry.envs))


def _makes(env_id: str, entry: TaskEntry) -> bool:
    return gymnasium.spec(env_id).entry_point == entry.entry_point


@cache
def _fingerprints(package: str) -> dict[str, str]:
    """Fingerprint, as it is here, to id, of all environments of a task that has levels."""
    found = {}
    for entry in entries():
        if entry.package == package:
            for env_id in entry.levels:
                try:
                    env = make_env(env_id)
                    found[fingerprint(env)] = env_id
                    env.close()
                except (UserError, ContractError):
                    continue  # it cannot be made here, and no row can be shown to be of it
    return found
