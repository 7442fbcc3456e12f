"""The learning recipes that `evolve` may vary: which of them a run allows, and what of their settings is varied within which ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoenvbench.agents.recipe import PLANS, Recipe
from autoenvbench.errors import UserError
from autoenvbench.learning.evolve_space import Axis
from autoenvbench.record.regimes import GRADIENT
from autoenvbench.record.run_config import RunConfig

#: An axis of every recipe that can: whether practice episodes of the run are in its data. It is no setting of the algorithm.
OWN = "own_practice"

#: A setting that is varied: its range, and what the first idea has (as the algorithm and its plan have it).
Varied = tuple[Axis, Any]

_WIDTH: Varied = (Axis(64, 512, log=True, whole=True), 256)
_RATE: Varied = (Axis(1e-4, 3e-3, log=True), 3e-4)
_HISTORY: Varied = (Axis(options=(0, 4, 8, 12, 16, 24)), 12)
_STRIDE: Varied = (Axis(options=(1, 2, 3, 5, 8, 12)), 5)
_FEW = Axis(1, 5, whole=True)
_CLONED: dict[str, Varied] = {
    "history": _HISTORY, "stride": _STRIDE, "hidden": _WIDTH, "layers": (Axis(1, 3, whole=True), 2), "lr": (Axis(3e-4, 5e-3, log=True), 1e-3),
    "dropout": (Axis(0.0, 0.3), 0.0), "weight_decay": (Axis(1e-6, 1e-2, log=True), 1e-4), "head": (Axis(options=("gaussian", "mixture")), "gaussian"),
}  # fmt: skip
_OFFLINE: dict[str, Varied] = {
    "history": _HISTORY, "stride": _STRIDE, "hidden": _WIDTH, "learning_rate": _RATE, "n_step": (_FEW, 1),
}  # fmt: skip
_ONLINE: dict[str, Varied] = {
    "hidden": _WIDTH, "learning_rate": _RATE, "hold": (_FEW, 1), "updates": (Axis(0.5, 4.0, log=True), 1.0),
}  # fmt: skip
#: What is varied, by recipe. All else stays as the algorithm and its plan have it, and gradient steps in all as fit into the time.
AXES: dict[str, dict[str, Varied]] = {
    "bc": _CLONED,
    "dagger": _CLONED | {"labels": (Axis(options=("takeover", "all")), "takeover"), "handover": (Axis(0.5, 1.0), 0.875)},
    "iql": _OFFLINE | {"expectile": (Axis(0.5, 0.95), 0.8), "advantage_weight": (Axis(1.0, 100.0, log=True), 10.0)},
    "td3_bc": _OFFLINE | {"critic_weight": (Axis(0.1, 10.0, log=True), 2.5), "layer_norm": (Axis(options=(False, True)), False)},
    "sac": _ONLINE | {"n_step": (_FEW, 1)},
    "rlpd": _ONLINE | {"n_step": (_FEW, 3), "bc_weight": (Axis(0.1, 10.0, log=True), 1.0), "bc_final": (Axis(0.0, 3.0), 0.0)},
}  # fmt: skip


def split_settings(pairs: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """`evolve`'s own settings, and those that hold in all variants of a recipe (bc.hidden=64), by recipe. Raises UserError for a recipe that
    there is not."""
    own: list[str] = []
    given: dict[str, list[str]] = {}
    for pair in pairs:
        name, dot, _ = pair.partition("=")[0].partition(".")
        if not dot:
            own.append(pair)
        elif name in AXES:
            given.setdefault(name, []).append(pair[len(name) + 1 :])
        else:
            raise UserError(f"evolve: {pair!r} is for a recipe {name!r} that there is not; there are {', '.join(AXES)}")
    return own, given


def choose_recipes(config: RunConfig, wanted: str) -> tuple[list[str], str | None]:
    """The recipes that a run's ideas may be made by.

    Args:
        wanted: `recipes` of `learning.evolve.Settings`.

    Returns:
        Them, and what a person should know if some could not be had: PyTorch is missing.

    Raises:
        UserError: for one that is named and cannot work here, and where nothing is left in a regime that wants weights.
    """
    names = (
        [] if wanted == "none" else [name for name in PLANS if name in AXES] if wanted == "all" else wanted.split("+")
    )
    chosen, refused = list[str](), list[str]()
    for name in names:
        if name not in AXES:
            raise UserError(f"evolve varies no recipe {name!r}; write recipes=NAME+NAME of {', '.join(AXES)}")
        recipe = Recipe(name)
        try:
            recipe.check_place(_as_seen(config, recipe, named=wanted != "all"))
        except UserError as error:
            if wanted != "all":
                raise
            refused += [str(error)] if recipe.plan.regime == config.regime else []
        else:
            # From nothing, `sac` takes hours: where other ideas wait for the robot it is tried only by name.
            if wanted != "all" or name != "sac" or config.regime in GRADIENT:
                chosen.append(name)
    missing = next((problem for name in chosen if (problem := Recipe(name).problem())), None)
    if missing is not None:
        chosen = [name for name in chosen if Recipe(name).problem() is None]
    if config.regime in GRADIENT and not chosen:
        why = missing or "; ".join(refused) or "recipes=none leaves nothing to learn with"
        raise UserError(f"evolve has nothing to try in the regime {config.regime}: {why}")
    return chosen, missing


def _as_seen(config: RunConfig, recipe: Recipe, *, named: bool) -> RunConfig:
    """A recipe that is named may do without demonstrations where other ideas of the run solve episodes that it can learn from."""
    own = named and recipe.plan.own and config.regime not in GRADIENT and not config.demos
    return config.model_copy(update={"agent_args": [], **({"demos": 1} if own else {})})


def axes_of(recipe: str, given: Sequence[str], *, demos: bool) -> tuple[dict[str, Axis], dict[str, Any]]:
    """What of a recipe is varied, and what its first idea has.

    Args:
        given: settings of the algorithm that hold in all variants, as NAME=VALUE.
        demos: whether there are demonstrations, without which practice episodes are all the data.
    """
    varied = {name: both for name, both in AXES[recipe].items() if name not in _named(given)}
    if PLANS[recipe].own and demos:
        varied[OWN] = (Axis(options=(False, True)), False)
    return {name: axis for name, (axis, _) in varied.items()}, {name: first for name, (_, first) in varied.items()}


def settings_words(recipe: str, values: Mapping[str, Any], given: Sequence[str]) -> list[str]:
    """The settings of a training as NAME=VALUE: the plan's, the idea's, and those that always hold."""
    mine = {name: value for name, value in values.items() if name != OWN}
    base = [pair for pair in PLANS[recipe].base if pair.partition("=")[0] not in {*mine, *_named(given)}]
    return [
        *base,
        *(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in mine.items()),
        *given,
    ]


def _named(pairs: Sequence[str]) -> set[str]:
    return {pair.partition("=")[0] for pair in pairs}
