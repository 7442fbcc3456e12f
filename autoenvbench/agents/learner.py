"""The researcher behind `recipe:ALGORITHM`: attempt after attempt, each with one change to what was best so far.

    idea -> train -> commit -> practise on starts that all attempts share -> evaluate, where that was no worse than the best
         -> submit where it leads -> keep what was changed, or not

The first attempt is a quick one, so that something is confirmed early. Once every change was tried, the best is learnt anew: with another seed,
with twice the gradient steps, and from what the run's own practice has shown. All that is known of attempts lies in runs/attempts.json, each
training in a folder beside it, so whoever starts this program again goes on where it was.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoenvbench.agents.lab import Lab, work
from autoenvbench.agents.recipe import PLANS, Plan
from autoenvbench.errors import UserError
from autoenvbench.record.regimes import answer_of
from autoenvbench.text import short

RUNS = "runs"  # of trainings, below the workspace; not in Git
RECIPE = "recipe.json"  # what the commit's policy was learnt by
PRACTICE = 10  # episodes, from the same starts for every attempt
LEAST_S = 5.0  # of training; at least as much must be left then, to judge what was learnt
FIRST_UPDATES = 2_000
FEWEST_UPDATES = 200
_TITLE = 200  # characters


@dataclass
class Attempt:
    """One training, and what came of it.

    Attributes:
        change: what it changes of its parent, in words.
        settings: NAME=VALUE, all that differ from the algorithm's defaults.
        parent: the attempt that it builds on.
        own: whether practice episodes of the run are in its data.
        again: how many trainings of the best, all changes behind it, it is.
        speed: gradient steps a second, once it is trained.
        wins, episodes: of practice, evaluation and confirmation, once it was run.
    """

    number: int
    change: str
    settings: list[str]
    seed: int
    parent: int | None = None
    own: bool = False
    again: int = 0
    minutes: float = 0.0
    idea: str | None = None
    trained: bool = False
    speed: float | None = None
    done: bool = False
    wins: int = 0
    episodes: int = 0
    why_not: str | None = None

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.number:03d}"

    @property
    def rate(self) -> float:
        """Of success, as far as it is known."""
        return self.wins / self.episodes if self.episodes else 0.0


@dataclass
class Attempts:
    """All of them, on disk."""

    folder: Path
    rows: list[Attempt] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> Attempts:
        """Those of an earlier start of this program; none in a new folder."""
        file = folder / "attempts.json"
        return cls(folder, [Attempt(**row) for row in json.loads(file.read_text())] if file.exists() else [])

    def save(self) -> None:
        """Whole, or as it was before."""
        self.folder.mkdir(exist_ok=True)
        part = self.folder / "attempts.part"
        part.write_text(json.dumps([asdict(row) for row in self.rows], indent=1) + "\n")
        part.replace(self.folder / "attempts.json")

    def best(self) -> Attempt | None:
        """The one that succeeded most often; the newest of several."""
        ran = [row for row in self.rows if row.done and row.why_not is None]
        return max(ran, key=lambda row: (row.rate, row.number), default=None)

    def next(self, plan: Plan, told: dict[str, Any]) -> Attempt:
        """The one that is under way, or a new one."""
        if self.rows and not self.rows[-1].done:
            return self.rows[-1]
        number, best = len(self.rows), self.best()
        changes = ["", "", *plan.changes]  # at first quickly, then with all the time that it takes
        settings = list(best.settings) if best else [pair for pair in plan.base if _free(pair, told["settings"])]
        change, again = "", max(0, number - len(changes) + 1)
        if not again:
            change = changes[number]
            settings = _changed(settings, [pair for pair in change.split() if _free(pair, told["settings"])])
        words = change or ("learnt anew" if again else "as it comes" if number else "a quick first look")
        row = Attempt(
            number, words, settings, told["seed"] + again, best.number if best else None, own=bool(again) and plan.own, again=again
        )  # fmt: skip
        self.rows.append(row)
        return row


class Learner:
    """The researcher.

    Args:
        told: the algorithm, the run's seed, regime, demos (how many), and settings that hold in every attempt.
    """

    def __init__(self, lab: Lab, told: dict[str, Any]) -> None:
        self.lab, self.told = lab, told
        self.plan, self.algorithm = PLANS[told["algorithm"]], told["algorithm"]
        self.attempts = Attempts.load(lab.workspace / RUNS)
        self.network = answer_of(told["regime"]) == "network"

    def research(self) -> None:
        """Until the budget is over, or nothing is left to gain. Raises UserError where nothing can be learnt here."""
        from autoenvbench.learning.task_file import open_task

        open_task(self.lab.workspace).close()  # what is wrong with it is said before anything is on record
        while True:
            if self.lab.best_rate() == 1.0:
                self.lab.log("every confirmation episode of the best succeeded: nothing is left to gain")
                return
            attempt = self.attempts.next(self.plan, self.told)
            if not attempt.trained:
                if not self._plan_time(attempt):
                    self.lab.log("what is left of the budget is too short for another training")
                    return
                self._train(attempt)
            if attempt.why_not is None:
                self._judge(attempt)
            attempt.done = True
            self.attempts.save()
            if attempt.why_not and len(self.attempts.rows) == 1:
                raise UserError(attempt.why_not)  # nothing that follows would go better

    # -- the steps of an attempt -----------------------------------------------------------------------------------------
    def _plan_time(self, attempt: Attempt) -> bool:
        """How long it may take, and with `updates` as many gradient steps as fit into that. Whether there is time enough."""
        if attempt.idea is None:
            left, (first, later) = self.lab.left_s(), self.plan.shares
            if left < 2 * LEAST_S:
                return False
            attempt.minutes = max(left * (later if attempt.number else first), LEAST_S) / 60
            if self.plan.fits and _free("updates=", self.told["settings"]):
                attempt.settings = _changed(attempt.settings, [f"updates={self._updates(attempt)}"])
            parent = None if attempt.parent is None else self.attempts.rows[attempt.parent].idea
            title = short(f"{self.algorithm}: {attempt.change} ({self._words(attempt)})", _TITLE)
            attempt.idea = self.lab.idea(title, self.told["regime"] or self.plan.regime, parent)
            self.attempts.save()
        return True

    def _updates(self, attempt: Attempt) -> int:
        """Few in a first look; then as many as the algorithm likes, twice that each time it learns anew, or as fit."""
        speeds = [row.speed for row in self.attempts.rows if row.speed]
        return fitting_updates(
            self.algorithm, 60 * attempt.minutes, speeds[-1] if speeds else None, 1 << min(attempt.again, 4)
        )

    def _train(self, attempt: Attempt) -> None:
        from autoenvbench.learning.run import CHECKPOINT
        from autoenvbench.learning.train import learn

        out = self.attempts.folder / attempt.name
        resume = (out / CHECKPOINT).is_file()
        if not resume:
            shutil.rmtree(out, ignore_errors=True)  # killed before there was anything to go on with
        data = ["data/demos", *(["data/practice"] if attempt.own else [])]
        try:
            policy = learn(
                self.algorithm, out, workspace=self.lab.workspace, data=data, minutes=attempt.minutes, seed=attempt.seed,
                settings=[*attempt.settings, *self.told["settings"]], resume=resume, log=self.lab.log,
            )  # fmt: skip
            made = json.loads((policy / "policy.json").read_text())["made_by"]
            attempt.speed = made["steps"] / max(made["seconds"], 1e-3)
            self._install(attempt, policy)
        except UserError as error:
            attempt.why_not = str(error)
            self.lab.log(f"attempt {attempt.name}: {error}")
        attempt.trained = True
        self.attempts.save()

    def _install(self, attempt: Attempt, policy: Path) -> None:
        """Commit what was learnt as the policy: where the answer is a network, that alone."""
        from autoenvbench.learning.export import adopt

        files = [RECIPE, *adopt(policy, self.lab.workspace, code=not self.network)]
        learnt = {key: getattr(attempt, key) for key in ("number", "change", "settings", "seed", "own", "minutes")}
        about = {"algorithm": self.algorithm, **learnt, "given": self.told["settings"], "demos": self.told["demos"]}
        (self.lab.workspace / RECIPE).write_text(json.dumps(about, indent=1) + "\n")
        self.lab.commit(f"{self.algorithm} {attempt.name}: {attempt.change}", *files)

    def _judge(self, attempt: Attempt) -> None:
        """Practise, and evaluate what is no worse there than the best."""
        assert attempt.idea is not None
        best = self.attempts.best()
        results = [self.lab.practise(PRACTICE, 0)]
        if best is None or results[0]["success_rate"] >= best.rate - _noise(best.rate):
            evaluated = self.lab.evaluate(attempt.idea)
            results += [evaluated, *filter(None, [evaluated.get("confirmation")])]
        attempt.wins = sum(result["successes"] for result in results)
        attempt.episodes = sum(result["episodes"] for result in results)
        self.lab.log(f"attempt {attempt.name}, {attempt.change}: {attempt.wins} of {attempt.episodes} episodes")

    def _words(self, attempt: Attempt) -> str:
        parts = [f"{self.told['demos']} demonstrations"] if self.told["demos"] else []
        parts += ["own practice"] if attempt.own else []
        parts += [*attempt.settings, *self.told["settings"], f"seed={attempt.seed}"]
        return ", ".join(parts)


def fitting_updates(algorithm: str, seconds: float, speed: float | None, times: int = 1) -> int:
    """Gradient steps of a training of so many seconds, of as many as the algorithm likes (or so many times that).

    Args:
        speed: gradient steps a second; None before any were timed.
    """
    from autoenvbench.learning.train import settings_of

    most = times * int(settings_of(algorithm, []).updates)
    fit = int(0.9 * seconds * speed) if speed else FIRST_UPDATES
    return max(min(most, fit), FEWEST_UPDATES)


def _noise(rate: float) -> float:
    """A standard deviation of the rate of a practice."""
    return (max(rate * (1 - rate), 0.01) / PRACTICE) ** 0.5


def _free(pair: str, given: list[str]) -> bool:
    """Whether the run leaves this setting to the researcher."""
    return pair.partition("=")[0] not in {other.partition("=")[0] for other in given}


def _changed(settings: list[str], pairs: list[str]) -> list[str]:
    return [*(pair for pair in settings if _free(pair, pairs)), *pairs]


if __name__ == "__main__":
    work(lambda lab, told: Learner(lab, told).research())
