"""The idea tree of a run: a node per idea, who had it from whom, and what was measured of it. A function of the ledger alone.

Nothing is drawn that could not have been: an idea descends from, and draws on, what was there before it. Every judged evaluation
is one node's, or is in `no_idea`; every idea is a node, whatever became of its author.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from autoenvbench.record.events import TRIED, EvaluationEvent, IdeaEvent, ProvenanceEvent, Purpose
from autoenvbench.record.ledger import Event

How = Literal["parent", "said", "merge", "patch", "tree", "declared"]
#: Purposes whose episodes are evidence about a candidate of research.
JUDGED: tuple[Purpose, ...] = ("evaluate", "confirm", "compare")


@dataclass(slots=True)
class Evaluation:
    """One judged batch.

    Attributes:
        agent: whose.
        began, ended: research time [s]; `ended` is None while it runs, and where nobody wrote its end down.
        whole: it came to its end; False: it was cut.
        episodes, successes: that count; of an open one those on record.
    """

    id: str
    purpose: Purpose
    agent: str | None
    commit: str
    content: str
    began: float
    ended: float | None = None
    whole: bool = False
    episodes: int = 0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Edge:
    """An idea that another has something from.

    Attributes:
        source, target: ids.
        t_run: when the target had it [s]: not before either of them was there.
        how: it refines it (`parent`), its author named it as an inspiration (`said`), or its commits have something of the other's:
            see `events.Borrowed`.
    """

    source: str
    target: str
    t_run: float
    how: How


@dataclass(slots=True)
class Idea:
    """A node.

    Attributes:
        agent: its author.
        t_run: when it was registered [s].
        parent: the idea that it refines; None for a root.
        commits: that were evaluated for it, in order.
        tried: ids of the batches of practice and learning that its author began while this was its newest idea; `practised`: episodes
            of these.
        learned: what it taught, in its author's words; empty where nobody wrote that down.
    """

    id: str
    agent: str | None
    t_run: float
    title: str
    regime: str | None = None
    parent: str | None = None
    commits: list[str] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    practised: int = 0
    learned: str = ""

    @property
    def confirmed(self) -> tuple[int, int] | None:
        """(successes, episodes) of all of its confirmations; None where there was none."""
        judged = [e for e in self.evaluations if e.purpose == "confirm" and e.episodes]
        return (sum(e.successes for e in judged), sum(e.episodes for e in judged)) if judged else None

    @property
    def evaluated(self) -> tuple[int, int] | None:
        """(successes, episodes) of all of its evaluations before and beside confirmations; None where there was none."""
        judged = [e for e in self.evaluations if e.purpose == "evaluate" and e.episodes]
        return (sum(e.successes for e in judged), sum(e.episodes for e in judged)) if judged else None


@dataclass(slots=True)
class IdeaTree:
    """The ideas of a run, grown by its ledger's events in their order.

    Attributes:
        lives: by member, in the run's order: the stretches in which its process ran [s], the last one open (None) while it does.
            Whoever has an idea or an evaluation is among them.
        ideas: by id, in the order in which they were registered.
        edges: in the order of `t_run`.
        no_idea: judged evaluations that test no idea that was there when they began.
    """

    lives: dict[str, list[tuple[float, float | None]]] = field(default_factory=dict)
    ideas: dict[str, Idea] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    no_idea: list[Evaluation] = field(default_factory=list)
    _batches: dict[str, Evaluation] = field(default_factory=dict)  # by id
    _trying: dict[str, Idea] = field(default_factory=dict)  # by batch of practice or learning
    _idea_of: dict[tuple[str | None, str], str] = field(default_factory=dict)  # (agent, commit) -> idea it tested last
    _newest: dict[str | None, str] = field(default_factory=dict)  # agent -> its newest idea
    _borrowed: list[tuple[Event, ProvenanceEvent, str | None]] = field(default_factory=list)  # and the idea of then

    @classmethod
    def of(cls, events: Iterable[Event]) -> IdeaTree:
        """The tree after these events."""
        tree = cls()
        for event in events:
            tree.add(event)
        return tree.drawn()

    def drawn(self) -> IdeaTree:
        """The tree as it is now, with what commits have of others' ideas among its edges; this one goes on growing."""
        tree = replace(self, edges=list(self.edges))
        tree._draw_edges()
        return tree

    # -- questions ---------------------------------------------------------------------------------------------------
    @property
    def roots(self) -> list[Idea]:
        """Ideas that refine no other."""
        return [i for i in self.ideas.values() if i.parent is None]

    def children(self, id: str) -> list[Idea]:
        """Ideas that refine this one."""
        return [i for i in self.ideas.values() if i.parent == id]

    def sources(self, id: str) -> list[Edge]:
        """What an idea has from others."""
        return [e for e in self.edges if e.target == id]

    def evaluations(self) -> Iterator[Evaluation]:
        """All of them, of every node and of none."""
        for idea in self.ideas.values():
            yield from idea.evaluations
        yield from self.no_idea

    # -- growing -----------------------------------------------------------------------------------------------------
    def add(self, event: Event) -> None:
        """Take in the ledger's next event, of any kind."""
        p = event.payload
        match event.kind:
            case "run":
                for name in p.members:
                    self.lives.setdefault(name, [])
            case "agent" if event.agent is not None:
                self._live(event.agent, event.t_run, p.phase == "started")
            case "idea" if p.id not in self.ideas:
                self._join(event.agent)
                self._newest[event.agent] = p.id
                self._register(event, p)
            case "learned" if (idea := self.ideas.get(p.idea)) is not None and idea.agent == event.agent:
                idea.learned = p.text
            case "evaluation" if p.purpose in JUDGED:
                self._evaluate(event, p)
            case "evaluation" if p.purpose in TRIED and p.phase == "started" and event.agent in self._newest:
                idea = self._trying[p.id] = self.ideas[self._newest[event.agent]]
                idea.tried.append(p.id)
            case "episode" if p.purpose in JUDGED and not p.infrastructure and p.evaluation in self._batches:
                batch = self._batches[p.evaluation]
                if batch.ended is None:
                    batch.episodes, batch.successes = batch.episodes + 1, batch.successes + p.success
            case "episode" if p.evaluation in self._trying:
                self._trying[p.evaluation].practised += 1
            case "provenance":
                self._borrowed.append((event, p, self._newest.get(event.agent)))

    def _register(self, event: Event, p: IdeaEvent) -> None:
        """An idea as it was declared; what was not there yet cannot be where it came from."""
        parent = p.parent if p.parent in self.ideas else None
        said = [other for other in dict.fromkeys(p.inspired_by) if other in self.ideas and other != parent]
        self.ideas[p.id] = Idea(p.id, event.agent, event.t_run, p.title, p.regime, parent)
        if parent is not None:
            self.edges.append(Edge(parent, p.id, event.t_run, "parent"))
        self.edges += [Edge(other, p.id, event.t_run, "said") for other in said]

    def _evaluate(self, event: Event, p: EvaluationEvent) -> None:
        batch = self._batches.get(p.id)
        if batch is None:
            batch = Evaluation(p.id, p.purpose, event.agent, p.commit, p.content or p.digest, event.t_run)
            self._batches[p.id] = batch
            self._join(event.agent)
            idea = self.ideas.get(p.idea or "")
            if idea is None:
                self.no_idea.append(batch)
            else:
                idea.evaluations.append(batch)
                if p.commit not in idea.commits:
                    idea.commits.append(p.commit)
                self._idea_of[event.agent, p.commit] = idea.id
        if p.phase != "started" and batch.ended is None:
            batch.ended, batch.whole = event.t_run, p.phase == "finished"
            batch.episodes, batch.successes = p.episodes, p.successes

    def _join(self, agent: str | None) -> None:
        if agent is not None:
            self.lives.setdefault(agent, [])

    def _live(self, agent: str, t_run: float, begins: bool) -> None:
        """A process that was killed with its run has no end on record: it ended when it was started again at the latest."""
        lives = self.lives.setdefault(agent, [])
        if lives and lives[-1][1] is None:
            lives[-1] = (lives[-1][0], t_run)
        if begins:
            lives.append((t_run, None))

    def _draw_edges(self) -> None:
        """What commits have of others' ideas. A commit's idea is the one it was evaluated for; one that never was is its author's
        newest idea's of then."""
        known = {(e.source, e.target) for e in self.edges}
        for event, p, newest in self._borrowed:
            target = self.ideas.get(self._idea_of.get((event.agent, p.commit), newest or ""))
            for borrowed in p.sources if target is not None else ():
                source = self.ideas.get(borrowed.idea or "")
                if source is None or target is None or source is target or (source.id, target.id) in known:
                    continue
                if source.t_run > event.t_run:
                    continue  # it was not there yet
                known.add((source.id, target.id))
                self.edges.append(Edge(source.id, target.id, max(event.t_run, target.t_run), borrowed.how))
        self.edges.sort(key=lambda e: e.t_run)
