"""The tasks that real stations know. A new one is one folder with a `TaskKit`, and one `register_task`.

Station files, the twin, cells, calibration and the command line ask here and name no task. The kit is imported when it is first
asked for, so registering costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from enpire_envs.registry import TaskEntry, register

if TYPE_CHECKING:
    from enpire_real.cell import RealScene
    from enpire_real.hand_tools import Tool
    from enpire_real.station import Station
    from enpire_real.station_file import TaskSection
    from enpire_real.twin.props import TwinProps


@dataclass(frozen=True, slots=True)
class TaskKit:
    """What a task brings to a real station.

    Attributes:
        name: of its section in station files, and of the twin's `scene`; the one that it is registered under.
        section: the model of its section in a station file, `tasks.<name>`.
        make_scene: its skills on a station, at its control rate [Hz].
        make_props: what it lays on the twin's table, from its section.
        tools: what hands hold for it.
        validate: "module:function" of its checks after calibration, from a StationFile to an iterator of Findings; they move the
            arms. By name, so that what only bring-up needs is no part of the environment.
        patterns: file name -> image (height, width) uint8 at 12 px/mm, to print at 100 %.
        twin: the station file of its twin; None for the one that ships for all.
        examples: station files to begin with, by the name that `autoenvbench station init --like` has for them.
        audit: "module:function" from an environment to the `enpire_real.verifier.subject.Subject` that audits its verifier; None: there is
            none, and nothing that its stations judge is ranked.
    """

    name: str
    section: type[TaskSection]
    make_scene: Callable[[Station, float], RealScene]
    make_props: Callable[[Any], TwinProps]
    tools: tuple[Tool, ...] = ()
    validate: str | None = None
    patterns: Callable[[], dict[str, np.ndarray]] | None = None
    twin: Path | None = None
    examples: Mapping[str, Path] = field(default_factory=dict)
    audit: str | None = None


_kits: dict[str, str] = {}


def register_task(name: str, kit: str, entry: TaskEntry) -> tuple[str, ...]:
    """Make a task known to stations and, as every task, to the suite; returns the ids of its environments.

    Args:
        name: its kit's.
        kit: "module:attribute" of its `TaskKit`.
        entry: everything else that it brings. It must say that it is `real`, and not deterministic: a real cell keeps time with
            motors and cameras, so the same seed gives the same start, but not the same episode.
    """
    if not (entry.real and entry.nondeterministic):
        raise ValueError(f"the entry of the real task {name} must say real=True and nondeterministic=True")
    _kits[name] = kit
    return register(entry)


def known_tasks() -> tuple[str, ...]:
    """Names of all registered tasks, sorted."""
    return tuple(sorted(_kits))


def find_task(name: str) -> TaskKit:
    """A registered task's kit. Raises ValueError with the known names if there is none."""
    if name not in _kits:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(known_tasks())}")
    kit: TaskKit = load_by_name(_kits[name])
    return kit


def load_by_name(path: str) -> Any:
    """The object that "module:attribute" names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def find_tool(name: str) -> Tool:
    """A tool by the name that station files give it. Raises ValueError with the known names."""
    from enpire_real.hand_tools import BARE_HAND

    tools = {
        tool.name: tool for tool in (BARE_HAND, *(tool for task in known_tasks() for tool in find_task(task).tools))
    }
    if name not in tools:
        raise ValueError(f"unknown tool {name!r}; known: {', '.join(sorted(tools))}")
    return tools[name]
