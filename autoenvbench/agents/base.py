"""What an agent is to a run: a name, a check that it can work here, and a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from autoenvbench.config import RunConfig


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an agent inside its cage.

    Attributes:
        argv: the command; "{gateway}" in it becomes the model door's base URL.
        env: variables added to the cage's environment; "{gateway}" likewise.
        read_only: host folders that must be visible inside, at the same path.
        home_files: files to write into its home, by relative path; "{gateway}" likewise.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    read_only: list[Path] = field(default_factory=list)
    home_files: dict[str, str] = field(default_factory=dict)


class Agent(Protocol):
    """One kind of coding agent."""

    @property
    def name(self) -> str: ...

    @property
    def needs_model(self) -> bool:
        """Whether it reaches a language model through the run's gateway."""

    @property
    def trusted(self) -> bool:
        """Our own code, which may fall back to no cage."""

    @property
    def api_key(self) -> str | None:
        """The variable that holds the user's key for live runs."""

    @property
    def provider(self) -> str | None:
        """Base URL of the live provider."""

    def problem(self) -> str | None:
        """Why this agent cannot run here and what to do about it, or None."""

    def version(self) -> str:
        """Recorded in the result."""

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """The first start, or (with a session) the continuation of an interrupted one."""

    def session(self, event: Mapping[str, object]) -> str | None:
        """The session's id, if this line of the agent's event stream tells it."""
