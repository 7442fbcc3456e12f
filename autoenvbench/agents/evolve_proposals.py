"""What `evolve` may try next: the starter and what an earlier run found, what the simulator found, variants of the elite, trained recipes, and
ideas of peers. Each is committed and sent before it is needed, while the robot works on something else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from autoenvbench.agents.evolve_recipes import OWN
from autoenvbench.agents.evolve_record import Filed, Ready, Record
from autoenvbench.agents.evolve_training import NO_STEP, Variant
from autoenvbench.agents.lab import Lab
from autoenvbench.agents.learner import LEAST_S, RECIPE
from autoenvbench.agents.parametric import PARAMS, POLICY, commit_values
from autoenvbench.agents.recipe import PLANS
from autoenvbench.agents.rehearsal import Rehearsal
from autoenvbench.errors import UserError
from autoenvbench.evolution.distill import read_parameters
from autoenvbench.learning.evolve import NUMBERS, Evidence, Population
from autoenvbench.record.regimes import answer_of
from autoenvbench.text import short
from autoenvbench.workspace.bundling import git
from autoenvbench.workspace.experience import EXPERIENCE

GENERATION = 1000  # practice starts that the ideas of one generation share
BORROWED = 20.0  # episodes that a peer's confirmation counts for among one's own, at most
FIRST_LOOK = 1 / 3  # of a training's time, for the first one of a recipe: something is known early
OWN_SUCCESSES = 20  # practice episodes that a recipe without demonstrations needs
FAILURES = 2  # trainings in a row that come to nothing, after which a recipe is left alone
_POLICY_FILES = (PARAMS, POLICY, "policy.json", "features.py", RECIPE)  # what an idea of this researcher consists of


class Proposals:
    """Makes ideas ready.

    Args:
        told: what `agents.evolve` says of the run.
        rehearsal: the search in a simulator beside the robot, if there is one.

    Attributes:
        waiting: what is ready, until it is taken.
    """

    def __init__(
        self, lab: Lab, told: dict[str, Any], record: Record, rng: np.random.Generator, rehearsal: Rehearsal | None
    ) -> None:
        self._lab, self._told, self._record, self._rng, self._rehearsal = lab, told, record, rng, rehearsal
        self._population, self._trainings = record.population, record.trainings
        self._network = answer_of(told["regime"]) == "network"
        self.waiting: Ready | None = None

    # -- at first ----------------------------------------------------------------------------------------------------
    def first(self) -> Iterator[Ready]:
        """The starter, and what an earlier run found; nothing where the answer is a network."""
        family = self._population.families.get(NUMBERS)
        if family is None:
            return
        filed = self._send("HEAD", family.first, "evolve: the starter")
        yield Ready("the starter's own numbers, as a baseline", filed, NUMBERS, family.point(family.first))
        if (known := experience(self._lab.workspace, self._population)) is not None:
            words = f"what an earlier run found: {family.words(family.point(family.first), known)}"
            filed = self._send(filed.commit, family.values(known), f"evolve: {short(words)}")
            yield Ready(words, filed, NUMBERS, known, 0)

    # -- the next one ------------------------------------------------------------------------------------------------
    def take(self) -> Ready | None:
        """What is to be tried now; None while nothing is ready."""
        if self.waiting is None:
            self.prepare()
        ready, self.waiting = self.waiting, None
        return ready

    def prepare(self) -> None:
        """Have something ready, and see to the training: what the simulator found, or else an idea of the family whose turn it is."""
        self._look_after_training()
        if (self.waiting is None or self.waiting.family == NUMBERS) and (found := self._found_in_simulation()):
            self.waiting = found
        if self.waiting is not None:
            return
        for name in self._population.turns(self._rng):
            if name == NUMBERS:
                self.waiting = self._variant_of_numbers()
            elif name in self._trainings.trained:
                self.waiting = self._install(self._trainings.trained.pop(name))
            elif self._trainings.under_way is None:
                self._begin_training(name)
            if self.waiting is not None:
                return

    @property
    def training(self) -> bool:
        """Whether something will be ready without the robot's doing."""
        return self.waiting is not None or self._trainings.under_way is not None or bool(self._trainings.trained)

    def _variant_of_numbers(self) -> Ready:
        family = self._population.families[NUMBERS]
        point, words, parent, others = self._population.child(self._rng)
        filed = self._send(self._record.filed[parent.key].commit, family.values(point), f"evolve: {short(words)}")
        return Ready(words, filed, NUMBERS, point, parent.key, [other.key for other in others])

    def _found_in_simulation(self) -> Ready | None:
        offer = self._rehearsal.offer() if self._rehearsal is not None else None
        if offer is None:
            return None
        (values, prior), population, family = offer, self._population, self._population.families[NUMBERS]
        point = family.point(values)
        near = population.elite()
        parent = min(near, key=lambda i: float(np.abs(i.point - point).sum()), default=population.ideas[0])
        assert parent.point is not None
        words = f"found in simulation ({prior.wins:.0f} of {prior.episodes:.0f}): {family.words(parent.point, point)}"
        filed = self._send(self._record.filed[parent.key].commit, values, f"evolve: {short(words)}")
        return Ready(words, filed, NUMBERS, point, parent.key, prior=prior)

    # -- recipes -----------------------------------------------------------------------------------------------------
    def _begin_training(self, recipe: str) -> None:
        """Train a variant of a recipe beside the robot, where there is time and something to learn from."""
        left, demos = self._lab.left_s(), bool(self._told["demos"])
        learns_from_own = PLANS[recipe].learns_from == "data" and not demos
        if left < 4 * LEAST_S or (learns_from_own and self._record.won < OWN_SUCCESSES):
            return
        family, number = self._population.families[recipe], self._trainings.begun + 1
        point, words, parent, others = family.point(family.first), "as it comes", None, list[int]()
        share = self._population.settings.training
        if any(idea.family == recipe for idea in self._population.ideas):
            point, words, near, drawn_on = self._population.child(self._rng, recipe)
            parent, others = near.key, [other.key for other in drawn_on]
        else:
            share *= FIRST_LOOK
        values, share = family.values(point), min(0.5, share * self._trainings.patience.get(recipe, 1.0))
        variant = Variant(
            number, recipe, f"{recipe}, {words}", point.tolist(), values, self._told["seed"] + number, max(share * left, LEAST_S) / 60,
            own=learns_from_own or bool(values.get(OWN)), parent=parent, others=others,
        )  # fmt: skip
        self._lab.log(f"training {variant.name} for {60 * variant.minutes:.0f} s: {variant.words}")
        self.train(variant)

    def train(self, variant: Variant) -> None:
        """Begin a training, or go on with it."""
        try:
            self._trainings.begin(variant)
        except UserError as error:  # as where the disk is full
            self._trained(variant, str(error))
        self._record.save()

    def _look_after_training(self) -> None:
        if (ended := self._trainings.look()) is not None:
            self._trained(*ended)

    def _trained(self, variant: Variant, why: str | None) -> None:
        """A training is over; why it came to nothing, if it did."""
        family = self._population.families[variant.recipe]
        if why != NO_STEP:
            family.failed = 0 if why is None else family.failed + 1
            family.closed = family.failed >= FAILURES
        if why is not None:
            left_alone = f"; {variant.recipe} is left alone from now on" if family.closed else ""
            self._lab.log(f"{variant.name} came to nothing: {why}{left_alone}")
        self._record.save()

    def _install(self, variant: Variant) -> Ready:
        """Commit what was learned as the policy: where the answer is a network, that alone."""
        from autoenvbench.learning.export import adopt  # PyTorch takes a while

        filed = self._record.filed
        base = filed[variant.parent or 0].commit if filed else "HEAD"
        self._at(base)
        files = [RECIPE, *adopt(self._trainings.out(variant) / "policy", self._lab.workspace, code=not self._network)]
        about = {
            "algorithm": variant.recipe, "settings": variant.values, "seed": variant.seed, "own": variant.own,
            "minutes": variant.minutes, "updates": variant.updates, "demos": self._told["demos"],
        }  # fmt: skip
        (self._lab.workspace / RECIPE).write_text(json.dumps(about, indent=1) + "\n")
        self._lab.commit(f"evolve: {short(variant.words)}", *files)
        sent = self._filed(PLANS[variant.recipe].regime, variant.recipe)
        return Ready(variant.words, sent, variant.recipe, np.array(variant.point), variant.parent, list(variant.others))

    # -- ideas of peers ----------------------------------------------------------------------------------------------
    def borrow(self, source: str, peer: str, theirs: Evidence) -> Ready | None:
        """A peer's idea as it is, in this workspace; None where it is what is here already. Raises UserError where it cannot be had.

        Args:
            theirs: its peer's confirmation. Nobody's score is taken over: it is measured anew.
        """
        filed = self._record.filed
        self._at(filed[self._population.incumbent or 0].commit if filed else "HEAD")
        taken = self._lab.adopt(source)
        self._as_it_was(taken.commit)
        family, point = self._place()
        sent = self._filed(PLANS[family].regime if family in PLANS else "heuristic", family)
        if sent.content in {known.content for known in filed}:
            return None
        sent.source = source
        words = f"{source} of {peer} as it is, which solved {theirs.wins / theirs.episodes:.0%} for it"
        return Ready(words, sent, family, point, prior=theirs.at_most(BORROWED))

    def _as_it_was(self, commit: str) -> None:
        """A merge may mix the numbers of two; what was tested were theirs alone."""
        for name in _POLICY_FILES:
            if git(self._lab.workspace, "ls-tree", "--name-only", commit, name):
                git(self._lab.workspace, "checkout", "--quiet", commit, "--", name)
        if git(self._lab.workspace, "status", "--porcelain", "--untracked-files=no"):
            git(self._lab.workspace, "commit", "--quiet", "-am", f"As {commit[:12]} was tested")

    def _place(self) -> tuple[str, np.ndarray | None]:
        """The family of the workspace's policy, and its point there if it has one: of a policy of somebody else's there is none."""
        workspace, families = self._lab.workspace, self._population.families
        with suppress(OSError, ValueError, KeyError, TypeError):
            if self._network or (workspace / "checkpoints").is_dir():
                about = json.loads((workspace / RECIPE).read_text())
                family = families[about["algorithm"]]
                return about["algorithm"], _inside(family.point(about["settings"]))
            family = families[NUMBERS]
            values = {name: float(value) for name, value in json.loads((workspace / PARAMS).read_text()).items()}
            if "from parametric import ParametricPolicy as Policy" in (workspace / POLICY).read_text():
                return NUMBERS, _inside(family.point(values))
        return NUMBERS if NUMBERS in families else next(iter(families)), None

    # -- to the station ----------------------------------------------------------------------------------------------
    def _send(self, base: str, values: Mapping[str, float], message: str) -> Filed:
        """Commit the parametric policy with these numbers on top of `base`, and send it."""
        self._at(base)
        commit_values(self._lab, values, message)
        return self._filed("heuristic", NUMBERS)

    def _at(self, base: str) -> None:
        git(self._lab.workspace, "reset", "--quiet", "--hard", base)
        shutil.rmtree(self._lab.workspace / "checkpoints", ignore_errors=True)

    def _filed(self, regime: str, family: str) -> Filed:
        workspace, first = self._lab.workspace, GENERATION * self._population.families[family].refits
        digest, commit = self._lab.send(), git(workspace, "rev-parse", "HEAD")
        return Filed(digest, commit, self._told["regime"] or regime, first, content=_content(workspace))


