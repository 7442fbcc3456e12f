"""`autoenvbench train ALGORITHM --station FILE_OR_ID`: a person's session at a station, with the learner in a process beside it.

This process is the station: it owns the cell, and its policy host acts by the newest network that the learner (`on_robot`) has written. The
run's folder:

    ledger.sqlite     every episode, with the hash of the weights that acted
    episodes/         their files: the learner's buffer
    live/             the learner's: checkpoint, curve, newest network, and in the end the policy that was learned
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enpire_envs import registry
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.learning import on_robot
from autoenvbench.learning.episodes import load
from autoenvbench.learning.rlpd import Settings
from autoenvbench.learning.settings import parse_settings
from autoenvbench.make_env import default_pace, default_track, make_env
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.station.allocator import Allocator
from autoenvbench.station.batch import Batch, Keep, Start, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import close_evaluations, evaluate
from autoenvbench.station.learning import MAX_EPISODES, Inbox, Learning, Session, require_learning
from autoenvbench.workspace.learner import NEWEST, Learner

ON_A_STATION = ("rlpd",)
ABOUT = "station.json"
_WHO = "learner"


@dataclass(frozen=True)
class Result:
    """What a session came to.

    Attributes:
        policy: the folder of what was learned.
        episodes, successes: of this session; weights: sets of them that acted.
        ended: why, in words; failed: whether the learner crashed.
    """

    policy: Path
    episodes: int
    successes: int
    weights: int
    ended: str
    failed: bool


def station_of(name: str, env_id: str | None, env_kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The environment, and its arguments, of a station that is named by its station file, or by the id of its environment. Raises UserError."""
    if not Path(name).is_file():
        return name, env_kwargs
    if env_id is None:
        real = [i for entry in registry.entries() if entry.real for i in entry.envs]
        raise UserError(f"say what is done at {name}, by --env: {', '.join(real)}")
    return env_id, {**env_kwargs, "station": str(Path(name).absolute())}


def train_at_station(
    algorithm: str,
    env_id: str,
    out: Path,
    *,
    env_kwargs: dict[str, Any] | None = None,
    demos: Sequence[Path] = (),
    minutes: float = 30.0,
    episodes: int = MAX_EPISODES,
    pace: float | None = None,
    seed: int = 0,
    threads: int = 1,
    settings: Sequence[str] = (),
    resume: bool = False,
    sandbox: Sandbox = "none",
    log: Callable[[str], None] = lambda text: None,
    on_episode: Callable[[EpisodeEvent], None] = lambda event: None,
) -> Result:
    """Run one session, from the learner's first network to the last episode.

    Args:
        out: the run's folder; a new one, unless the session goes on where an earlier one stood.
        demos: folders of demonstrations.
        minutes, episodes: of this session at most.
        pace: 1 in real time, 0 as fast as it goes; by default the station's own.
        seed: of the learner, and of what is tried out. The starts are the public ones, each once.
        settings: hyperparameters as NAME=VALUE.
        sandbox: of the policy host. What it runs is a network of allowed operators, and no code.
        on_episode: called with each judged episode.

    Raises:
        UserError: for anything that is not there or does not fit; what ran before counts, and `resume` goes on.
    """
    if algorithm not in ON_A_STATION:
        raise UserError(
            f"{algorithm} does not learn at a station; choose one of {', '.join(ON_A_STATION)}, or leave out --station"
        )
    require_learning(None)
    parse_settings(Settings, settings)
    asked = Learning.of({"n": episodes, "minutes": minutes})
    if not demos:
        raise UserError(
            "a learner at a station begins with demonstrations: make some with `autoenvbench demos` and give --demos DIR"
        )
    env = make_env(env_id, env_kwargs)
    try:
        load(demos).check(env)
        _begin(out, {"algorithm": algorithm, "env": env_id, "env_kwargs": env_kwargs or {}, "fingerprint": fingerprint(env), "seed": seed,
                     "settings": list(settings), "demos": [str(Path(d).absolute()) for d in demos]}, resume)  # fmt: skip
        clock = RunClock.start(float("inf"))
        ledger = Ledger(out / "ledger.sqlite", clock)
        clock.epoch -= ledger.last_t_run()  # it goes on where an earlier session ended
        record = Follower(ledger)
        close_evaluations(record)
        allocator, inbox = Allocator(record), Inbox(out / "weights")
        kept = Keep(out / "episodes", secret=False, insight="all", most=sys.maxsize, required=True)
        track = default_track(env_id)
        pace = default_pace(env_id, env_kwargs or {}, track) if pace is None else pace
        cell = LocalCell(env, sandbox=sandbox, track=track, pace=pace)
        program = {"episodes": str((out / "episodes").absolute()), "live": str((out / "live").absolute()), "settings": list(settings),
                   "demos": [str(Path(d).absolute()) for d in demos], "seed": seed, "threads": threads}  # fmt: skip
        learner = Learner([sys.executable, "-m", on_robot.__name__, json.dumps(program)], out, out / "live" / NEWEST)
        failed = False
        try:
            log("the learner starts; the robot stands still until its first network is there")
            _receive(inbox, learner.wait_for_first(), out)
            session = Session(_WHO, asked, inbox, clock.elapsed)
            streams = StartStreams(hashlib.sha256(f"autoenvbench learn {seed}".encode()).digest())

            def judged(event: EpisodeEvent) -> None:
                session.judged(event)
                on_episode(event)

            with allocator.starts("learn", asked.n) as first:
                bundle = Bundle("", hashlib.sha256(json.dumps(program).encode()).hexdigest(), algorithm, out)
                drawn = _beside(draw_starts(streams, "learn", first, asked.n), learner, session, inbox, out)
                batch = Batch(allocator.evaluation(), "learn", bundle, asked.n, session.starts(drawn), keep=kept)
                tally = evaluate([cell], batch, ledger, on_episode=judged, admit=lambda: None)
            failed = learner.failed
        finally:
            learner.stop()
            ledger.close()
        ended = session.why or "it was cut off"
        return Result(
            out / "live" / "policy", len(tally.episodes), tally.successes, len(session.weights), ended, failed
        )
    finally:
        env.close()


def _beside(drawn: Iterator[Start], learner: Learner, session: Session, inbox: Inbox, out: Path) -> Iterator[Start]:
    """Before each start is given out: what has the learner written, and does it live?"""
    for start in drawn:
        if (why := learner.ended()) is not None:
            session.end(why)
        elif (data := learner.newest()) is not None:
            _receive(inbox, data, out)
        yield start


def _receive(inbox: Inbox, data: bytes, out: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=out) as file:
        file.write(data)
        file.flush()
        inbox.receive(_WHO, Path(file.name))


def _begin(out: Path, about: dict[str, Any], resume: bool) -> None:
    """A run goes on as what it was, or not at all."""
    file, text = out / ABOUT, json.dumps(about, indent=1, sort_keys=True) + "\n"
    if resume != file.exists():
        hint = "start without --resume" if resume else "go on with it by --resume, or name a new folder"
        raise UserError(f"{out} holds {'no' if resume else 'a'} session at a station; {hint}")
    if resume and (was := file.read_text()) != text:
        before, now = json.loads(was), json.loads(text)
        differ = ", ".join(
            f"{name} {before.get(name)!r}, not {now[name]!r}" for name in now if before.get(name) != now[name]
        )
        raise UserError(f"{out} was begun with {differ}; repeat what it was begun with")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
