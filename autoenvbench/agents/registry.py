"""Agents by name. A new one is a class that keeps the `Agent` protocol, and one call of `register` or `register_with_argument`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoenvbench.agents.base import Agent
from autoenvbench.agents.cem import Cem
from autoenvbench.agents.claude_code import ClaudeCode
from autoenvbench.agents.codex import Codex
from autoenvbench.agents.command import Command, Replay
from autoenvbench.agents.evolve import Evolve
from autoenvbench.agents.kimi_code import KimiCode
from autoenvbench.agents.mini import Mini
from autoenvbench.agents.recipe import PLANS, Recipe
from autoenvbench.errors import UserError


@dataclass(frozen=True, slots=True)
class WithArgument:
    """An agent that is named with an argument, such as `command:python3 x.py`.

    Attributes:
        make: makes it from the argument. Raises UserError.
        usage: how to write it, for lists of agents.
        summary: what it is, for lists of agents.
        whole: whether the argument is all that follows, commas too: a program, or a file.
    """

    make: Callable[[str], Agent]
    usage: str
    summary: str
    whole: bool = False


AGENTS: dict[str, Callable[[], Agent]] = {}
WITH_ARGUMENT: dict[str, WithArgument] = {}


def register(name: str, make: Callable[[], Agent]) -> None:
    """Make an agent known as `--agent NAME`; `make` is its class. Raises ValueError for a name that is taken or names no
    folder: letters, digits and dashes."""
    _check(name)
    AGENTS[name] = make


def register_with_argument(
    name: str, make: Callable[[str], Agent], usage: str, summary: str, *, whole: bool = False
) -> None:
    """The same for `--agent NAME:ARGUMENT`; `whole`: see `WithArgument`."""
    _check(name)
    WITH_ARGUMENT[name] = WithArgument(make, usage, summary, whole)


def make_agent(name: str) -> Agent:
    """The agent that `--agent` names. Raises UserError for an unknown one."""
    kind, colon, argument = name.partition(":")
    if colon and kind in WITH_ARGUMENT:
        return WITH_ARGUMENT[kind].make(argument)
    if name not in AGENTS:
        known = [*AGENTS, *(entry.usage for entry in WITH_ARGUMENT.values())]
        raise UserError(f"unknown agent {name!r}; choose one of: {', '.join(known)} (`autoenvbench agents` says more)")
    return AGENTS[name]()


def _check(name: str) -> None:
    if name in AGENTS or name in WITH_ARGUMENT:
        raise ValueError(f"there is an agent {name!r} already; choose another name")
    if not name.replace("-", "").isalnum():
        raise ValueError(f"{name!r} is no agent's name: letters, digits and dashes, such as my-cli")


for agent in (Codex, ClaudeCode, KimiCode, Mini, Cem, Evolve):
    register(agent.name, agent)
register_with_argument(
    "recipe",
    Recipe,
    "recipe:ALGORITHM",
    f"built-in, no language model; learns weights by {', '.join(PLANS)} (autoenvbench train list)",
)
register_with_argument("command", Command, "command:PROGRAM", "any program that works in the workspace", whole=True)
register_with_argument("replay", Replay, "replay:SCRIPT", "shell steps from a JSON file", whole=True)
