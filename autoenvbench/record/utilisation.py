"""MRU and MTU: how much of a wall-clock robots worked in, and how fast tokens were spent. The one place where both are computed.

Runs (`record.metrics`) and the logs of anybody's robots (`record.robot_log`) are measured here, so their numbers mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Utilisation:
    """How well robots and models were used over a wall-clock.

    Attributes:
        wall_s: the wall-clock [s].
        robots: that there were, those that never worked as well.
        busy_s: with an episode, probe or reset under way, by robot [s].
        mru: the share of all robots' wall-clock in which they worked, 0 to 1; None where nobody knows of a robot.
        of_robots: the same of each robot, by name.
        tokens: headline tokens: fresh input and output.
        mtu: these per minute of wall-clock.
    """

    wall_s: float
    robots: int
    busy_s: dict[str, float]
    mru: float | None
    of_robots: dict[str, float]
    tokens: int
    mtu: float


def utilisation(
    wall_s: float, *, robots: int = 0, busy_s: Mapping[str, float] | None = None, tokens: int = 0
) -> Utilisation:
    """MRU = seconds in which robots worked / (robots x wall-clock), at most 1; MTU = headline tokens per minute of wall-clock.

    Args:
        wall_s: [s]; of a run, research time.
        busy_s: by robot [s].
    """
    busy = dict(busy_s or {})
    whole = robots * wall_s
    return Utilisation(
        wall_s=wall_s, robots=robots, busy_s=busy, mru=min(1.0, sum(busy.values()) / whole) if whole else None,
        of_robots={name: min(1.0, seconds / wall_s) for name, seconds in sorted(busy.items())} if wall_s else {},
        tokens=tokens, mtu=60 * tokens / wall_s if wall_s else 0.0,
    )  # fmt: skip
