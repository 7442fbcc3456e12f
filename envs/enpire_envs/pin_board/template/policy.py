"""Starter policy: goes by dead reckoning to where pins and holes should be, takes, carries, pushes and lets go. It does not look."""

import numpy as np

STEP = 0.0015  # what an action of 1 moves the commanded position by [m]
HOME = np.array([-0.006, 0.0, 0.060])  # where the tool should be at the start [m]
TRAY, BOARD = np.array([-0.040, 0.0]), np.array([0.028, 0.0])
GRID = 0.015 * np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
GRIP, TRAVEL, PRESS = 0.020, 0.058, 0.004  # heights of the tool over the plate [m]


class Policy:
    def __init__(self, observation_space, action_space):
        pass

    def reset(self, observation):
        self.commanded = HOME.copy()
        self.todo = [waypoint for k in range(9) for waypoint in one_pin(TRAY + GRID[k], BOARD + GRID[k])]
        self.wait = 0

    def act(self, observation):
        if not self.todo:
            return np.zeros(4)
        place, grip, wait = self.todo[0]
        move = (place - self.commanded) / STEP
        if (largest := np.abs(move).max()) > 1:
            move /= largest
        self.commanded += STEP * move
        if largest < 1e-6:
            self.wait += 1
            if self.wait > wait:
                self.todo.pop(0)
                self.wait = 0
        return np.array([*move, grip])


def one_pin(pocket, hole):
    """Waypoints (position [m], closing of the gripper, control periods to wait there) that bring a pin into a hole."""
    return [
        (np.array([*pocket, TRAVEL]), -1.0, 5),
        (np.array([*pocket, GRIP]), 0.0, 8),
        (np.array([*pocket, GRIP]), 1.0, 10),
        (np.array([*pocket, TRAVEL]), 0.0, 0),
        (np.array([*hole, TRAVEL]), 0.0, 5),
        (np.array([*hole, PRESS]), 0.0, 10),
        (np.array([*hole, PRESS + 0.006]), -1.0, 10),
        (np.array([*hole, TRAVEL]), 0.0, 0),
    ]
