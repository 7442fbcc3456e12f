"""What disturbs a verifier's view: drawn at random, put on a twin's light, cameras and frames, taken off again.

Light and a knocked camera are the simulated world's. Exposure, noise, clutter, glare and a hand are laid over the frames, the same in every
frame of a case, as things that lie or stand there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from enpire_real.twin.station import Twin

KINDS = ("none", "light", "exposure", "noise", "clutter", "knocked", "hand", "glare")
KNOCK_M, KNOCK_RAD = 0.005, math.radians(1.0)
_SKIN = (204, 140, 115)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One of `KINDS`; all else follows from `seed`."""

    kind: str
    seed: int

    def rng(self, *more: int) -> np.random.Generator:
        """Its random numbers."""
        return np.random.default_rng((self.seed, *more))


class TwinView:
    """The view of a twin's cameras, which can be disturbed.

    Args:
        cameras: names of those that the verifier looks through.
    """

    def __init__(self, twin: Twin, cameras: tuple[str, ...]) -> None:
        self._twin, self._cameras = twin, cameras
        model = twin.model
        self._light = model.light_diffuse.copy(), model.vis.headlight.ambient.copy(), model.vis.headlight.diffuse.copy()
        self._cam = model.cam_pos.copy(), model.cam_quat.copy()

    def disturb(self, what: Disturbance | None) -> None:
        """Take off what there is, and put this on."""
        twin, model = self._twin, self._twin.model
        with twin.lock:
            model.light_diffuse[:], model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = self._light
            model.cam_pos[:], model.cam_quat[:] = self._cam
            twin.faults.overlay = None
            if what is None or what.kind == "none":
                return
            if what.kind == "light":
                share = what.rng().uniform(0.5, 1.6)
                for values in (model.light_diffuse, model.vis.headlight.ambient, model.vis.headlight.diffuse):
                    values *= share
            elif what.kind == "knocked":
                self._knock(what.rng())
            else:
                twin.faults.overlay = Overlay(what)

    def _knock(self, rng: np.random.Generator) -> None:
        """One of the cameras, by 5 mm and 1 degree, whichever way."""
        camera = self._twin.model.camera(str(rng.choice(self._cameras))).id
        way, axis = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
        self._twin.model.cam_pos[camera] += KNOCK_M * way
        quat, turned = self._twin.model.cam_quat[camera], np.zeros(4)
        mujoco.mju_mulQuat(turned, quat, Rotation.from_rotvec(KNOCK_RAD * axis).as_quat(scalar_first=True))
        self._twin.model.cam_quat[camera] = turned


class Overlay:
    """Lays a disturbance over frames (height, width, 3) uint8 of a camera by name; the same over all frames of that camera."""

    def __init__(self, what: Disturbance) -> None:
        self._what = what
        self._noise = what.rng(1)  # which is new in every frame

    def __call__(self, camera: str, image: np.ndarray) -> np.ndarray:
        """The disturbed frame, a new array."""
        rng = self._what.rng(2, *camera.encode())
        return _LAID[self._what.kind](image.copy(), rng, self._noise)


def _exposure(image: np.ndarray, rng: np.random.Generator, _: np.random.Generator) -> np.ndarray:
    table = np.clip(255 * (np.arange(256) / 255) ** rng.uniform(0.8, 1.25) * rng.uniform(0.6, 1.5), 0, 255)
    return np.asarray(cv2.LUT(image, table.astype(np.uint8)))


def _more_noise(image: np.ndarray, rng: np.random.Generator, each: np.random.Generator) -> np.ndarray:
    grain = each.normal(0.0, rng.uniform(4, 10), image.shape)
    return np.asarray(np.clip(image + grain, 0, 255)).astype(np.uint8)


def _clutter(image: np.ndarray, rng: np.random.Generator, _: np.random.Generator) -> np.ndarray:
    """Things that lie about, of any colour: half of them of a strong one, such as what the verifier looks for."""
    height, width = image.shape[:2]
    for _k in range(int(rng.integers(2, 6))):
        strong = [(215, 30, 25), (30, 160, 65), (230, 110, 25), (30, 60, 200)][int(rng.integers(4))]
        colour = strong if rng.random() < 0.5 else tuple(int(c) for c in rng.integers(20, 235, 3))
        middle = rng.uniform((0, 0), (width, height))
        corners = middle + rng.uniform(0.02, 0.08) * width * rng.normal(size=(6, 2)) * 0.6
        cv2.fillConvexPoly(image, cv2.convexHull(corners.astype(np.int32)), colour, cv2.LINE_AA)
    return image


def _hand(image: np.ndarray, rng: np.random.Generator, _: np.random.Generator) -> np.ndarray:
    """A palm somewhere, and the arm that it is on, coming in from an edge of the picture."""
    height, width = image.shape[:2]
    palm = rng.uniform((0.15 * width, 0.15 * height), (0.85 * width, 0.85 * height))
    turn = rng.uniform(0, 2 * math.pi)
    away = palm + 1.5 * width * np.array([math.cos(turn), math.sin(turn)])
    colour = tuple(int(c * rng.uniform(0.7, 1.1)) for c in _SKIN)
    size = rng.uniform(0.06, 0.13) * width
    cv2.line(image, _whole(palm), _whole(away), colour, int(0.9 * size), cv2.LINE_AA)
    cv2.ellipse(image, _whole(palm), (int(size), int(0.8 * size)), math.degrees(turn), 0, 360, colour, -1, cv2.LINE_AA)
    return image


def _glare(image: np.ndarray, rng: np.random.Generator, _: np.random.Generator) -> np.ndarray:
    """The light mirrored in what is smooth: white in the middle, and less around."""
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    at, size = rng.uniform((0, 0), (width, height)), rng.uniform(0.05, 0.15) * width
    far = ((x - at[0]) ** 2 + (y - at[1]) ** 2) / (size * size)
    bright = 400 * np.exp(-far)[..., None]
    return np.asarray(np.clip(image + bright, 0, 255)).astype(np.uint8)


def _whole(point: np.ndarray) -> tuple[int, int]:
    return int(point[0]), int(point[1])


_LAID = {"exposure": _exposure, "noise": _more_noise, "clutter": _clutter, "hand": _hand, "glare": _glare}
