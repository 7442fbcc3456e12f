"""A Push-T policy with a dozen numbers to tune: predict pushes with a small friction model, make the best one, repeat.

The model is quasi-static pushing with an ellipsoidal limit surface (Lynch and Mason 1996): a push of length L along d
at r from the centroid moves the T by L d / (1 + m^2 / c^2) and turns it by m / c^2 times that, with m = r x d and c a
characteristic length of the T's friction. None of the numbers below is right yet.
"""

import json
import math
from pathlib import Path

import numpy as np

#: name -> (low, initial, high). `params.json` beside this file overrides the initial values.
PARAMETERS = {
    "characteristic_length": (0.01, 0.15, 0.20),  # c [m]
    "rotation_weight": (0.0, 0.0, 0.15),  # what a radian of error counts as [m]
    "push_gain": (0.2, 0.3, 1.2),  # share of the planned push that is made
    "push_max": (0.01, 0.03, 0.15),  # longest push [m]
    "standoff": (-0.004, 0.0, 0.015),  # gap between fingertip and T before a push [m]
    "margin": (0.0, 0.0, 0.03),  # extra room when walking around the T [m]
    "travel_weight": (0.0, 0.05, 0.10),  # what a metre of walking costs, in metres of error
    "fine_error": (0.0, 0.0, 0.08),  # below this error [m] push slowly
    "fine_speed": (0.1, 1.0, 1.0),  # how slowly, as a share of full speed
}

U = 0.040  # bar width [m]
CENTROID = 19 / 14 * U  # from the crossbar's outer edge, along the stem
TIP = 0.015  # fingertip radius [m]
VIEW = 0.66  # side of what the top image shows [m]
STEP = 0.030  # what an action of 1 moves the fingertip's target by [m]
ARENA = np.array([0.30, 0.235])  # half extents of the workspace [m]
BOXES = ((-2 * U, 2 * U, -CENTROID, U - CENTROID), (-U / 2, U / 2, U - CENTROID, 4 * U - CENTROID))


def contact_points(spacing=0.015):
    """Points (n, 2) on the T's outline and their inward normals (n, 2), in the T frame."""
    y0, y1, y2 = -CENTROID, U - CENTROID, 4 * U - CENTROID
    outline = [
        (-2 * U, y0),
        (2 * U, y0),
        (2 * U, y1),
        (U / 2, y1),
        (U / 2, y2),
        (-U / 2, y2),
        (-U / 2, y1),
        (-2 * U, y1),
    ]
    points, normals = [], []
    for a, b in zip(np.array(outline), np.array(outline[1:] + outline[:1]), strict=False):
        along = b - a
        length = np.linalg.norm(along)
        count = max(2, round(length / spacing))
        for k in range(count):
            points.append(a + along * (k + 0.5) / count)
            normals.append(np.array([-along[1], along[0]]) / length)
    return np.array(points), np.array(normals)


def clearance(points, pose):
    """Distance (n,) from points (n, 2) to a T at pose (x, y, yaw) [m]."""
    c, s = math.cos(pose[2]), math.sin(pose[2])
    local = (points - pose[:2]) @ np.array([[c, -s], [s, c]])
    x, y = local[:, 0], local[:, 1]
    gaps = [
        np.hypot(np.maximum(np.maximum(a - x, x - b), 0), np.maximum(np.maximum(lo - y, y - hi), 0))
        for a, b, lo, hi in BOXES
    ]
    return np.minimum(*gaps)


def pose_in(image):
    """Pose (3,) of the T in a top image [m, rad], or None where too little of it is to be seen.

    Its centroid is that of what is red. Its axis is the one of least variance or the one across, whichever it is more lopsided along; the
    stem is on the thin side.
    """
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    metres = VIEW / len(red)
    rows, columns = np.nonzero((red > 1.8 * green) & (red > 1.8 * blue))
    if len(rows) * metres**2 < 0.8 * 7 * U * U:
        return None
    points = np.stack([columns, -rows], axis=1) * metres
    points += np.array([-1, 1]) * metres * (len(red) - 1) / 2
    centre = points.mean(axis=0)
    axes = np.linalg.eigh(np.cov((points - centre).T))[1].T
    skews = [(((points - centre) @ axis) ** 3).mean() for axis in axes]
    axis = axes[np.argmax(np.abs(skews))] * np.sign(max(skews, key=abs))
    return np.array([*centre, math.atan2(axis[1], axis[0]) - math.pi / 2])


