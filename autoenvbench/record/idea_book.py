"""Whose ideas a run has, what tested them and what they taught; and which commits its members sent. A fold over the ledger's events."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from autoenvbench.record.events import (
    TRIED,
    CommitEvent,
    EvaluationEvent,
    IdeaEvent,
    ProvenanceEvent,
    Purpose,
)
from autoenvbench.record.ledger import Event

#: Kinds of events that are counted by member, so that none uses up what a run grants to all.
_WORDS = ("idea", "learned", "note", "look", "submitted")


@dataclass(slots=True)
class IdeaRecord:
    """One idea.

    Attributes:
        agent: its author.
        t_run: when it was registered [s].
        learned: what it taught, in its author's words; empty until they are written.
        evaluations: that tested it and came to an outcome, confirmations among them, in their order.
    """

    event: IdeaEvent
    agent: str | None
    t_run: float
    learned: str = ""
    evaluations: list[EvaluationEvent] = field(default_factory=list)


@dataclass(slots=True)
class IdeaBook:
    """Grown by a ledger's events in their order.

    Attributes:
        ideas: by id, in the order in which they were registered.
        newest: each member's own newest idea.
        words: how many events of a kind a member has caused, by (member, kind).
        sent: commits that the station took in, and from whom: by commit, then by member.
        tested: which idea a member's commit was last evaluated for, by (member, commit).
        digests: (member, digest) of each bundle that it sent.
        provenance: what a member's commit has from others, by (member, commit).
        looks: when a member last looked at something, by (member, what, idea) [s].
        robot_s: robot time by member [s].
        tried: a member's batches of practice and of learning, in their order, by (member, purpose).
    """

    ideas: dict[str, IdeaRecord] = field(default_factory=dict)
    newest: dict[str | None, str] = field(default_factory=dict)
    words: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    sent: dict[str, dict[str | None, CommitEvent]] = field(default_factory=dict)
    tested: dict[tuple[str | None, str], str] = field(default_factory=dict)
    digests: set[tuple[str | None, str]] = field(default_factory=set)
    provenance: dict[tuple[str | None, str], ProvenanceEvent] = field(default_factory=dict)
    looks: dict[tuple[str | None, str, str | None], float] = field(default_factory=dict)
    robot_s: defaultdict[str | None, float] = field(default_factory=lambda: defaultdict(float))
    tried: defaultdict[tuple[str | None, Purpose], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, event: Event) -> None:
        """Take in the ledger's next event, of any kind."""
        p, agent = event.payload, event.agent
        match event.kind:
            case "idea":
                self.ideas[p.id] = IdeaRecord(p, agent, event.t_run)
                self.newest[agent] = p.id
            case "learned" if p.idea in self.ideas and self.ideas[p.idea].agent == agent:
                self.ideas[p.idea].learned = p.text
            case "evaluation" if p.phase != "started" and p.episodes and p.idea in self.ideas:
                self.ideas[p.idea].evaluations.append(p)
                self.tested[agent, p.commit] = p.idea
            case "evaluation" if p.phase == "started" and p.purpose in TRIED:
                self.tried[agent, p.purpose].append(p.id)
            case "commit" if p.phase == "received":
                self.sent.setdefault(p.commit, {}).setdefault(agent, p)
                self.digests.add((agent, p.digest))
            case "commit" if p.phase == "submitted":
                self.words[agent, "submitted"] += 1
            case "provenance":
                self.provenance[agent, p.commit] = p
            case "look":
                self.looks[agent, p.what, p.idea] = event.t_run
            case "episode" | "reset":
                self.robot_s[agent] += p.robot_s
        if event.kind in _WORDS:
            self.words[agent, event.kind] += 1

    def author(self, idea: str) -> str | None:
        """Who registered an idea. Raises KeyError for one that nobody did."""
        return self.ideas[idea].agent
