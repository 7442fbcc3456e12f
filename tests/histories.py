"""Ledgers of teams: one that tells a story, for figures and pages, and random ones with everything that can go wrong in a team."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import (
    AgentEvent,
    Borrowed,
    CallEvent,
    CommitEvent,
    ComputeEvent,
    EpisodeEvent,
    EvaluationEvent,
    IdeaEvent,
    JobEvent,
    LearnedEvent,
    LookEvent,
    Payload,
    ProvenanceEvent,
    RunEvent,
    StartEvent,
    TokensEvent,
    kind_of,
)
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.run_config import RunConfig


class Memory:
    """An event sink that keeps events in a list, as a ledger would give them back."""

    def __init__(self, clock: RunClock) -> None:
        self.clock, self.events = clock, list[Event]()

    def append(self, payload: Payload, *, agent: str | None = None, station: str | None = None) -> None:
        t = self.clock.elapsed()
        self.events.append(Event(len(self.events) + 1, t, t, kind_of(payload), agent, station, payload, ""))


class Author:
    """Writes what runs write, at research times that it is told.

    Attributes:
        t: research time of the next event [s].
    """

    def __init__(self, sink: Any, clock: RunClock) -> None:
        self.sink, self.clock, self.ideas, self.batches, self.calls, self.index = sink, clock, 0, 0, 0, 0

    @classmethod
    @contextmanager
    def of_ledger(cls, path: Path) -> Iterator[Author]:
        clock = RunClock.stopped(1e6)
        ledger = Ledger(path, clock)
        ledger._db.execute("PRAGMA synchronous=OFF")  # nothing here need survive a power cut
        yield cls(ledger, clock)
        ledger.close()

    @classmethod
    def in_memory(cls) -> Author:
        clock = RunClock.stopped(1e6)
        return cls(Memory(clock), clock)

    @property
    def t(self) -> float:
        return self.clock.elapsed()

    @t.setter
    def t(self, seconds: float) -> None:
        self.clock.stopped_at = seconds

    def write(self, payload: Payload, agent: str | None = None, station: str | None = None) -> None:
        self.sink.append(payload, agent=agent, station=station)

    def begin(self, members: dict[str, str], **config: Any) -> None:
        given = {"agent": next(iter(members.values())), "env": "ENPIRE/PinInsertion-State-v0", "budget_s": 7200.0}
        made = RunConfig(**{**given, **config})
        self.t = 0.0
        self.write(RunEvent(phase="started", run_id="a-run", config=made.model_dump(exclude={"held_out_secret"}),
                            members=members, cell="sim", secret_sha256="0" * 64))  # fmt: skip

    def idea(self, agent: str, title: str = "an idea", parent: str | None = None, inspired_by: Sequence[str] = (),
             regime: str | None = None) -> str:  # fmt: skip
        self.ideas += 1
        self.write(
            IdeaEvent(id=f"I{self.ideas}", title=title, parent=parent, inspired_by=list(inspired_by), regime=regime),
            agent,
        )
        return f"I{self.ideas}"

    def commit(self, agent: str, commit: str, phase: Any = "received") -> None:
        self.write(CommitEvent(phase=phase, commit=commit, digest=commit, content=commit, subject=commit), agent)

    def batch(self, agent: str, commit: str, wins: int, n: int, idea: str | None = None, purpose: Any = "evaluate", *,
              seconds: float = 0.0, cells: int = 1, cut: int | None = None, closed: bool = True, **more: Any) -> str:  # fmt: skip
        """A batch of `n` episodes of which the first ones succeed; one that is cut ends after `cut` of them."""
        self.batches += 1
        id, began, ran = f"E{self.batches}", self.t, n if cut is None else cut
        about = {"id": id, "purpose": purpose, "commit": commit, "digest": commit, "content": commit, "planned": n,
                 "idea": idea, **more}  # fmt: skip
        self.write(EvaluationEvent(phase="started", **about), agent)
        each = seconds / n
        for k in range(ran):
            self.t = began + (k + 0.25) * each
            cell, ok = f"station-{1 + k % cells}", (k * wins) % n < wins
            common = {"evaluation": id, "purpose": purpose, "index": self.index, "commit": commit, "digest": commit,
                      "content": commit, "seed": 0}  # fmt: skip
            self.index += 1
            if purpose not in ("practice", "learn"):
                self.write(StartEvent(**common), agent, cell)
            self.t = began + (k + 1) * each
            stage = "success" if ok else ("reach", "align", "insert")[k % 3]
            score = {"reach": 0.25, "align": 0.5, "insert": 0.75, "success": 1.0}[stage]
            self.write(EpisodeEvent(**common, success=ok, score=score, stage=stage, reason=None if ok else "time_limit",
                                    steps=10, sim_s=each * 0.6, robot_s=each * 0.7), agent, cell)  # fmt: skip
        if closed:
            won = sum((k * wins) % n < wins for k in range(ran))
            self.write(EvaluationEvent(phase="finished" if ran == n else "aborted", episodes=ran, successes=won,
                                       score=won / ran if ran else 0.0, robot_s=0.7 * each * ran, **about), agent)  # fmt: skip
        return id

    def call(self, agent: str, seconds: float, fresh: int = 2000, output: int = 500) -> None:
        self.calls += 1
        self.write(CallEvent(id=f"c{self.calls}", model="m"), agent)
        self.t += seconds
        self.write(
            TokensEvent(model="m", status=200, input=fresh, output=output, wait_s=seconds, call=f"c{self.calls}"), agent
        )


TITLES = ("hover over the hole before pressing", "spiral search at light contact", "clone the script's search", "residual on the clone",
          "dither against jams", "lower gain near the rim", "ensemble of critics", "behaviour-cloning term that fades", "batch of 512 instead of 1024",
          "history of eight frames")  # fmt: skip


def tell(author: Author, members: int = 4, ideas: int = 24, seed: int = 0, hours: float = 2.0, **config: Any) -> None:
    """A team's run, round by round: members look at one another, adopt, refine, fail; one is interrupted and its idea adopted."""
    rng = random.Random(seed)
    names = [f"codex-{k + 1}" for k in range(members)]
    author.begin(
        dict.fromkeys(names, "codex"),
        agent="codex",
        pace=1.0,
        cells=members,
        budget_s=hours * 3600,
        seed=seed,
        **config,
    )
    for name in names:
        author.write(AgentEvent(phase="started", name="codex", model="m"), name)
    author.commit("admin", "c0")
    rounds, skill, best = max(1, -(-ideas // members)), dict.fromkeys(names, 0.05), dict[str, str]()
    slot, made = hours * 3600 / (rounds * members + 1), 0
    author.t = slot * 0.2
    for k in range(rounds * members):
        name, start = names[k % members], author.t
        if made == ideas or (k > members * 2 and name == names[-1] and members > 1):
            continue  # the last member died early
        author.write(ComputeEvent(cpu=0.4 + 0.4 * rng.random(), gpu=0.3 * rng.random(), station_busy=True))
        peer = rng.choice(names)
        if members > 1 and rng.random() < 0.7:
            author.write(LookEvent(what="peers"), name)
            author.call(name, slot * 0.04, 9000)
        author.call(name, slot * 0.15, 4000 + 60 * k)
        author.t += slot * 0.05
        borrows = peer != name and peer in best and rng.random() < 0.5
        idea = author.idea(name, f"{TITLES[made % len(TITLES)]} ({made})", parent=best.get(name) if rng.random() < 0.8 else None,
                           inspired_by=[best[peer]] if borrows and rng.random() < 0.5 else [], regime=rng.choice(["heuristic", "online-rl"]))  # fmt: skip
        made += 1
        author.t += slot * 0.1
        commit = f"{made:040x}"
        author.commit(name, commit)
        if borrows:
            source = Borrowed(
                agent=peer,
                commit=f"{int(best[peer][1:]):040x}",
                idea=best[peer],
                how=rng.choice(["merge", "patch", "tree"]),
            )
            author.write(ProvenanceEvent(commit=commit, content=commit, sources=[source]), name)
            skill[name] = max(skill[name], skill[peer])
        author.write(JobEvent(phase="asked", what="evaluate"), name)
        author.t += slot * 0.03
        author.write(JobEvent(phase="began", what="evaluate"), name)
        rate = min(1.0, max(0.0, skill[name] + rng.uniform(-0.15, 0.22)))
        author.batch(name, commit, round(20 * rate), 20, idea, seconds=slot * 0.15, cells=members)
        if rate > skill[name]:
            author.batch(name, commit, round(50 * rate), 50, idea, "confirm", seconds=slot * 0.25, cells=members)
            skill[name], best[name] = rate, idea
        author.write(JobEvent(phase="ended", what="evaluate"), name)
        if rng.random() < 0.6:
            author.write(LearnedEvent(idea=idea, text=f"Success went to {rate:.0%}; what failed was the rim."), name)
        if k == members * 2 - 1 and members > 1:
            author.write(AgentEvent(phase="exited", name="codex", reason="memory_limit", exit_code=-9), names[-1])
        author.t = start + slot
    author.t = hours * 3600
    for name in names[: max(1, members - 1)]:
        author.write(AgentEvent(phase="exited", name="codex", reason="deadline", exit_code=0), name)
    author.write(RunEvent(phase="agents_stopped", detail="deadline"))


def anything(rng: random.Random) -> list[Event]:
    """A random history of 1 to 4 members: roots, dead ends, cycles that are attempted, merges, ideas of the dead that are adopted, kills."""
    author, names = Author.in_memory(), [f"m-{k}" for k in range(rng.randint(1, 4))]
    author.begin(dict.fromkeys(names[: rng.randint(1, len(names))], "cem"))  # who joins late is not named there
    alive: set[str] = set()
    for _ in range(rng.randint(0, 30)):
        author.t += rng.choice((0.0, 0.0, 1.0, 5.0))
        name = rng.choice(names)
        some = lambda: f"I{rng.randint(0, author.ideas + 2)}"  # noqa: E731  it may not be there yet, or ever
        match rng.randint(0, 9):
            case 0 | 1 | 2:
                author.idea(
                    name, parent=rng.choice((None, some())), inspired_by=[some() for _ in range(rng.randint(0, 3))]
                )
            case 3 | 4 | 5:
                purpose = rng.choice(("evaluate", "evaluate", "confirm", "compare", "practice", "heldout"))
                n = rng.randint(1, 2)
                author.batch(name, rng.choice("abc"), rng.randint(0, n), n, rng.choice((None, some(), some())), purpose,
                             cut=rng.choice((None, 0, 1)), closed=rng.random() < 0.8)  # fmt: skip
            case 6 | 7:
                sources = [Borrowed(agent=rng.choice(names), commit=rng.choice("abc"), idea=rng.choice((None, some())),
                                    how=rng.choice(("merge", "patch", "tree", "declared"))) for _ in range(rng.randint(0, 3))]  # fmt: skip
                author.write(ProvenanceEvent(commit=rng.choice("abc"), sources=sources), name)
            case 8:
                author.write(LearnedEvent(idea=some(), text=name), name)
            case _:
                author.write(AgentEvent(phase="exited" if name in alive else "started", name="cem"), name)
                alive ^= {name}
    return author.sink.events
