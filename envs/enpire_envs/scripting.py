"""What scripts share that act on noisy, late observations: averages, a load that rises, and actions that know what is still under way."""

from __future__ import annotations

from collections import deque

import numpy as np


class Average:
    """The mean of all estimates of something that stays where it is; one that is far off moves it little.

    Args:
        size: numbers in an estimate.
        most: how far from the mean an estimate counts, once there are a few [its unit].
    """

    def __init__(self, size: int, most: float) -> None:
        self.value, self.count, self._most = np.zeros(size), 0, most

    def add(self, estimate: np.ndarray) -> None:
        """Count one more estimate (size,)."""
        self.count += 1
        off = estimate - self.value
        if self.count > 3:
            off = np.clip(off, -self._most, self._most)
        self.value = self.value + off / self.count


class Load:
    """A sensed force (3,) less what it usually was: sensors are biased and drift, contact is a change.

    Args:
        quick: share of the way to the newest reading in one control period, for what is felt now.
        slow: the same, for what is usual.
    """

    def __init__(self, quick: float, slow: float) -> None:
        self._share = np.array([[quick], [slow]])
        self._means: np.ndarray | None = None

    def feel(self, force: np.ndarray) -> None:
        """One control period later."""
        if self._means is None:
            self._means = np.stack([force, force])
        self._means = self._means + self._share * (force - self._means)

    @property
    def usual(self) -> np.ndarray:
        """(3,) the force as it has been for a while [N]."""
        assert self._means is not None
        return self._means[1]

    def over(self, usual: np.ndarray) -> np.ndarray:
        """(3,) what is felt now, less a usual force (3,) [N]."""
        assert self._means is not None
        off: np.ndarray = self._means[0] - usual
        return off

    @property
    def rise(self) -> np.ndarray:
        """(3,) what is felt now, less what is usual [N]."""
        return self.over(self.usual)


class Drive:
    """Turns poses to go to into actions, and knows where the end effector will be once all that was sent has arrived.

    Args:
        scale: (6,) what an action of 1 moves the commanded pose by in a step [m, rad].
        gain: share of the way that is commanded at once.
        late: control periods until a command has been carried out, for delay and lag of the drives.
    """

    def __init__(self, scale: np.ndarray, gain: float, late: int) -> None:
        self._scale, self.gain = scale, gain
        self._sent = deque([np.zeros(6)] * late, maxlen=late)
        self.commanded = np.zeros(6)

    def expected(self, pose: np.ndarray) -> np.ndarray:
        """Where a sensed pose (6,) is bound for."""
        bound: np.ndarray = pose + np.sum(self._sent, axis=0)
        return bound

    def towards(self, goal: np.ndarray, pose: np.ndarray, speed: float = 1.0) -> np.ndarray:
        """The action (6,) from a sensed pose (6,) to a goal (6,), straight, at most at a share of full speed."""
        action: np.ndarray = self.gain * (goal - self.expected(pose)) / self._scale
        for part in (action[:3], action[3:]):
            part /= max(1.0, float(np.abs(part).max()) / speed)
        move = action * self._scale
        self._sent.append(move)
        self.commanded = self.commanded + move
        return action

    def did(self, action: np.ndarray) -> None:
        """After `towards`: this action (6,) was executed in its place."""
        move = np.clip(action, -1, 1) * self._scale
        self.commanded = self.commanded + move - self._sent[-1]
        self._sent[-1] = move
