"""The researcher behind `evolve`: idea after idea, with robot time handed out by Thompson sampling (`learning.evolve`).

    choose an idea, or make a new one and register it -> practise -> update -> ...
    an idea that beats the incumbent by its posterior -> evaluate, confirm -> incumbent, or not -> write down what was learned
    a peer's confirmed best that beats the incumbent -> adopt -> measure it anew

While the robot works on one thing, the next is committed and sent. All that is known lies in runs/evolve.json, so whoever starts this program again
goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from autoenvbench.agents.lab import RUN_OVER, Lab, work
from autoenvbench.agents.parametric import PARAMS, POLICY, commit_values, load_parametric
from autoenvbench.agents.rehearsal import Rehearsal
from autoenvbench.errors import UserError
from autoenvbench.evolution.distill import read_parameters
from autoenvbench.learning.evolve import Evidence, Idea, Population, Settings
from autoenvbench.learning.settings import parse_settings
from autoenvbench.record.text_limits import MAX_TITLE
from autoenvbench.station.ideas import MAX_LESSON
from autoenvbench.text import short
from autoenvbench.workspace.bundling import git
from autoenvbench.workspace.experience import EXPERIENCE

STATE = "runs/evolve.json"  # below the workspace; not in Git
EVALUATION = 20  # episodes; the least that counts
CONFIRMATION = 50
LOOK_S = 20.0  # between two looks at what peers do
BORROWED = 20.0  # episodes that a peer's confirmation counts for, at most
GENERATION = 1000  # practice starts that the ideas of one generation share


@dataclass
class Filed:
    """Where an idea is on record.

    Attributes:
        digest, commit: what is run to test it.
        id: of its registration; None until it is first run.
        first: its first practice start: those of one generation begin at the same.
        source: the peer's idea that it is.
    """

    digest: str
    commit: str
    regime: str | None
    first: int = 0
    id: str | None = None
    source: str | None = None


@dataclass
class Ready:
    """A new idea that is committed and sent, and not registered yet."""

    words: str
    filed: Filed
    point: np.ndarray | None = None
    parent: int | None = None
    others: list[int] = field(default_factory=list)
    prior: Evidence = field(default_factory=Evidence)


class Evolver:
    """The researcher.

    Args:
        told: what `agents.evolve` says of the run: its environment, seed, track, pace, regime, settings, and whether it works alone.
    """

    def __init__(self, lab: Lab, told: dict[str, Any]) -> None:
        self.lab, self.told = lab, told
        self.settings = parse_settings(Settings, told["settings"])
        self.parameters = load_parametric(lab.workspace).PARAMETERS
        self.population = Population.over(self.parameters, self.settings)
        self.filed: list[Filed] = []
        self.practised = self.judged = 0
        self.wall_s = self.robot_s = 0.0  # of an episode, on average
        self._heard_s, self._heard = 0.0, 0
        self._load()
        member = git(lab.workspace, "config", "user.name").encode()
        self.seed = [told["seed"], *member, len(self.filed)]
        self.rng = np.random.default_rng(self.seed)
        self.ready: Ready | None = None
        self.full = False  # no more ideas may be registered
        self.submitted: str | None = None
        self.looked = -LOOK_S
        self.refused: set[str | None] = set()  # ideas of peers that cannot be taken over
        self.robot = ThreadPoolExecutor(1)
        self.rehearsal: Rehearsal | None = None

    def research(self) -> None:
        """Until the budget is over, or nothing is left to gain. Raises what ends a run, one of `RUN_OVER`."""
        self._rehearse()
        try:
            if not self.filed:
                self._begin()
            while not self._done():
                self._look_around()
                idea = self._promoted()
                if idea is not None:
                    self._evaluate(idea)
                elif (idea := self._next()) is not None:
                    self._practise(idea)
                else:
                    self.lab.log("no idea is left to try")
                    return
        finally:
            if self.rehearsal is not None:
                self.rehearsal.close()

    def _begin(self) -> None:
        """The starter is the first idea."""
        values = {name: initial for name, (_, initial, _) in self.parameters.items()}
        point = self.population.point(values)
        filed = self._send("HEAD", values, "evolve: the starter")
        self._take(Ready("the starter's own numbers, as a baseline", filed, point))
        if (known := self._experience()) is not None:
            words = f"what an earlier run found: {self.population.words(point, known)}"
            filed = self._send(filed.commit, self.population.values(known), f"evolve: {short(words)}")
            self._take(Ready(words, filed, known, 0))

    def _experience(self) -> np.ndarray | None:
        """The starter's point with the numbers that won in an earlier run, where parameters have the same names: each at the same place in
        its range, since another task may have other ranges. None where nothing is known."""
        file = self.lab.workspace / EXPERIENCE
        won = read_parameters(file.read_text(errors="replace")) if file.is_file() else {}
        point = self.population.point({name: initial for name, (_, initial, _) in self.parameters.items()})
        for k, name in enumerate(self.population.names):
            if name in won:
                value, low, high = won[name]
                point[k] = (value - low) / (high - low)
        return point if any(name in won for name in self.population.names) else None

    def _rehearse(self) -> None:
        if self.told["track"] != "open":
            return
        best = self.population.elite()
        start = best[0].point if best else self._experience()
        known = {} if start is None else self.population.values(start)
        env = (str(self.lab.workspace), self.told["env"], self.told["env_kwargs"])
        workers = max(1, len(os.sched_getaffinity(0)) - 1)
        self.rehearsal = Rehearsal(env, self.parameters, known, [*self.seed, 1], workers)

    def _done(self) -> bool:
        """Whether the incumbent is confirmed at 100 %: robot time would only repeat that."""
        best = self.population.bar()
        if best.wins < best.episodes:
            return False
        self.lab.log(
            f"all {best.episodes:.0f} confirmation episodes of my best succeeded: nothing is left to gain, so I stop"
        )
        return True

    # -- what is tried next ------------------------------------------------------------------------------------------
    def _next(self) -> Idea | None:
        """An idea to practise, registered. None where nothing is left."""
        idea = self.population.choose(self.rng, fresh=not self.full)
        if idea is None and not self.full:
            self._prepare()
            ready, self.ready = self.ready, None
            idea = self._take(ready) if ready is not None else None
        return idea or self.population.choose(self.rng, fresh=False)

    def _prepare(self) -> None:
        """Have a new idea ready: what the simulator found, if that is new, or a variant of the elite."""
        population = self.population
        offer = self.rehearsal.offer() if self.rehearsal is not None else None
        if offer is not None:
            values, prior = offer
            point = population.point(values)
            near = population.elite()
            parent = min(near, key=lambda i: float(np.abs(i.point - point).sum()), default=population.ideas[0])
            assert parent.point is not None
            words = f"found in simulation ({prior.wins:.0f} of {prior.episodes:.0f}): {population.words(parent.point, point)}"
            filed = self._send(self.filed[parent.key].commit, values, f"evolve: {short(words)}")
            self.ready = Ready(words, filed, point, parent.key, prior=prior)
        elif self.ready is None and not self.full:
            point, words, parent, others = population.child(self.rng)
            filed = self._send(self.filed[parent.key].commit, population.values(point), f"evolve: {short(words)}")
            self.ready = Ready(words, filed, point, parent.key, [other.key for other in others])

    def _send(self, base: str, values: dict[str, float], message: str) -> Filed:
        """Commit the policy with these numbers on top of `base`, and send it."""
        git(self.lab.workspace, "reset", "--quiet", "--hard", base)
        shutil.rmtree(self.lab.workspace / "checkpoints", ignore_errors=True)
        commit_values(self.lab, values, message)
        return self._filed("heuristic")

    def _filed(self, regime: str | None) -> Filed:
        first = GENERATION * self.population.refits
        return Filed(
            self.lab.send(), git(self.lab.workspace, "rev-parse", "HEAD"), self.told["regime"] or regime, first
        )

    def _take(self, ready: Ready) -> Idea | None:
        """Register what is ready, and make it one of the population. None where no more ideas may be registered."""
        sources = [] if ready.filed.source is None else [ready.filed.source]
        parent = None if ready.parent is None else self.filed[ready.parent].id
        title = short(f"{ready.words}{f', of {parent}' if parent else ''}", MAX_TITLE)
        others = [id for key in ready.others if (id := self.filed[key].id) not in (None, parent)]
        try:
            ready.filed.id = self.lab.idea(title, ready.filed.regime, parent, [*sources, *filter(None, others)])
        except RUN_OVER:
            raise
        except UserError as error:
            self.full = True
            self.lab.log(str(error))
            return None
        idea = self.population.add(
            ready.words, ready.point, parent=ready.parent, others=ready.others, prior=ready.prior
        )
        self.filed.append(ready.filed)
        self._save()
        return idea

    # -- the robot ---------------------------------------------------------------------------------------------------
    def _practise(self, idea: Idea) -> None:
        filed = self.filed[idea.key]
        first = filed.first + int(idea.own.episodes)
        result = self._work(lambda: self.lab.practise(self._slice(), first, filed.digest, self._hear))
        n = result["episodes"]
        idea.own.add(result["successes"], result["score"] * n, n)
        self.practised += n
        self.population.refit()
        for dropped in self.population.cull():
            known, chance = dropped.own, self.population.chance(dropped.known)
            self._learned(
                dropped,
                f"dropped: {known.wins:.0f} of {known.episodes:.0f} practice episodes succeeded, score {known.score / known.episodes:.2f}; "
                f"chance to beat the best {chance:.0%}",
            )
        self._submit_what_leads()
        self._save()

    def _evaluate(self, idea: Idea) -> None:
        """Have an idea judged, and confirmed where it beats the best; and write down what came of it."""
        filed, before, first = self.filed[idea.key], self.population.bar(), self.population.incumbent is None
        assert filed.id is not None
        known = filed.id
        result = self._work(lambda: self.lab.evaluate(known, EVALUATION, filed.digest, self._hear))
        n = result["episodes"]
        idea.own.add(result["successes"], result["score"] * n, n)
        idea.evaluated = True
        self.judged += n
        confirmation = result.get("confirmation")
        if confirmation is not None:
            rate, counted = result["candidate"]["success_rate"], result["candidate"]["episodes"]
            idea.confirmed = Evidence(round(rate * counted), confirmation["score"] * counted, counted)
            self.judged += confirmation["episodes"]
        was = "nothing" if first else f"{before.wins:.0f} of {before.episodes:.0f}"
        if self.population.crown(idea):
            self._submit(filed.digest)
            now = idea.confirmed
            words = f"raised my best from {was} to {now.wins:.0f} of {now.episodes:.0f}, confirmed"
        else:
            words = f"did not raise my best ({was}): {result['successes']} of {n} in an evaluation"
            words += (
                f", {confirmation['successes']} of {confirmation['episodes']} in its confirmation"
                if confirmation
                else ""
            )
        self._learned(idea, words)
        self._save()

    def _work(self, job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Have the robot do a job, and meanwhile make the next thing ready."""
        self._heard_s, self._heard, began = 0.0, 0, time.monotonic()
        working = self.robot.submit(job)
        self._prepare()
        result = working.result()
        if self._heard:
            self.wall_s = _average(self.wall_s, (time.monotonic() - began) / self._heard)
            self.robot_s = _average(self.robot_s, self._heard_s / self._heard)
        return result

    def _hear(self, episode: dict[str, Any]) -> None:
        self._heard_s, self._heard = self._heard_s + episode["robot_s"], self._heard + 1

    def _slice(self) -> int:
        """Episodes of the next practice. Where time is real, long enough that what is around it does not count."""
        most = self.settings.slice
        if not self.told["pace"]:
            return most
        return max(1, min(most, round(self.settings.slice_s / self.robot_s))) if self.robot_s else 1

    def _promoted(self) -> Idea | None:
        """What is to be evaluated now, if anything is, and if the time suffices."""
        if not self._time_for(EVALUATION):
            return None
        idea = self.population.promoted(self.judged, self.practised)
        if idea is None and not self._time_for(2 * (EVALUATION + CONFIRMATION)):  # the last call
            idea = self.population.likely(0.5)
        return idea

    def _time_for(self, episodes: int) -> bool:
        return self.lab.left_s() > episodes * self.wall_s and self.lab.left_robot_s() > episodes * self.robot_s

    def _submit_what_leads(self) -> None:
        """Before anything is confirmed: what is best by all that is known, as the answer in case that nothing will be."""
        if self.population.incumbent is not None:
            return
        leading = self.population.leading()
        if leading is not None and leading.known.wins:
            self._submit(self.filed[leading.key].digest)

    def _submit(self, digest: str) -> None:
        if digest == self.submitted:
            return
        try:
            self.lab.submit(digest)
            self.submitted = digest
        except RUN_OVER:
            raise
        except UserError as error:  # as one that is not of the run's regime
            self.lab.log(str(error))

    # -- the team ----------------------------------------------------------------------------------------------------
    def _look_around(self) -> None:
        """Now and then: adopt the best that a peer has confirmed, if it beats the incumbent. Nobody's score is taken over: it is measured anew."""
        if self.told["alone"] or time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        had = {filed.source for filed in self.filed} | self.refused
        found = []
        for row in self.lab.peers():
            if row["you"] or row["best"] is None or row["best_idea"] is None or row["best_idea"] in had:
                continue
            n, rate = min(float(row["best"]["episodes"]), BORROWED), float(row["best"]["success_rate"])
            found.append((rate, n, row["best_idea"], row["agent"]))
        if not found:
            return
        rate, n, source, peer = max(found)
        theirs = Evidence(rate * n, rate * n, n)
        if self.population.chance(theirs) >= self.settings.sure:
            self._adopt(source, peer, theirs)

    def _adopt(self, source: str, peer: str, theirs: Evidence) -> None:
        try:
            git(self.lab.workspace, "reset", "--quiet", "--hard", self.filed[self.population.incumbent or 0].commit)
            taken = self.lab.adopt(source)
            self._as_it_was(taken.commit)
            filed = self._filed("heuristic")
        except RUN_OVER:
            raise
        except UserError as error:
            self.lab.log(f"cannot adopt {source}: {error}")
            self.refused.add(source)
            return
        filed.source = source
        idea = self._take(
            Ready(
                f"{source} of {peer} as it is, which solved {theirs.wins / theirs.episodes:.0%} for it",
                filed,
                self._point(),
                prior=theirs,
            )
        )
        if idea is not None:
            self.lab.log(f"adopted {source} of {peer}")

    def _as_it_was(self, commit: str) -> None:
        """A merge may mix the numbers of two; what was tested were theirs alone."""
        for name in (PARAMS, POLICY):
            if git(self.lab.workspace, "ls-tree", "--name-only", commit, name):
                git(self.lab.workspace, "checkout", "--quiet", commit, "--", name)
        if git(self.lab.workspace, "status", "--porcelain", "--untracked-files=no"):
            git(self.lab.workspace, "commit", "--quiet", "-am", f"As {commit[:12]} was tested")

    def _point(self) -> np.ndarray | None:
        """The numbers of the workspace's policy, if it is the parametric one."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            values = json.loads((self.lab.workspace / PARAMS).read_text())
            point = self.population.point({name: float(values[name]) for name in self.parameters})
            ours = "from parametric import ParametricPolicy as Policy" in (self.lab.workspace / POLICY).read_text()
            if ours and np.isfinite(point).all():
                return point
        return None

    # -- the record --------------------------------------------------------------------------------------------------
    def _learned(self, idea: Idea, words: str) -> None:
        """A verdict with the idea's numbers, as `parameters: name=value [low, high], ...`, which later research reads."""
        if idea.point is not None:
            rows = zip(
                self.population.values(idea.point).items(), self.population.low, self.population.high, strict=True
            )
            words += ". parameters: " + ", ".join(
                f"{name}={value:g} [{low:g}, {high:g}]" for (name, value), low, high in rows
            )
        id = self.filed[idea.key].id
        self.lab.log(f"{id}: {words}")
        if id is not None:
            try:
                self.lab.learned(id, words[:MAX_LESSON])
            except RUN_OVER:
                raise
            except UserError as error:  # as one more than its share of what a run may write
                self.lab.log(str(error))

    def _save(self) -> None:
        """Whole, or as it was before."""
        file = self.lab.workspace / STATE
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        ideas = [
            asdict(idea) | {"point": None if idea.point is None else idea.point.tolist()}
            for idea in self.population.ideas
        ]
        population = {"incumbent": self.population.incumbent, "refits": self.population.refits,
                      "mean": self.population.mean.tolist(), "std": self.population.std.tolist()}  # fmt: skip
        part.write_text(json.dumps({"ideas": ideas, "filed": [asdict(filed) for filed in self.filed], "population": population,
                                    "practised": self.practised, "judged": self.judged}))  # fmt: skip
        part.replace(file)

    def _load(self) -> None:
        file = self.lab.workspace / STATE
        if not file.exists():
            return
        known = json.loads(file.read_text())
        for row in known["ideas"]:
            row |= {name: Evidence(**row[name]) for name in ("prior", "own", "confirmed")}
            row["point"] = None if row["point"] is None else np.array(row["point"])
            self.population.ideas.append(Idea(**row))
        self.filed = [Filed(**row) for row in known["filed"]]
        for name, value in known["population"].items():
            setattr(self.population, name, np.array(value) if isinstance(value, list) else value)
        self.practised, self.judged = known["practised"], known["judged"]


def _average(before: float, now: float) -> float:
    return now if not before else 0.7 * before + 0.3 * now


if __name__ == "__main__":
    work(lambda lab, told: Evolver(lab, told).research())
