"""Trainings of `evolve`'s recipe ideas: one at a time, each a job of bounded time in the workspace's queue (`aeb job list` shows it), so that
the robot works on. A training whose researcher was killed goes on from its checkpoint.

This module is also the job's program: `python -m autoenvbench.agents.evolve_training JSON`, arguments of `learning.train.learn`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoenvbench.agents.evolve_recipes import settings_words
from autoenvbench.agents.learner import fitting_updates
from autoenvbench.agents.recipe import PLANS
from autoenvbench.errors import UserError
from autoenvbench.sandbox.cage import python_path
from autoenvbench.workspace import jobs

FOLDER = "runs/evolve"  # of trainings, below the workspace; not in Git
CHECKPOINT = "checkpoint.pt"  # of a training, as `learning.run` has it
OVERTIME = 2.0  # times its time, that a training may take
START_S = 60.0  # and so long to begin, on a computer that others share [s]
NO_STEP = "there was no time for a single gradient step; the next one gets twice as long"


@dataclass
class Variant:
    """A recipe with settings that is being trained, or is.

    Attributes:
        number: of its training, from 1.
        words: what it is, as a hypothesis.
        point: in its family's space; `values`: the same as settings.
        parent, others: keys of the ideas that it was made from.
        own: whether practice episodes of the run are in its data; `minutes`: of training, at most; `updates`: gradient steps that fit into
            that, where the recipe counts them in all. `tries`: how often it was begun, and gone on with.
    """

    number: int
    recipe: str
    words: str
    point: list[float]
    values: dict[str, Any]
    seed: int
    minutes: float
    own: bool = False
    updates: int | None = None
    tries: int = 0
    parent: int | None = None
    others: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"evolve-{self.recipe.replace('_', '-')}-{self.number:03d}"

    @property
    def job(self) -> str:
        """Of its job. One that goes on has a new one: what ends the old one may still be at work on that."""
        return self.name if self.tries <= 1 else f"{self.name}-{self.tries}"


class Trainings:
    """What is being trained, and what was trained and not tried yet.

    Args:
        given: settings that hold in all variants, by recipe.

    Attributes:
        begun: how many there were.
        under_way: the one that is.
        trained: variants that nobody has tried yet, with the folder of their policy, by recipe.
        speeds: gradient steps a second, by recipe, once one was trained.
        patience: by recipe, how many times the usual time the next one gets: more where there was none for a single step.
    """

    def __init__(self, workspace: Path, given: Mapping[str, Sequence[str]]) -> None:
        self._workspace, self._given = workspace, given
        self.begun = 0
        self.under_way: Variant | None = None
        self.trained: dict[str, Variant] = {}
        self.speeds: dict[str, float] = {}
        self.patience: dict[str, float] = {}

    def begin(self, variant: Variant) -> None:
        """Start the training of a variant, or go on with it. Raises UserError where no job can be queued."""
        out, given = self.out(variant), self._given.get(variant.recipe, [])
        resume = (out / CHECKPOINT).is_file() and not variant.own  # whose data are others by now
        if not resume:
            shutil.rmtree(out, ignore_errors=True)
        if (
            PLANS[variant.recipe].fits
            and not any(pair.startswith("updates=") for pair in given)
            and variant.updates is None
        ):
            variant.updates = fitting_updates(variant.recipe, 60 * variant.minutes, self.speeds.get(variant.recipe))
        fitted = [] if variant.updates is None else [f"updates={variant.updates}"]
        settings = [*fitted, *settings_words(variant.recipe, variant.values, given)]
        data = ["data/demos", *(["data/practice"] if variant.own else [])]
        told = {"algorithm": variant.recipe, "out": str(out), "workspace": str(self._workspace), "data": data, "minutes": variant.minutes,
                "seed": variant.seed, "settings": settings, "resume": resume}  # fmt: skip
        self.begun, variant.tries = max(self.begun, variant.number), variant.tries + 1
        program = [python_path(), "-sP", "-m", "autoenvbench.agents.evolve_training", json.dumps(told)]
        jobs.start(self._workspace, variant.job, program)
        self.under_way = variant

    def out(self, variant: Variant) -> Path:
        """The folder of its training."""
        return self._workspace / FOLDER / variant.name

    def look(self) -> tuple[Variant, str | None] | None:
        """The training that has ended since the last look, with why it came to nothing if it did; None while there is none."""
        variant = self.under_way
        if variant is None:
            return None
        job = jobs.Job(self._workspace / jobs.JOBS / variant.job)
        state, seconds = (job.status()[key] for key in ("state", "seconds"))
        if state == "running" and seconds > most_s(variant):
            self.close()
            self.under_way = None
            return variant, f"it had not ended after {seconds:.0f} s, where it was to take {60 * variant.minutes:.0f} s"
        if state in ("queued", "running"):
            jobs.ensure_runner(self._workspace)
            return None
        self.under_way = None
        policy = self.out(variant) / "policy"
        if state != "done" or not policy.is_dir():
            return variant, _last_words(job)
        made = json.loads((policy / "policy.json").read_text())["made_by"]
        if not made["steps"]:
            self.patience[variant.recipe] = 2 * self.patience.get(variant.recipe, 1.0)
            return variant, NO_STEP
        self.speeds[variant.recipe] = made["steps"] / max(made["seconds"], 1e-3)
        self.trained[variant.recipe] = variant
        return variant, None

    def close(self) -> None:
        """End the one that is under way; what it has learned so far is kept."""
        if self.under_way is not None:
            jobs.stop(self._workspace, [self.under_way.job])


def most_s(variant: Variant) -> float:
    """When a training is ended from outside [s]: what begins an algorithm, and an episode at its end, are beyond its own clock."""
    return OVERTIME * 60 * variant.minutes + START_S


def _last_words(job: jobs.Job) -> str:
    try:
        words = job.tail(1)
    except UserError:
        words = ""
    return words or f"its job {job.status()['words']}"


def main() -> None:
    """Learn; the argument is a JSON object of the arguments of `learning.train.learn`."""
    from autoenvbench.learning.train import learn

    told = json.loads(sys.argv[1])
    try:
        policy = learn(
            told.pop("algorithm"), Path(told.pop("out")), workspace=Path(told.pop("workspace")), log=lambda text: print(text, flush=True), **told
        )  # fmt: skip
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(f"{policy} is written")


if __name__ == "__main__":
    main()
