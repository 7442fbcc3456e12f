"""Who works in a run, and what its parts share. A run of one agent is a team of one."""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoenvbench.agents.base import Agent
from autoenvbench.agents.registry import make_agent
from autoenvbench.make_env import ChosenStations
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.state import Follower
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.workspace.team_page import write_team_page


@dataclass
class AgentSlot:
    """A member of a run.

    Attributes:
        id: its name in this run, such as codex-1: the ledger's `agent` column, its folder, its author's name in Git.
        agent: what works in it, as `--agent` names it; `kind`: the same as an object.
        folder: holds workspace/, home/, events.jsonl, stderr.log and transcript.jsonl.gz.
        token: its bearer token at the station.
        session: the agent's own id of its session, once it is known; with one, it is continued and not begun anew.
    """

    id: str
    agent: str
    kind: Agent
    folder: Path
    token: str
    session: str | None = None

    @property
    def workspace(self) -> Path:
        """Its Git repository."""
        return self.folder / "workspace"

    @property
    def home(self) -> Path:
        """Its home folder, with its session files."""
        return self.folder / "home"


@dataclass
class Run:
    """A run as its parts know it.

    Attributes:
        slots: its members, in order.
        state: what the ledger comes to, for whoever has to know how the run stands.
        notice: what a person should know of its sandbox.
        research_over: only scoring is left to do.
        stations: where its stations' numbers come from.
        fingerprint: of its environment, as all of its machines must have it.
    """

    dir: Path
    config: RunConfig
    slots: list[AgentSlot]
    sandbox: Sandbox
    clock: RunClock
    ledger: Ledger
    notice: str | None = None
    research_over: bool = False
    stations: ChosenStations = field(default_factory=ChosenStations)
    fingerprint: str | None = None
    state: Follower = field(init=False)

    def __post_init__(self) -> None:
        self.state = Follower(self.ledger, self.config.min_episodes)


def introduce(run: Run) -> None:
    """Tell every member in its TEAM.md who all members are. One that made a folder of it is told by `aeb status` alone."""
    members = {slot.id: slot.agent for slot in run.slots}
    for slot in run.slots if len(members) > 1 else ():
        with contextlib.suppress(OSError):
            write_team_page(slot.workspace, run.config, slot.id, members)


def name_members(agents: Sequence[str]) -> dict[str, str]:
    """Ids of a new run's members and their agents as `--agent` names them: codex, codex, cem are codex-1, codex-2, cem-1."""
    number, members = Counter[str](), dict[str, str]()
    for agent in agents:
        kind = make_agent(agent).name
        number[kind] += 1
        members[f"{kind}-{number[kind]}"] = agent
    return members


def name_newcomer(agent: str, taken: Iterable[str]) -> str:
    """The id of a member that joins those who are there."""
    kind, there = make_agent(agent).name, set(taken)
    return next(name for k in range(1, len(there) + 2) if (name := f"{kind}-{k}") not in there)


def make_slots(run_dir: Path, members: Mapping[str, str], events: Iterable[Event] = ()) -> list[AgentSlot]:
    """The members at their places, with new tokens and the sessions that `events` tell of."""
    sessions = {e.agent: e.payload.session for e in events if e.kind == "agent" and e.payload.session}
    return [
        AgentSlot(id, agent, make_agent(agent), run_dir / "agents" / id, secrets.token_urlsafe(32), sessions.get(id))
        for id, agent in members.items()
    ]
