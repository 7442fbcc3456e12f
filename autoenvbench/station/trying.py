"""Jobs that judge nothing: practice and on-robot learning, on public starts, whose episodes the agent may keep."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from enpire_envs.episode_file import SUFFIX

from autoenvbench.errors import UserError
from autoenvbench.record.events import EpisodeEvent, Purpose
from autoenvbench.station.answers import outcome_of
from autoenvbench.station.batch import MOST_KEPT, Batch, Film, Insight, Keep
from autoenvbench.station.config import data_folder
from autoenvbench.station.jobs import Caller, Jobs, check_n
from autoenvbench.station.learning import Inbox, Learning, Session, require_learning
from autoenvbench.station.practice import FILM, Practice, takes_starts
from autoenvbench.station.questions import pictures_folder
from autoenvbench.station.scripts import is_script


class Trying:
    """Practice and learning."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        # On the station's track, an agent is told no more of a start than its policy is, and of what followed no more than a station
        # of arms and cameras can know: a simulated one knows the truth.
        told = jobs.run.track == "open"
        insight: Insight = "all" if told or jobs.arms else "stage"
        self._sees = jobs.run.vision == "native"
        self._asks = jobs.run.vision == "tool"  # pictures are made, and kept apart
        self._keep = Keep(jobs.config.run_dir / "data", secret=False, starts=told, insight=insight, pictures=self._sees)
        self.weights = Inbox(jobs.config.run_dir / "weights")
        self._sessions: dict[str, Session] = {}  # by member

    def _kept_for(self, member: str, what: Purpose, evaluation: str) -> Keep:
        """Where a member finds the episodes of an evaluation, as data/practice or data/learn. All have an equal part of what such a folder
        may hold, and each one's oldest make room for its newest."""
        data = data_folder(self._jobs.config.run_dir, member, sharing=self._jobs.run.sharing)
        apart = (
            pictures_folder(self._jobs.config.run_dir, member, sharing=self._jobs.run.sharing)
            if self._asks and what == "practice"
            else None
        )
        with self._jobs.record.read() as state:
            own, members = state.book.tried[member, what], max(len(state.team.members), 1)
            return dataclasses.replace(
                self._keep, folder=data / what, apart=apart, own=(*own, evaluation), most=MOST_KEPT // members
            )

    def practice(self, caller: Caller, digest: str, asked: Practice) -> dict[str, Any]:
        """Episodes on public starts, on one cell at a time, whose trajectories (and a script's tool calls) land in data/practice. Raises
        UserError, BudgetOver."""
        self._jobs.require_robot()
        bundle, n = self._jobs.bundle(digest, caller.member), asked.n
        check_n(n)
        if asked.video and not self._asks:
            self._jobs.require_vision("films")
        if asked.interactive and not is_script(bundle.path / "policy.py"):
            raise UserError("--interactive is for scripts (`def run(tools)`), and this policy.py is none; leave it out")
        if asked.start is not None and not takes_starts(self._jobs.run):
            raise UserError(
                f"{self._jobs.run.env} takes no --start on the track {self._jobs.run.track}: nothing places things more exactly than it sees them; "
                "--seed N begins where the Nth practice start is, as often as you like"
            )
        job = self._jobs.open(caller, f"practice of {bundle.commit[:8]} by {caller.member}", 1, noted=True)
        with job, contextlib.ExitStack() as stack:
            seed = asked.seed
            first = stack.enter_context(self._jobs.allocator.starts("practice", n)) if seed is None else seed
            evaluation = self._jobs.allocator.evaluation()
            keep = self._kept_for(caller.member, "practice", evaluation)
            starts = (dataclasses.replace(start, named=asked.start) for start in self._jobs.draw("practice", first, n))
            batch = Batch(
                evaluation, "practice", bundle, n, starts, agent=caller.member, interactive=asked.interactive, keep=keep,
                film=Film(keep.apart or keep.folder, f"{evaluation}-") if asked.video else None,
                sheets=asked.sheets if self._sees or self._asks else 0, by_clock=True,
            )  # fmt: skip
            tally = self._jobs.run_batch(job, batch, self._jobs.stop_when(caller.gone), caller.on_episode)
        return {**outcome_of(tally, bundle), "trajectories": tally.full or f"data/practice/{tally.id}-*{SUFFIX}",
                "videos": [name.removesuffix(".mp4") if self._asks else f"data/practice/{name}" for name in tally.shown.values()],
                "film": FILM, "pictures": self._sees, "asks": self._asks}  # fmt: skip

    def learn(self, caller: Caller, digest: str, asked: Learning) -> dict[str, Any]:
        """Episodes on public starts, on one cell at a time, by the newest weights that the agent's learner has sent (see `learning`), whose
        trajectories land in data/learn. Raises UserError, BudgetOver."""
        require_learning(self._jobs.run.regime)
        self._jobs.require_robot()
        bundle, session = (
            self._jobs.bundle(digest, caller.member),
            Session(caller.member, asked, self.weights, self._jobs.clock.elapsed),
        )

        def judged(event: EpisodeEvent) -> None:
            session.judged(event)
            caller.on_episode(event)

        job = self._jobs.open(caller, f"learning by {caller.member}", 1, noted=True)
        self._sessions[caller.member] = session
        try:
            with job, self._jobs.allocator.starts("learn", asked.n) as first:
                evaluation = self._jobs.allocator.evaluation()
                batch = Batch(
                    evaluation, "learn", bundle, asked.n, session.starts(self._jobs.draw("learn", first, asked.n)),
                    agent=caller.member, keep=self._kept_for(caller.member, "learn", evaluation), by_clock=True,
                )  # fmt: skip
                # In turn, so that a session's end is heeded.
                tally = self._jobs.run_batch(job, batch, self._jobs.stop_when(caller.gone), judged, in_turn=True)
        finally:
            del self._sessions[caller.member]
        return {**outcome_of(tally, bundle), "ended": session.why or self._jobs.robot_used_up() or "it was cut off",
                "weights": len(session.weights), "trajectories": tally.full or f"data/learn/{tally.id}-*{SUFFIX}"}  # fmt: skip

    def end_learning(self, agent: str, why: str) -> dict[str, Any]:
        """Let an agent's session begin no further episode. Raises UserError where it has none."""
        session = self._sessions.get(agent)
        if session is None:
            raise UserError("no session of yours is under way; aeb learn begins one")
        session.end(why[:200])
        return {"ended": session.why}
