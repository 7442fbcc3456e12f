"""What `evolve` keeps: its ideas and where they are on record, in runs/evolve.json, so that whoever starts it again goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autoenvbench.agents.evolve_training import Trainings, Variant
from autoenvbench.learning.evolve import Evidence, Idea, Population

STATE = "runs/evolve.json"  # below the workspace; not in Git


@dataclass
class Filed:
    """Where an idea is on record.

    Attributes:
        digest, commit: what is run to test it.
        id: of its registration; None until it is first run.
        first: its first practice start: those of one generation begin at the same.
        source: the peer's idea that it is.
        content: the same for the same policy, whoever committed it.
    """

    digest: str
    commit: str
    regime: str | None
    first: int = 0
    id: str | None = None
    source: str | None = None
    content: str = ""


@dataclass
class Ready:
    """A new idea that is committed and sent, and not registered yet; fields as `learning.evolve.Idea` has them."""

    words: str
    filed: Filed
    family: str
    point: np.ndarray | None = None
    parent: int | None = None
    others: list[int] = field(default_factory=list)
    prior: Evidence = field(default_factory=Evidence)


@dataclass
class Record:
    """All that is known.

    Attributes:
        filed: by key of the idea.
        practised, judged: episodes of practice, and of evaluations with their confirmations.
        won: practice episodes that succeeded, which a recipe can learn from.
    """

    workspace: Path
    population: Population
    trainings: Trainings
    filed: list[Filed] = field(default_factory=list)
    practised: int = 0
    judged: int = 0
    won: int = 0

    def save(self) -> None:
        """Whole, or as it was before."""
        file = self.workspace / STATE
        file.parent.mkdir(exist_ok=True)
        families = {
            name: {"mean": f.mean.tolist(), "std": f.std.tolist(), "refits": f.refits, "failed": f.failed, "closed": f.closed}
            for name, f in self.population.families.items()
        }  # fmt: skip
        ideas = [
            asdict(idea) | {"point": None if idea.point is None else idea.point.tolist()}
            for idea in self.population.ideas
        ]
        trainings = self.trainings
        known = {
            "ideas": ideas, "filed": [asdict(filed) for filed in self.filed], "incumbent": self.population.incumbent, "families": families,
            "practised": self.practised, "judged": self.judged, "won": self.won,
            "trainings": {
                "begun": trainings.begun, "speeds": trainings.speeds, "patience": trainings.patience, "trained": {r: asdict(v) for r, v in trainings.trained.items()},
                "under_way": None if trainings.under_way is None else asdict(trainings.under_way),
            },
        }  # fmt: skip
        part = file.with_suffix(".part")
        part.write_text(json.dumps(known))
        part.replace(file)

    def load(self) -> Variant | None:
        """Be as it was saved, if it was; returns the training that was under way then."""
        file = self.workspace / STATE
        if not file.exists():
            return None
        known: dict[str, Any] = json.loads(file.read_text())
        for row in known["ideas"]:
            row |= {name: Evidence(**row[name]) for name in ("prior", "own", "confirmed")}
            row["point"] = None if row["point"] is None else np.array(row["point"])
            self.population.ideas.append(Idea(**row))
        self.population.incumbent = known["incumbent"]
        for name, row in known["families"].items():
            if (family := self.population.families.get(name)) is not None:
                family.mean, family.std = np.array(row["mean"]), np.array(row["std"])
                family.refits, family.failed, family.closed = row["refits"], row["failed"], row["closed"]
        self.filed = [Filed(**row) for row in known["filed"]]
        self.practised, self.judged, self.won = known["practised"], known["judged"], known["won"]
        trained = known["trainings"]
        self.trainings.begun, self.trainings.speeds, self.trainings.patience = (
            trained[name] for name in ("begun", "speeds", "patience")
        )
        self.trainings.trained = {recipe: Variant(**row) for recipe, row in trained["trained"].items()}
        return None if trained["under_way"] is None else Variant(**trained["under_way"])
