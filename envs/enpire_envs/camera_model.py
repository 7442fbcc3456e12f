"""What a real camera does to a picture: a lens that blurs, bends and darkens it, a sensor that is noisy, and a frame that comes late.

A renderer's picture is a pinhole's: perfectly sharp, straight, clean and of this instant. Where a level has a `CameraSpec`, policies and films
get what is left of it. In the order of the light: point spread (defocus), radial distortion, vignetting, exposure and white balance with
flicker, shot and read noise, delay. There is no rolling shutter. No verdict reads a picture, so none depends on any of this.

All sizes carry the same: blur goes with the picture's width, and noise has cells of 1 / `SENSOR` of it, so that a larger picture shows no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import cv2
import numpy as np

SENSOR = 96  # width of the picture in which blur is told, and number of the noise's cells across one [px]
WHITE = 255.0  # brightest grey level
#: The standard normal distribution at 256 equally likely places, scaled to unit variance: what a random byte stands for.
_QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)])
_NORMAL = (_QUANTILES / _QUANTILES.std()).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """How bad a camera is. Ranges are drawn uniformly, for each camera alone: "station" once per `station_seed`, "episode" for each episode.

    Attributes:
        blur: standard deviation of the point spread, a round Gaussian: sharpest and softest, episode [px of a picture of `SENSOR` px].
        distortion: largest coefficient of radial distortion either way, station: by how much of its distance from the middle a point at half
            the picture's width is displaced, before all is scaled to fill the picture [share]. See `CameraModel.bend`.
        vignetting: light that is missing in the corners, growing with the square of the distance from the middle: least and most, station [share].
        exposure: factors on the brightness: darkest and brightest, episode [share].
        white_balance: how far the factor of each of red, green and blue may be from 1, episode [share].
        flicker: largest amplitude of a slow sine of the light, the same for all cameras, episode [share].
        flicker_period: of that sine: shortest and longest, episode [s].
        read_noise: standard deviation that each pixel and colour of each frame has in the dark [grey levels of `WHITE`].
        shot_noise: standard deviation that the light itself adds at full brightness; its variance grows with brightness [grey levels of `WHITE`].
        delay: from the moment a frame is taken to the observation that shows it, both ends included, episode [control periods].
    """

    blur: tuple[float, float]
    distortion: float
    vignetting: tuple[float, float]
    exposure: tuple[float, float]
    white_balance: float
    flicker: float
    flicker_period: tuple[float, float]
    read_noise: float
    shot_noise: float
    delay: tuple[int, int]


#: What `standard` levels have: the paper's kind of camera, in fair focus.
ORDINARY = CameraSpec(
    blur=(0.5, 1.2), distortion=0.03, vignetting=(0.1, 0.3), exposure=(0.85, 1.15), white_balance=0.05, flicker=0.03, flicker_period=(0.5, 2.0),
    read_noise=2.0, shot_noise=5.0, delay=(1, 2),
)  # fmt: skip
#: What `expert` levels have: out of focus now and then, and short of light.
POOR = replace(ORDINARY, blur=(0.7, 1.5), flicker=0.05, read_noise=3.0, shot_noise=7.0)
#: What `fleet` levels have: lenses that are less alike.
ASSORTED = replace(ORDINARY, distortion=0.05, vignetting=(0.05, 0.4), exposure=(0.75, 1.25))


@dataclass(slots=True)
class _Lens:
    """What one camera keeps at its station, and what it has drawn for an episode on top."""

    bend: float = 0.0
    dark: float = 0.0
    blur: float = 0.0
    gains: np.ndarray | None = None  # (3,) exposure times white balance


class CameraModel:
    """The cameras of one environment.

    Every frame's noise depends on nothing but the episode, the camera and the frame's number: to look twice shows the same, and to look or not changes
    nothing that comes later.

    Args:
        spec: how bad they are.
        names: of the cameras that there are.
        hz: rate of frames, one in each control period.
    """

    def __init__(self, spec: CameraSpec, names: Sequence[str], hz: float) -> None:
        self._spec, self._hz = spec, hz
        self._lenses = {name: _Lens() for name in names}
        self._order = list(self._lenses)
        self._maps: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}  # for remapping, by camera and size
        self._shades: dict[tuple[str, int], np.ndarray] = {}  # gains (size, size, 3), by camera and size
        self._under_way: list[tuple[int, dict[str, np.ndarray]]] = []  # (number, frames)

    def install(self, rng: np.random.Generator) -> None:
        """Draw the lenses of a station."""
        spec = self._spec
        for lens in self._lenses.values():
            lens.bend = float(rng.uniform(-spec.distortion, spec.distortion))
            lens.dark = float(rng.uniform(*spec.vignetting))
        self._maps.clear()
        self.begin(rng.spawn(1)[0])

    def begin(self, rng: np.random.Generator) -> None:
        """A new episode: draw focus, exposure, colours, flicker, delay, and what its noise is made from."""
        spec = self._spec
        for lens in self._lenses.values():
            lens.blur = float(rng.uniform(*spec.blur))
            balance = 1 + rng.uniform(-spec.white_balance, spec.white_balance, 3)
            lens.gains = rng.uniform(*spec.exposure) * balance
        self._flicker = float(rng.uniform(0, spec.flicker))
        self._pulse = 2 * math.pi / float(rng.uniform(*spec.flicker_period))
        self._phase = float(rng.uniform(0, 2 * math.pi))
        self._delay = int(rng.integers(spec.delay[0], spec.delay[1] + 1))
        self._key = int(rng.integers(2**63))
        self._shades.clear()
        self._under_way.clear()

    def bend(self, name: str) -> tuple[float, float]:
        """(k, s) of a camera: what it shows at (x, y) from the picture's middle, in half widths, a pinhole shows at s (1 + k r^2) (x, y).

        s is the largest at which the pinhole's picture still fills the whole of this one.
        """
        k = self._lenses[name].bend
        return k, 1 / max(
            1 + 2 * k, 1 + k
        )  # of the border the corners, or else the middles of the sides, look farthest out

    def expose(self, name: str, picture: np.ndarray, number: int) -> np.ndarray:
        """What a camera makes of a pinhole's picture (size, size, 3) uint8 in control period `number` of the episode: the same shape and type."""
        size, lens = len(picture), self._lenses[name]
        soft = cv2.GaussianBlur(picture, (0, 0), lens.blur * size / SENSOR, borderType=cv2.BORDER_REPLICATE)
        bent = cv2.remap(soft, *self._bending(name, size), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        flicker = 1 + self._flicker * math.sin(self._pulse * number / self._hz + self._phase)
        light = cv2.multiply(bent, self._shade(name, size), scale=flicker, dtype=cv2.CV_32F)
        deviation = np.sqrt(self._spec.read_noise**2 + light * (self._spec.shot_noise**2 / WHITE))
        return cv2.add(light, deviation * self._noise(name, size, number), dtype=cv2.CV_8U)

    def deliver(self, pictures: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        """Take a frame of each camera from a pinhole's pictures in this control period; get those that arrive now.

        At first that is the first one again and again: a policy begins in front of a scene that stands still.
        """
        taken = {name: self.expose(name, picture, number) for name, picture in pictures.items()}
        self._under_way.append((number, taken))
        while len(self._under_way) > 1 and self._under_way[1][0] <= number - self._delay:
            del self._under_way[0]
        # what arrives again is another array: whoever has the first one may write on it
        return {name: picture.copy() for name, picture in self._under_way[0][1].items()}

    def _bending(self, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        maps = self._maps.get((name, size))
        if maps is None:
            k, scale = self.bend(name)
            across, down = _from_the_middle(size)
            stretch = scale * (1 + k * (across**2 + down**2)) * size / 2
            middle = (size - 1) / 2
            maps = cv2.convertMaps(
                (middle + across * stretch).astype(np.float32),
                (middle + down * stretch).astype(np.float32),
                cv2.CV_16SC2,
            )
            self._maps[name, size] = maps
        return maps

    def _shade(self, name: str, size: int) -> np.ndarray:
        shade = self._shades.get((name, size))
        if shade is None:
            lens = self._lenses[name]
            across, down = _from_the_middle(size)
            falls = 1 - lens.dark / 2 * (across**2 + down**2)
            shade = self._shades[name, size] = (falls[..., None] * lens.gains).astype(np.float32)
        return shade

    def _noise(self, name: str, size: int, number: int) -> np.ndarray:
        """(size, size, 3) float32 of unit variance, independent between the cells of the sensor, colours, frames and cameras."""
        stream = np.random.Generator(np.random.SFC64((self._key, self._order.index(name), number)))
        drawn = np.frombuffer(stream.bytes(3 * SENSOR**2), np.uint8).reshape(SENSOR, SENSOR, 3)
        noise = cv2.LUT(drawn, _NORMAL)
        return noise if size == SENSOR else cv2.resize(noise, (size, size), interpolation=cv2.INTER_NEAREST)


def _from_the_middle(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels are, to the right (1, size) and down (size, 1), in half widths."""
    places = (np.arange(size) + 0.5) / (size / 2) - 1
    return places[None, :], places[:, None]
