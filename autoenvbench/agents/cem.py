"""`cem`: a built-in researcher with no language model.

It tunes the workspace's `ParametricPolicy` by the cross-entropy method (`learning.cem`), through the same `aeb` verbs and Git commits as any
agent: in the simulator on the `open` track, by practice episodes on the `station` track.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from autoenvbench.agents.base import BuiltIn, Launch
from autoenvbench.agents.lab import Lab, work
from autoenvbench.agents.parametric import commit_values, load_parametric, rehearse, start_worker
from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import python_path
from autoenvbench.workspace.bundling import git

if TYPE_CHECKING:
    from autoenvbench.learning.cem import Search, Settings

REGIME = "heuristic"
WORTH_TESTING = 0.05  # gain in elite fitness that is worth an evaluation


class Cem(BuiltIn):
    """The agent's side that the run sees. Its --agent-args are NAME=VALUE of `learning.cem.Settings`."""

    name = "cem"
    tunes_parametric = True

    def check(self, config: RunConfig) -> None:
        """Raises UserError for settings that it has not, and regimes in which it does not work."""
        settings = _settings(config.agent_args)
        if not 1 <= settings.elites <= settings.population or settings.episodes < 1:
            raise UserError(
                f"cem: elites={settings.elites} of population={settings.population}, judged by episodes={settings.episodes}: "
                "at least 1 each, and no more elites than are drawn"
            )
        if config.regime not in (None, REGIME):
            raise UserError(
                f"cem works in the regime {REGIME} alone, not in {config.regime}; leave --regime out, or say --regime {REGIME}"
            )

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """This module as a program; there is no prompt to read and no session to continue."""
        told = {
            "env": config.env, "env_kwargs": config.env_kwargs, "seed": config.seed, "track": config.track,
            "settings": config.agent_args,
        }  # fmt: skip
        return Launch([python_path(), "-sP", "-m", "autoenvbench.agents.cem", json.dumps(told)])


# -- the researcher itself, inside its cage --------------------------------------------------------------------------
#: What a population is worth on common starts: (values by name, one for each member; seeds) -> fitness of each.
Judge = Callable[[list[dict[str, float]], Sequence[int]], list[float]]


def research(lab: Lab, told: dict[str, Any]) -> None:
    """Until the budget is over, by what `Cem.launch` tells."""
    from autoenvbench.learning.cem import Search

    settings = _settings(told["settings"])
    parameters = load_parametric(lab.workspace).PARAMETERS
    params_file = lab.workspace / "params.json"
    known = json.loads(params_file.read_text()) if params_file.exists() else {}
    search = Search.over(parameters, known, settings)
    rng = np.random.default_rng([told["seed"], len(git(lab.workspace, "log", "--oneline").splitlines())])

    def on_station(population: list[dict[str, float]], seeds: Sequence[int]) -> list[float]:
        fitness = []
        for values in population:
            commit_values(lab, values, "cem: candidate")
            result = lab.practise(len(seeds), seeds[0])
            fitness.append(result["success_rate"] + 0.5 * result["score"])
        return fitness

    if not known:
        baseline = lab.idea("The starter policy, as a baseline", REGIME)
        lab.log(f"baseline: {lab.evaluate(baseline)['success_rate']:.0%}")
    idea = lab.idea("Cross-entropy search over the parametric policy", REGIME)
    if told["track"] == "station":
        _generations(lab, search, on_station, rng, idea)
        return
    env = (str(lab.workspace), told["env"], told["env_kwargs"])
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, get_context("spawn"), start_worker, env) as pool:

        def in_simulator(population: list[dict[str, float]], seeds: Sequence[int]) -> list[float]:
            jobs = [(values, seed) for values in population for seed in seeds]
            tried = pool.map(rehearse, *zip(*jobs, strict=True), chunksize=4)
            scores = [success + 0.5 * score for success, score in tried]
            return np.array(scores).reshape(len(population), len(seeds)).mean(axis=1).tolist()

        _generations(lab, search, in_simulator, rng, idea)


def _generations(lab: Lab, search: Search, judge: Judge, rng: np.random.Generator, idea: str) -> None:
    """Until the station says that the budget is over: search, refit, commit the mean, have it judged."""
    settings, generation, promised = search.settings, 0, 0.0
    while True:
        generation += 1
        points = search.sample(rng)
        first = int(rng.integers(1_000_000, 2_000_000))
        fitness = judge([search.values(p) for p in points], range(first, first + settings.episodes))
        order = np.argsort(fitness)[::-1][: settings.elites]
        search.refit(points[order])
        elite = float(np.mean([fitness[k] for k in order]))
        commit_values(lab, search.values(search.mean), f"cem: generation {generation}, elite fitness {elite:.2f}")
        if elite >= promised + WORTH_TESTING:
            promised = elite
            result = lab.evaluate(idea)
            lab.log(f"generation {generation}: {result['success_rate']:.0%} of {result['episodes']}")


def _settings(pairs: Sequence[str]) -> Settings:
    """Raises UserError."""
    from autoenvbench.learning.cem import Settings
    from autoenvbench.learning.settings import parse_settings

    return parse_settings(Settings, pairs)


if __name__ == "__main__":
    work(research)
