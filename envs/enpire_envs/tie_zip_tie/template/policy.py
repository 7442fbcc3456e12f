"""Starter policy: hold on to the strap and push it a little. It neither lines up well nor pushes enough through."""

import numpy as np

STEP = np.array([0.00025, 0.00025, 0.0004])  # what an action of 1 moves the commanded position by [m]
PIXEL = 0.0005  # [m]


class Policy:
    def __init__(self, observation_space, action_space):
        pass

    def reset(self, observation):
        self.pushed = 0.0

    def act(self, observation):
        forward = 1.0 if self.pushed < 0.010 else 0.0  # 10 mm from the start, then wait
        self.pushed += forward * STEP[0]
        aside = np.zeros(2)
        if isinstance(observation, dict):  # a level with two views; proprioception is in observation["agent_pos"]
            views = (
                observation["pixels"][name] for name in ("top", "right")
            )  # right is x; up is y in one and z in the other
            aside = np.array([above_the_tip(view) for view in views])
        return np.array([forward, *np.clip(0.1 * aside / STEP[1:], -1, 1), 0, 0, 0, 1.0])


def above_the_tip(image):
    """How far up in a picture (96, 96, 3) the middle of what is blue (the head) is from that of what is red (the tip) [m]."""
    r, g, b = np.moveaxis(image.astype(int), 2, 0)
    tip, head = np.argwhere((r > 1.5 * b) & (g - b < 0.4 * (r - b))), np.argwhere(b > 1.5 * r)
    return PIXEL * (tip[:, 0].mean() - head[:, 0].mean()) if len(tip) and len(head) else 0.0
