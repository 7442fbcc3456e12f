"""`evolve`: a built-in researcher with no language model, alone or in a team: a population of ideas under Thompson sampling (`learning.evolve`).

Here is what a run sees of it; the researcher itself is `agents.evolver`. What it tries are numbers of the task's parametric policy, and
settings of learning recipes as far as the run's regime, track and data allow. It practises on either track; on the open one, numbers come from a
search in the simulator beside the robot as well.
"""

from __future__ import annotations

import json

from autoenvbench.agents.base import BuiltIn, Launch
from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import python_path

_SCRIPTS_ONLY = "tools"  # the regime in which only scripts are answers


class Evolve(BuiltIn):
    """The agent's side that the run sees. Its --agent-args are NAME=VALUE of `learning.evolve.Settings`, and RECIPE.NAME=VALUE of settings
    that hold in all variants of a recipe."""

    name = "evolve"
    tunes_parametric = True

    def check(self, config: RunConfig) -> None:
        """Raises UserError for settings that it has not, and regimes in which it has nothing to try."""
        from autoenvbench.agents.evolve_recipes import choose_recipes, split_settings
        from autoenvbench.learning.evolve import Settings
        from autoenvbench.learning.settings import parse_settings

        own, given = split_settings(config.agent_args)
        settings = parse_settings(Settings, own)
        if not 2 <= settings.elites <= settings.population or settings.slice < 1 or not 0 < settings.fresh <= 1:
            raise UserError(
                f"evolve: elites={settings.elites} of population={settings.population}, slice={settings.slice}, fresh={settings.fresh}: "
                "at least 2 elites and no more than are alive, slices of 1 episode or more, and a share above 0 for what is new"
            )
        if not 0 < settings.training <= 0.5:
            raise UserError(f"evolve: training={settings.training} of what is left of the budget: above 0, at most 0.5")
        if config.regime == _SCRIPTS_ONLY:
            raise UserError(
                f"evolve writes no scripts, which alone are answers in the regime {config.regime}; leave --regime out, or say --regime heuristic"
            )
        recipes, missing = choose_recipes(config, settings.recipes)
        if idle := sorted(set(given) - set(recipes)):
            why = missing or f"it tries {', '.join(recipes) or 'no recipe'}"
            raise UserError(f"evolve: there are settings of {', '.join(idle)}, which this run does not try: {why}")
        if given:
            from autoenvbench.learning.train import settings_of  # PyTorch takes a while

            for recipe in given:
                settings_of(recipe, given[recipe])

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """`agents.evolver` as a program; there is no prompt to read, and what it did before an interruption lies in its workspace."""
        from autoenvbench.agents.evolve_recipes import choose_recipes, split_settings
        from autoenvbench.learning.evolve import Settings
        from autoenvbench.learning.settings import parse_settings

        own, given = split_settings(config.agent_args)
        recipes, missing = choose_recipes(config, parse_settings(Settings, own).recipes)
        told = {
            "env": config.env, "env_kwargs": config.env_kwargs, "seed": config.seed, "track": config.track, "pace": config.pace,
            "regime": config.regime, "settings": own, "alone": config.team == 1 or not config.sharing,
            "recipes": recipes, "given": given, "missing": missing, "demos": config.demos,
        }  # fmt: skip
        return Launch(
            [python_path(), "-sP", "-m", "autoenvbench.agents.evolver", json.dumps(told)], env={"OMP_NUM_THREADS": "1"}
        )