def experience(workspace: Path, population: Population) -> np.ndarray | None:
    """The starter's point with the numbers that won in an earlier run, where parameters have the same names: each at the same place in
    its range, since another task may have other ranges. None where nothing is known."""
    file, family = workspace / EXPERIENCE, population.families[NUMBERS]
    won = read_parameters(file.read_text(errors="replace")) if file.is_file() else {}
    point = family.point(family.first)
    for k, name in enumerate(family.names):
        if name in won:
            value, low, high = won[name]
            point[k] = (value - low) / (high - low)
    return point if any(name in won for name in family.names) else None


def _inside(point: np.ndarray) -> np.ndarray:
    """The same. Raises ValueError for one that is nowhere."""
    if not np.isfinite(point).all():
        raise ValueError(point)
    return point


def _content(workspace: Path) -> str:
    """Of the files that an idea of this researcher consists of: the same for the same policy, whoever committed it."""
    made = hashlib.sha256()
    weights = sorted(path for path in (workspace / "checkpoints").rglob("*") if path.is_file())
    beside = {RECIPE, PARAMS} if weights else {RECIPE}  # says how it came to be, or is of another's
    for path in [*(workspace / name for name in _POLICY_FILES if name not in beside), *weights]:
        if path.is_file():
            made.update(f"{path.relative_to(workspace)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return made.hexdigest()
