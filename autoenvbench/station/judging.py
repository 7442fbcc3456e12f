"""Jobs that judge a commit: evaluations, confirmations and comparisons on secret starts, and the run's held-out scoring."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from autoenvbench.errors import BudgetOver, RobotBusy, UserError
from autoenvbench.record.candidates import Candidate
from autoenvbench.record.events import ContentsEvent, NoteEvent, Purpose
from autoenvbench.station.answers import outcome_of
from autoenvbench.station.batch import Batch, CellLost, Film, Keep, Stop, draw_starts
from autoenvbench.station.bundles import Bundle, look_through
from autoenvbench.station.comparison import begin, compare
from autoenvbench.station.evaluation import Tally, evaluate_with
from autoenvbench.station.ideas import Ideas
from autoenvbench.station.jobs import Caller, Job, Jobs, check_n


class Judging:
    """Evaluations and what follows from them; held-out scoring is the run's alone to ask for."""

    def __init__(self, jobs: Jobs, ideas: Ideas) -> None:
        self._jobs, self._ideas = jobs, ideas
        self._keep = Keep(jobs.config.run_dir / "episodes", secret=True)  # no agent sees these

    def evaluate(self, caller: Caller, digest: str, n: int, idea: str | None, confirm: bool | None) -> dict[str, Any]:
        """Episodes on fresh secret starts. A candidate that beats the member's own confirmed best is confirmed on more of them at once,
        once for each member: what one adopts of another is measured anew.

        Args:
            confirm: True: also where it does not, as one that ties with the best; False: not even where it does.

        Raises UserError, BudgetOver.
        """
        self._jobs.require_robot()
        agent = caller.member
        bundle = self._jobs.bundle(digest, agent)
        check_n(n)
        idea = self._ideas.under_test(agent, idea)
        with self._jobs.open(caller, f"evaluation of {bundle.commit[:8]} by {agent}", noted=True) as job:
            tally = self._judge(job, "evaluate", bundle, n, idea, None, self._jobs.stop_when(caller.gone))
            result = outcome_of(tally, bundle)
            if tally.aborted:
                return result
            with self._jobs.record.read() as state:
                own = state.of_member(agent).candidates
                candidate, best = own.known.get(bundle.content or bundle.digest), own.value
            if candidate is None or not candidate.begun:
                wanted = n >= self._jobs.run.min_episodes and tally.rate > best if confirm is None else confirm
                if not wanted:
                    return result
                candidate = Candidate(
                    bundle.content or bundle.digest, bundle.commit, bundle.digest, agent, idea, tally.id
                )
            if confirmation := self._confirm(job, candidate):
                result["confirmation"] = outcome_of(confirmation, bundle)
            with self._jobs.record.read() as state:
                known = state.of_member(agent).candidates.known[candidate.content]
                return {**result, "candidate": {"success_rate": round(known.rate, 4), "episodes": known.counted}}

    def _confirm(self, job: Job, candidate: Candidate) -> Tally | None:
        """Run what is missing of a member's confirmation of a candidate; returns what was run.

        The station's own job: it goes on whatever becomes of who asked for the evaluation, until the run's end or a person's.
        """
        agent, bundle, ran, each_s = job.caller.member, self._jobs.bundle(candidate.digest), None, 0.0
        while True:
            self._jobs.not_paused.wait()
            with self._jobs.record.read() as state:
                own = state.of_member(agent).candidates
                known = own.known.get(candidate.content)
                begun = known is not None and known.begun
                n = own.missing(known) if known is not None and begun else self._jobs.run.confirm_episodes
            stop = self._jobs.stop_when(lambda: False)
            if (
                n == 0
                or (stop() or self._jobs.robot_used_up()) is not None
                or self._jobs.clock.remaining() <= n * each_s
            ):
                return ran  # nothing left to do, or no time: what the end cuts would count as it stands
            began = self._jobs.clock.elapsed()
            job.rename(f"confirmation of {bundle.commit[:8]} by {agent}: {n} fresh episodes")
            tally = self._judge(job, "confirm", bundle, n, candidate.idea, candidate.beats, stop)
            each_s = (self._jobs.clock.elapsed() - began) / max(len(tally.episodes), 1)
            ran = (
                tally if ran is None else dataclasses.replace(tally, id=ran.id, episodes=ran.episodes + tally.episodes)
            )
            if tally.aborted or not tally.counted:
                return ran

    def compare(self, caller: Caller, digest: str) -> dict[str, Any]:
        """Decide a tie: a confirmed candidate and the confirmed best that it cannot be told apart from, on shared fresh starts (see
        `comparison`). Raises UserError, BudgetOver."""
        self._jobs.require_robot()
        agent = caller.member
        bundle = self._jobs.bundle(digest, agent)
        with self._jobs.open(caller, f"comparison of {bundle.commit[:8]} by {agent}", noted=True) as job:
            with self._jobs.record.read() as state:
                pair = state.of_member(agent).candidates.to_compare(bundle.content or bundle.digest)
                challenger, incumbent = map(dataclasses.replace, pair)
                # Held until it is on record, so that no other member's gets its number.
                event = begin(state.candidates.comparisons + 1, challenger, incumbent, self._jobs.ledger, agent)
            until = self._jobs.stop_when(caller.gone)

            def block(n: int, challenger_first: bool) -> list[Tally]:
                order = (challenger, incumbent) if challenger_first else (incumbent, challenger)
                with self._jobs.allocator.starts("compare", n) as first:
                    return [self._run_judged(job, "compare", self._jobs.bundle(c.digest), first, n, None, event.id, until)
                            for c in order]  # fmt: skip

            ended = compare(event, self._jobs.ledger, agent, block)
        told = ended.model_dump(include={"id", "starts", "most", "wins", "losses", "verdict"})
        return {**told, "commit": bundle.commit, "against": incumbent.commit}

    def _judge(
        self, job: Job, purpose: Purpose, bundle: Bundle, n: int, idea: str | None, beats: str | None, stop: Stop
    ) -> Tally:
        """Episodes on fresh starts of the secret stream that evaluations and confirmations share."""
        with self._jobs.allocator.starts(purpose, n) as first:
            return self._run_judged(job, purpose, bundle, first, n, idea, beats, stop)

    def _run_judged(
        self, job: Job, purpose: Purpose, bundle: Bundle, first: int, n: int, idea: str | None, beats: str | None, stop: Stop,
    ) -> Tally:  # fmt: skip
        batch = Batch(
            self._jobs.allocator.evaluation(), purpose, bundle, n, self._jobs.draw(purpose, first, n),
            agent=job.caller.member, idea=idea,
            beats=beats, keep=self._keep, by_clock=True,
        )  # fmt: skip
        return self._jobs.run_batch(job, batch, stop, job.caller.on_episode)

    def finish_confirmations(self, start: Callable[[Callable[[], None]], object]) -> None:
        """Run what is missing of confirmations that were cut when the station was last ended, each member's as a job of its own.

        Args:
            start: runs a job on a thread of its own.
        """
        with self._jobs.record.read() as state:
            pending = {
                agent: [dataclasses.replace(c) for c in own.candidates.pending()]
                for agent, own in state.team.of.items()
            }
        for agent, candidates in pending.items():
            if candidates:
                with contextlib.suppress(RobotBusy):  # by a job of its own, which may be one of them
                    what = f"confirmation of {candidates[0].commit[:8]} by {agent}"
                    job = self._jobs.open(Caller(agent), what, noted=True)
                    start(functools.partial(self._finish, job, candidates))

    def _finish(self, job: Job, candidates: Sequence[Candidate]) -> None:
        with contextlib.suppress(UserError), job:
            for candidate in candidates:
                self._confirm(job, candidate)

    def held_out(self, caller: Caller, digest: str) -> dict[str, Any]:
        """Score the answer on held-out starts, going on where an interrupted scoring ended: what began counts as it stood, and
        only starts that nobody has seen are run. Raises UserError if it is interrupted."""
        bundle, halts = self._jobs.bundle(digest), self._jobs.halts
        again = f"go on with: autoenvbench resume {self._jobs.config.run_dir}"

        def stop() -> str | None:
            if caller.gone():
                return "whoever asked for it hung up"
            return "the scoring was halted" if self._jobs.halts > halts else None

        with self._jobs.record.read() as state:
            done = state.scored(digest)
        n, attempts = self._jobs.run.held_out, self._jobs.run.attempts
        stations = self._jobs.config.stations
        elsewhere = (lambda index: None) if stations is None else stations.of_held_out
        starts = draw_starts(self._jobs.streams, "heldout", 0, n, attempts=attempts, skip=done, station=elsewhere)
        film = Film(self._jobs.config.run_dir, "held_out_", strip=True)
        batch = Batch(
            "held-out", "heldout", bundle, n * attempts, starts, attempts=attempts, keep=self._keep, film=film
        )
        try:
            with self._jobs.open(
                caller, "held-out scoring", stop=stop
            ) as job:  # behind a job that the deadline cut, in its last step
                self._remember_contents(bundle)
                ledger, name = self._jobs.ledger, self._jobs.config.name
                tally = evaluate_with(job, batch, ledger, name, stop=stop, on_episode=caller.on_episode)
        except (CellLost, BudgetOver) as error:
            raise UserError(f"held-out scoring was interrupted: {error}; {again}") from None
        if tally.aborted:
            raise UserError(f"held-out scoring was interrupted; {again}")
        return {**outcome_of(tally, bundle), "shown": tally.shown}

    def _remember_contents(self, bundle: Bundle) -> None:
        """Record what the answer holds. What cannot be looked through is scored all the same, and is of no declared regime."""
        try:
            self._jobs.ledger.append(ContentsEvent(digest=bundle.digest, contents=look_through(bundle)))
        except UserError as error:
            self._jobs.ledger.append(NoteEvent(text=str(error)))
