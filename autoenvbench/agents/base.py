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

_LARGEST_SESSION_FILE = 512 << 20  # bytes; a longer one was written to be read in vain


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an agent inside its cage.

    Attributes:
        argv: the command; "{gateway}" in it becomes the gateway's base URL, "{home}" the agent's home.
        env: variables added to the cage's environment; "{gateway}" and "{home}" likewise.
        read_only: host files and folders that must be visible inside, at the same path.
        home_files: files to write into its home, by relative path; "{gateway}" likewise.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    read_only: list[Path] = field(default_factory=list)
    home_files: dict[str, str] = field(default_factory=dict)


class Agent(Protocol):
    """One kind of coding agent. It holds no state of a run: one object may serve several members of several runs."""

    @property
    def name(self) -> str:
        """The kind's name, of letters, digits and dashes: members are called after it, such as codex-1."""

    @property
    def needs_model(self) -> bool:
        """Whether it reaches a language model through the run's gateway."""

    @property
    def trusted(self) -> bool:
        """Whether it is our own code, which may fall back to no cage."""

    @property
    def resumes(self) -> bool:
        """Whether one that ended early is sent back to work."""

    @property
    def tunes_parametric(self) -> bool:
        """Whether it works on the task's parametric.py, which is in its workspace then, whatever the run's starter."""

    @property
    def api_key(self) -> str | None:
        """The variable that holds the user's key for live runs."""

    @property
    def default_model(self) -> str | None:
        """The model that it is asked to use without --model."""

    @property
    def provider(self) -> str | None:
        """Base URL of the live provider."""

    def problem(self) -> str | None:
        """Why this agent cannot run here and what to do about it, or None. Called before a run is made, and by
        `autoenvbench agents`."""

    def check(self, config: RunConfig) -> None:
        """Raises UserError for a configuration that it cannot work under, its arguments above all. Called before a run is made."""

    def version(self) -> str:
        """What its program calls itself, for the result. Called once a run, before its first launch."""

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """How to start it. Called before every launch: `session` is None at the first one, later the session that it is to
        continue (or None still, if it has told none)."""

    def session(self, event: Mapping[str, Any]) -> str | None:
        """The session's id, if this event tells it. Called for every JSON object that the agent prints, until one does."""

    def stored_session(self, home: Path) -> str | None:
        """The session's id as the agent has filed it below `home`. Called when it has ended and no event told it."""

    def error(self, event: Mapping[str, Any]) -> str | None:
        """What went wrong, if this event tells of an error that ended its work. Called for every JSON object that it prints;
        the last one is shown if it ends with an exit code."""

    def models(self, config: RunConfig) -> tuple[str, ...]:
        """All models that it may ask, as its requests name them: the run's first, then those that it needs beside it; empty
        for an agent whose model is only ever a script. Called when its gateway is opened."""

    def dialect(self, config: RunConfig) -> str:
        """The protocol that it speaks to its model: "responses", "chat" or "messages". Called for the one call that tries the
        model before a run is made."""

    def reported_usage(self, home: Path) -> dict[str, int] | None:
        """Tokens by the agent's own count (keys of `TokensEvent`), or None if it keeps none. Called once it has ended for good,
        to cross-check the gateway's count. What it finds below `home` may be anything: errors of parsing are the caller's."""


class BaseAgent:
    """What most agents have in common: a model, no session, no usage reported. Subclasses add `problem`, `version` and `launch`,
    and whatever differs."""

    name = ""
    needs_model = True
    trusted = False
    resumes = True
    tunes_parametric = False
    api_key: str | None = None
    provider: str | None = None
    default_model: str | None = None

    def check(self, config: RunConfig) -> None:
        """Nothing: what its program makes of its arguments, that alone knows."""

    def session(self, event: Mapping[str, Any]) -> str | None:
        """None: it has no sessions, so each launch begins anew."""
        return None

    def stored_session(self, home: Path) -> str | None:
        """None: it files no sessions."""
        return None

    def error(self, event: Mapping[str, Any]) -> str | None:
        """None: its events tell of no errors."""
        return None

    def models(self, config: RunConfig) -> tuple[str, ...]:
        """The run's model alone, else the agent's own, if it has one."""
        model = config.model or self.default_model
        return (model,) if model else ()

    def dialect(self, config: RunConfig) -> str:
        """Chat Completions, which most servers speak."""
        return "chat"

    def reported_usage(self, home: Path) -> dict[str, int] | None:
        """None: it counts no tokens."""
        return None


class BuiltIn(BaseAgent):
    """A researcher of our own, with no language model. It ends when it has nothing more to try."""

    needs_model = False
    trusted = True
    resumes = False

    def problem(self) -> str | None:
        """None: it comes with the package."""
        return None

    def version(self) -> str:
        """The package's."""
        from autoenvbench import __version__

        return __version__


class CliAgent(BaseAgent, ABC):
    """A coding CLI: is it installed, does it know what we need, which version is it. Subclasses add `command`, `launch`, and
    whatever differs.

    Attributes:
        install: what to type to get it.
        needs: words that its --help must show: a CLI can answer --version and do nothing.
        help_command: arguments that make it print its help.
    """

    install = ""
    needs: tuple[str, ...] = ()
    help_command: tuple[str, ...] = ("--help",)

    @abstractmethod
    def command(self) -> list[str] | None:
        """The command that starts it, or None if it is not installed. Called by all of the methods below."""

    def problem(self) -> str | None:
        """Whether it is missing, or its help lacks a word of `needs`."""
        command = self.command()
        if command is None:
            return f"{self.name} is not installed; type: {self.install}"
        reply = ask([*command, *self.help_command])
        if missing := [word for word in self.needs if word not in reply]:
            return (
                f"{command[-1]} does not know {', '.join(missing)}: too old, too new, or a shell; type: {self.install}"
            )
        return None

    def version(self) -> str:
        """The first line of what --version prints."""
        command = self.command()
        reply = ask([*command, "--version"]).strip() if command else "not installed"
        return reply.splitlines()[0] if reply else "unknown"


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
    """JSON objects of session files; what is no object, or half written, is passed over, and so is whatever an agent may have
    put in such a file's place (links, pipes, gigabytes)."""
    for file in files:
        kind = file.lstat()
        if not stat.S_ISREG(kind.st_mode) or kind.st_size > _LARGEST_SESSION_FILE:
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
