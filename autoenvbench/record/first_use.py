"""Whether an idea was recorded before its test, as far as a station can know: when the files that test it were first run here.

A batch runs them once its policy has acted: one that was refused, or whose policy could not be loaded, has told nobody anything.

On the track `open` an agent may have tried them in its own simulator before, which nobody sees; on the track `station` nothing else runs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoenvbench.record.clock import format_duration
from autoenvbench.record.ledger import Event


@dataclass(slots=True)
class FirstUses:
    """Grown by a ledger's events in their order."""

    _used: dict[str, float] = field(
        default_factory=dict
    )  # content -> research time of its first batch, of any purpose [s]
    _recorded: dict[str, float] = field(default_factory=dict)  # idea -> [s]
    _tested: dict[str, str] = field(default_factory=dict)  # idea -> content of its first evaluation
    _begun: dict[str, tuple[float, str, str | None]] = field(
        default_factory=dict
    )  # batches in which nobody has acted: id -> time [s], content, the idea that it tests

    def add(self, event: Event) -> None:
        """Take in the ledger's next event, of any kind."""
        p = event.payload
        if event.kind == "idea":
            self._recorded[p.id] = event.t_run
        elif event.kind == "evaluation" and p.phase == "started":
            idea = p.idea if p.purpose == "evaluate" else None
            self._begun[p.id] = event.t_run, p.content or p.digest, idea
        elif event.kind == "episode" and p.steps and p.evaluation in self._begun:
            at, content, idea = self._begun.pop(p.evaluation)
            self._used.setdefault(content, at)
            if idea is not None:
                self._tested.setdefault(idea, content)

    def late(self, idea: str) -> float | None:
        """Seconds from the first use of an idea's files to its recording: above 0 where it was recorded afterwards. None: not tested."""
        if idea not in self._tested or idea not in self._recorded:
            return None
        return self._recorded[idea] - self._used[self._tested[idea]]

    def words(self, idea: str) -> str:
        """The same in words; empty where it was not tested."""
        late = self.late(idea)
        if late is None:
            return ""
        return (
            f"recorded {format_duration(late)} after its files first ran here"
            if late > 0
            else "recorded before its files ran here"
        )
