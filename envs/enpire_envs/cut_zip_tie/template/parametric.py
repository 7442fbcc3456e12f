"""A cutting policy with a few numbers to tune: fetch the cutter if it lies on its stand, line the blades up beside the tail, go in, close,
open, draw back.

Where policies see by cameras it does not look: it goes where cutter and tie usually are. None of the numbers below is right yet.
"""

import json
import math
from pathlib import Path

import numpy as np

#: name -> (low, initial, high). `params.json` beside this file overrides the initial values. SI units.
PARAMETERS = {
    "aim": (0.0, 0.025, 0.03),  # from the head, along the tail, to where it is cut [m]
    "below": (-0.006, -0.006, 0.006),  # how far under the tail's middle the lower blade's edge goes in [m]
    "deep": (-0.009, -0.009, 0.009),  # how far beyond the blades' middle the tail goes in (towards the hinge) [m]
    "clear": (0.005, 0.005, 0.02),  # distance from which the blades go in [m]
    "tolerance": (0.0003, 0.005, 0.005),  # how well they are lined up before [m]
    "squeeze": (0.1, 0.1, 1.5),  # how long to close [s]
    "gain": (0.1, 0.1, 1.0),  # share of the way that is commanded in one step
    "trust": (0.02, 1.0, 1.0),  # share of the way to the newest estimate that is believed in one step
}

SCALE = 0.0005  # what an action of 1 moves the commanded position by [m]
TURN = 0.00698  # and turns it by [rad]
DT = 1 / 30
HANDLE = np.array([0.0, 0.039, 0.0])  # from the blades' middle to the cutter's handle [m]
USUAL = {
    "handle": [0.0, 0.0, -0.04],
    "head": [0.0, -0.072, -0.011],
    "tip": [0.05, -0.072, -0.011],
}  # relative to the start [m]


class ParametricPolicy:
    """`params` maps names of PARAMETERS to values; missing ones come from params.json, then from the initial values."""

    def __init__(self, observation_space, action_space, params=None):
        file = Path(__file__).with_name("params.json")
        known = json.loads(file.read_text()) if params is None and file.exists() else params or {}
        self.p = {name: known.get(name, initial) for name, (_, initial, _) in PARAMETERS.items()}

    def reset(self, observation):
        self.phase, self.time = "line_up", 0.0
        self.commanded, self.believed = np.zeros(3), {}

    def believe(self, name, estimate):
        """An estimate, smoothed over time."""
        before = self.believed.get(name, estimate)
        self.believed[name] = before + self.p["trust"] * (estimate - before)
        return self.believed[name]

    def read(self, observation):
        """(moved, turned, jaw, held, handle, blades, yaw, head, tip) of any level's observation."""
        if isinstance(observation, dict):
            o = np.array(observation["agent_pos"], dtype=float)
            moved = np.array([*self.commanded[:2], o[0]])
            held = abs(o[6] - 0.5) < 0.1
            handle = moved if held else np.array(USUAL["handle"])
            return (
                moved,
                o[3],
                o[4],
                held,
                handle,
                handle - HANDLE,
                o[3],
                np.array(USUAL["head"]),
                np.array(USUAL["tip"]),
            )
        o = np.array(observation, dtype=float)
        if len(o) == 26:
            return o[:3], o[5], o[6], o[8] > 0.5, o[15:18] + HANDLE, o[15:18], o[18], o[19:22], o[22:25]
        cutter, tie = (self.believe(name, o[k : k + 6]) for name, k in (("cutter", 15), ("tie", 21)))
        along = cutter[3:] - cutter[:3]
        yaw = math.atan2(along[0], -along[1])
        return o[:3], o[5], o[6], abs(o[8] - 0.5) < 0.1, cutter[:3], cutter[3:], yaw, tie[:3], tie[3:]

    def act(self, observation):
        p = self.p
        moved, turned, jaw, held, handle, blades, yaw, head, tip = self.read(observation)
        jaws, turn = -1.0, np.zeros(3)
        if not held:
            way = handle - moved
            turn[2] = yaw - turned
            if np.abs(way[:2]).max() > 0.0015 or abs(turn[2]) > 0.03:
                way[2] = max(way[2], 0.0)
            elif abs(way[2]) < 0.0015:
                jaws = 1.0
        else:
            turn[2] = -yaw
            tail = (tip - head) / max(float(np.linalg.norm(tip - head)), 1e-6)
            spot = head + p["aim"] * tail - (0, 0, p["below"])
            if self.phase == "line_up":
                way = spot - blades + np.array([0, 0.009 + p["clear"], 0])
                if way[2] > 0.01:  # up from the stand first
                    way[:2] = 0
                if np.abs(way).max() < p["tolerance"]:
                    self.phase = "enter"
            elif self.phase == "enter":
                way = spot - (0, p["deep"], 0) - blades
                if abs(way[1]) < 0.0007:
                    self.phase, self.time = "close", 0.0
            elif self.phase == "close":
                way, jaws = np.zeros(3), 1.0
                self.time += DT
                if self.time > p["squeeze"] + 0.5:
                    self.phase = "open"
            else:
                way = np.array([0, 0.005 if jaw > 0.2 else 0.0, 0])
        move = np.clip(p["gain"] * way / SCALE, -1, 1)
        self.commanded += move * SCALE
        return np.concatenate([move, np.clip(0.3 * turn / TURN, -1, 1), [jaws]])
