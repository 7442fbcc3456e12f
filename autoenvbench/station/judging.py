"""Jobs that judge a commit: evaluations, confirmations and comparisons on secret starts, and the run's held-out scoring."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.candidates import Candidate
from autoenvbench.record.events import ContentsEvent, NoteEvent, Purpose
from autoenvbench.station.answers import outcome_of
from autoenvbench.station.batch import Batch, Film, Keep, Stop, draw_starts
from autoenvbench.station.bundles import Bundle, look_through
from autoenvbench.station.comparison import compare
from autoenvbench.station.evaluation import OnEpisode, Tally, evaluate
from autoenvbench.station.ideas import Ideas
from autoenvbench.station.jobs import Jobs, check_n
from autoenvbench.station.remote_cell import CellLost


class Judging:
    """Evaluations and what follows from them; held-out scoring is the run's alone to ask for."""

    def __init__(self, jobs: Jobs, ideas: Ideas) -> None:
        self._jobs, self._ideas = jobs, ideas
        self._keep = Keep(jobs.config.run_dir / "episodes", secret=True)  # no agent sees these

    def evaluate(
        self, agent: str, digest: str, n: int, idea: str | None, confirm: bool | None, stop: Callable[[], bool],
        on_episode: OnEpisode,
    ) -> dict[str, Any]:  # fmt: skip
        """Episodes on fresh secret starts. A candidate that beats the member's own confirmed best is confirmed on more of them at once,
        once for each member: what one adopts of another is measured anew.

        Args:
            confirm: True: also where it does not, as one that ties with the best; False: not even where it does.

        Raises UserError, BudgetOver.
        """
        self._jobs.require_robot()
        bundle = self._jobs.bundle(digest, agent)
        check_n(n)
        idea = self._ideas.under_test(agent, idea)
        with self._jobs.leased(f"evaluation of {bundle.commit[:8]} by {agent}"):
            tally = self._judge("evaluate", bundle, n, agent, idea, None, self._jobs.stop_when(stop), on_episode)
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
            if confirmation := self._confirm(candidate, agent, on_episode):
                result["confirmation"] = outcome_of(confirmation, bundle)
            with self._jobs.record.read() as state:
                known = state.of_member(agent).candidates.known[candidate.content]
                return {**result, "candidate": {"success_rate": round(known.rate, 4), "episodes": known.counted}}

    def _confirm(self, candidate: Candidate, agent: str, on_episode: OnEpisode) -> Tally | None:
        """Run what is missing of a member's confirmation of a candidate; returns what was run.

        The station's own job: it goes on whatever becomes of who asked for the evaluation, until the run's end or a person's.
        """
        bundle, ran, each_s = self._jobs.bundle(candidate.digest), None, 0.0
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
            self._jobs.current_job = f"confirmation of {bundle.commit[:8]} by {agent}: {n} fresh episodes"
            tally = self._judge("confirm", bundle, n, agent, candidate.idea, candidate.beats, stop, on_episode)
            each_s = (self._jobs.clock.elapsed() - began) / max(len(tally.episodes), 1)
            ran = (
                tally if ran is None else dataclasses.replace(tally, id=ran.id, episodes=ran.episodes + tally.episodes)
            )
            if tally.aborted or not tally.counted:
                return ran

    def compare(self, agent: str, digest: str, stop: Callable[[], bool], on_episode: OnEpisode) -> dict[str, Any]:
        """Decide a tie: a confirmed candidate and the confirmed best that it cannot be told apart from, on shared fresh starts (see
        `comparison`). Raises UserError, BudgetOver."""
        self._jobs.require_robot()
        bundle = self._jobs.bundle(digest, agent)
        with self._jobs.leased(f"comparison of {bundle.commit[:8]} by {agent}"):
            with self._jobs.record.read() as state:
                pair = state.of_member(agent).candidates.to_compare(bundle.content or bundle.digest)
                challenger, incumbent = map(dataclasses.replace, pair)
                number = state.candidates.comparisons + 1
            until = self._jobs.stop_when(stop)

            def block(n: int, challenger_first: bool) -> list[Tally]:
                order = (challenger, incumbent) if challenger_first else (incumbent, challenger)
                with self._jobs.allocator.starts("compare", n) as first:
                    return [self._run_judged("compare", self._jobs.bundle(c.digest), first, n, agent, None, f"C{number}", until, on_episode)
                            for c in order]  # fmt: skip

            event = compare(number, challenger, incumbent, self._jobs.ledger, agent, block)
        told = event.model_dump(include={"id", "starts", "most", "wins", "losses", "verdict"})
        return {**told, "commit": bundle.commit, "against": incumbent.commit}

    def _judge(
        self, purpose: Purpose, bundle: Bundle, n: int, agent: str | None, idea: str | None, beats: str | None, stop: Stop,
        on_episode: OnEpisode,
    ) -> Tally:  # fmt: skip
        """Episodes on fresh starts of the secret stream that evaluations and confirmations share."""
        with self._jobs.allocator.starts(purpose, n) as first:
            return self._run_judged(purpose, bundle, first, n, agent, idea, beats, stop, on_episode)

    def _run_judged(
        self, purpose: Purpose, bundle: Bundle, first: int, n: int, agent: str | None, idea: str | None, beats: str | None,
        stop: Stop, on_episode: OnEpisode,
    ) -> Tally:  # fmt: skip
        batch = Batch(
            self._jobs.allocator.evaluation(), purpose, bundle, n, self._jobs.draw(purpose, first, n), agent=agent, idea=idea,
            beats=beats, keep=self._keep, by_clock=True,
        )  # fmt: skip
        return self._jobs.run_batch(batch, stop, on_episode)

    def finish_confirmations(self) -> None:
        """Run what is missing of confirmations that were cut when the station was last ended."""
        with self._jobs.record.read() as state:
            pending = [
                (agent, dataclasses.replace(c))
                for agent, own in state.team.of.items()
                for c in own.candidates.pending()
            ]
        for agent, candidate in pending:
            with (
                contextlib.suppress(UserError),
                self._jobs.leased(f"confirmation of {candidate.commit[:8]} by {agent}"),
            ):
                self._confirm(candidate, agent, lambda event: None)

    def held_out(self, digest: str, client_gone: Callable[[], bool], on_episode: OnEpisode) -> dict[str, Any]:
        """Score the answer on held-out starts, going on where an interrupted scoring ended: what began counts as it stood, and
        only starts that nobody has seen are run. Raises UserError if it is interrupted."""
        bundle, halts = self._jobs.bundle(digest), self._jobs.halts
        again = f"go on with: autoenvbench resume {self._jobs.config.run_dir}"

        def stop() -> str | None:
            if client_gone():
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
        with self._jobs.leased("held-out scoring"):
            self._remember_contents(bundle)
            try:
                tally = evaluate(self._jobs.cells, batch, self._jobs.ledger, stop=stop, on_episode=on_episode)
            except CellLost as error:
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
