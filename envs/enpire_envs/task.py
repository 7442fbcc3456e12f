"""What a task is: spaces, randomised starts, observation, progress, danger and the two-step verdict.

A `Task` describes a job and holds the state of one episode (milestones, sensing). It never touches a
simulator or a robot: it reads `Readings` that a `Cell` produced and returns commands that a cell applies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from enpire_envs.cell import Cell

#: An exact start state: JSON-able, so that it can be written to a ledger and asked for again.
Start = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an episode has come. ``score`` in [0, 1]: an equal share per stage reached, in order."""

    stage: str
    score: float

    @classmethod
    def of(cls, stages: tuple[str, ...], reached: int) -> Progress:
        """Having reached so many of the stages after the first."""
        return cls(stages[reached], reached / (len(stages) - 1))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The final judgement of an episode. ``reason`` says why a failed one failed."""

    success: bool
    reason: str | None = None


def climb(stage: int, reached: Sequence[bool]) -> int:
    """How many stages have been reached: `stage` before this control period, and those that follow without a gap."""
    while stage < len(reached) and reached[stage]:
        stage += 1
    return stage


def box(bounds: Sequence[float]) -> spaces.Box[Any]:
    """All float32 vectors whose components are within +- `bounds`."""
    high = np.array(bounds, np.float32)
    return spaces.Box(-high, high, dtype=np.float32)


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers of an array are finite."""
    # A sum is quicker to look at, but it may overflow.
    return math.isfinite(np.add.reduce(array, axis=None)) or bool(np.isfinite(array).all())


def read_start(start: Start, **rows: str) -> dict[str, Any]:
    """The numbers of an exact start [m, rad] as floats: a list for each row, a float for a row of one.

    Args:
        rows: what each row is made of, in words, such as ``tip="x y z", grip="d"``.

    Raises:
        ValueError: something is missing, is no finite number or is too many; says what was expected.
    """
    sizes = {key: len(words.split()) for key, words in rows.items()}
    try:
        read = {key: [float(v) for v in (start[key] if sizes[key] > 1 else [start[key]])] for key in rows}
    except (KeyError, TypeError, ValueError, IndexError):
        read = {}
    if {key: len(row) for key, row in read.items()} != sizes or not all(map(math.isfinite, chain(*read.values()))):
        parts = [f"[{', '.join(words.split())}]" if sizes[key] > 1 else words for key, words in rows.items()]
        shape = ", ".join(f'"{key}": {part}' for key, part in zip(rows, parts, strict=True))
        raise ValueError(f'bad start {start!r}: expected options={{"start": {{{shape}}}}} in metres and radians')
    return {key: row if sizes[key] > 1 else row[0] for key, row in read.items()}


#: What a task offers that hides nothing: see `CellEnv`.
ALL_OBS_TYPES: tuple[str, ...] = ("state", "environment_state_agent_pos", "pixels", "pixels_agent_pos")


class Task(Protocol):
    """A job that a cell can do. One instance serves one environment; `begin` starts each episode."""

    name: str
    control_hz: float
    max_steps: int
    stages: tuple[str, ...]  # in the order in which they must be reached; the last is success
    act_cpu_ms: float  # CPU time a policy may use per call of `act` when it is evaluated
    action_space: spaces.Box[Any]
    state_space: spaces.Box[Any]  # the flat "state" observation
    agent_pos_space: spaces.Box[Any]  # the robot's own part of it
    camera: str  # what `render` looks through
    cameras: tuple[str, ...]  # of pixel observations
    obs_types: tuple[str, ...]  # those that a policy may have; the first is the default

    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """Draw a start from the named distribution ("id" or "ood")."""

    def check_start(self, start: Start) -> Start:
        """Validate an exact start asked for by a user; raise ValueError saying what is wrong."""

    def begin(self, start: Start, readings: Any, rng: np.random.Generator) -> None:
        """Start an episode: clear milestones, draw this episode's sensing errors."""

    def ready(self, readings: Any, start: Start) -> str | None:
        """None if the scene stands at `start`; otherwise what is wrong with it."""

    def command(self, action: np.ndarray) -> np.ndarray:
        """The cell command (physical units) for a policy's action (clipped to the action space)."""

    def observe(self, readings: Any) -> np.ndarray:
        """The "state" observation, through the sensing model."""

    def agent_pos(self, readings: Any) -> np.ndarray:
        """Proprioception alone."""

    def update(self, readings: Any) -> Progress:
        """Advance milestones by one control period."""

    def potential(self, readings: Any) -> float:
        """How far the job has come, 0 to 1, by the state alone: what the dense reward is shaped by."""

    def extras(self, readings: Any) -> dict[str, float]:
        """Task-specific numbers for `info`."""

    def violation(self, readings: Any) -> str | None:
        """The safety rule that is broken, or None. An exception here counts as a violation."""

    def candidate(self, readings: Any) -> bool:
        """Whether the job looks done: this ends the policy's turn."""

    def verify(self, cell: Cell) -> Verdict:
        """Look at the outcome, acting through probes if need be. The verdict is final."""
