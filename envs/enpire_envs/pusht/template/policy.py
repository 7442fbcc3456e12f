"""Starter policy: go behind the T as seen from the target, then push towards the target. It ignores rotation."""

import numpy as np

REACH = 0.13  # from the T's centroid to a fingertip that clears it [m]
STEP = 0.030  # what an action of 1 moves the fingertip's target by [m]


class Policy:
    def __init__(self, observation_space, action_space):
        self.action_space = action_space

    def reset(self, observation):
        self.pushing = False

    def act(self, observation):
        tip, block = observation[:2], observation[2:4]
        behind = block + REACH * block / (np.linalg.norm(block) + 1e-6)
        if np.linalg.norm(tip - behind) < 0.02:
            self.pushing = True
        goal = np.zeros(2) if self.pushing else behind
        return np.clip((goal - tip) / STEP, -1, 1)
