"""Starter policy: pushes the strap a little, lets go, and goes to where the cutter usually lies. It neither lines up nor cuts."""

import numpy as np

STEP = 0.0005  # what an action of 1 moves the commanded position by [m]
CUTTER = np.array([0.030, 0.072, -0.029])  # where the cutter's handle usually is, from the usual place of the slot [m]
TIP = 0.006  # from the strap's tip to the slot at the start, about [m]
GRIP = 0.038  # from the fingers to the tip, about [m]


class Policy:
    def __init__(self, observation_space, action_space):
        pass

    def reset(self, observation):
        self.commanded, self.done = np.zeros(3), 0
        handle = CUTTER + np.array([TIP + GRIP, 0, 0])  # from the start
        self.todo = [  # (where to go [m], gripper, control periods to wait there)
            (np.array([0.030, 0.0, 0.0]), 1.0, 10),
            (np.array([0.030, 0.0, 0.0]), -1.0, 10),
            (np.array([0.030, 0.030, 0.010]), -1.0, 0),
            (np.array([*handle[:2], 0.010]), -1.0, 10),
            (handle, -1.0, 10),
            (handle, 1.0, 10),
        ]

    def act(self, observation):
        if not self.todo:
            return np.zeros(7)
        place, grip, wait = self.todo[0]
        move = np.clip((place - self.commanded) / STEP, -1, 1)
        self.commanded += STEP * move
        if np.abs(move).max() < 1e-6:
            self.done += 1
            if self.done > wait:
                self.todo.pop(0)
                self.done = 0
        return np.array([*move, 0, 0, 0, grip])
