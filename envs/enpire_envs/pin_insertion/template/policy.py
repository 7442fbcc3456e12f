"""Starter policy: go to where the hole seems to be, then push straight down. It does not search."""

import numpy as np

STEP = np.array([0.0003, 0.0003, 0.0006])  # what an action of 1 moves the commanded pose by [m]


class Policy:
    def __init__(self, observation_space, action_space):
        self.size = action_space.shape[0]

    def reset(self, observation):
        self.commanded = np.zeros(3)

    def act(self, observation):
        if isinstance(observation, dict):  # a level that is seen by the wrist camera
            height = observation["agent_pos"][0]
            hole = self.commanded[:2] + 0.1 * seen_beside_the_centre(observation["pixels"])
        else:
            height = observation[2]
            hole = observation[-60:-58]  # where the hole seems to be, relative to the start [m]
        wanted = np.array([*hole, self.commanded[2] if height - self.commanded[2] > 0.008 else -0.05])
        move = np.clip((wanted - self.commanded) / STEP, -1, 1)
        self.commanded += move * STEP
        return np.concatenate([move, np.zeros(self.size - 3)])


def seen_beside_the_centre(image):
    """Where what is dark around the middle of a picture (96, 96, 3) lies, (2,) [m]: roughly, and whether or not it is the hole."""
    part = image[38:68, 32:64].astype(float)
    light = part.sum(axis=2)
    dark = light < 0.75 * np.median(image.sum(axis=2))
    dark &= part[:, :, 0] < 1.2 * part[:, :, 2]  # the pin is reddish
    if dark.sum() < 8:
        return np.zeros(2)
    row, column = np.argwhere(dark).mean(axis=0)
    return 0.0003 * np.array([column - 15.5, 9.5 - row])  # a pixel is about 0.3 mm
