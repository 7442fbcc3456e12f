"""The station: owns the cell, holds its lease, runs jobs one at a time, and knows when the budget is over."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from enpire_envs.contract import contract_of
from enpire_envs.episodes import SUFFIX
from enpire_real.cell import CellFault, RealCell
from enpire_real.person_stop import write_record

from autoenvbench.errors import BudgetOver, RobotBusy, UserError
from autoenvbench.make_env import make_env
from autoenvbench.record import metrics
from autoenvbench.record.candidates import Candidate
from autoenvbench.record.clock import RunClock, format_duration
from autoenvbench.record.events import CommitEvent, EpisodeEvent, IdeaEvent, NoteEvent, Purpose
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import REGIMES
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower, RunState
from autoenvbench.record.summary import summarise
from autoenvbench.station.bundles import Bundle, BundleStore
from autoenvbench.station.config import StationConfig
from autoenvbench.station.evaluation import Batch, Evaluator, Tally, close_evaluations, settle, write_video
from autoenvbench.station.rollout import Stop
from autoenvbench.station.script_rollout import script_settings
from autoenvbench.station.trajectories import Trajectories

MAX_EPISODES = 1000
MAX_WORDS = 10_000  # ideas, notes, and submissions of a run
MAX_SOURCES = 20  # that an idea names
OnEpisode = Callable[[EpisodeEvent], None]


class Station:
    """Everything a client can ask for, as plain method calls. The server adds HTTP and nothing else."""

    def __init__(self, config: StationConfig) -> None:
        self.config, self._run = config, config.config
        self.clock = RunClock(config.clock_epoch, self._run.budget_s, config.clock_stopped_at)
        self.ledger = Ledger(config.run_dir / "ledger.sqlite", self.clock)
        self._record = Follower(self.ledger, self._run.min_episodes)
        self.bundles = BundleStore(config.run_dir / "bundles")
        self._streams = StartStreams(bytes.fromhex(config.secret_hex))
        self.env = make_env(self._run.env, self._run.env_kwargs)
        self._models = contextlib.ExitStack()
        scripts = self._models.enter_context(
            script_settings(self._run.tools, self._run.tools_replay, self._run.base_url, self.ledger)
        )
        self._evaluator = Evaluator(
            self.env, self.ledger, self._streams, sandbox=config.sandbox, track=self._run.track,
            pace=self._run.pace, station=config.name, scripts=scripts, record=self._record,
        )  # fmt: skip
        # On the station's track, an agent is told no more of a start than its policy is.
        self._practised = Trajectories(self.data_dir / "practice", secret=False, starts=self._run.track == "open")
        self._judged = Trajectories(config.run_dir / "episodes", secret=True)  # no agent sees these
        settle(self._record, "the station was ended in the middle of it")
        close_evaluations(self._record)
        if (cell := self.real_cell) is not None:
            cell.station.run = config.run_dir.absolute()
            if cell.kind == "twin" and cell.station.twin is not None:  # it lives as long as the run does
                cell.station.stops.folder = cell.station.run / "stops"
            cell.station.stops.make_folder()
            write_record(cell.station.run, cell.station.record())
        self._lease = threading.Lock()
        self.doing: str | None = None
        self._stops = 0  # asked for so far
        self._halt, self._halts = threading.Event(), 0
        self._going = threading.Event()
        self._going.set()

    # -- what anyone may know ----------------------------------------------------------------------------------------
    def status(self) -> dict[str, Any]:
        with self._record.read() as state:
            return {
                "env": self._run.env,
                "track": self._run.track,
                "pace": self._run.pace,
                "budget_left_s": round(self.clock.remaining(), 1),
                "budget_s": self._run.budget_s,
                "robot": self.doing or "free",
                "best": _best(state.curves.confirmed),
                "best_unconfirmed": _best(state.curves.raw),
                "submitted": state.submitted.commit if state.submitted else None,
                "evaluations": state.evaluations_finished,
                "ideas": [f"{idea.id} {idea.title}" for idea in state.ideas.values()],
            }

    def episodes(self, evaluation: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest judged episodes. Seeds of secret streams are not shown."""
        found = []
        for e in self._record.newest_episodes(evaluation, limit):
            p: EpisodeEvent = e.payload
            shown = p.model_dump(exclude={"version", "digest"} | (set() if p.purpose == "practice" else {"seed"}))
            found.append({**shown, "t_run": round(e.t_run, 1)})
        return found

    def frame(self, camera: str = "top") -> np.ndarray:
        """What people see of the cell now, or one of a real station's cameras by name."""
        with self._leased("frame"):
            if self.real_cell is not None:
                try:
                    return self.real_cell.camera_frame(camera)
                except (ValueError, CellFault) as error:
                    raise UserError(str(error)) from None
            if camera != "top":
                raise UserError(f"this station is simulated and has one camera, top; not {camera!r}")
            frame = self.env.render()
        assert isinstance(frame, np.ndarray)
        return frame

    # -- what moves a real station between jobs ----------------------------------------------------------------------
    @property
    def real_cell(self) -> RealCell | None:
        """The cell, if it is one of arms and cameras (the twin's are, too)."""
        cell: RealCell | None = contract_of(self.env).real_cell
        return cell

    def move(self, agent: str, where: Literal["home", "avoid", "resume"]) -> dict[str, Any]:
        """Bring the arms home, out of the camera's view, or back over the work."""
        self._require_budget()
        with self._leased(f"{where} by {agent}"):
            try:
                self._require_real(where).move(where)
            except CellFault as fault:
                raise UserError(f"the arms did not get there: {fault}") from None
        return {"at": where}

    def stop(self, client: str, *, person: bool) -> dict[str, Any]:
        """Stop the arms at once, whatever is under way. Waits for nothing that a job, an upload or the disk may hold.

        A person's stop holds until a person acknowledges it. An agent's ends its episode, and the next reset goes on.
        """
        durable = self._require_real("stop").stop(f"by {client}", person=person)
        self._stops += 1
        if person or self._stops <= MAX_WORDS:  # of an agent that says nothing else, not every one is noted
            threading.Thread(
                target=self.ledger.append, args=(NoteEvent(text="stopped the arms"),), kwargs={"agent": client}
            ).start()
        return {"stopped": True, **({"durable": durable} if person else {})}

    def acknowledge(self, client: str) -> dict[str, Any]:
        """A person says that the arms may move again, when somebody next asks for it. Raises UserError."""
        try:
            ended = self._require_real("acknowledge").acknowledge(client)
        except (CellFault, OSError) as error:
            raise UserError(f"not acknowledged: {error}") from None
        self.ledger.append(NoteEvent(text=f"acknowledged {len(ended)} stops: {'; '.join(ended)}"), agent=client)
        return {"acknowledged": ended}

    def _require_real(self, what: str) -> RealCell:
        if self.real_cell is None:
            raise UserError(f"this station is simulated: there is nothing to {what}")
        return self.real_cell

    def close(self) -> None:
        """Park the arms of a real station and let go of its devices."""
        if not contract_of(self.env).in_process:
            self.env.close()
        self._models.close()

    def interrupt(self) -> None:
        """End what moves the arms, now, for a job that does not end by itself."""
        if self.real_cell is not None:
            self.real_cell.end()

    @property
    def in_real_time(self) -> bool:
        """Whether the arms have a clock that any thread may use."""
        return self.real_cell is not None and not self.real_cell.station.clock.virtual

    # -- what agents do ----------------------------------------------------------------------------------------------
    def idea(
        self, agent: str, title: str, parent: str | None, inspired_by: Sequence[str], regime: str | None
    ) -> dict[str, Any]:
        if (
            not isinstance(inspired_by, list)
            or len(inspired_by) > MAX_SOURCES
            or len(set(map(str, inspired_by))) < len(inspired_by)
        ):
            raise UserError(f"inspired_by is a list of at most {MAX_SOURCES} different ideas, such as I3")
        title = " ".join(title.split())
        if not 3 <= len(title) <= 200:
            raise UserError('an idea needs a title of 3 to 200 characters: aeb idea "what you will try, and why"')
        if regime is not None and regime not in REGIMES:
            raise UserError(f"unknown regime {regime!r}; choose one of {', '.join(REGIMES)}")
        only = self._run.regime
        if only is not None and regime not in (None, only):
            raise UserError(f"this run is about {only} alone: no {regime}")
        regime = regime or only
        with self._record.read() as state:  # held until the idea is written, so that no other gets its id
            if len(state.ideas) >= MAX_WORDS:
                raise UserError(f"this run has {MAX_WORDS} ideas already; test some of them first")
            for other in [parent, *inspired_by]:
                if other is not None:
                    _require_idea(other, state)
            event = IdeaEvent(
                id=f"I{len(state.ideas) + 1}", title=title, parent=parent, inspired_by=inspired_by, regime=regime
            )
            self.ledger.append(event, agent=agent)
        return event.model_dump()

    def note(self, agent: str, text: str) -> None:
        with self._record.read() as state:
            if state.notes >= MAX_WORDS:
                raise UserError(f"this run has {MAX_WORDS} notes already")
        self.ledger.append(NoteEvent(text=text[:4000]), agent=agent)

    def receive(self, agent: str, archive: Path, commit: str) -> Bundle:
        bundle = self.bundles.receive(archive, commit)
        self.ledger.append(
            CommitEvent(
                phase="received", commit=commit, digest=bundle.digest, content=bundle.content, subject=bundle.subject
            ),
            agent=agent,
        )  # fmt: skip
        return bundle

    def submit(self, agent: str, digest: str) -> dict[str, Any]:
        self._require_budget()
        bundle = self._bundle(digest)
        with self._record.read() as state:
            if state.submissions >= MAX_WORDS:
                raise UserError(f"this run has {MAX_WORDS} submissions already; the last one counts")
        self.ledger.append(
            CommitEvent(
                phase="submitted", commit=bundle.commit, digest=digest, content=bundle.content, subject=bundle.subject
            ),
            agent=agent,
        )  # fmt: skip
        return {"submitted": bundle.commit}

    def practice(
        self, agent: str, digest: str, n: int, seed: int | None, video: bool, interactive: bool, stop: Callable[[], bool],
        on_episode: OnEpisode,
    ) -> dict[str, Any]:  # fmt: skip
        """Episodes on public starts, whose trajectories (and a script's tool calls) land in data/practice."""
        self._require_budget()
        bundle = self._bundle(digest)
        _check_n(n)
        with self._leased(f"practice of {bundle.commit[:8]} by {agent}"):
            first = self._next_index("practice") if seed is None else seed
            folder = self._practised.folder
            tally = self._evaluator.run(
                bundle, Batch("practice", n, first, interactive=interactive), agent=agent, show=video, keep=self._practised,
                stop=self._stop_when(stop), on_episode=on_episode,
            )  # fmt: skip
            videos = [
                str(write_video(frames, folder / f"{tally.id}-{kind}.mp4").relative_to(self.data_dir))
                for kind, frames in tally.shown.items()
            ]
        kept = self._practised.full or f"data/practice/{tally.id}-*{SUFFIX}"
        return {**_outcome(tally, bundle), "trajectories": kept,
                "videos": [f"data/{v}" for v in videos]}  # fmt: skip

    def evaluate(
        self, agent: str, digest: str, n: int, idea: str | None, stop: Callable[[], bool], on_episode: OnEpisode
    ) -> dict[str, Any]:
        """Episodes on fresh secret starts. A candidate that beats the confirmed best is confirmed on more of them at once, once."""
        self._require_budget()
        bundle = self._bundle(digest)
        _check_n(n)
        with self._record.read() as state:
            if idea is not None:
                _require_idea(idea, state)
            idea = idea or next(reversed(state.ideas), None)
        with self._leased(f"evaluation of {bundle.commit[:8]} by {agent}"):
            batch = Batch("evaluate", n, self._next_index("evaluate"), idea=idea)
            tally = self._evaluator.run(
                bundle, batch, agent=agent, stop=self._stop_when(stop), on_episode=on_episode, keep=self._judged
            )
            result = _outcome(tally, bundle)
            if tally.aborted:
                return result
            with self._record.read() as state:
                candidate = state.candidates.known.get(bundle.content or bundle.digest)
                best = state.candidates.value
            if candidate is None or not candidate.begun:
                if n < self._run.min_episodes or tally.rate <= best:
                    return result
                candidate = Candidate(
                    bundle.content or bundle.digest, bundle.commit, bundle.digest, agent, idea, tally.id
                )
            if confirmation := self._confirm(candidate, on_episode):
                result["confirmation"] = _outcome(confirmation, bundle)
            with self._record.read() as state:
                known = state.candidates.known[candidate.content]
                return {**result, "candidate": {"success_rate": round(known.rate, 4), "episodes": known.counted}}

    def _confirm(self, candidate: Candidate, on_episode: OnEpisode) -> Tally | None:
        """Run what is missing of a candidate's confirmation; returns what was run.

        The station's own job: it goes on whatever becomes of who asked for the evaluation, until the run's end or a person's.
        """
        bundle, ran = self._bundle(candidate.digest), None
        while True:
            with self._record.read() as state:
                known = state.candidates.known.get(candidate.content)
                begun = known is not None and known.begun
                n = state.candidates.missing(known) if known is not None and begun else self._run.confirm_episodes
            stop = self._stop_when(lambda: False)
            if n == 0 or stop() is not None:
                return ran
            batch = Batch(
                "confirm", n, self._next_index("evaluate"), idea=candidate.idea, beats=candidate.beats
            )
            tally = self._evaluator.run(
                bundle, batch, agent=candidate.agent, stop=stop, on_episode=on_episode, keep=self._judged
            )
            ran = (
                tally if ran is None else dataclasses.replace(tally, id=ran.id, episodes=ran.episodes + tally.episodes)
            )
            if tally.aborted or not tally.counted:
                return ran

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
        self._going.set()

    def held_out(self, digest: str, client_gone: Callable[[], bool], on_episode: OnEpisode) -> dict[str, Any]:
        """Score the answer on held-out starts, going on where an interrupted scoring ended: what began counts as it stood, and
        only starts that nobody has seen are run. Raises UserError if it is interrupted."""
        bundle, halts = self._bundle(digest), self._halts

        def stop() -> str | None:
            if client_gone():
                return "whoever asked for it hung up"
            return "the scoring was halted" if self._halts > halts else None

        with self._record.read() as state:
            done = state.scored(digest)
        batch = Batch("heldout", self._run.held_out, 0, attempts=self._run.attempts, skip=done)
        with self._leased("held-out scoring"):
            tally = self._evaluator.run(
                bundle, batch, evaluation_id="held-out", show=True, stop=stop, on_episode=on_episode, keep=self._judged
            )
            shown = {kind: self._write_shown(kind, frames) for kind, frames in tally.shown.items()}
        if tally.aborted:
            raise UserError(f"held-out scoring was interrupted; go on with: autoenvbench resume {self.config.run_dir}")
        return {**_outcome(tally, bundle), "shown": shown}

    # -- parts -------------------------------------------------------------------------------------------------------
    @property
    def data_dir(self) -> Path:
        """What agents see read-only as data/."""
        return self.config.run_dir / "data"

    @contextmanager
    def _leased(self, what: str) -> Iterator[None]:
        if not self._lease.acquire(blocking=False):
            raise RobotBusy(f"the robot is busy ({self.doing}); wait for it to finish, then try again")
        self.doing = what
        try:
            yield
        finally:
            self.doing = None
            self._lease.release()

    def _stop_when(self, client_gone: Callable[[], bool]) -> Stop:
        def stop() -> str | None:
            while True:
                if client_gone():
                    return "whoever asked for it hung up"
                if self._halt.is_set():
                    return "the run was halted"
                if self._going.wait(0.1):  # paused: the robot stands where it is
                    return None if self.clock.remaining() > 0 else "the budget is over"

        return stop

    def pause(self, paused: bool, *, epoch: float | None = None, stopped_at: float | None = None) -> None:
        """Hold jobs between two control steps, with the clock standing at `stopped_at`, or let them go on by the run's clock."""
        if epoch is not None:
            self.clock.epoch = epoch
        self.clock.stopped_at = stopped_at
        if paused:
            self._going.clear()
        else:
            self._going.set()

    def _require_budget(self) -> None:
        self._going.wait()
        if self._halt.is_set() or self.clock.remaining() <= 0:
            raise BudgetOver(f"the budget of {format_duration(self._run.budget_s)} is over; nothing more is counted")

    def _bundle(self, digest: str) -> Bundle:
        bundle = self.bundles.get(digest)
        if bundle is None:
            raise UserError("the station does not have this commit; send it first (aeb does so by itself)")
        return bundle

    def _next_index(self, purpose: Purpose) -> int:
        with self._record.read() as state:
            return state.next_index(purpose)

    def _write_shown(self, kind: str, frames: list[np.ndarray]) -> str:
        """A film strip of up to six frames, side by side."""
        picks = sorted({round(k) for k in np.linspace(0, len(frames) - 1, min(6, len(frames)))})
        strip = np.concatenate([cv2.resize(frames[k], (240, 240), interpolation=cv2.INTER_AREA) for k in picks], axis=1)
        path = self.config.run_dir / f"held_out_{kind}.jpg"
        cv2.imwrite(str(path), strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
        return path.name


def _require_idea(id: object, state: RunState) -> None:
    """Raises UserError for an id that no idea of the run has."""
    if not isinstance(id, str) or id not in state.ideas:
        known = ", ".join(list(state.ideas)[-20:])
        raise UserError(f"there is no idea {str(id)[:40]!r}; known: {known or 'none yet'}")


def _check_n(n: int) -> None:
    if not 1 <= n <= MAX_EPISODES:
        raise UserError(f"-n {n}: ask for 1 to {MAX_EPISODES} episodes")


def _best(curve: list[metrics.Point]) -> dict[str, Any] | None:
    if not curve:
        return None
    p = curve[-1]
    return {"success_rate": p.value, "wilson95": [round(p.low, 3), round(p.high, 3)], "episodes": p.episodes_behind,
            "commit": p.commit}  # fmt: skip


def _outcome(tally: Tally, bundle: Bundle) -> dict[str, Any]:
    summary = summarise(tally.episodes)
    details = [e.detail for e in tally.episodes if e.detail]
    return {
        "evaluation": tally.id,
        "commit": bundle.commit,
        "episodes": summary.episodes,
        "successes": summary.successes,
        "success_rate": round(summary.success_rate, 4),
        "wilson95": [round(x, 4) for x in summary.wilson95],
        "score": round(summary.score, 4),
        "failures": summary.failures,
        "stages": summary.stages,
        "detail": details[0] if details else None,
        "aborted": tally.aborted,
    }
