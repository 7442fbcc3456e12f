"""A GPU insertion policy with a few numbers to tune: line up, press lightly and search, give way, push until it snaps.

The search moves y, x and the turn about z on incommensurate sines that grow with time, until the edge drops into the
lead-in; from then on forces and torques steer (admittance control). None of the numbers below is right yet. Where there is no estimate of
the slot but images, it searches about where the card hovers: nothing here looks at an image.
"""

import json
import math
from pathlib import Path

import numpy as np

#: name -> (low, initial, high). `params.json` beside this file overrides the initial values. SI units.
PARAMETERS = {
    "press": (0.5, 15.0, 15.0),  # force while searching [N]
    "amplitude_y": (0.0, 0.0, 0.002),  # of the search across the slot [m]
    "amplitude_x": (0.0, 0.0, 0.002),  # along it [m]
    "amplitude_turn": (0.0, 0.0, 0.035),  # about z [rad]
    "period": (0.5, 4.0, 4.0),  # of the slowest sine [s]
    "growth": (0.5, 8.0, 8.0),  # time to full amplitude [s]
    "dropped": (0.0003, 0.003, 0.003),  # drop that tells that the edge is in the lead-in [m]
    "push": (15.0, 15.0, 50.0),  # force at the end [N]
    "yield": (0.0, 0.0, 0.00002),  # how far to give way sideways per newton and step [m/N]
    "yield_turn": (0.0, 0.0, 0.004),  # how far to turn per newton metre and step [rad/Nm]
    "force_gain": (0.000005, 0.00002, 0.0001),  # of the force control along z [m/N per step]
}

SCALE = np.array(
    [0.00025, 0.00025, 0.0004] + [math.radians(0.2)] * 3
)  # what an action of 1 moves the commanded pose by
DT = 1 / 30


class ParametricPolicy:
    """`params` maps names of PARAMETERS to values; missing ones come from params.json, then from the initial values."""

    def __init__(self, observation_space, action_space, params=None):
        file = Path(__file__).with_name("params.json")
        known = json.loads(file.read_text()) if params is None and file.exists() else params or {}
        self.p = {name: known.get(name, initial) for name, (_, initial, _) in PARAMETERS.items()}

    def reset(self, observation):
        self.commanded = np.zeros(6)
        self.goal = np.zeros(6) if isinstance(observation, dict) else np.array(observation[12:18], dtype=float)
        self.phase, self.time, self.surface = "approach", 0.0, 0.0

    def act(self, observation):
        p = self.p
        moved, force, torque = self.sensed(observation)
        wanted = self.commanded.copy()
        if self.phase == "approach":
            wanted[[0, 1, 3, 4, 5]] = self.goal[[0, 1, 3, 4, 5]]
            if np.abs((wanted - moved)[[0, 1]]).max() < 0.0003 and np.abs((wanted - moved)[3:]).max() < 0.01:
                wanted[2] -= 0.5 * SCALE[2]
            if force[2] > 1.5:
                self.phase, self.surface = "search", moved[2]
        elif self.phase == "search":
            self.time += DT
            size = min(self.time / p["growth"], 1.0)
            phase = 2 * math.pi * self.time / p["period"]
            wanted[1] = self.goal[1] + size * p["amplitude_y"] * math.sin(phase)
            wanted[0] = self.goal[0] + size * p["amplitude_x"] * math.sin(2.236 * phase)
            wanted[5] = self.goal[5] + size * p["amplitude_turn"] * math.sin(1.618 * phase)
            wanted[2] -= p["force_gain"] * (p["press"] - force[2])
            if self.surface - moved[2] > p["dropped"]:
                self.phase = "push"
        else:
            wanted[:2] += p["yield"] * force[:2]
            wanted[3:] += p["yield_turn"] * torque
            wanted[2] -= p["force_gain"] * (p["push"] - force[2])
        wanted[2] = max(wanted[2], moved[2] - 0.022)  # never wind up far beyond what is reached
        move = np.clip((wanted - self.commanded) / SCALE, -1, 1)
        self.commanded += move * SCALE
        return move

    def sensed(self, observation):
        """Pose (6,), force (3,) and torque (3,); x and y are those commanded where only images could tell."""
        if isinstance(observation, dict):
            known = observation["agent_pos"]
            observation = np.concatenate([self.commanded[:2], known])
        values = np.array(observation[:12], dtype=float)
        return values[:6], values[6:9], values[9:]
