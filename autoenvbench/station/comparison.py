"""Which of two candidates is better that their confirmations cannot tell apart: both from the same fresh starts, as many as it takes.

It costs two episodes a start, of at most COMPARED_STARTS. Where the sequential test has not decided by then, or the comparison was
cut, however that came about, it is a tie, and the incumbent stays: nobody gains by ending one that goes badly.
"""

from __future__ import annotations

from collections.abc import Callable

from autoenvbench.record.candidates import Candidate
from autoenvbench.record.events import ComparisonEvent
from autoenvbench.record.ledger import EventSink
from autoenvbench.record.sequential import COMPARED_STARTS, PairedTest, alpha_of
from autoenvbench.station.evaluation import Tally

BLOCK = 10  # starts between two looks: a policy's process is started once for them
_VERDICTS = {"first": "challenger", "second": "incumbent"}


def begin(number: int, challenger: Candidate, incumbent: Candidate, ledger: EventSink, agent: str) -> ComparisonEvent:
    """Put the run's comparison of this number (1, 2, ...) on record. Whoever counts them holds others off until it is there."""
    event = ComparisonEvent(
        phase="started", id=f"C{number}", challenger=challenger.content, incumbent=incumbent.content, most=COMPARED_STARTS,
        alpha=alpha_of(number),
    )  # fmt: skip
    ledger.append(event, agent=agent)
    return event


def compare(
    event: ComparisonEvent, ledger: EventSink, agent: str, block: Callable[[int, bool], list[Tally]]
) -> ComparisonEvent:
    """Compare two candidates, as `begin` has put it on record; it is in the ledger when it ends as well.

    Args:
        block: runs both from the next `n` fresh starts, the challenger first or second; returns their tallies in that order.
    """
    test, cut, asked = PairedTest(event.most, event.alpha), False, 0
    try:
        while test.verdict is None and not cut and asked < event.most:
            n = min(BLOCK, event.most - asked)
            first = asked // BLOCK % 2 == 0  # neither always has the warmer machine
            tallies = block(n, first)
            asked += n
            cut = any(tally.aborted for tally in tallies)
            if not cut:
                one, other = tallies if first else tallies[::-1]
                _add(test, one, other)
    finally:
        verdict = _VERDICTS.get(test.verdict or "", "undecided") if not cut else "undecided"
        event = event.model_copy(
            update={
                "phase": "ended",
                "starts": test.starts,
                "wins": test.wins,
                "losses": test.losses,
                "verdict": verdict,
            }
        )
        ledger.append(event, agent=agent)
    return event


def _add(test: PairedTest, challenger: Tally, incumbent: Tally) -> None:
    """Both outcomes at each start at which the machine failed neither, in the starts' order, until the test is decided."""
    outcomes = [{e.index: e.success for e in tally.counted} for tally in (challenger, incumbent)]
    for index in sorted(outcomes[0].keys() & outcomes[1].keys()):
        if test.verdict is None:
            test.add(outcomes[0][index], outcomes[1][index])
