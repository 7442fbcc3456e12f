"""`autoenvbench train ALGORITHM`: from an environment and demonstrations to the folder of a policy.

An algorithm is a module of this room with a frozen dataclass `Settings` (see `settings`) and

    def train(env, demos: Demonstrations | None, settings: Settings, training: Training) -> packed

which returns what `export.pack` made of its networks. `act` and `diffusion` are LeRobot's: they learn in its interpreter (`lerobot_run`), and
their modules say how it is configured and what its network answers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from enpire_envs.episode_file import SUFFIX
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.learning.episodes import load
from autoenvbench.learning.export import export, export_network
from autoenvbench.learning.network_file import declared_network
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import describe_settings, parse_settings
from autoenvbench.learning.task_file import SpacesOnly, open_task, task_of
from autoenvbench.make_env import make_env

ALGORITHMS = ("bc", "dagger", "iql", "td3_bc", "sac", "rlpd", "act", "diffusion")
ABOUT = "train.json"


def describe(algorithm: str) -> str:
    """Its first line, and its hyperparameters."""
    module = _module(algorithm)
    return "\n".join([str(module.__doc__).partition("\n")[0], *describe_settings(module.Settings)])


def train(
    algorithm: str,
    env_id: str,
    out: Path,
    *,
    env_kwargs: dict[str, Any] | None = None,
    demos: Sequence[Path] = (),
    minutes: float = 30.0,
    seed: int = 0,
    threads: int = 1,
    settings: Sequence[str] = (),
    resume: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> Path:
    """Train, and export what was learned.

    Args:
        out: the run's folder, see `run`; a new one, unless the run goes on.
        demos: folders of episodes.
        minutes: of training at most.
        threads: of PyTorch. With one, the same seed gives the same policy.
        settings: hyperparameters as NAME=VALUE.
        resume: go on where an interrupted run stood.
        log: shows a line of progress.

    Returns:
        The policy's folder, `out/policy`.

    Raises:
        UserError: for anything that is not there or does not fit.
    """
    module = _module(algorithm)
    chosen = parse_settings(module.Settings, settings)
    env = make_env(env_id, env_kwargs)
    with contextlib.closing(env):
        return _train(
            module, chosen, env, out, {"env": env_id, "env_kwargs": env_kwargs or {}}, demos, minutes, seed, threads, resume, log
        )  # fmt: skip


def learn(
    algorithm: str | ModuleType,
    out: Path,
    *,
    workspace: Path = Path(),
    data: Sequence[Path | str] = ("data/demos",),
    minutes: float = 30.0,
    seed: int = 0,
    threads: int = 1,
    settings: Sequence[str] = (),
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """The same in the workspace of a run, whose task.json says what the environment is. On the track `station` that is known by its spaces
    alone: algorithms that practise by themselves (sac, rlpd, dagger) refuse to learn there.

    Args:
        algorithm: by name, or a module of your own with `Settings` and `train`, such as an edited copy of one of these.
        data: folders of episodes, below the workspace; those that are not there are left out.

    Returns:
        The policy's folder, `out/policy`.

    Raises:
        UserError: for anything that is not there or does not fit.
    """
    module: Any = _module(algorithm) if isinstance(algorithm, str) else algorithm
    chosen = parse_settings(module.Settings, settings)
    task = task_of(workspace)
    folders = [folder for folder in (workspace / name for name in data) if any(folder.rglob(f"*{SUFFIX}"))]
    with contextlib.closing(open_task(workspace)) as env:
        return _train(
            module, chosen, env, out, {"env": task["env"], "env_kwargs": task["env_kwargs"]}, folders, minutes, seed, threads, resume, log
        )  # fmt: skip


def settings_of(algorithm: str, settings: Sequence[str]) -> Any:
    """These hyperparameters, as the algorithm has them. Raises UserError."""
    return parse_settings(_module(algorithm).Settings, settings)


def _train(
    module: Any, chosen: Any, env: gym.Env[Any, Any], out: Path, made: dict[str, Any], demos: Sequence[Path], minutes: float, seed: int,
    threads: int, resume: bool, log: Callable[[str], None],
) -> Path:  # fmt: skip
    shown = load(demos) if demos else None
    if shown is not None:
        shown.check(env)
        log(f"{len(shown)} episodes, {shown.steps} steps by {_counted(shown.sources)}")
    known = (shown.fingerprint if shown else None) if isinstance(env, SpacesOnly) else fingerprint(env)
    about = {
        "algorithm": module.__name__.rpartition(".")[2], **made, "fingerprint": known, "seed": seed,
        "settings": asdict(chosen), "demos": None if shown is None else {"sources": shown.sources, "steps": shown.steps},
    }  # fmt: skip
    if hasattr(module, "configure"):
        from autoenvbench.learning.lerobot_run import LerobotTraining

        elsewhere = LerobotTraining(out, seed=seed, minutes=minutes, threads=threads, resume=resume, log=log)
        _same(out / ABOUT, about, resume)
        alone = elsewhere.learn(module, env, shown or (), chosen)
        log(f"{elsewhere.step} steps in {elsewhere.seconds:.0f} s")
        return export_network(
            out / "policy", alone, {**about, "steps": elsewhere.step, "seconds": round(elsewhere.seconds, 1)}
        )
    training = Training(out, seed=seed, minutes=minutes, threads=threads, resume=resume, log=log)
    _same(out / ABOUT, about, resume)
    packed = module.train(env, shown, chosen, training)
    log(f"{training.step} steps in {training.seconds:.0f} s")
    network = declared_network(packed[0], packed[1], env.observation_space)
    made_by = {**about, "steps": training.step, "seconds": round(training.seconds, 1)}
    return export(out / "policy", packed, made_by, network)


def _module(algorithm: str) -> Any:
    if algorithm not in ALGORITHMS:
        raise UserError(f"there is no algorithm {algorithm!r}; choose one of {', '.join(ALGORITHMS)}")
    return import_module(f"autoenvbench.learning.{algorithm}")


def _counted(sources: dict[str, int]) -> str:
    return ", ".join(f"{source} ({n})" for source, n in sources.items())


def _same(file: Path, about: dict[str, Any], resume: bool) -> None:
    """A run goes on as what it was, or not at all."""
    text = json.dumps(about, indent=1, sort_keys=True) + "\n"
    if resume:
        was = json.loads(file.read_text()) if file.exists() else {}
        differ = [name for name, value in json.loads(text).items() if was.get(name) != value]
        if differ:
            raise UserError(
                f"{file.parent} was trained with other {', '.join(differ)} "
                f"({', '.join(f'{was.get(name)!r}, not {about[name]!r}' for name in differ)}); repeat what it was begun with"
            )
    file.write_text(text)
