"""A pin board policy with a few numbers to tune: dead reckoning to pocket and hole, and a spiral over the hole. It does not look."""

import json
import math
from pathlib import Path

import numpy as np

#: name -> (low, initial, high). `params.json` beside this file overrides the initial values. SI units.
PARAMETERS = {
    "tray_x": (-0.043, -0.041, -0.037),  # centre of the tray [m]
    "tray_y": (-0.003, 0.001, 0.003),
    "board_x": (0.025, 0.027, 0.031),  # centre of the board [m]
    "board_y": (-0.003, 0.001, 0.003),
    "pitch": (0.013, 0.0145, 0.017),  # between its holes [m]
    "turn": (-0.35, 0.05, 0.35),  # of its grid [rad]
    "grip": (0.018, 0.0215, 0.023),  # height of the tool over the plate where it takes pins [m]
    "press": (0.018, 0.026, 0.029),  # the same while it searches for a hole with a pin [m]
    "reach": (0.0005, 0.001, 0.003),  # radius of the spiral over a hole [m]
    "spiral_pitch": (0.0001, 0.0006, 0.001),  # between its turns [m]
    "drop": (0.0005, 0.003, 0.004),  # below the plate that tells that the pin is in [m]
}

STEP, HOME, TRAVEL, DEEP, TRAY_PITCH = 0.0015, np.array([-0.006, 0.0, 0.060]), 0.058, 0.004, 0.015
PLACES = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])


class ParametricPolicy:
    """`params` maps names of PARAMETERS to values; missing ones come from params.json, then from the initial values."""

    def __init__(self, observation_space, action_space, params=None):
        file = Path(__file__).with_name("params.json")
        known = json.loads(file.read_text()) if params is None and file.exists() else params or {}
        self.p = {name: known.get(name, initial) for name, (_, initial, _) in PARAMETERS.items()}

    def reset(self, observation):
        self.commanded, self.pin = HOME.copy(), 0
        self.phase, self.count, self.angle = 0, 0, 0.0

    def act(self, observation):
        if self.pin >= len(PLACES):
            return np.zeros(4)
        p, height = self.p, HOME[2] + float(observation["agent_pos"][0])
        cos, sin = math.cos(p["turn"]), math.sin(p["turn"])
        pocket = np.array([p["tray_x"], p["tray_y"]]) + TRAY_PITCH * PLACES[self.pin]
        hole = (
            np.array([p["board_x"], p["board_y"]]) + p["pitch"] * np.array([[cos, -sin], [sin, cos]]) @ PLACES[self.pin]
        )
        spiral = self.spiral() if self.phase == 5 else np.zeros(2)
        place, at, grip, wait = [
            (pocket, TRAVEL, -1.0, 6), (pocket, p["grip"], 0.0, 8), (pocket, p["grip"], 1.0, 10), (pocket, TRAVEL, 0.0, 0),
            (hole, TRAVEL, 0.0, 6), (hole + spiral, p["press"], 0.0, 150), (hole, DEEP, 0.0, 20), (hole, DEEP + 0.006, -1.0, 10),
            (hole, TRAVEL, 0.0, 0),
        ][self.phase]  # fmt: skip
        move = (np.array([*place, at]) - self.commanded) / STEP
        there = np.abs(move).max() <= 1
        move = np.clip(move, -1, 1)
        self.commanded += STEP * move
        self.count += there
        if self.count > wait or (self.phase == 5 and height < 0.030 - p["drop"]):
            self.phase, self.count, self.angle = self.phase + 1, 0, 0.0
            if self.phase == 9:
                self.phase, self.pin = 0, self.pin + 1
        return np.array([*move, grip])

    def spiral(self):
        """The next offset (2,) on an Archimedean spiral; it begins anew at its reach."""
        radius = self.p["spiral_pitch"] * self.angle / (2 * math.pi)
        if radius > self.p["reach"]:
            self.angle = radius = 0.0
        self.angle += min(0.0002 / max(radius, self.p["spiral_pitch"] / 4), 0.8)
        return radius * np.array([math.cos(self.angle), math.sin(self.angle)])
