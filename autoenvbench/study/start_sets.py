"""Fixed sets of starts by name, which tasks register, so that every method sees the same scenes in the same order."""

from __future__ import annotations

from typing import Any

from enpire_envs.registry import entry_of

from autoenvbench.errors import UserError


def starts(env_id: str, name: str, n: int) -> list[dict[str, Any]]:
    """The first `n` starts of a set: a smaller study is a prefix of a larger one. Raises UserError."""
    entry = entry_of(env_id)
    if entry is None or not entry.start_sets:
        raise UserError(f"{env_id} has no fixed set of starts, so leave the protocol {name} out")
    try:
        rows = entry.starts(name)
    except LookupError as error:
        raise UserError(str(error)) from None
    if not 1 <= n <= len(rows):
        raise UserError(f"-n {n}: {name} has {len(rows)} starts, of which the first n are taken")
    return rows[:n]
