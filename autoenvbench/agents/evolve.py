"""`evolve`: a built-in researcher with no language model, alone or in a team: a population of ideas under Thompson sampling (`learning.evolve`).

Here is what a run sees of it; the researcher itself is `agents.evolver`. What it tries are numbers of the task's parametric policy. It practises on
either track; on the open one, ideas come from a search in the simulator beside the robot as well.
"""

from __future__ import annotations

import json

from autoenvbench.agents.base import BuiltIn, Launch
from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import python_path

_REGIMES = (None, "heuristic", "mixed")  # in which a parametric policy may be the answer


class Evolve(BuiltIn):
    """The agent's side that the run sees. Its --agent-args are NAME=VALUE of `learning.evolve.Settings`."""

    name = "evolve"
    tunes_parametric = True

    def check(self, config: RunConfig) -> None:
        """Raises UserError for settings that it has not, and regimes in which it has nothing to try."""
        from autoenvbench.learning.evolve import Settings
        from autoenvbench.learning.settings import parse_settings

        settings = parse_settings(Settings, config.agent_args)
        if not 2 <= settings.elites <= settings.population or settings.slice < 1 or not 0 < settings.fresh <= 1:
            raise UserError(
                f"evolve: elites={settings.elites} of population={settings.population}, slice={settings.slice}, fresh={settings.fresh}: "
                "at least 2 elites and no more than are alive, slices of 1 episode or more, and a share above 0 for what is new"
            )
        if config.regime not in _REGIMES:
            raise UserError(
                f"evolve varies a parametric policy, which is no answer in the regime {config.regime}; leave --regime out, or say --regime heuristic"
            )

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """`agents.evolver` as a program; there is no prompt to read, and what it did before an interruption lies in its workspace."""
        told = {
            "env": config.env, "env_kwargs": config.env_kwargs, "seed": config.seed, "track": config.track, "pace": config.pace,
            "regime": config.regime, "settings": config.agent_args, "alone": config.team == 1 or not config.sharing,
        }  # fmt: skip
        return Launch(
            [python_path(), "-sP", "-m", "autoenvbench.agents.evolver", json.dumps(told)], env={"OMP_NUM_THREADS": "1"}
        )
