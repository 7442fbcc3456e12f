"""A zip tie policy with a few numbers to tune: line the tip up, push, try beside if blocked, regrasp further back, repeat.

None of the numbers below is right yet.
"""

import json
import math
from pathlib import Path

import numpy as np

#: name -> (low, initial, high). `params.json` beside this file overrides the initial values. SI units.
PARAMETERS = {
    "blocked": (0.3, 12.0, 12.0),  # force that tells that the tip is not in the slot [N]
    "retreat": (0.001, 0.001, 0.006),  # how far to go back then [m]
    "spread": (0.0, 0.0, 0.0015),  # distance of the next try from the estimate [m]
    "growth": (0.0, 0.0, 0.0004),  # and how much further each try is [m]
    "arrived": (0.5, 12.0, 12.0),  # force that tells that the fingers are at the head [N]
    "lead": (0.001, 0.001, 0.02),  # how far the command may run ahead [m]
    "regrasp": (0.005, 0.005, 0.03),  # how far back to grasp again [m]
    "yield": (0.0, 0.0, 0.0002),  # how far to give way sideways per newton and step [m/N]
}

PIXEL = 0.0005  # of a view, where the slot is [m]
SCALE = np.array([0.00025, 0.00025, 0.0004])  # what an action of 1 moves the commanded position by [m]


class ParametricPolicy:
    """`params` maps names of PARAMETERS to values; missing ones come from params.json, then from the initial values."""

    def __init__(self, observation_space, action_space, params=None):
        file = Path(__file__).with_name("params.json")
        known = json.loads(file.read_text()) if params is None and file.exists() else params or {}
        self.p = {name: known.get(name, initial) for name, (_, initial, _) in PARAMETERS.items()}

    def reset(self, observation):
        self.commanded = np.zeros(3)
        self.phase, self.tries, self.until = "thread", 0, 0.0
        self.aim = np.zeros(2)

    def act(self, observation):
        p = self.p
        if isinstance(observation, dict):  # a level with two views: x and y of the end effector are what was commanded
            sensed = np.array(observation["agent_pos"], dtype=float)
            moved = np.array([*self.commanded[:2], sensed[0]])
            opening, held, force = sensed[4], sensed[5] > 0.5, sensed[6:9]
            tip, head, visible, past = look(observation["pixels"])
        else:
            moved = np.array(observation[:3], dtype=float)
            opening, held = observation[6], observation[7] > 0.5
            force = np.array(observation[8:11], dtype=float)
            head, tip = np.array(observation[14:17], dtype=float), np.array(observation[17:20], dtype=float)
            visible, past = observation[20] > 0.5, float(observation[21])
        wanted, grip = self.commanded.copy(), 1.0
        if self.phase == "thread":
            if past > 0.002:
                self.phase = "push"
            elif visible:
                off = head[1:] + self.aim - tip[1:]
                wanted[1:] = self.commanded[1:] + 0.3 * off
                if np.abs(off).max() < 0.0006 or tip[0] < head[0] - 0.002:
                    wanted[0] = min(self.commanded[0] + SCALE[0], moved[0] + p["lead"])
            else:
                wanted[0] = min(self.commanded[0] + SCALE[0], moved[0] + p["lead"])
            if -force[0] > p["blocked"]:
                self.tries += 1
                angle, radius = 2.4 * self.tries, p["spread"] + p["growth"] * self.tries
                self.aim = radius * np.array([math.cos(angle), math.sin(angle)])
                self.phase, self.until = "retreat", moved[0] - p["retreat"]
        elif self.phase == "retreat":
            wanted[0] -= SCALE[0]
            if moved[0] < self.until:
                self.phase = "thread"
        elif self.phase == "push":
            wanted[0] = min(self.commanded[0] + SCALE[0], moved[0] + p["lead"])
            wanted[1:] += p["yield"] * force[1:]
            if -force[0] > p["arrived"]:
                self.phase = "open"
        elif self.phase == "open":
            grip = -1.0
            if opening > 0.9:
                self.phase, self.until = "back", moved[0] - p["regrasp"]
        elif self.phase == "back":
            grip = -1.0
            wanted[0] -= SCALE[0]
            if moved[0] < self.until:
                self.phase = "close"
        elif opening < 0.05:
            self.phase = "push" if held else "open"
        move = np.clip((wanted - self.commanded) / SCALE, -1, 1)
        self.commanded += move * SCALE
        return np.concatenate([move, np.zeros(3), [grip]])


def look(pixels):
    """By colour alone: the tip and the slot's entrance (3,) in the views' frame [m], whether the tip is seen, and how much is beyond the head [m]."""
    tip, head, beyond = np.zeros(3), np.zeros(3), []
    for axis, name in ((1, "top"), (2, "right")):  # right is x in both; up is y in one and z in the other
        r, g, b = np.moveaxis(pixels[name].astype(int), 2, 0)
        red, blue = np.argwhere((r > 1.5 * b) & (g - b < 0.4 * (r - b))), np.argwhere(b > 1.5 * r)
        if not len(red) or not len(blue):
            return tip, head, False, 0.0
        tip[0], tip[axis] = PIXEL * red[:, 1].max(), -PIXEL * red[red[:, 1] > red[:, 1].max() - 5, 0].mean()
        head[0], head[axis] = PIXEL * blue[:, 1].min(), -PIXEL * blue[:, 0].mean()
        beyond.append(PIXEL * max(0, red[:, 1].max() - blue[:, 1].max()))
    return tip, head, bool(tip[0] < head[0]), min(beyond)
