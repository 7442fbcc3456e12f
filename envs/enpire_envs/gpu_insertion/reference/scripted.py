"""GPU insertion by feel, from observations alone: touch down beside the slot, lie flat, sweep across it until both ends drop, push.

Beside the slot the whole edge rests on the connector, which tells its height and how the card must lean to be level with it. From there
on the depth of each end is known. The sweep gives way in turn: an end that drops early is held by the slot's far wall, and the other end
comes round. Where only one end drops for long, the other stands on the slot's end, so the card moves towards the end that is down.
What comes next follows from what is seen and felt now and was in the last second or two, so that a network can learn it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gymnasium import spaces

from enpire_envs.gpu_insertion.scene import HALF_LENGTH
from enpire_envs.gpu_insertion.task import STEP, TURN

ASIDE = 0.0024  # where it touches down, beside the estimate [m]: clear of the slot whatever the estimate's errors (1 mm, and 1 degree at the ends)
CLEAR = 0.0025  # height over the estimate down to which it is in a hurry [m]: the estimate may be 1 mm too low, and an end 1 mm lower
FAST, SLOW = 0.0004, 0.0002  # how fast it comes down there, and below [m per control period]
OVER, LINED_UP = 0.0003, 0.005  # how near to its pose the command must be before it comes down that far [m, rad]

TOUCHED = 3.0  # force that tells of the connector [N]
PRESS = 8.0  # force on the connector [N]: half of what the rails bear, enough to dip an end into the slot by 0.4 mm
FLAT = 0.03  # torque about y below which both ends bear alike [Nm]: the press, 4 mm off the middle
LEAN = 0.004  # how far it gives way about y until then [rad/Nm per control period]

SPEED = 0.00015  # of the sweep [m per control period]: 5 periods over the lead-in, time enough to fall
WIDTH = 0.0014  # of the sweep to either side [m]: the estimate's error and half the lead-in
WALL = 4.0  # force against the sweep that tells of a wall [N]: more than twice the friction
COME_ROUND = 0.0005  # how far it gives way about z [rad/Nm per control period]
DIPPED = 0.0002  # by how much one end is deeper when the other stands on the slot's end [m]
SHIFT = 0.0002  # how fast it then moves along the slot [m per control period]
GIVE_ALONG = 2e-5  # how far it gives way along the slot meanwhile [m/N per control period]
BOTH_IN = 0.0008  # depth of both ends that tells that the card is in the slot [m]: deeper than the lead-in

PUSH = 50.0  # force at the end [N]: rails and latch need 40, 60 is forbidden
PRESS_GAIN = 2e-5  # of the force control along z [m/N per control period]
GIVE, GIVE_TURN = 1e-5, 0.001  # how far it gives way to the slot then [m/N, rad/Nm per control period]
LEVEL = 0.2  # share of the commanded lean that is brought back to level per control period: the latch holds one end up


class Scripted:
    """Unprivileged GPU insertion policy: knows its spaces, then only what it observes (`obs_type="state"`).

    Args:
        observation_space: of the environment, (68,).
        action_space: of the environment, (6,).

    Raises:
        ValueError: observations are no vector.
    """

    def __init__(self, observation_space: spaces.Space[np.ndarray], action_space: spaces.Space[np.ndarray]) -> None:
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ValueError(f'the scripted policy reads a vector, not {observation_space}: use obs_type="state"')
        self._step = np.array([*STEP, *[TURN] * 3])  # what an action of 1 does [m, rad]

    def reset(self, observation: np.ndarray) -> None:
        """A new episode, by its first observation."""
        self._command = np.zeros(6)  # sum of all actions [m, rad]
        self._phase: Callable[[], np.ndarray] = self._touch_down
        self._surface = self._level = 0.0  # height and lean of a card that rests on the connector [m, rad]
        self._way = -1.0  # of the sweep, along y

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action for one control period, within [-1, 1]."""
        seen = np.asarray(observation, dtype=float)
        self._pose, self._force, self._torque, self._slot = seen[:6], seen[6:9], seen[9:12], seen[12:18]
        action = np.clip(self._phase() / self._step, -1.0, 1.0)
        self._command += action * self._step
        return action

    # -- phases: each returns by how much to move the commanded pose (6,) [m, rad] ---------------------------------------
    def _touch_down(self) -> np.ndarray:
        """Go beside the slot, turned as it is, and down until the connector is felt."""
        aim = self._slot.copy()
        aim[1] += ASIDE
        move, height = aim - self._command, self._pose[2] - aim[2]
        ready = np.abs(move[:2]).max() < OVER and np.abs(move[3:]).max() < LINED_UP
        move[2] = -FAST if height > CLEAR else -SLOW if ready else 0.0
        if self._force[2] > TOUCHED:
            self._phase = self._lie_flat
        return move

    def _lie_flat(self) -> np.ndarray:
        """Give way about y until both ends bear alike."""
        move = self._pressing(PRESS)
        move[4] = LEAN * self._torque[1]
        if self._force[2] > 0.8 * PRESS and abs(self._torque[1]) < FLAT:
            self._surface, self._level = self._pose[2], self._command[4]
            self._phase = self._sweep
        return move

    def _sweep(self) -> np.ndarray:
        """Slide across the slot, to and fro, until both ends are in."""
        move = self._pressing(PRESS)
        across = self._pose[1] - self._slot[1]
        if -self._force[1] * self._way > WALL or across * self._way > WIDTH:
            self._way = -self._way
        low, high = self._depths()  # of the ends at lower and at higher x
        move[0] = GIVE_ALONG * self._force[0]
        if max(low, high) > DIPPED and abs(high - low) > DIPPED:
            move[0] += SHIFT * np.sign(high - low)
        move[1] = self._way * SPEED
        move[4] = LEVEL * (self._level - self._command[4])
        move[5] = COME_ROUND * self._torque[2]
        if min(low, high) > BOTH_IN:
            self._phase = self._push
        return move

    def _push(self) -> np.ndarray:
        """Down, level, giving way to the slot in all else, until the latch snaps."""
        move = self._pressing(PUSH)
        move[:2] = GIVE * self._force[:2]
        move[3:] = GIVE_TURN * self._torque
        move[4] = LEVEL * (self._level - self._command[4])
        return move

    # -- what they share -------------------------------------------------------------------------------------------------
    def _pressing(self, force: float) -> np.ndarray:
        """The move (6,) along z that brings the force [N] about."""
        return np.array([0.0, 0.0, PRESS_GAIN * (self._force[2] - force), 0.0, 0.0, 0.0])

    def _depths(self) -> tuple[float, float]:
        """Of the card's ends at lower and at higher x below the connector's top [m]."""
        depth, lean = self._surface - self._pose[2], HALF_LENGTH * (self._pose[4] - self._level)
        return float(depth - lean), float(depth + lean)
