"""The levels of GPU insertion. `GPUInsertionEnv` shows them as a table; what each is for is in the catalogue, `envs/README.md`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from enpire_envs.appearance import AppearanceSpec
from enpire_envs.camera_model import ASSORTED, ORDINARY, POOR, CameraSpec
from enpire_envs.levels import EncoderSpec, TorqueSpec, WanderSpec

Range = tuple[float, float]
Six = tuple[float, float, float, float, float, float]
_ALIKE, _NONE, _EXACT = (1.0, 1.0), (0.0, 0.0), (0.0,) * 6
_AS_BUILT = AppearanceSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSpread:
    """Ranges of what is not always the same, drawn uniformly: from the lower to the higher, or up to so much to either side.

    Attributes:
        friction, stiffness, rails, latch: factors on sliding friction, on the end effector's stiffness, on the springs of rails and latch.
        thicker: by how much the connector is thicker than it should be [m].
        late: by how much deeper the card must go before the latch snaps [m].
        grip: how far to either side the card is off in the gripper, along x, y, z [m] and about x, y, z [degrees].
        board: the same for the board with the slot, seen from the end effector's frame.
        delay: from an action to its effect [control periods], both ends included.
        look: light, colours and cameras.
    """

    friction: Range = _ALIKE
    stiffness: Range = _ALIKE
    rails: Range = _ALIKE
    latch: Range = _ALIKE
    thicker: Range = _NONE
    late: Range = _NONE
    grip: Six = _EXACT
    board: Six = _EXACT
    delay: tuple[int, int] = (0, 0)
    look: AppearanceSpec = _AS_BUILT

    def draw(self, rng: np.random.Generator) -> CardDraw:
        """One of them; the friction is drawn first."""
        ranges = [self.friction, self.stiffness, self.rails, self.latch, self.thicker, self.late]
        low, high = np.transpose(ranges)
        drawn = low + (high - low) * rng.random(len(ranges))
        grip, board = rng.uniform(-1, 1, (2, 6)) * (self.grip, self.board)
        grip[3:], board[3:] = np.radians(grip[3:]), np.radians(board[3:])
        least, most = self.delay
        delay = least + int((most - least + 1) * rng.random())
        return CardDraw(drawn[:4], np.concatenate([drawn[4:], grip, board]), delay)


@dataclass(frozen=True, slots=True)
class CardDraw:
    """What was drawn from a `CardSpread`: factors (4,), what is added (14,) [m, rad], and the delay [control periods]."""

    factors: np.ndarray
    added: np.ndarray
    delay: int

    def then(self, other: CardDraw) -> CardDraw:
        """This at a station, and the other in one of its episodes."""
        return CardDraw(self.factors * other.factors, self.added + other.added, self.delay + other.delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLevel:
    """Numbers of one level.

    Attributes:
        max_steps: time limit [control steps].
        chamfer: the slot's lead-in [m].
        turn: how far the gripper is turned at the start, about each axis: smallest and largest [degrees].
        ood: share of the "id" starts that are drawn from the wider "ood" range.
        decoy: whether there is a second slot beside the right one.
        station: what stays the same for all episodes at a station.
        episode: what every episode draws on top.
        images: whether a policy has images, z, rotation and wrench, and neither x and y nor an estimate.
        camera: what cameras make of what there is to see; None: a renderer's pictures as they are.
        encoders: how the end effector's position and angles are sensed; None: exactly.
        play: factors on the errors of those, drawn per station.
        torques: how the wrench is sensed; None: by a wrist sensor (`contact.WRENCH_SENSING`).
        slot: how the slot is seen; None: in one look at the start.
    """

    max_steps: int
    chamfer: float
    turn: Range = (0.0, 3.0)
    ood: float = 0.0
    decoy: bool = False
    station: CardSpread = CardSpread()
    episode: CardSpread
    images: bool = False
    camera: CameraSpec | None = None
    encoders: tuple[EncoderSpec, EncoderSpec] | None = None
    play: Range = _ALIKE
    torques: TorqueSpec | None = None
    slot: WanderSpec | None = None


_STATION_LOOK = AppearanceSpec(light=(0.8, 1.2), tint=0.1, direction=20.0, colour=0.15, camera=(0.003, 1.0))
_EPISODE_LOOK = AppearanceSpec(light=(0.7, 1.3), tint=0.1, direction=20.0, camera=(0.001, 0.3))

_STATE = CardLevel(
    max_steps=360,
    chamfer=0.0003,
    station=CardSpread(
        friction=(0.8, 1.25),
        rails=(0.9, 1.1),
        latch=(0.9, 1.1),
        grip=(0.0004, 0.0004, 0.0004, 0.5, 0.5, 0.5),
        board=(0.003, 0.003, 0.001, 0.5, 0.5, 1.5),
    ),
    episode=CardSpread(
        friction=(0.8, 1.25),
        stiffness=(0.75, 1.25),
        rails=(0.9, 1.1),
        latch=(0.9, 1.1),
        thicker=(0.0, 0.0001),
        grip=(0.0006, 0.0006, 0.0006, 1.0, 1.0, 1.0),
        board=(0.001, 0.001, 0.0005, 0.5, 0.5, 0.5),
        delay=(1, 3),
    ),
    encoders=(
        EncoderSpec(bias=(0.0002, 0.0003), wavelength=0.02, backlash=0.0001, stiffness=5e4, noise=5e-5),
        EncoderSpec(bias=(0.002, 0.004), wavelength=0.2, backlash=0.001, stiffness=1000.0, noise=0.0005),
    ),
    play=(0.8, 1.25),
    torques=TorqueSpec(bias=(0.5, 0.02), drift=(0.2, 0.008), stiction=(0.5, 0.02), noise=(0.5, 0.02), lag=0.03),
    slot=WanderSpec(
        radius=(0.003, 0.003, 0.003, 0.05, 0.05, 0.05),
        seconds=3.0, period=3, latency=3, dropout=0.1, outlier=0.03, outlier_size=(1.5, 4.0),
    ),
)  # fmt: skip
_STANDARD = replace(
    _STATE,
    images=True,
    camera=ORDINARY,
    slot=None,
    station=replace(_STATE.station, look=_STATION_LOOK),
    episode=replace(_STATE.episode, look=_EPISODE_LOOK),
)

LEVELS = {
    "intro": CardLevel(max_steps=600, chamfer=0.0005, episode=CardSpread(friction=(0.8, 1.2))),
    "state": _STATE,
    "standard": _STANDARD,
    "expert": replace(
        _STANDARD,
        chamfer=0.0002,
        turn=(3.0, 5.0),
        ood=0.3,
        decoy=True,
        camera=POOR,
        episode=replace(
            _STANDARD.episode,
            latch=(0.45, 0.7),
            late=(0.0001, 0.0003),
            thicker=(0.0001, 0.0002),
            look=replace(_EPISODE_LOOK, camera=(0.003, 1.5)),
        ),
    ),
    "fleet": replace(
        _STANDARD,
        station=CardSpread(
            friction=(0.6, 1.7),
            stiffness=(0.7, 1.4),
            rails=(0.75, 1.3),
            latch=(0.75, 1.3),
            grip=(0.001, 0.001, 0.001, 1.5, 1.5, 1.5),
            board=(0.006, 0.006, 0.002, 1.0, 1.0, 3.0),
            delay=(0, 2),
            look=AppearanceSpec(light=(0.6, 1.4), tint=0.2, direction=40.0, colour=0.25, camera=(0.008, 3.0)),
        ),
        play=(0.5, 2.5),
        camera=ASSORTED,
    ),
}
