"""The members of a run in a result: what each of them did, spent and found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import Field

from autoenvbench.record import metrics
from autoenvbench.record.ledger import Event
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.strict_model import StrictModel
from autoenvbench.record.team import TeamCurves


class MemberInfo(StrictModel):
    """What one member of the run came to.

    Attributes:
        agent: as `--agent` names it; `model`: the one that used most of its tokens, else the one that `--model` gives its kind; None without one.
        tokens: headline tokens of its calls; `calls`: how many.
        best_confirmed: success rate by its own evaluations and confirmations, 0 to 1; None before it had any.
        evaluations: of its own that were finished; `robot_s`: robot time of all that it had the robots do [s].
        exits: why each of its processes ended, in order: more than one where it was sent back to work, or died.
        submitted: the commit that it submitted last.
    """

    id: str
    agent: str
    model: str | None = None
    tokens: int = 0
    calls: int = 0
    best_confirmed: float | None = Field(default=None, ge=0, le=1)
    ideas: int = 0
    evaluations: int = 0
    robot_s: float = 0.0
    exits: list[str] = Field(default_factory=list)
    submitted: str | None = None


def kinds_at_work(events: Sequence[Event], config: RunConfig) -> str:
    """The kinds of agent that worked, in one line: codex, or codex*2,kimi-code."""
    kinds = {e.agent: e.payload.name for e in events if e.kind == "agent"}
    counted = sorted(Counter(kinds.values()).items())
    if len(counted) <= 1:
        return counted[0][0] if counted else config.agent.partition(":")[0]
    return ",".join(name if n == 1 else f"{name}*{n}" for name, n in counted)


def member_info(
    name: str, agent: str, events: Sequence[Event], team: TeamCurves, models: Mapping[str, str]
) -> MemberInfo:
    """The member of this name, whose agent `--agent` names so, by all of a run's events and its curves; `models` are those by kind."""
    own = [e for e in events if e.agent == name]
    count = metrics.TokenCount()
    for e in own:
        if e.kind == "tokens":
            count.add(e.payload)
    finished = [
        e for e in own if e.kind == "evaluation" and (e.payload.purpose, e.payload.phase) == ("evaluate", "finished")
    ]
    submitted = [e.payload.commit for e in own if e.kind == "commit" and e.payload.phase == "submitted"]
    confirmed = team.member(name).confirmed
    given = next((models.get(e.payload.name) for e in own if e.kind == "agent"), None)
    return MemberInfo(
        id=name, agent=agent, model=max(count.by_model, key=lambda model: (count.by_model[model], model), default=given),
        tokens=count.headline, calls=count.calls, best_confirmed=confirmed[-1].value if confirmed else None,
        ideas=sum(e.kind == "idea" for e in own), evaluations=len(finished), robot_s=sum(map(metrics.robot_seconds, own)),
        exits=[e.payload.reason or "" for e in own if e.kind == "agent" and e.payload.phase == "exited"],
        submitted=submitted[-1] if submitted else None,
    )  # fmt: skip
