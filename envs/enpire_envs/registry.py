"""Where a task says, once, everything that anybody needs of it. Nothing else names a task.

A task is a folder that can be imported, and one `TaskEntry`: a package of its own declares it as an entry point, and `pip install` is all
it takes then:

    [project.entry-points."autoenvbench.tasks"]
    reach = "reach:TASK"

This suite's own tasks are registered in `enpire_envs/__init__.py`. What a task's environment has to say of itself when it runs is
`enpire_envs.contract`. Registering imports nothing of the task; `envs/README.md` shows a whole one.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym

ENTRY_POINTS = "autoenvbench.tasks"


@dataclass(frozen=True, slots=True)
class Level:
    """A rung of a task's ladder of difficulty: what runs and boards need to know of it. Its numbers are the task's own.

    Attributes:
        name: such as "standard".
        ranked: whether its results may be ranked.
        track, pace: what runs are on unless they are told otherwise; see `autoenvbench eval`.
        stations: whose stations differ, so that a memorised solution does not fit ("run": every run has one of its own; "each": every cell
            of a run has another one, and held-out episodes are on stations that nobody has met). None: all stations are the same. The
            environment then takes `station_seed` and the reset option "station".
        named_starts: whether a station of the track "station" begins practice just where an agent asks it to. Whoever may place things to
            the micrometre has exact labels for every picture and every touch, which no robot gives: it places things as well as it sees.
    """

    name: str
    ranked: bool = True
    track: Literal["open", "station"] = "open"
    pace: float = 0.0
    stations: Literal["run", "each"] | None = "run"
    named_starts: bool = False


#: The levels of this suite. A task of another package may bring levels of its own.
LEVELS = {
    level.name: level
    for level in (
        Level("intro", ranked=False, stations=None, named_starts=True),
        Level("state"),
        Level("standard", track="station", pace=1.0),
        Level("expert", track="station", pace=1.0),
        Level("fleet", track="station", pace=1.0, stations="each"),
    )
}


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """What a task brings. Modules and folders are given by import name, such as "reach.template".

    Attributes:
        package: its folder.
        entry_point: "module:class" of its environment.
        envs: id -> arguments that make the environment this one.
        levels: id -> its level; an id without one is ranked, on the open track, and all its stations are the same.
        max_episode_steps: Gymnasium's time limit [control steps]; None where the environment has its own.
        nondeterministic: the same seed and actions need not give the same episode.
        in_threads: `gymnasium.make_vec` runs the cells of several at once (it is a `CellEnv` on a `SimCell`).
        template: the folder that an agent's workspace begins with: policy.py, and parametric.py with PARAMETERS and ParametricPolicy
            for the built-in researcher `cem` (others' workspaces are without it). None: a policy that does nothing.
        reference: the folder (a package) with the policies `Expert` (privileged), `Scripted` (if there is one) and `Naive`; every cage hides it.
        secret: further folders that would solve the task; every cage hides them.
        simulator: what the station track hides beside `package` (of a `real` task: in place of it), where the station is the only source
            of experience: folders, and packages such as "mujoco".
        start_sets: name -> JSON file in `package`: exact starts in order, so that every method meets the same.
        scenes_argument: the argument that names a folder in which several processes keep the scenes they have met.
        real: it runs on arms and cameras, or on the twin of such a station.
        listed: whether lists of environments show it.
        listed_with: arguments with which lists make it, where the defaults depend on the machine.
        needs: what `autoenvbench setup` must have installed.
    """

    package: str
    entry_point: str
    envs: Mapping[str, Mapping[str, Any]]
    levels: Mapping[str, Level] = field(default_factory=dict)
    max_episode_steps: int | None = None
    nondeterministic: bool = False
    in_threads: bool = False
    template: str | None = None
    reference: str | None = None
    secret: tuple[str, ...] = ()
    simulator: tuple[str, ...] = ()
    start_sets: Mapping[str, str] = field(default_factory=dict)
    scenes_argument: str | None = None
    real: bool = False
    listed: bool = True
    listed_with: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None

    def starts(self, name: str) -> list[dict[str, Any]]:
        """All starts of a set. Raises LookupError with the known names."""
        if name not in self.start_sets:
            known = ", ".join(self.start_sets) or "none"
            raise LookupError(f"there are no starts {name!r} of {next(iter(self.envs))}; known: {known}")
        rows: list[dict[str, Any]] = json.loads((folder(self.package) / self.start_sets[name]).read_text())
        return rows


_by_id: dict[str, TaskEntry] = {}
#: Entry points that could not be loaded, and why.
problems: dict[str, str] = {}


def register(entry: TaskEntry) -> tuple[str, ...]:
    """Make a task known, and its environments to Gymnasium; returns their ids. Raises ValueError for an id that another task has."""
    for env_id in entry.envs:
        if (other := _by_id.get(env_id, entry)) != entry:
            raise ValueError(f"{env_id} is registered by {other.package} and by {entry.package}; rename one")
    module, _, cls = entry.entry_point.partition(":")
    for env_id, kwargs in entry.envs.items():
        _by_id[env_id] = entry
        if env_id not in gym.registry:
            gym.register(
                env_id, entry_point=entry.entry_point, kwargs=dict(kwargs), max_episode_steps=entry.max_episode_steps,
                nondeterministic=entry.nondeterministic,
                vector_entry_point=f"enpire_envs.vector:{module}.{cls}" if entry.in_threads else None,
            )  # fmt: skip
    return tuple(entry.envs)


def load_entry_points() -> None:
    """Register the tasks of other installed packages. One that fails is noted in `problems` and stops nobody else."""
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry = point.load()
            if not isinstance(entry, TaskEntry):
                raise TypeError(f"{point.value} is a {type(entry).__name__}; expected a TaskEntry")
            register(entry)
        except Exception as error:  # of somebody else's package: whatever it raises
            problems[point.name] = f"{type(error).__name__}: {error}"


def entries() -> tuple[TaskEntry, ...]:
    """Every registered task, in the order of registration."""
    return tuple({id(entry): entry for entry in _by_id.values()}.values())


def entry_of(env_id: str) -> TaskEntry | None:
    """The task that an id belongs to, or None for an environment that was registered with Gymnasium alone."""
    return _by_id.get(env_id)


def level_of(env_id: str) -> Level | None:
    """The level that an id stands for, or None where its task has no levels."""
    entry = entry_of(env_id)
    return None if entry is None else entry.levels.get(env_id)


def listed_ids() -> tuple[str, ...]:
    """Ids that lists of environments show."""
    return tuple(env_id for env_id, entry in _by_id.items() if entry.listed)


def find_folder(name: str) -> Path | None:
    """Where a package or a folder inside one lies, by import name and without importing it; None if it is not here."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (path := Path(place, *rest)).is_dir():
            return path
    return None


def folder(name: str) -> Path:
    """The same where it must be there. Raises LookupError."""
    if (path := find_folder(name)) is None:
        raise LookupError(f"there is no folder {name}; a task names its folders by import name, such as reach.template")
    return path


def hidden_folders(*, simulators: bool) -> list[Path]:
    """What no agent or policy may see of any task: what would solve it; with `simulators`, what would let it be simulated.

    Folders that are not installed cannot be seen anyway. Raises LookupError for a module that is a file, which cannot be hidden.
    """
    named = {name for entry in entries() for name in (*filter(None, [entry.reference]), *entry.secret)}
    if simulators:
        named |= {name for entry in entries() for name in entry.simulator}
        named |= {entry.package for entry in entries() if not entry.real}
    found = []
    for name in sorted(named):
        path = find_folder(name)
        if path is not None:
            found.append(path)
        elif _is_file(name):
            raise LookupError(
                f"{name} is a file and cannot be hidden from agents; make it a folder with an __init__.py"
            )
    return found


def _is_file(name: str) -> bool:
    from enpire_envs.fingerprint import module_file

    return module_file(name) is not None