class ParametricPolicy:
    """`params` maps names of PARAMETERS to values; missing ones come from params.json, then from the initial values."""

    def __init__(self, observation_space, action_space, params=None):
        file = Path(__file__).with_name("params.json")
        known = json.loads(file.read_text()) if params is None and file.exists() else params or {}
        self.p = {name: known.get(name, initial) for name, (_, initial, _) in PARAMETERS.items()}
        self.contacts, self.normals = contact_points()

    def reset(self, observation):
        self.way, self.push, self.left, self.seen = [], np.zeros(2), 0.0, np.zeros(3)

    def act(self, observation):
        if isinstance(observation, dict):
            tip = np.array(observation["agent_pos"], dtype=float)
            if (seen := pose_in(observation["pixels"])) is not None:
                self.seen = seen  # else the arm hides it: it is taken to be where it was
            pose = self.seen
        else:
            tip = np.array(observation[:2], dtype=float)
            pose = np.array([observation[2], observation[3], math.atan2(observation[5], observation[4])])
        if not self.way and self.left <= 0:
            self.plan(tip, pose)
        if self.way:
            if np.linalg.norm(self.way[0] - tip) < 0.006:
                self.way.pop(0)
            if self.way:
                return np.clip((self.way[0] - tip) / STEP, -1, 1)
        error = np.linalg.norm(pose[:2]) + self.p["rotation_weight"] * abs(pose[2])
        stride = min(STEP * (self.p["fine_speed"] if error < self.p["fine_error"] else 1.0), max(self.left, 0.0))
        self.left -= max(stride, 1e-3)
        return self.push * stride / STEP

    def plan(self, tip, pose):
        """Choose contact, direction and length of the next push, and the way to where it begins."""
        c, s = math.cos(pose[2]), math.sin(pose[2])
        turn = np.array([[c, s], [-s, c]])
        arms, pushes = self.contacts @ turn, self.normals @ turn
        begins = pose[:2] + arms - pushes * (TIP + self.p["standoff"])
        usable = (np.abs(begins) <= ARENA).all(axis=1) & (clearance(begins, pose) > TIP - 0.006)
        if not usable.any():
            self.left, self.push = 0.0, np.zeros(2)
            return
        arms, pushes, begins = arms[usable], pushes[usable], begins[usable]

        lengths = self.p["push_max"] * np.linspace(0.05, 1, 12)
        moment = arms[:, 0] * pushes[:, 1] - arms[:, 1] * pushes[:, 0]
        c2 = self.p["characteristic_length"] ** 2
        share = 1 / (1 + moment**2 / c2)
        moved = pose[:2] + (pushes * share[:, None])[:, None] * lengths[None, :, None]
        turned = pose[2] + (moment / c2 * share)[:, None] * lengths
        turned = (turned + math.pi) % (2 * math.pi) - math.pi
        cost = np.hypot(np.linalg.norm(moved, axis=2), self.p["rotation_weight"] * turned)
        cost += self.p["travel_weight"] * np.linalg.norm(begins - tip, axis=1)[:, None]
        best, k = np.unravel_index(np.argmin(cost), cost.shape)
        self.push = pushes[best]
        self.left = max(0.004, self.p["push_gain"] * lengths[k]) + max(self.p["standoff"], 0.0)
        self.way = self.walk(tip, begins[best], pose)

    def walk(self, tip, goal, pose):
        """Straight if that is clear, else out to a circle around the T, along it, and in again."""
        room = TIP + 0.002 + self.p["margin"]
        line = tip + (goal - tip) * np.linspace(0.1, 0.9, 25)[:, None]
        if (clearance(line, pose) > min(room, TIP + 0.004)).all():
            return [goal]
        radius = 0.106 + room
        a0 = math.atan2(*(tip - pose[:2])[::-1])
        a1 = math.atan2(*(goal - pose[:2])[::-1])
        sweep = (a1 - a0 + math.pi) % (2 * math.pi) - math.pi
        ways = []
        for s in (sweep, sweep - math.copysign(2 * math.pi, sweep)):  # the short way round, then the long one
            angles = a0 + s * np.linspace(0, 1, max(2, math.ceil(abs(s) / 0.35)))
            arc = pose[:2] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            arc = np.clip(arc, -ARENA, ARENA)
            ways.append((int((clearance(arc, pose) < TIP).sum()), abs(s), [*arc, goal]))
        return min(ways, key=lambda way: way[:2])[2]
