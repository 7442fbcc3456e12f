"""Starter policy: go to where the hole seems to be, then push straight down. It does not search."""

import numpy as np

STEP = np.array([0.0003, 0.0003, 0.0006])  # what an action of 1 moves the commanded pose by [m]


class Policy:
    def __init__(self, observation_space, action_space):
        self.size = action_space.shape[0]

    def reset(self, observation):
        self.commanded = np.zeros(3)

    def act(self, observation):
        hole = observation[-60:-58]  # where the hole seems to be, relative to the start [m]
        height = observation[2]
        wanted = np.array([*hole, self.commanded[2] if height - self.commanded[2] > 0.008 else -0.05])
        move = np.clip((wanted - self.commanded) / STEP, -1, 1)
        self.commanded += move * STEP
        return np.concatenate([move, np.zeros(self.size - 3)])
