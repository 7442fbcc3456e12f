"""Whether an idea was recorded before its test, as far as a station can know: when the files that test it were first run here.

A batch runs them once its policy has acted: one that was refused, or whose policy could not be loaded, has told nobody anything.
Of an idea that was adopted, others have run the files before, as they had to: it is stamped by its adopter's own first use.

On the track `open` an agent may have tried them in its own simulator before, which nobody sees; on the track `station` nothing else runs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from autoenvbench.record.clock import format_duration
from autoenvbench.record.events import IdeaEvent
from autoenvbench.record.ledger import Event


class _Recorded(NamedTuple):
    t_run: float
    author: str | None
    sources: frozenset[str]  # ideas that it says it comes from


class _Test(NamedTuple):
    content: str
    adopted: bool


@dataclass(slots=True)
class FirstUses:
    """Grown by a ledger's events in their order."""

    _used: dict[str, dict[str | None, float]] = field(
        default_factory=dict
    )  # content -> research time of each member's first batch of it, of any purpose [s]
    _recorded: dict[str, _Recorded] = field(default_factory=dict)
    _tested: dict[str, _Test] = field(default_factory=dict)  # idea -> its first evaluation
    _tests: set[tuple[str, str]] = field(default_factory=set)  # (idea, content) of all evaluations
    _borrowed: set[tuple[str | None, str]] = field(
        default_factory=set
    )  # (member, content) that Git shows to be of another's idea
    _begun: dict[str, tuple[float, str, str | None]] = field(
        default_factory=dict
    )  # batches in which nobody has acted: id -> time [s], content, the idea that it tests

    def add(self, event: Event) -> None:
        """Take in the ledger's next event, of any kind."""
        p = event.payload
        if event.kind == "idea":
            self._recorded[p.id] = _Recorded(event.t_run, event.agent, _sources(p))
        elif event.kind == "provenance" and any(source.idea for source in p.sources):
            self._borrowed.add((event.agent, p.content))
        elif event.kind == "evaluation" and p.phase == "started":
            idea = p.idea if p.purpose == "evaluate" else None
            self._begun[p.id] = event.t_run, p.content or p.digest, idea
        elif event.kind == "episode" and p.steps and p.evaluation in self._begun:
            at, content, idea = self._begun.pop(p.evaluation)
            self._used.setdefault(content, {}).setdefault(event.agent, at)
            if idea in self._recorded:
                self._tested.setdefault(idea, _Test(content, self._is_adopted(idea, content)))
                self._tests.add((idea, content))

    def _is_adopted(self, idea: str, content: str) -> bool:
        """Whether these files are those of another's idea, by Git's word, or by its own and that idea's test."""
        _, author, sources = self._recorded[idea]
        others = (source for source in sources if source in self._recorded and self._recorded[source].author != author)
        return (author, content) in self._borrowed or any((source, content) in self._tests for source in others)

    def late(self, idea: str) -> float | None:
        """Seconds from the first use of an idea's files (of one that was adopted: by its adopter) to its recording: above 0 where it was
        recorded afterwards. None: not tested."""
        if idea not in self._tested:
            return None
        test, recorded = self._tested[idea], self._recorded[idea]
        used = self._used[test.content]
        first = used[recorded.author] if test.adopted and recorded.author in used else min(used.values())
        return recorded.t_run - first

    def words(self, idea: str) -> str:
        """The same in words; empty where it was not tested."""
        late = self.late(idea)
        if late is None:
            return ""
        adopted = self._tested[idea].adopted
        if late > 0:
            ran = "its adopter first ran its files" if adopted else "its files first ran here"
            return f"{'adopted, and ' * adopted}recorded {format_duration(late)} after {ran}"
        return (
            "adopted, and recorded before its adopter ran its files"
            if adopted
            else "recorded before its files ran here"
        )


def _sources(idea: IdeaEvent) -> frozenset[str]:
    return frozenset(filter(None, (idea.parent, *idea.inspired_by)))
