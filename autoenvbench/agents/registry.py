"""Agents by name."""

from __future__ import annotations

from collections.abc import Callable

from autoenvbench.agents.base import Agent
from autoenvbench.agents.cem import Cem
from autoenvbench.agents.codex import Codex
from autoenvbench.errors import UserError

AGENTS: dict[str, Callable[[], Agent]] = {"codex": Codex, "cem": Cem}


def make_agent(name: str) -> Agent:
    """Raises UserError for an unknown agent."""
    if name not in AGENTS:
        raise UserError(f"unknown agent {name!r}; choose one of: {', '.join(AGENTS)}")
    return AGENTS[name]()
