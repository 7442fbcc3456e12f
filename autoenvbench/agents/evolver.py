"""The researcher behind `evolve`: idea after idea, with robot time handed out by Thompson sampling (`learning.evolve`).

    choose an idea, or take a new one (`evolve_proposals`) and register it -> practise -> update -> ...
    an idea that beats the incumbent by its posterior -> evaluate, confirm -> incumbent, or not -> write down what was learned
    a peer's confirmed best that is clearly above the incumbent -> adopt -> measure it anew

While the robot works on one thing, the next is committed and sent, and a recipe learns (`evolve_training`). All that is known is kept
(`evolve_record`), so whoever starts this program again goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from autoenvbench.agents.evolve_proposals import Proposals, experience
from autoenvbench.agents.evolve_recipes import axes_of
from autoenvbench.agents.evolve_record import Ready, Record
from autoenvbench.agents.evolve_training import Trainings
from autoenvbench.agents.lab import RUN_OVER, Lab, work
from autoenvbench.agents.parametric import load_parametric
from autoenvbench.agents.rehearsal import Rehearsal
from autoenvbench.errors import UserError
from autoenvbench.learning.evolve import NUMBERS, Evidence, Idea, Population, Settings
from autoenvbench.learning.settings import parse_settings
from autoenvbench.record.regimes import answer_of
from autoenvbench.record.text_limits import MAX_TITLE
from autoenvbench.station.ideas import MAX_LESSON
from autoenvbench.text import short
from autoenvbench.workspace.bundling import git

EVALUATION = 20  # episodes; the least that counts
CONFIRMATION = 50
ENOUGH = 30  # practice episodes of an idea while a training is all that could bring a new one
WAIT_S = 0.5  # between two looks at a training, where the robot has nothing to do


class Evolver:
    """The researcher.

    Args:
        told: what `agents.evolve` says of the run: its environment, seed, track, pace, regime, settings, recipes, and whether it works alone.
    """

    def __init__(self, lab: Lab, told: dict[str, Any]) -> None:
        self.lab, self.told = lab, told
        self.settings = parse_settings(Settings, told["settings"])
        self.population = population = Population(self.settings)
        if answer_of(told["regime"]) == "policy":
            population = self.population = Population.over(load_parametric(lab.workspace).PARAMETERS, self.settings)
        for recipe in told["recipes"]:
            population.open(recipe, *axes_of(recipe, told["given"].get(recipe, []), demos=bool(told["demos"])))
        self.trainings = Trainings(lab.workspace, told["given"])
        self.record = Record(lab.workspace, population, self.trainings)
        self._unfinished = self.record.load()
        member = git(lab.workspace, "config", "user.name").encode()
        self.seed = [told["seed"], *member, len(self.record.filed)]
        self.rng = np.random.default_rng(self.seed)
        self.wall_s = self.robot_s = 0.0  # of an episode, on average
        self._heard_s, self._heard = 0.0, 0
        self.full = False  # no more ideas may be registered
        self.submitted: str | None = None
        self.refused: set[str] = set()  # ideas of peers that cannot be taken over, or are here already
        self.robot = ThreadPoolExecutor(1)

    def research(self) -> None:
        """Until the budget is over, or nothing is left to gain. Raises what ends a run, one of `RUN_OVER`."""
        if self.told["missing"]:
            self.lab.log(f"no learning recipes are tried: {self.told['missing']}")
        rehearsal = self._rehearse()
        self.proposals = Proposals(self.lab, self.told, self.record, self.rng, rehearsal)
        try:
            self._begin()
            while not self._done():
                self._look_around()
                idea = self._promoted()
                if idea is not None:
                    self._evaluate(idea)
                elif (idea := self._next()) is not None:
                    self._practise(idea)
                elif self.proposals.training:
                    time.sleep(WAIT_S)
                else:
                    self.lab.log("no idea is left to try")
                    return
        finally:
            self.trainings.close()
            if rehearsal is not None:
                rehearsal.close()

    def _begin(self) -> None:
        """With the first ideas, or where it was."""
        if self._unfinished is not None and self._unfinished.recipe in self.population.families:
            self.proposals.train(self._unfinished)
        if not self.record.filed:
            for ready in self.proposals.first():
                self._take(ready)

    def _rehearse(self) -> Rehearsal | None:
        """The search in a simulator beside the robot, where there are numbers to find and a simulator that may be used."""
        if self.told["track"] != "open" or NUMBERS not in self.population.families:
            return None
        best, family = self.population.elite(), self.population.families[NUMBERS]
        start = best[0].point if best else experience(self.lab.workspace, self.population)
        known = {} if start is None else family.values(start)
        env = (str(self.lab.workspace), self.told["env"], self.told["env_kwargs"])
        workers = max(1, len(os.sched_getaffinity(0)) - 1)
        parameters = {name: (axis.low, family.first[name], axis.high) for name, axis in family.axes.items()}
        return Rehearsal(env, parameters, known, [*self.seed, 1], workers)

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
        """An idea to practise, registered. None where nothing is left, or not yet."""
        idea = self.population.choose(self.rng, fresh=not self.full)
        if idea is None and not self.full and (ready := self.proposals.take()) is not None:
            idea = self._take(ready)
        idea = idea or self.population.choose(self.rng, fresh=False)
        only_training = NUMBERS not in self.population.families and not self.full
        if idea is not None and only_training and idea.own.episodes >= ENOUGH:
            self.proposals.prepare()
            return None if self.proposals.training else idea
        return idea

    def _take(self, ready: Ready) -> Idea | None:
        """Register what is ready, and make it one of the population. None where no more ideas may be registered."""
        filed = self.record.filed
        sources = [] if ready.filed.source is None else [ready.filed.source]
        parent = None if ready.parent is None else filed[ready.parent].id
        title = short(f"{ready.words}{f', of {parent}' if parent else ''}", MAX_TITLE)
        others = [id for key in ready.others if (id := filed[key].id) not in (None, parent)]
        try:
            ready.filed.id = self.lab.idea(title, ready.filed.regime, parent, [*sources, *filter(None, others)])
        except RUN_OVER:
            raise
        except UserError as error:
            self.full = True
            self.lab.log(str(error))
            return None
        idea = self.population.add(
            ready.words, ready.point, family=ready.family, parent=ready.parent, others=ready.others, prior=ready.prior
        )
        filed.append(ready.filed)
        self.record.save()
        return idea

    def _look_around(self) -> None:
        """Adopt the best that a peer has confirmed, if it is clearly above the incumbent."""
        if self.told["alone"] or self.full:
            return
        had = {filed.source for filed in self.record.filed} | self.refused
        found = []
        for row in self.lab.peers():
            if row["you"] or row["best"] is None or row["best_idea"] is None or row["best_idea"] in had:
                continue
            n, rate = float(row["best"]["episodes"]), float(row["best"]["success_rate"])
            found.append((rate, n, row["best_idea"], row["agent"]))
        if not found:
            return
        rate, n, source, peer = max(found)
        theirs = Evidence(rate * n, rate * n, n)
        if self.population.outdone_by(theirs):
            self._adopt(source, peer, theirs)

    def _adopt(self, source: str, peer: str, theirs: Evidence) -> None:
        try:
            ready = self.proposals.borrow(source, peer, theirs)
        except RUN_OVER:
            raise
        except UserError as error:
            self.lab.log(f"cannot adopt {source}: {error}")
            self.refused.add(source)
            return
        if ready is None:
            self.refused.add(source)
        elif self._take(ready) is not None:
            self.lab.log(f"adopted {source} of {peer}")

    # -- the robot ---------------------------------------------------------------------------------------------------
    def _practise(self, idea: Idea) -> None:
        filed = self.record.filed[idea.key]
        first = filed.first + int(idea.own.episodes)
        result = self._work(lambda: self.lab.practise(self._slice(), first, filed.digest, self._hear))
        n = result["episodes"]
        idea.own.add(result["successes"], result["score"] * n, n)
        self.record.practised += n
        self.record.won += result["successes"]
        self.population.refit()
        for dropped in self.population.cull():
            known, chance = dropped.own, self.population.chance(dropped.known)
            self._learned(
                dropped,
                f"dropped: {known.wins:.0f} of {known.episodes:.0f} practice episodes succeeded, score {known.score / known.episodes:.2f}; "
                f"chance to beat the best {chance:.0%}",
            )
        self._submit_what_leads()
        self.record.save()

    def _evaluate(self, idea: Idea) -> None:
        """Have an idea judged, and confirmed where it beats the best; and write down what came of it."""
        filed, before, first = self.record.filed[idea.key], self.population.bar(), self.population.incumbent is None
        assert filed.id is not None
        known = filed.id
        result = self._work(lambda: self.lab.evaluate(known, EVALUATION, filed.digest, self._hear))
        n = result["episodes"]
        idea.own.add(result["successes"], result["score"] * n, n)
        idea.evaluated = True
        self.record.judged += n
        confirmation = result.get("confirmation")
        if confirmation is not None:
            rate, counted = result["candidate"]["success_rate"], result["candidate"]["episodes"]
            idea.confirmed = Evidence(round(rate * counted), confirmation["score"] * counted, counted)
            self.record.judged += confirmation["episodes"]
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
        self.record.save()

    def _work(self, job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Have the robot do a job, and meanwhile make the next thing ready."""
        self._heard_s, self._heard, began = 0.0, 0, time.monotonic()
        working = self.robot.submit(job)
        if not self.full:
            self.proposals.prepare()
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
        idea = self.population.promoted(self.record.judged, self.record.practised)
        if idea is None and not self._time_for(2 * (EVALUATION + CONFIRMATION)):  # the last call
            idea = self.population.likely(0.5)
        return idea

    def _time_for(self, episodes: int) -> bool:
        return self.lab.left_s() > episodes * self.wall_s and self.lab.left_robot_s() > episodes * self.robot_s

    # -- the answer, and what was learned ----------------------------------------------------------------------------
    def _submit_what_leads(self) -> None:
        """Before anything is confirmed: what is best by all that is known, as the answer in case that nothing will be."""
        if self.population.incumbent is not None:
            return
        leading = self.population.leading()
        if leading is not None and leading.known.wins:
            self._submit(self.record.filed[leading.key].digest)

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

    def _learned(self, idea: Idea, words: str) -> None:
        """A verdict with what the idea is: numbers as `parameters: name=value [low, high], ...`, which later research reads."""
        if idea.point is not None and (family := self.population.families.get(idea.family)) is not None:
            values = family.values(idea.point)
            if idea.family == NUMBERS:
                rows = [f"{name}={values[name]:g} [{axis.low:g}, {axis.high:g}]" for name, axis in family.axes.items()]
                words += f". parameters: {', '.join(rows)}"
            else:
                words += (
                    f". settings of {idea.family}: {', '.join(f'{name}={value}' for name, value in values.items())}"
                )
        id = self.record.filed[idea.key].id
        self.lab.log(f"{id}: {words}")
        if id is not None:
            try:
                self.lab.learned(id, words[:MAX_LESSON])
            except RUN_OVER:
                raise
            except UserError as error:  # as one more than its share of what a run may write
                self.lab.log(str(error))


def _average(before: float, now: float) -> float:
    return now if not before else 0.7 * before + 0.3 * now


if __name__ == "__main__":
    work(lambda lab, told: Evolver(lab, told).research())
