"""Starter policy: go down to where the cutter usually lies, close, and close on. It neither looks nor lines up nor goes to the tail."""

import numpy as np

DOWN = -0.040  # height above which it goes on down, relative to the start [m]


class Policy:
    def __init__(self, observation_space, action_space):
        pass

    def reset(self, observation):
        pass

    def act(self, observation):
        lying = True
        if isinstance(
            observation, dict
        ):  # seen by cameras: observation["pixels"]["wrist"] and ["side"] are (96, 96, 3) uint8
            height, opening = observation["agent_pos"][0], observation["agent_pos"][6]
        else:
            height, opening = observation[2], observation[8]
            lying = len(observation) > 26
        if lying and opening > 0.75 and height > DOWN:
            return np.array([0, 0, -1.0, 0, 0, 0, -1.0])
        return np.array([0, 0, 0, 0, 0, 0, 1.0])
