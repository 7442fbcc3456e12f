"""`cem`: a built-in researcher with no language model.

It tunes the workspace's `ParametricPolicy` by the cross-entropy method (Rubinstein 1999), through the same `aeb` verbs
and Git commits as any agent: in the simulator on the `open` track, by practice episodes on the `station` track.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from autoenvbench.agents.base import BaseAgent, Launch
from autoenvbench.errors import BudgetOver, PolicyFailed, RobotBusy, UserError
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import python_path

POPULATION = 16
ELITES = 4
EPISODES = 8  # per candidate and generation, on common starts
WORTH_TESTING = 0.05  # gain in elite fitness that is worth an evaluation
MIN_STD = 0.03  # of a parameter's range: keeps the search from freezing


class Cem(BaseAgent):
    """The agent's side that the run sees."""

    name = "cem"
    needs_model = False
    trusted = True
    resumes = False
    tunes_parametric = True

    def problem(self) -> str | None:
        """None: it comes with the package."""
        return None

    def version(self) -> str:
        """The package's."""
        from autoenvbench import __version__

        return __version__

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """This module as a program; there is no prompt to read and no session to continue."""
        settings = {"env": config.env, "env_kwargs": config.env_kwargs, "seed": config.seed, "track": config.track}
        return Launch([python_path(), "-s", "-m", "autoenvbench.agents.cem", json.dumps(settings)])


