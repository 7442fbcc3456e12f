"""Which bundle of a run is scored: of one member its last word, of several the one that their confirmations bear out best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from autoenvbench.errors import UserError
from autoenvbench.record import metrics
from autoenvbench.record.candidates import Candidates
from autoenvbench.record.events import CommitEvent
from autoenvbench.record.ledger import Event
from autoenvbench.record.strict_model import StrictModel
from autoenvbench.record.summary import wilson
from autoenvbench.record.team import TeamCurves


class Answer(StrictModel):
    """Which bundle was scored, and how it was chosen."""

    commit: str
    digest: str
    how: Literal["submitted", "confirmed best", "best evaluated", "starter", "policy"]


def choose_answer(events: Sequence[Event], min_episodes: int) -> Answer:
    """Each member's own answer is the commit that it submitted last, else its confirmed best. Of several members' answers the one counts
    whose content has the highest lower bound by all of the team's confirmations, or where none is confirmed the newest. Without any, it
    is the best evaluated commit (the budget ended before its confirmation did), else the starter. All by what was known when the agents
    had stopped: an episode that the deadline cut may end after the answer was chosen. Raises UserError where nothing is known."""
    over = next(
        (k for k, e in enumerate(events) if e.kind == "run" and e.payload.phase == "agents_stopped"), len(events)
    )
    events = events[:over]
    run, team = metrics.BestCurves(min_episodes), TeamCurves(min_episodes)
    submitted: dict[str | None, CommitEvent] = {}  # by member, in the order of these submissions
    for event in events:
        run.add(event)
        team.add(event, run)
        if event.kind == "commit" and event.payload.phase == "submitted":
            submitted.pop(event.agent, None)
            submitted[event.agent] = event.payload
    leaders = [c for agent, own in team.of.items() if agent not in submitted and (c := own.candidates.leader)]
    answers = [(c.content, Answer(commit=c.commit, digest=c.digest, how="confirmed best")) for c in leaders]
    answers += [
        (c.content or c.digest, Answer(commit=c.commit, digest=c.digest, how="submitted")) for c in submitted.values()
    ]
    if answers:
        return max(enumerate(answers), key=lambda at: (_lower_bound(at[1][0], run.candidates), at[0]))[1][1]
    raw, confirmed = run.raw, run.confirmed
    if confirmed:  # of a ledger that names nobody
        return Answer(commit=confirmed[-1].commit, digest=confirmed[-1].digest, how="confirmed best")
    if raw and raw[-1].value > 0:
        return Answer(commit=raw[-1].commit, digest=raw[-1].digest, how="best evaluated")
    for commit in (e.payload for e in events if e.kind == "commit"):
        if commit.phase in ("starter", "received"):  # what came first is the starter, in old ledgers too
            return Answer(commit=commit.commit, digest=commit.digest, how="starter")
    raise UserError("this ledger holds no commit that could have been scored")


def _lower_bound(content: str, candidates: Candidates) -> float:
    """Of a content's success rate, by its confirmation alone, what is missing of it counted as failures; 0 where nobody had begun one. How many
    evaluations there are after it, and where they are cut, is a member's choice."""
    known = candidates.known.get(content)
    return 0.0 if known is None or not known.n else wilson(known.wins, max(known.n, candidates.confirm_episodes))[0]
