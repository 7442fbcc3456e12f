"""The station: what its clients may ask for, as plain method calls. Long jobs are `judging`'s and `trying`'s.

The door (`door.py`) adds HTTP and nothing else; cells run the episodes.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

from autoenvbench.errors import UserError
from autoenvbench.record.events import (
    CommitEvent,
    EpisodeEvent,
    IdeaEvent,
    NoteEvent,
    Purpose,
)
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.regimes import contradictions, rules
from autoenvbench.record.state import Follower, RunState
from autoenvbench.station.answers import best_of, idea_line
from autoenvbench.station.bundles import Bundle, look_through
from autoenvbench.station.config import ADMIN, StationConfig
from autoenvbench.station.evaluation import close_evaluations, settle
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.hub import Hub
from autoenvbench.station.ideas import Ideas
from autoenvbench.station.jobs import Caller, Jobs
from autoenvbench.station.judging import Judging
from autoenvbench.station.questions import Questions
from autoenvbench.station.trying import Trying

MOST_SHOWN = 100  # ideas, and candidates that cannot be told apart, in a status
BATCHES: tuple[Purpose, ...] = ("evaluate", "confirm", "practice", "learn", "heldout")  # of a run


class Station:
    """Everything a client can ask for.

    Args:
        ledger: opened by whoever started the cells, which write to no other.
        fleet: the cells that run its episodes.
    """

    def __init__(self, config: StationConfig, ledger: Ledger, fleet: Fleet) -> None:
        self.config, self._run, self.fleet = config, config.config, fleet
        assert ledger.clock is not None
        self.ledger, self.clock = ledger, ledger.clock
        self._record = Follower(self.ledger, self._run.min_episodes)
        settle(self._record, "the station was ended in the middle of it")
        close_evaluations(self._record)
        self.jobs = Jobs(config, ledger, self._record, fleet)
        self.bundles = self.jobs.bundles
        self.ideas = Ideas(config, self._record, self.ledger)
        self.hub = Hub(config, self._record, self.ledger, self.bundles)
        self.trying, self.judging = Trying(self.jobs), Judging(self.jobs, self.ideas)
        self.questions = Questions(self.jobs)

    # -- what anyone may know ----------------------------------------------------------------------------------------
    def status(self, client: str) -> dict[str, Any]:
        """What `aeb status` shows: the budget [s], the robot, the client's own best and answer, and the newest ideas and the team's best
        where members know of one another. What it costs does not grow with the run."""
        with self._record.read() as state:
            own = state.curves if client == ADMIN else state.of_member(client)
            submitted = state.submitted if client == ADMIN else state.member(client).submitted
            return {
                "env": self._run.env,
                "track": self._run.track,
                "pace": self._run.pace,
                "budget_left_s": round(self.clock.remaining(), 1),
                "budget_s": self._run.budget_s,
                "robot_s": round(state.robot_s, 1),
                "robot_budget_s": self._run.robot_budget_s,
                **self.jobs.standing(client),
                "best": best_of(own.confirmed),
                "best_pools": [[c.counted_wins, c.counted] for c in own.candidates.own(MOST_SHOWN)],
                "best_pooled": len(own.candidates.group),
                "best_single": best_of(own.raw),
                "team_best": best_of(state.curves.confirmed) if self._run.sharing and self._run.team > 1 else None,
                "submitted": submitted.commit if submitted else None,
                "joined": dict(state.joined) if self._run.sharing else {},
                "finished": {purpose: state.batches_finished[purpose] for purpose in BATCHES},
                "ideas": [idea_line(idea, state) for idea in self._newest_ideas(client, state)],
            }

    def _newest_ideas(self, client: str, state: RunState) -> list[IdeaEvent]:
        """The last `MOST_SHOWN` of whom the client may know, in their order."""
        seen = (idea for idea in reversed(state.ideas.values()) if self.hub.sees(client, state.book.author(idea.id)))
        return list(itertools.islice(seen, MOST_SHOWN))[::-1]

    def episodes(self, client: str, evaluation: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest judged episodes of whom the client may know. Seeds of secret streams are not shown."""
        found = []
        for e in self._record.newest_episodes(evaluation, limit):
            if not self.hub.sees(client, e.agent):
                continue
            p: EpisodeEvent = e.payload
            shown = p.model_dump(exclude={"version", "digest"} | (set() if p.purpose == "practice" else {"seed"}))
            found.append({**shown, "t_run": round(e.t_run, 1)})
        return found

    def frame(self, caller: Caller, camera: str = "top") -> bytes:
        """A PNG of what people see of a cell now that is free, or of one of a real station's cameras by name. Raises UserError."""
        if caller.member != ADMIN:
            self.jobs.require_vision("frames")
        with self.jobs.open(caller, f"picture for {caller.member}", 1) as job:
            return job.cell().picture(camera)

    # -- what moves a real station between jobs ----------------------------------------------------------------------
    def move(self, caller: Caller, where: Literal["home", "avoid", "resume"]) -> dict[str, Any]:
        """Bring the arms home, out of the camera's view, or back over the work."""
        self.jobs.require_robot()
        with self.jobs.open(caller, f"{where} by {caller.member}", 1) as job:
            job.cell().move(where)
        return {"at": where}

    def acknowledge(self, client: str) -> dict[str, Any]:
        """A person says that the arms may move again, when somebody next asks for it. Raises UserError."""
        ended = self.fleet.acknowledge(client)
        self.ledger.append(NoteEvent(text=f"acknowledged {len(ended)} stops: {'; '.join(ended)}"), agent=client)
        return {"acknowledged": ended}

    # -- what agents do ----------------------------------------------------------------------------------------------
    def receive(self, agent: str, archive: Path, commit: str) -> Bundle:
        """Take in an upload, and find out what it has from other members. Raises UserError."""
        return self.hub.receive(agent, archive, commit)

    def submit(self, agent: str, digest: str) -> dict[str, Any]:
        """Make this bundle the answer; the last one counts. Raises UserError, also for one that is not of the run's regime, and
        BudgetOver."""
        self.jobs.require_budget()
        bundle = self.jobs.bundle(digest, agent)
        must = rules(self._run.regime)
        if must and (wrong := contradictions(self._run.regime, look_through(bundle))):
            raise UserError(f"{wrong[0]}. {must} Mend it and submit again; the run's last answer stands until then")
        with self._record.read() as state:
            self.ideas.require_room(state, agent, "submitted", "submissions")
        self.ledger.append(
            CommitEvent(
                phase="submitted", commit=bundle.commit, digest=digest, content=bundle.content, subject=bundle.subject
            ),
            agent=agent,
        )  # fmt: skip
        return {"submitted": bundle.commit}
