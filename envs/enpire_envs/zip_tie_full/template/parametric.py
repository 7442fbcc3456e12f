"""A policy for the whole zip tie with a few numbers to tune: line the tip up, push, regrasp; let go, fetch the cutter, line it up, cut.

It goes by estimates (`obs_type="state"`). None of the numbers below is right yet.
"""

import json
from pathlib import Path

import numpy as np

#: name -> (low, initial, high). `params.json` beside this file overrides the initial values. SI units.
PARAMETERS = {
    "blocked": (0.5, 8.0, 12.0),  # force that tells that the tip is not in the slot [N]
    "arrived": (0.5, 8.0, 12.0),  # force that tells that the fingers are at the head [N]
    "lead": (0.001, 0.002, 0.02),  # how far the command may run ahead [m]
    "retreat": (0.001, 0.001, 0.006),  # how far to go back after a miss [m]
    "regrasp": (0.005, 0.008, 0.03),  # how far back to grasp again [m]
    "enough": (0.02, 0.03, 0.07),  # length beyond the head at which it lets go [m]
    "trust": (0.02, 0.5, 1.0),  # share of the way to the newest estimate that is believed in one step
    "aim": (0.0, 0.012, 0.02),  # from the head, along the tail, to where it is cut [m]
    "below": (-0.004, -0.003, 0.006),  # how far under the tail's middle the lower blade's edge goes in [m]
    "clear": (0.005, 0.010, 0.02),  # distance from which the blades go in [m]
    "tolerance": (0.0003, 0.003, 0.005),  # how well they are lined up before [m]
    "squeeze": (0.1, 0.5, 1.5),  # how long to close [s]
}

STEP, DT = 0.0005, 1 / 30  # what an action of 1 moves the commanded position by [m]
SLOT = 0.005  # length of the head [m]


class ParametricPolicy:
    """`params` maps names of PARAMETERS to values; missing ones come from params.json, then from the initial values."""

    def __init__(self, observation_space, action_space, params=None):
        file = Path(__file__).with_name("params.json")
        known = json.loads(file.read_text()) if params is None and file.exists() else params or {}
        self.p = {name: known.get(name, initial) for name, (_, initial, _) in PARAMETERS.items()}

    def reset(self, observation):
        self.commanded, self.believed = np.zeros(3), {}
        self.phase, self.until, self.time = "thread", 0.0, 0.0

    def believe(self, name, estimate):
        """An estimate, smoothed over time."""
        before = self.believed.get(name, estimate)
        self.believed[name] = before + self.p["trust"] * (estimate - before)
        return self.believed[name]

    def act(self, observation):
        if isinstance(observation, dict):  # nothing here looks at pictures
            rest = observation.get("environment_state", np.zeros(23))
            observation = np.concatenate([observation["agent_pos"], rest])
        o = np.array(observation, dtype=float)
        head, past = self.believe("head", o[17:20]), float(o[31])
        if o[16] > 0.5:
            way, jaw = self.cut(o, head)
        elif self.phase == "fetch":
            way, jaw = self.fetch(o)
        else:
            way, jaw = self.tie(o, head, past)
        move = np.clip(way / STEP, -1, 1)
        self.commanded += move * STEP
        return np.concatenate([move, np.zeros(3), [jaw]])

    def tie(self, o, head, past):
        """(which way (3,) [m], gripper) while the strap is threaded and pushed."""
        p, moved, force = self.p, o[:3], o[9]
        way, grip = np.zeros(3), 1.0
        ahead = min(0.0003, moved[0] + p["lead"] - self.commanded[0])
        if self.phase == "thread":
            way[0] = ahead
            if o[30] > 0.5 and past < 0.002:
                off = head - self.believe("tip", o[24:27])
                way[1:] = 0.1 * off[1:]
                if np.abs(off[1:]).max() > 0.001 and off[0] < 0.002:
                    way[0] = 0.0
            if past > 0.003:
                self.phase = "push"
            elif -force > p["blocked"]:
                self.phase, self.until = "retreat", moved[0] - p["retreat"]
        elif self.phase == "retreat":
            way[0] = -0.0003
            if moved[0] < self.until:
                self.phase = "thread"
        elif self.phase == "push":
            way[0] = ahead
            if past > p["enough"]:
                self.phase = "let go"
            elif -force > p["arrived"]:
                self.phase = "open"
        elif self.phase in ("open", "let go"):
            grip = -1.0
            if o[8] > 0.9:
                self.until = moved[0] - p["regrasp"]
                self.phase = "back" if self.phase == "open" else "fetch"
        elif self.phase == "back":
            way[0], grip = -0.0003, -1.0
            if moved[0] < self.until:
                self.phase = "close"
        elif o[8] < 0.05:
            self.phase = "push" if o[15] > 0.5 else "open"
        return way, grip

    def fetch(self, o):
        """The same on the way to the cutter: over it, down, close."""
        way = self.believe("handle", o[32:35]) - o[:3]
        if np.abs(way[:2]).max() > 0.002:
            return np.array([*way[:2], max(way[2] + 0.025, 0.0)]), -1.0
        return way, 1.0 if abs(way[2]) < 0.002 else -1.0

    def cut(self, o, head):
        """The same with the cutter: beside the tail, in, close, open, out."""
        p = self.p
        blade = self.believe("blade", o[35:38] - o[:3]) + o[:3]
        spot = head + np.array([SLOT + p["aim"], 0, -p["below"]]) - blade
        if self.phase in ("fetch", "line_up"):
            self.phase = "line_up"
            way = spot + np.array([0, 0.009 + p["clear"], 0])
            if way[2] > 0.01:  # up from the post first
                way[:2] = 0
            if np.abs(way).max() < p["tolerance"]:
                self.phase = "enter"
            return way, 0.0
        if self.phase == "enter":
            if abs(spot[1]) < 0.0007:
                self.phase = "close_blades"
            return spot, 0.0
        self.time += DT
        if self.time < p["squeeze"] + 0.5:
            return np.zeros(3), 1.0
        return np.array([0, 0.005 if o[6] > 0.2 else 0.0, 0]), -1.0
