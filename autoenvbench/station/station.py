"""The station: what its clients may ask for, as plain method calls. It holds the lease, the bundles, the ids and the secret.

The door (`door.py`) adds HTTP and nothing else; cells run the episodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from enpire_envs.episode_file import SUFFIX

from autoenvbench.errors import BudgetOver, RobotBusy, UserError
from autoenvbench.record.candidates import Candidate
from autoenvbench.record.clock import format_duration
from autoenvbench.record.events import (
    CommitEvent,
    ContentsEvent,
    EpisodeEvent,
    NoteEvent,
    Purpose,
)
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.regimes import contradictions, rules
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.station.allocator import Allocator
from autoenvbench.station.answers import best_of, idea_line, outcome_of
from autoenvbench.station.batch import Batch, Film, Insight, Keep, Start, Stop, draw_starts
from autoenvbench.station.bundles import Bundle, BundleStore, look_through
from autoenvbench.station.comparison import compare
from autoenvbench.station.config import ADMIN, StationConfig
from autoenvbench.station.evaluation import OnEpisode, Tally, close_evaluations, evaluate, settle
from autoenvbench.station.ideas import Ideas
from autoenvbench.station.learning import Inbox, Learning, Session, require_learning
from autoenvbench.station.practice import FILM, Practice, takes_starts
from autoenvbench.station.remote_cell import CellLost, RemoteCell
from autoenvbench.station.scripts import is_script

MAX_EPISODES = 1000
BATCHES: tuple[Purpose, ...] = ("evaluate", "confirm", "practice", "learn", "heldout")  # of a run


class Station:
    """Everything a client can ask for.

    Args:
        cells: those that run its episodes, one batch at a time; the first one is that of the arms, where there are any.
        ledger: opened by whoever started the cells, which write to no other.
    """

    def __init__(self, config: StationConfig, ledger: Ledger, cells: Sequence[RemoteCell]) -> None:
        self.config, self._run, self.cells = config, config.config, cells
        assert ledger.clock is not None
        self.ledger, self.clock = ledger, ledger.clock
        self.bundles = BundleStore(config.run_dir / "bundles")
        self._streams = StartStreams(bytes.fromhex(config.secret_hex))
        self._record = Follower(self.ledger, self._run.min_episodes)
        members = [client for client in config.tokens.values() if client != ADMIN]
        self.ideas = Ideas(self._run, self._record, self.ledger, len(members))
        # On the station's track, an agent is told no more of a start than its policy is, and of what followed no more than a station
        # of arms and cameras can know: a simulated one knows the truth.
        told = self._run.track == "open"
        insight: Insight = "all" if told or cells[0].arms else "stage"
        self._practised = Keep(self.data_dir / "practice", secret=False, starts=told, insight=insight)
        self._learned = dataclasses.replace(self._practised, folder=self.data_dir / "learn")
        self.weights = Inbox(config.run_dir / "weights")
        self._session: Session | None = None
        self._judged = Keep(config.run_dir / "episodes", secret=True)  # no agent sees these
        settle(self._record, "the station was ended in the middle of it")
        close_evaluations(self._record)
        self._allocator = Allocator(self._record)
        self._lease = threading.Lock()
        self.current_job: str | None = None
        self._halt, self._halts = threading.Event(), 0
        self._not_paused = threading.Event()
        self._not_paused.set()

    # -- what anyone may know ----------------------------------------------------------------------------------------
    def status(self) -> dict[str, Any]:
        """What `aeb status` shows: the budget [s], the robot, the best so far, ideas."""
        with self._record.read() as state:
            return {
                "env": self._run.env,
                "track": self._run.track,
                "pace": self._run.pace,
                "budget_left_s": round(self.clock.remaining(), 1),
                "budget_s": self._run.budget_s,
                "robot_s": round(state.robot_s, 1),
                "robot_budget_s": self._run.robot_budget_s,
                "robot": self.current_job or "free",
                "best": best_of(state.curves.confirmed),
                "best_pools": [[c.counted_wins, c.counted] for c in state.curves.candidates.own()],
                "best_single": best_of(state.curves.raw),
                "submitted": state.submitted.commit if state.submitted else None,
                "finished": {purpose: state.batches_finished[purpose] for purpose in BATCHES},
                "ideas": [idea_line(idea, state) for idea in state.ideas.values()],
            }

    def episodes(self, evaluation: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest judged episodes. Seeds of secret streams are not shown."""
        found = []
        for e in self._record.newest_episodes(evaluation, limit):
            p: EpisodeEvent = e.payload
            shown = p.model_dump(exclude={"version", "digest"} | (set() if p.purpose == "practice" else {"seed"}))
            found.append({**shown, "t_run": round(e.t_run, 1)})
        return found

    def frame(self, camera: str = "top") -> bytes:
        """A PNG of what people see of the cell now, or of one of a real station's cameras by name."""
        with self._leased("frame"):
            return self.cells[0].picture(camera)

    # -- what moves a real station between jobs ----------------------------------------------------------------------
    def move(self, agent: str, where: Literal["home", "avoid", "resume"]) -> dict[str, Any]:
        """Bring the arms home, out of the camera's view, or back over the work."""
        self._require_robot()
        with self._leased(f"{where} by {agent}"):
            self.cells[0].move(where)
        return {"at": where}

    def acknowledge(self, client: str) -> dict[str, Any]:
        """A person says that the arms may move again, when somebody next asks for it. Raises UserError."""
        ended = self.cells[0].acknowledge(client)
        self.ledger.append(NoteEvent(text=f"acknowledged {len(ended)} stops: {'; '.join(ended)}"), agent=client)
        return {"acknowledged": ended}

    # -- what agents do ----------------------------------------------------------------------------------------------
    def receive(self, agent: str, archive: Path, commit: str) -> Bundle:
        """Take in an upload (see `BundleStore.receive`). Raises UserError."""
        bundle = self.bundles.receive(archive, commit)
        self.ledger.append(
            CommitEvent(
                phase="received", commit=commit, digest=bundle.digest, content=bundle.content, subject=bundle.subject
            ),
            agent=agent,
        )  # fmt: skip
        return bundle

    def submit(self, agent: str, digest: str) -> dict[str, Any]:
        """Make this bundle the answer; the last one counts. Raises UserError, also for one that is not of the run's regime, and
        BudgetOver."""
        self._require_budget()
        bundle = self._bundle(digest)
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

    def practice(
        self, agent: str, digest: str, asked: Practice, stop: Callable[[], bool], on_episode: OnEpisode
    ) -> dict[str, Any]:
        """Episodes on public starts, whose trajectories (and a script's tool calls) land in data/practice. Raises UserError, BudgetOver."""
        self._require_robot()
        bundle, n = self._bundle(digest), asked.n
        _check_n(n)
        if asked.interactive and not is_script(bundle.path / "policy.py"):
            raise UserError("--interactive is for scripts (`def run(tools)`), and this policy.py is none; leave it out")
        if asked.start is not None and not takes_starts(self._run):
            raise UserError(
                f"{self._run.env} takes no --start on the track {self._run.track}: nothing places things more exactly than it sees them; "
                "--seed N begins where the Nth practice start is, as often as you like"
            )
        with self._leased(f"practice of {bundle.commit[:8]} by {agent}"), contextlib.ExitStack() as stack:
            seed, folder = asked.seed, self._practised.folder
            first = stack.enter_context(self._allocator.starts("practice", n)) if seed is None else seed
            evaluation = self._allocator.evaluation()
            starts = (dataclasses.replace(start, named=asked.start) for start in self._draw("practice", first, n))
            batch = Batch(
                evaluation, "practice", bundle, n, starts, agent=agent, interactive=asked.interactive, keep=self._practised,
                film=Film(folder, f"{evaluation}-") if asked.video else None, sheets=asked.sheets, by_clock=True,
            )  # fmt: skip
            tally = self._run_batch(batch, self._stop_when(stop), on_episode)
        return {**outcome_of(tally, bundle), "trajectories": tally.full or f"data/practice/{tally.id}-*{SUFFIX}",
                "videos": [f"data/practice/{name}" for name in tally.shown.values()], "film": FILM}  # fmt: skip

    def learn(
        self, agent: str, digest: str, asked: Learning, stop: Callable[[], bool], on_episode: OnEpisode
    ) -> dict[str, Any]:
        """Episodes on public starts by the newest weights that the agent's learner has sent (see `learning`), whose trajectories land in
        data/learn. Raises UserError, BudgetOver."""
        require_learning(self._run.regime)
        self._require_robot()
        bundle, session = self._bundle(digest), Session(agent, asked, self.weights, self.clock.elapsed)

        def judged(event: EpisodeEvent) -> None:
            session.judged(event)
            on_episode(event)

        with self._leased(f"learning by {agent}"), self._allocator.starts("learn", asked.n) as first:
            self._session = session
            try:
                batch = Batch(
                    self._allocator.evaluation(), "learn", bundle, asked.n, session.starts(self._draw("learn", first, asked.n)),
                    agent=agent, keep=self._learned, by_clock=True,
                )  # fmt: skip
                # With `admit`, each start is given out after the verdict before is on record, so that a session's end is heeded.
                tally = evaluate(
                    self.cells,
                    batch,
                    self.ledger,
                    stop=self._stop_when(stop),
                    on_episode=judged,
                    admit=self._robot_used_up,
                )
            finally:
                self._session = None
        return {**outcome_of(tally, bundle), "ended": session.why or self._robot_used_up() or "it was cut off",
                "weights": len(session.weights), "trajectories": tally.full or f"data/learn/{tally.id}-*{SUFFIX}"}  # fmt: skip

    def end_learning(self, agent: str, why: str) -> dict[str, Any]:
        """Let an agent's session begin no further episode. Raises UserError where it has none."""
        session = self._session
        if session is None or session.agent != agent:
            raise UserError("no session of yours is under way; aeb learn begins one")
        session.end(why[:200])
        return {"ended": session.why}

    def evaluate(
        self, agent: str, digest: str, n: int, idea: str | None, confirm: bool | None, stop: Callable[[], bool],
        on_episode: OnEpisode,
    ) -> dict[str, Any]:  # fmt: skip
        """Episodes on fresh secret starts. A candidate that beats the confirmed best is confirmed on more of them at once, once.

        Args:
            confirm: True: also where it does not, as one that ties with the best; False: not even where it does.

        Raises UserError, BudgetOver.
        """
        self._require_robot()
        bundle = self._bundle(digest)
        _check_n(n)
        idea = self.ideas.under_test(agent, idea)
        with self._leased(f"evaluation of {bundle.commit[:8]} by {agent}"):
            tally = self._judge("evaluate", bundle, n, agent, idea, None, self._stop_when(stop), on_episode)
            result = outcome_of(tally, bundle)
            if tally.aborted:
                return result
            with self._record.read() as state:
                candidate = state.candidates.known.get(bundle.content or bundle.digest)
                best = state.candidates.value
            if candidate is None or not candidate.begun:
                wanted = n >= self._run.min_episodes and tally.rate > best if confirm is None else confirm
                if not wanted:
                    return result
                candidate = Candidate(
                    bundle.content or bundle.digest, bundle.commit, bundle.digest, agent, idea, tally.id
                )
            if confirmation := self._confirm(candidate, on_episode):
                result["confirmation"] = outcome_of(confirmation, bundle)
            with self._record.read() as state:
                known = state.candidates.known[candidate.content]
                return {**result, "candidate": {"success_rate": round(known.rate, 4), "episodes": known.counted}}

    def _confirm(self, candidate: Candidate, on_episode: OnEpisode) -> Tally | None:
        """Run what is missing of a candidate's confirmation; returns what was run.

        The station's own job: it goes on whatever becomes of who asked for the evaluation, until the run's end or a person's.
        """
        bundle, ran, each_s = self._bundle(candidate.digest), None, 0.0
        while True:
            self._not_paused.wait()
            with self._record.read() as state:
                known = state.candidates.known.get(candidate.content)
                begun = known is not None and known.begun
                n = state.candidates.missing(known) if known is not None and begun else self._run.confirm_episodes
            stop = self._stop_when(lambda: False)
            if n == 0 or (stop() or self._robot_used_up()) is not None or self.clock.remaining() <= n * each_s:
                return ran  # nothing left to do, or no time: what the end cuts would count as it stands
            began = self.clock.elapsed()
            self.current_job = f"confirmation of {bundle.commit[:8]} by {candidate.agent}: {n} fresh episodes"
            tally = self._judge(
                "confirm", bundle, n, candidate.agent, candidate.idea, candidate.beats, stop, on_episode
            )
            each_s = (self.clock.elapsed() - began) / max(len(tally.episodes), 1)
            ran = (
                tally if ran is None else dataclasses.replace(tally, id=ran.id, episodes=ran.episodes + tally.episodes)
            )
            if tally.aborted or not tally.counted:
                return ran

    def compare(self, agent: str, digest: str, stop: Callable[[], bool], on_episode: OnEpisode) -> dict[str, Any]:
        """Decide a tie: a confirmed candidate and the confirmed best that it cannot be told apart from, on shared fresh starts (see
        `comparison`). Raises UserError, BudgetOver."""
        self._require_robot()
        bundle = self._bundle(digest)
        with self._leased(f"comparison of {bundle.commit[:8]} by {agent}"):
            with self._record.read() as state:
                pair = state.candidates.to_compare(bundle.content or bundle.digest)
                challenger, incumbent = map(dataclasses.replace, pair)
                number = state.candidates.comparisons + 1
            until = self._stop_when(stop)

            def block(n: int, challenger_first: bool) -> list[Tally]:
                order = (challenger, incumbent) if challenger_first else (incumbent, challenger)
                with self._allocator.starts("compare", n) as first:
                    return [self._run_judged("compare", self._bundle(c.digest), first, n, agent, None, f"C{number}", until, on_episode)
                            for c in order]  # fmt: skip

            event = compare(number, challenger, incumbent, self.ledger, agent, block)
        told = event.model_dump(include={"id", "starts", "most", "wins", "losses", "verdict"})
        return {**told, "commit": bundle.commit, "against": incumbent.commit}

    def _judge(
        self, purpose: Purpose, bundle: Bundle, n: int, agent: str | None, idea: str | None, beats: str | None, stop: Stop,
        on_episode: OnEpisode,
    ) -> Tally:  # fmt: skip
        """Episodes on fresh starts of the secret stream that evaluations and confirmations share."""
        with self._allocator.starts(purpose, n) as first:
            return self._run_judged(purpose, bundle, first, n, agent, idea, beats, stop, on_episode)

    def _run_judged(
        self, purpose: Purpose, bundle: Bundle, first: int, n: int, agent: str | None, idea: str | None, beats: str | None,
        stop: Stop, on_episode: OnEpisode,
    ) -> Tally:  # fmt: skip
        batch = Batch(
            self._allocator.evaluation(), purpose, bundle, n, self._draw(purpose, first, n), agent=agent, idea=idea,
            beats=beats, keep=self._judged, by_clock=True,
        )  # fmt: skip
        return self._run_batch(batch, stop, on_episode)

    def _run_batch(self, batch: Batch, stop: Stop, on_episode: OnEpisode) -> Tally:
        """Episodes that are charged to the robot budget: none begins when it is used up, and those under way then are finished. So it is
        exceeded by one episode of each cell at most."""
        admit = None if self._run.robot_budget_s is None else self._robot_used_up
        return evaluate(self.cells, batch, self.ledger, stop=stop, on_episode=on_episode, admit=admit)

    def finish_confirmations(self) -> None:
        """Run what is missing of confirmations that were cut when the station was last ended."""
        with self._record.read() as state:
            pending = [dataclasses.replace(c) for c in state.candidates.pending()]
        for candidate in pending:
            with contextlib.suppress(UserError), self._leased(f"confirmation of {candidate.commit[:8]}"):
                self._confirm(candidate, lambda event: None)

    # -- what only the run does --------------------------------------------------------------------------------------
    def halt(self) -> None:
        """The deadline: end the job under way after the step it is in."""
        self._halts += 1
        self._halt.set()
        self._not_paused.set()

    def held_out(self, digest: str, client_gone: Callable[[], bool], on_episode: OnEpisode) -> dict[str, Any]:
        """Score the answer on held-out starts, going on where an interrupted scoring ended: what began counts as it stood, and
        only starts that nobody has seen are run. Raises UserError if it is interrupted."""
        bundle, halts = self._bundle(digest), self._halts
        again = f"go on with: autoenvbench resume {self.config.run_dir}"

        def stop() -> str | None:
            if client_gone():
                return "whoever asked for it hung up"
            return "the scoring was halted" if self._halts > halts else None

        with self._record.read() as state:
            done = state.scored(digest)
        n, attempts = self._run.held_out, self._run.attempts
        stations = self.config.stations
        elsewhere = (lambda index: None) if stations is None else stations.of_held_out
        starts = draw_starts(self._streams, "heldout", 0, n, attempts=attempts, skip=done, station=elsewhere)
        film = Film(self.config.run_dir, "held_out_", strip=True)
        batch = Batch(
            "held-out", "heldout", bundle, n * attempts, starts, attempts=attempts, keep=self._judged, film=film
        )
        with self._leased("held-out scoring"):
            self._remember_contents(bundle)
            try:
                tally = evaluate(self.cells, batch, self.ledger, stop=stop, on_episode=on_episode)
            except CellLost as error:
                raise UserError(f"held-out scoring was interrupted: {error}; {again}") from None
        if tally.aborted:
            raise UserError(f"held-out scoring was interrupted; {again}")
        return {**outcome_of(tally, bundle), "shown": tally.shown}

    def _remember_contents(self, bundle: Bundle) -> None:
        """Record what the answer holds. What cannot be looked through is scored all the same, and is of no declared regime."""
        try:
            self.ledger.append(ContentsEvent(digest=bundle.digest, contents=look_through(bundle)))
        except UserError as error:
            self.ledger.append(NoteEvent(text=str(error)))

    # -- parts -------------------------------------------------------------------------------------------------------
    @property
    def data_dir(self) -> Path:
        """What agents see read-only as data/."""
        return self.config.run_dir / "data"

    @contextmanager
    def _leased(self, what: str) -> Iterator[None]:
        if not self._lease.acquire(blocking=False):
            raise RobotBusy(f"the robot is busy ({self.current_job}); wait for it to finish, then try again")
        self.current_job = what
        try:
            yield
        finally:
            self.current_job = None
            self._lease.release()

    def _stop_when(self, client_gone: Callable[[], bool]) -> Stop:
        """For batches that the run's clock rules; what pauses and ends them by the clock, the cells know."""

        def stop() -> str | None:
            if client_gone():
                return "whoever asked for it hung up"
            return "the run was halted" if self._halt.is_set() else None

        return stop

    def _draw(self, purpose: Purpose, first: int, n: int) -> Iterator[Start]:
        return draw_starts(self._streams, purpose, first, n)

    def pause(self, paused: bool, *, epoch: float | None = None, stopped_at: float | None = None) -> None:
        """Hold jobs between two control steps, with the clock standing at `stopped_at`, or let them go on by the run's clock."""
        if epoch is not None:
            self.clock.epoch = epoch
        self.clock.stopped_at = stopped_at
        if paused:
            self._not_paused.clear()
        for cell in self.cells:
            cell.pause(stopped_at) if paused else cell.resume(epoch)
        if not paused:
            self._not_paused.set()

    def _require_budget(self) -> None:
        self._not_paused.wait()
        if self._halt.is_set() or self.clock.remaining() <= 0:
            raise BudgetOver(f"the budget of {format_duration(self._run.budget_s)} is over; nothing more is counted")

    def _robot_used_up(self) -> str | None:
        """Why no episode may begin, if the run has no robot time left."""
        with self._record.read() as state:
            if not state.robot_used_up(self._run.robot_budget_s):
                return None
        return f"the robot budget of {format_duration(self._run.robot_budget_s or 0)} is used up"

    def _require_robot(self) -> None:
        self._require_budget()
        if (why := self._robot_used_up()) is not None:
            raise BudgetOver(f"{why}; the robot does nothing more in this run")

    def _bundle(self, digest: str) -> Bundle:
        bundle = self.bundles.get(digest)
        if bundle is None:
            raise UserError("the station does not have this commit; send it first (aeb does so by itself)")
        return bundle


def _check_n(n: int) -> None:
    if not 1 <= n <= MAX_EPISODES:
        raise UserError(f"-n {n}: ask for 1 to {MAX_EPISODES} episodes")
