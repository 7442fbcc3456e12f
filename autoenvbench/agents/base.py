"""What an agent is to a run: a name, a check that it can work here, and a command line."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from autoenvbench.record.run_config import RunConfig

_JOURNAL = 512 << 20  # bytes; a longer one is no journal


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an agent inside its cage.

    Attributes:
        argv: the command; "{gateway}" in it becomes the model door's base URL, "{home}" the agent's home.
        env: variables added to the cage's environment; "{gateway}" and "{home}" likewise.
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
    def name(self) -> str:
        """Letters, digits and dashes: it names folders."""

    @property
    def needs_model(self) -> bool:
        """Whether it reaches a language model through the run's gateway."""

    @property
    def trusted(self) -> bool:
        """Our own code, which may fall back to no cage."""

    @property
    def resumes(self) -> bool:
        """Whether one that ended early is sent back to work."""

    @property
    def api_key(self) -> str | None:
        """The variable that holds the user's key for live runs."""

    @property
    def default_model(self) -> str | None:
        """What it is asked to use without --model."""

    @property
    def provider(self) -> str | None:
        """Base URL of the live provider."""

    def problem(self) -> str | None:
        """Why this agent cannot run here and what to do about it, or None."""

    def version(self) -> str:
        """Recorded in the result."""

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """The first start, or (with a session) the continuation of an earlier one."""

    def session(self, event: Mapping[str, Any]) -> str | None:
        """The session's id, if this line of the agent's event stream tells it."""

    def stored_session(self, home: Path) -> str | None:
        """The session as the agent has filed it, for those that tell it only at a clean end."""

    def error(self, event: Mapping[str, Any]) -> str | None:
        """What went wrong, if this line of the agent's event stream tells of an error that ended its work."""

    def models(self, config: RunConfig) -> tuple[str, ...]:
        """All models that it may ask, as its requests name them: the run's first, then those that it needs beside it.
        None at all for an agent whose model is only ever a script."""

    def dialect(self, config: RunConfig) -> str:
        """Which protocol it speaks to its model: responses, chat or messages."""

    def journal(self, home: Path) -> dict[str, int] | None:
        """Tokens by the agent's own books (keys of `TokensEvent`), to cross-check the gateway's; None if it keeps none."""


class BaseAgent:
    """What most agents have in common: a model, no session, no books of their own."""

    name = ""
    needs_model = True
    trusted = False
    resumes = True
    api_key: str | None = None
    provider: str | None = None
    default_model: str | None = None

    def session(self, event: Mapping[str, Any]) -> str | None:
        return None

    def stored_session(self, home: Path) -> str | None:
        return None

    def error(self, event: Mapping[str, Any]) -> str | None:
        return None

    def models(self, config: RunConfig) -> tuple[str, ...]:
        model = config.model or self.default_model
        return (model,) if model else ()

    def dialect(self, config: RunConfig) -> str:
        return "chat"

    def journal(self, home: Path) -> dict[str, int] | None:
        return None


class CliAgent(BaseAgent, ABC):
    """A coding CLI: is it installed, does it know what we need, which version is it. Subclasses add `command`, `launch`, and
    whatever differs."""

    install = ""  # what to type to get it
    needs: tuple[str, ...] = ()  # words that its --help must show: a CLI can answer --version and do nothing
    help_command: tuple[str, ...] = ("--help",)

    @abstractmethod
    def command(self) -> list[str] | None:
        """The command that starts it, or None if it is not installed."""

    def problem(self) -> str | None:
        command = self.command()
        if command is None:
            return f"{self.name} is not installed; type: {self.install}"
        said = ask([*command, *self.help_command])
        if missing := [word for word in self.needs if word not in said]:
            return (
                f"{command[-1]} does not know {', '.join(missing)}: too old, too new, or a shell; type: {self.install}"
            )
        return None

    def version(self) -> str:
        command = self.command()
        said = ask([*command, "--version"]).strip() if command else "not installed"
        return said.splitlines()[0] if said else "unknown"


def find_tool(variable: str, patterns: Iterable[str], on_path: str | None = None) -> Path | None:
    """A file that belongs to a tool: named by an environment variable, or matching a pattern in .tools (of the working folder
    or the checkout), or below the folder that holds the command's script on the PATH."""
    if given := os.environ.get(variable):
        return Path(given) if Path(given).is_file() else None
    roots = [Path.cwd() / ".tools", Path(__file__).parents[2] / ".tools"]
    if on_path and (found := shutil.which(on_path)):
        script = Path(found).resolve()
        # .../node_modules/@scope/package/bin/x.js: npm nests platform packages inside or puts them beside
        roots += [parent.parent for parent in script.parents if parent.name == "node_modules"]
        roots.append(script.parent)
    for root in roots:
        for pattern in patterns:
            for file in sorted(root.glob(pattern)):
                return file.resolve()
    return None


def json_lines(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """JSON objects of journal files; what is no object, or half written, is passed over, and so is whatever an agent may have
    put in a journal's place (links, pipes, gigabytes)."""
    for file in files:
        kind = file.lstat()
        if not stat.S_ISREG(kind.st_mode) or kind.st_size > _JOURNAL:
            continue
        for line in file.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def ask(command: list[str]) -> str:
    """What a command prints, or why it could not be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"? ({error})"
    return done.stdout + done.stderr
