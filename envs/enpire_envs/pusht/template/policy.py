"""Starter policy: go behind the T as seen from the target, then push towards the target. It ignores rotation."""

import numpy as np

REACH = 0.13  # from the T's centroid to a fingertip that clears it [m]
STEP = 0.030  # what an action of 1 moves the fingertip's target by [m]
VIEW = 0.66  # side of what the top image shows [m]


def see(observation):
    """Fingertip and T (2,) [m]. In an image the T is what is red; what the arm hides is not seen."""
    if not isinstance(observation, dict):
        return observation[:2], observation[2:4]
    red, green, blue = np.moveaxis(observation["pixels"].astype(int), -1, 0)
    rows, columns = np.nonzero((red > 1.8 * green) & (red > 1.8 * blue))
    if not len(rows):
        return observation["agent_pos"], np.zeros(2)
    middle = (len(red) - 1) / 2
    return observation["agent_pos"], np.array([columns.mean() - middle, middle - rows.mean()]) * VIEW / len(red)


class Policy:
    def __init__(self, observation_space, action_space):
        self.action_space = action_space

    def reset(self, observation):
        self.pushing = False

    def act(self, observation):
        tip, block = see(observation)
        behind = block + REACH * block / (np.linalg.norm(block) + 1e-6)
        if np.linalg.norm(tip - behind) < 0.02:
            self.pushing = True
        goal = np.zeros(2) if self.pushing else behind
        return np.clip((goal - tip) / STEP, -1, 1)