# -- the researcher itself, inside its cage --------------------------------------------------------------------------
@dataclass
class Search:
    """The search distribution over parameters scaled to [0, 1]."""

    names: list[str]
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def over(cls, parameters: dict[str, tuple[float, float, float]], known: dict[str, float]) -> Search:
        """A search over `parameters` (name: low, initial, high), wide at first, narrow around values `known` from before."""
        names = list(parameters)
        low, initial, high = (np.array([parameters[n][k] for n in names], float) for k in range(3))
        at = np.array([known.get(n, v) for n, v in zip(names, initial, strict=True)])
        return cls(names, low, high, (at - low) / (high - low), np.full(len(names), 0.30 if not known else 0.10))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` points (n, parameters) in [0, 1], the first of them the mean."""
        drawn = self.mean + self.std * rng.normal(size=(n, len(self.names)))
        drawn[0] = self.mean
        return np.clip(drawn, 0.0, 1.0)

    def refit(self, elites: np.ndarray) -> None:
        """Move to the mean of the elite points (elites, parameters), and half way to their spread."""
        self.mean = elites.mean(axis=0)
        self.std = np.maximum(0.5 * self.std + 0.5 * elites.std(axis=0), MIN_STD)

    def values(self, point: np.ndarray) -> dict[str, float]:
        """A point in [0, 1] as the parameters' own values."""
        return {
            n: float(round(v, 6)) for n, v in zip(self.names, self.low + point * (self.high - self.low), strict=True)
        }


def _load_parametric(workspace: Path) -> Any:
    file = workspace / "parametric.py"
    if not file.is_file():
        raise UserError(
            "cem needs a parametric.py with PARAMETERS and ParametricPolicy; this task's workspace has none"
        )
    spec = importlib.util.spec_from_file_location("parametric", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_worker: dict[str, Any] = {}


def _start_worker(workspace: str, env_id: str, env_kwargs: dict[str, Any]) -> None:
    import gymnasium as gym

    import autoenvbench  # noqa: F401  (registers the environments)

    _worker["module"] = _load_parametric(Path(workspace))
    _worker["env"] = gym.make(env_id, disable_env_checker=True, **env_kwargs)


def _try(values: dict[str, float], seed: int) -> float:
    """Fitness of one simulated episode: success, and the stages reached."""
    env = _worker["env"]
    policy = _worker["module"].ParametricPolicy(env.observation_space, env.action_space, values)
    observation, info = env.reset(seed=seed)
    policy.reset(observation)
    over = False
    while not over:
        observation, _, terminated, truncated, info = env.step(policy.act(observation))
        over = terminated or truncated
    return float(info["success"]) + 0.5 * float(info["score"])


def main() -> None:
    """Research in the working folder until the budget is over."""
    settings = json.loads(sys.argv[1])
    from autoenvbench.station.client import StationClient
    from autoenvbench.workspace.bundling import git, send_head

    workspace = Path.cwd()
    client = StationClient.from_home()
    parameters = _load_parametric(workspace).PARAMETERS
    params_file = workspace / "params.json"
    known = json.loads(params_file.read_text()) if params_file.exists() else {}
    search = Search.over(parameters, known)
    rng = np.random.default_rng([settings["seed"], len(git(workspace, "log", "--oneline").splitlines())])

    def log(text: str) -> None:
        print(json.dumps({"type": "message", "text": text}), flush=True)

    def commit(values: dict[str, float], message: str) -> None:
        params_file.write_text(json.dumps(values, indent=1))
        (workspace / "policy.py").write_text(_POLICY)
        git(workspace, "add", "params.json", "policy.py")
        git(workspace, "commit", "--quiet", "--allow-empty", "-m", message)

    def evaluate(idea: str | None, n: int = 20) -> dict[str, Any]:
        return client.job("/evaluate", {"digest": send_head(client, workspace).digest, "n": n, "idea": idea})

    def submit() -> None:
        client.post("/submit", {"digest": send_head(client, workspace).digest})

    def on_station(population: list[dict[str, float]], seeds: list[int]) -> list[float]:
        fitness = []
        for values in population:
            commit(values, "cem: candidate")
            digest = send_head(client, workspace).digest
            result = client.job("/practice", {"digest": digest, "n": len(seeds), "seed": seeds[0]})
            fitness.append(result["success_rate"] + 0.5 * result["score"])
        return fitness

    try:
        if not known:
            baseline = client.post("/ideas", {"title": "The starter policy, as a baseline", "regime": "heuristic"})
            log(f"baseline: {evaluate(baseline['id'])['success_rate']:.0%}")
        idea = client.post(
            "/ideas", {"title": "Cross-entropy search over the parametric policy", "regime": "heuristic"}
        )
        if settings["track"] == "open":
            env = (str(workspace), settings["env"], settings["env_kwargs"])
            workers = len(os.sched_getaffinity(0))
            with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, env) as pool:

                def in_simulator(population: list[dict[str, float]], seeds: list[int]) -> list[float]:
                    jobs = [(values, seed) for values in population for seed in seeds]
                    scores = list(pool.map(_try, *zip(*jobs, strict=True), chunksize=4))
                    return np.array(scores).reshape(len(population), len(seeds)).mean(axis=1).tolist()

                _generations(search, in_simulator, rng, commit, evaluate, submit, idea["id"], log)
        else:
            _generations(search, on_station, rng, commit, evaluate, submit, idea["id"], log)
    except (BudgetOver, RobotBusy, PolicyFailed) as over:
        log(str(over))


def _generations(
    search: Search,
    fitness_of: Callable[[list[dict[str, float]], list[int]], list[float]],
    rng: np.random.Generator,
    commit: Callable[[dict[str, float], str], None],
    evaluate: Callable[..., dict[str, Any]],
    submit: Callable[[], None],
    idea: str,
    log: Callable[[str], None],
) -> None:
    """Until the station says that the budget is over: search, refit, commit the mean, have it judged."""
    generation, best, promised = 0, 0.0, 0.0
    while True:
        generation += 1
        points = search.sample(POPULATION, rng)
        first = int(rng.integers(1_000_000, 2_000_000))
        fitness = fitness_of([search.values(p) for p in points], list(range(first, first + EPISODES)))
        order = np.argsort(fitness)[::-1]
        search.refit(points[order[:ELITES]])
        elite = float(np.mean([fitness[k] for k in order[:ELITES]]))
        commit(search.values(search.mean), f"cem: generation {generation}, elite fitness {elite:.2f}")
        if elite < promised + WORTH_TESTING:
            continue
        promised = elite
        result = evaluate(idea)
        confirmed = result.get("confirmation")
        if confirmed and confirmed["success_rate"] > best:
            best = confirmed["success_rate"]
            submit()
        log(f"generation {generation}: {result['success_rate']:.0%} of {result['episodes']}")


_POLICY = '''"""The parametric policy with the numbers in params.json."""

from parametric import ParametricPolicy as Policy

__all__ = ["Policy"]
'''

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # the deadline
        os._exit(130)
