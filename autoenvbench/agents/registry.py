"""Agents by name."""

from __future__ import annotations

from collections.abc import Callable

from autoenvbench.agents.base import Agent
from autoenvbench.agents.cem import Cem
from autoenvbench.agents.claude_code import ClaudeCode
from autoenvbench.agents.codex import Codex
from autoenvbench.agents.command import Command, Replay
from autoenvbench.agents.kimi_code import KimiCode
from autoenvbench.agents.mini import Mini
from autoenvbench.errors import UserError

AGENTS: dict[str, Callable[[], Agent]] = {a.name: a for a in (Codex, ClaudeCode, KimiCode, Mini, Cem)}
#: Those that take an argument: `command:python3 x.py`.
WITH_ARGUMENT: dict[str, Callable[[str], Agent]] = {"command": Command, "replay": Replay}


def make_agent(name: str) -> Agent:
    """Raises UserError for an unknown agent."""
    kind, colon, argument = name.partition(":")
    if colon and kind in WITH_ARGUMENT:
        return WITH_ARGUMENT[kind](argument)
    if name not in AGENTS:
        known = [*AGENTS, "command:PROGRAM", "replay:SCRIPT"]
        raise UserError(f"unknown agent {name!r}; choose one of: {', '.join(known)} (`autoenvbench agents` says more)")
    return AGENTS[name]()
