"""`recipe:ALGORITHM`: a built-in researcher that learns weights by an algorithm of `autoenvbench.learning`, under an agent's clock and rules.

Here is what a run sees of it; the researcher itself is `agents.learner`. (`cem`, which learns no weights, is an agent by its own name.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from autoenvbench.agents.base import BuiltIn, Launch
from autoenvbench.errors import UserError
from autoenvbench.learning import lerobot_place
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import python_path, shown_in_cages


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How research with an algorithm goes.

    Attributes:
        regime: of its ideas, where the run has none.
        learns_from: "data" alone, which lies in the workspace; "practice" of its own in a simulator; a "teacher" that it asks there, too.
        demos: whether it needs demonstrations.
        base: settings of the first attempt.
        changes: what is tried, one after the other, each in place of what was best so far.
        own: whether it learns from the run's practice episodes as well, once it has tried all changes.
        fits: whether `updates` are gradient steps in all, which are then chosen to fit the time.
        shares: of the time that is left, for the first attempt and for each later one.
    """

    regime: str
    learns_from: Literal["data", "practice", "teacher"] = "data"
    demos: bool = True
    base: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    own: bool = False
    fits: bool = True
    shares: tuple[float, float] = (0.05, 0.15)


_LONG = (0.25, 0.5)  # shares where learning takes hours
_LEROBOT = ("act", "diffusion")  # learn in LeRobot's own environment
PLANS = {
    "bc": Plan(
        regime="bc", own=True,
        changes=("history=24", "hidden=512", "head=mixture", "dropout=0.1", "chunk=8 execute=4"),
    ),
    "iql": Plan(regime="offline-rl", own=True, changes=("expectile=0.9", "advantage_weight=3.0", "n_step=3", "hidden=512")),
    "td3_bc": Plan(regime="offline-rl", own=True, changes=("critic_weight=1.0", "n_step=3", "layer_norm=true", "hidden=512")),
    "sac": Plan(
        regime="online-rl", learns_from="practice", demos=False, fits=False, shares=_LONG,
        changes=("n_step=3", "hold=3", "updates=2.0"),
    ),
    "rlpd": Plan(
        regime="online-rl", learns_from="practice", fits=False, shares=_LONG,
        base=("clone=2000", "bc_weight=1.0", "n_step=3", "target_low=0.0", "target_high=1.0"),
        changes=("hold=3", "history=12 stride=5", "bc_final=0.1", "updates=2.0"),
    ),
    "dagger": Plan(
        regime="bc", learns_from="teacher", demos=False, shares=(0.1, 0.25), changes=("labels=all", "history=24", "hidden=512")
    ),
    "act": Plan(regime="bc", own=True, shares=(0.1, 0.3), changes=("chunk=32", "dim=512 feedforward=2048", "kl=1.0", "chunk=8")),
    "diffusion": Plan(regime="bc", own=True, shares=(0.1, 0.3), changes=("execute=4", "width=128", "observed=4", "steps=16")),
}  # fmt: skip


@dataclass
class Recipe(BuiltIn):
    """The agent's side that the run sees. Its --agent-args are NAME=VALUE of the algorithm's settings (`autoenvbench train list`), which then
    hold in every attempt."""

    algorithm: str
    name: str = field(init=False)
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        if self.algorithm == "cem":
            raise UserError("cem is an agent by its own name, since it learns no weights: say --agent cem")
        if self.algorithm not in PLANS:
            raise UserError(
                f"there is no recipe {self.algorithm!r}; choose one of {', '.join(f'recipe:{name}' for name in PLANS)}, cem"
            )
        self.name, self.plan = f"recipe-{self.algorithm.replace('_', '-')}", PLANS[self.algorithm]

    def problem(self) -> str | None:
        """Whether what it learns with is missing."""
        needed = ("torch", "onnx", "onnxruntime", *(["stable_baselines3"] if self.algorithm == "sac" else []))
        if missing := [name for name in needed if find_spec(name) is None]:
            return f"{self.name} learns with {', '.join(missing)}; type: pip install 'autoenvbench[train]'"
        try:
            self._lerobot()
        except UserError as error:
            return str(error)
        return None

    def _lerobot(self) -> tuple[Path, tuple[Path, ...]] | None:
        """The interpreter with LeRobot and the folders that it needs, where this recipe learns there. Raises UserError where there is none."""
        if self.algorithm not in _LEROBOT:
            return None
        python = lerobot_place.find()
        return python, lerobot_place.look(str(python))

    def check(self, config: RunConfig) -> None:
        """Raises UserError for what `check_place` refuses, and for settings that it has not."""
        self.check_place(config)
        if self.problem() is None:
            from autoenvbench.learning.train import settings_of  # PyTorch takes a while

            settings_of(self.algorithm, config.agent_args)

    def check_place(self, config: RunConfig) -> None:
        """Raises UserError for a regime, a track or a lack of demonstrations under which it cannot work."""
        me, plan = f"recipe:{self.algorithm}", self.plan
        if config.regime not in (None, "mixed", plan.regime):
            raise UserError(
                f"{me} works in the regime {plan.regime}, not in {config.regime}; say --regime {plan.regime}, or leave it out"
            )
        if plan.demos and not config.demos and not _does_without(config.agent_args):
            raise UserError(f"{me} learns from demonstrations, and this run has none; say --demos 100")
        if plan.learns_from != "data" and config.track != "open":
            raise UserError(
                f"{me} practises in a simulator of its own, which the track station hides; say --track open, or choose one that learns from data: "
                + ", ".join(f"recipe:{name}" for name, other in PLANS.items() if other.learns_from == "data")
            )
        if plan.learns_from == "teacher" and config.sandbox != "none":
            raise UserError(
                f"{me} asks the task's script what it would do, and every cage hides that; say --sandbox none (boards keep such runs apart), or "
                f"learn from what the script has shown: --agent recipe:bc --demos 100"
            )

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """`agents.learner` as a program; there is no prompt to read, and what it did before an interruption lies in its workspace."""
        told = {
            "algorithm": self.algorithm, "seed": config.seed, "regime": config.regime, "settings": config.agent_args,
            "demos": config.demos,
        }  # fmt: skip
        launch = Launch(
            [python_path(), "-sP", "-m", "autoenvbench.agents.learner", json.dumps(told)], env={"OMP_NUM_THREADS": "1"}
        )
        if (found := self._lerobot()) is not None:
            launch.env[lerobot_place.PROGRAM] = str(found[0])
            launch.read_only.extend(folder for folder in found[1] if not shown_in_cages(folder))
        return launch


def _does_without(settings: Sequence[str]) -> bool:
    """Whether these settings of rlpd leave demonstrations out."""
    return {"demo_share=0", "clone=0", "bc_weight=0"} <= {pair.removesuffix(".0") for pair in settings}
