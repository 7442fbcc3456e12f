"""What the tools of one episode share: the body, the world, and what the hand was last told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from enpire_envs.tools.bodies import Body
from enpire_envs.tools.config import ToolsConfig
from enpire_envs.tools.log import Group, ToolError

#: What a call takes that does not move anything, by tool or by group [s of the episode]; at least one control period.
SECONDS = {"perception": 0.1, "planner": 0.1, "vlm_query": 1.0, "plan": 0.5}


class World(Protocol):
    """What tools act on: the environment, wrapped by whoever runs the episode."""

    period: float  # of one control step [s]
    limit: float  # of the episode [s]

    def step(self, action: np.ndarray) -> None:
        """One control period. Raises EpisodeOver."""

    def time(self) -> float:
        """Seconds since the start."""

    def info(self) -> dict[str, Any]:
        """The last `info` of the environment."""

    def restart(self, same: bool) -> None:
        """Begin anew, at the same start or the next one."""


Ask = Callable[[str, np.ndarray | None], str]  # a question to the vision-language model, with an image or without


class Episode:
    """One episode as its tools share it.

    Attributes:
        grip: what the gripper was last told: 1 to close, -1 to open, None for nothing yet.
        hold: the pose that the hand keeps while nothing moves it.
        cloud: obstacles of the planner's world, (n, 3).
        steps: control periods that tools have used.
    """

    def __init__(self, body: Body, world: World, config: ToolsConfig, seed: int, ask: Ask | None) -> None:
        self.body, self.world, self.config, self.ask = body, world, config, ask
        self.rng = np.random.default_rng(seed)
        self.steps = 0
        self.begin()

    def begin(self) -> None:
        """Start afresh from how things are now."""
        self.grip: float | None = None
        self.avoid, self.cloud = True, np.zeros((0, 3))
        self.home = dict(self.body.state())
        self.hold: tuple[Any, Any] = (self.home["position"], self.home["quaternion"])

    def act(
        self, position: np.ndarray | None = None, quaternion: np.ndarray | None = None, base: np.ndarray | None = None
    ) -> None:
        """One control period towards a pose, or holding the last one."""
        self.steps += 1
        if position is None and quaternion is None:
            position, quaternion = self.hold
        self.world.step(self.body.action(position, quaternion, self.grip, base))

    def wait(self, steps: int) -> None:
        """Hold still for so many control periods. Raises EpisodeOver."""
        for _ in range(steps):
            self.act()

    def spend(self, seconds: float) -> None:
        """Let time pass, one control period at least."""
        self.wait(max(1, round(seconds / self.world.period)))


def tool(group: Group) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a method as a tool of a group."""

    def mark(method: Callable[..., Any]) -> Callable[..., Any]:
        method.group = group  # type: ignore[attr-defined]
        return method

    return mark


def vector(value: Any, n: int) -> np.ndarray | None:
    """(n,) finite numbers, or None. Raises ToolError."""
    if value is None:
        return None
    array = np.asarray(value, float)
    if array.shape != (n,) or not np.isfinite(array).all():
        raise ToolError("usage", f"expected {n} finite numbers, got {value!r}"[:300])
    return array
