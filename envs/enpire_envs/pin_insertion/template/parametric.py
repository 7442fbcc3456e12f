"""A pin insertion policy with a dozen numbers to tune: touch, spiral until the pin drops, align, push.

Spiral search after Chhatpar and Branicky (2001). The pin's tip has a 0.5 mm step, so there are two drops: the tip's, as
soon as it is within half a millimetre of the hole, and the pin's. None of the numbers below is right yet.
"""

import json
import math
from pathlib import Path

import numpy as np

#: name -> (low, initial, high). `params.json` beside this file overrides the initial values. SI units.
PARAMETERS = {
    "press": (0.5, 12.0, 14.0),  # force on the plate while searching [N]
    "pitch": (0.00005, 0.001, 0.0012),  # between the turns of the wide spiral [m]
    "speed": (0.001, 0.009, 0.009),  # along the wide spiral [m/s]
    "reach": (0.0005, 0.0008, 0.003),  # radius of the wide spiral [m]
    "tip_drop": (0.0001, 0.0008, 0.0008),  # drop that tells that the tip is in [m]
    "fine_pitch": (0.00002, 0.0004, 0.0004),  # of the fine spiral around that place [m]
    "fine_speed": (0.0005, 0.006, 0.006),  # [m/s]
    "fine_reach": (0.0002, 0.0003, 0.0012),  # [m]
    "pin_drop": (0.0006, 0.003, 0.003),  # drop that tells that the pin is in [m]
    "track": (0.02, 0.02, 0.8),  # share of the sideways error that is corrected per step
    "push": (4.0, 4.0, 30.0),  # force along the hole at the end [N]
    "yield": (0.0, 0.0, 0.0004),  # how far to give way sideways per newton and step [m/N]
    "force_gain": (0.00001, 0.0001, 0.0003),  # of the force control along z [m/N per step]
}

STEP = np.array([0.0003, 0.0003, 0.0006])  # what an action of 1 moves the commanded pose by [m]
DT = 1 / 30


class ParametricPolicy:
    """`params` maps names of PARAMETERS to values; missing ones come from params.json, then from the initial values."""

    def __init__(self, observation_space, action_space, params=None):
        file = Path(__file__).with_name("params.json")
        known = json.loads(file.read_text()) if params is None and file.exists() else params or {}
        self.p = {name: known.get(name, initial) for name, (_, initial, _) in PARAMETERS.items()}
        self.size = action_space.shape[0]

    def reset(self, observation):
        self.commanded = np.zeros(3)
        self.phase, self.angle = "approach", 0.0
        # Where the hole seems to be [m]; this policy does not look at pictures, so where there is nothing else it begins below.
        self.centre = np.zeros(2) if isinstance(observation, dict) else np.array(observation[-60:-58], dtype=float)
        self.surface = 0.0

    def act(self, observation):
        if isinstance(observation, dict):  # a level that is seen by the wrist camera: x and y are what was commanded
            sensed = np.array(observation["agent_pos"], dtype=float)
            moved, force = np.array([*self.commanded[:2], sensed[0]]), sensed[8:11]
        else:
            moved = np.array(observation[:3], dtype=float)
            force = np.array(observation[self.size : self.size + 3], dtype=float)
        wanted = self.commanded.copy()
        drop = self.surface - moved[2]
        if self.phase == "approach":
            wanted[:2] = self.centre
            if np.linalg.norm(self.centre - moved[:2]) < 0.0003:
                wanted[2] -= STEP[2] * (1.0 if moved[2] > -0.003 else 0.3)
            if force[2] > 0.8:
                self.phase, self.surface, self.angle = "search", moved[2], 0.0
        elif self.phase in ("search", "align"):
            fine = self.phase == "align"
            if drop > self.p["pin_drop"]:
                self.phase = "push"
            elif not fine and drop > self.p["tip_drop"]:
                self.phase, self.centre, self.angle = "align", moved[:2].copy(), 0.0
            # Friction holds a pressed pin back, so the command leads until the measured position follows the spiral.
            wanted[:2] += self.p["track"] * (self.centre + self.spiral("fine_" if fine else "") - moved[:2])
            wanted[2] -= self.p["force_gain"] * (self.p["press"] - force[2])
        else:
            wanted[:2] += self.p["yield"] * force[:2]
            wanted[2] -= self.p["force_gain"] * (self.p["push"] - force[2])
        wanted[2] = max(wanted[2], moved[2] - 0.022)  # never wind up far beyond what is reached
        move = np.clip((wanted - self.commanded) / STEP, -1, 1)
        self.commanded += move * STEP
        return np.concatenate([move, np.zeros(self.size - 3)])

    def spiral(self, which):
        """The next offset (2,) on an Archimedean spiral walked at constant speed; it begins anew at its reach."""
        pitch, speed = self.p[which + "pitch"], self.p[which + "speed"]
        radius = pitch * self.angle / (2 * math.pi)
        if radius > self.p[which + "reach"]:
            self.angle = radius = 0.0
        self.angle += min(speed * DT / max(radius, pitch / 4), 0.8)
        radius = pitch * self.angle / (2 * math.pi)
        return radius * np.array([math.cos(self.angle), math.sin(self.angle)])
