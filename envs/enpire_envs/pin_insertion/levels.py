"""The levels of pin insertion. `PinInsertionEnv` shows them as a table; what each is for is in the catalogue, `envs/README.md`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from enpire_envs.appearance import AppearanceSpec
from enpire_envs.camera_model import ASSORTED, ORDINARY, POOR, CameraSpec
from enpire_envs.levels import EncoderSpec, TorqueSpec, WanderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeView:
    """Ranges of how an episode looks, on top of how its station does.

    Attributes:
        look: light, colours, and how far the camera has been knocked.
        marks: how many stains and screw heads lie about on the plate.
    """

    look: AppearanceSpec
    marks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StationView:
    """Ranges of how a station looks.

    Attributes:
        pitch: between the holes [m].
        turn: how far their grid may be turned [degrees].
        look: light, colours, and where the camera sits on the wrist.
    """

    pitch: tuple[float, float]
    turn: float
    look: AppearanceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PinStation:
    """Ranges of what stays the same for all episodes at one station; an episode's own draws come on top.

    Attributes:
        friction, stiffness, backlash: factors on the level's friction, on the end effector's stiffness and on the play of its encoders.
        grip_offset: radius of the disc in which the place where this gripper usually has a pin's tip is [m].
        delay: at most so many further control periods from an action to its effect.
        view: how it looks, at the levels that are seen by the wrist camera.
    """

    friction: tuple[float, float]
    stiffness: tuple[float, float]
    backlash: tuple[float, float]
    grip_offset: float
    delay: int
    view: StationView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PinLevel:
    """Numbers of one level; ranges are drawn per episode, uniformly, from the physics stream.

    Attributes:
        max_steps: time limit [control steps].
        tilt: whether a policy can turn the gripper ("hard") or not ("easy"); decides how far starts are tilted.
        clearance: hole less pin diameter [m].
        chamfer: height and width of the step at the pin's tip [m]; 0 for none.
        friction: nominal sliding friction, and the factors that it is multiplied by.
        stiffness: factors on the end effector's stiffness.
        grip_offset: radius of the disc in which the pin's tip is off in the gripper [m].
        grip_tilt: the same for the pin's tilt in the gripper [degrees].
        delay: from an action to its effect [control periods], both ends included.
        encoders: how the end effector's position and angles are sensed; None: exactly.
        torques: how the wrench is sensed; None: by a wrist sensor (`contact.WRENCH_SENSING`).
        hole: how the hole is seen; None: in one look at the start, off by an error drawn in a 2 mm disc.
        guard: felt force along the pin above which no command goes further down [N], until the pin is in; None: no such guard.
        wild: share of the usual starts that come from the wider range ("ood").
        view: how it looks to the wrist camera, by which alone policies then see; None: they have a hole estimate.
        camera: what that camera makes of it; None: a renderer's pictures as they are.
        station: what differs from station to station; None: nothing.
    """

    max_steps: int
    tilt: Literal["easy", "hard"] = "easy"
    clearance: tuple[float, float]
    chamfer: float
    friction: tuple[float, float, float]
    stiffness: tuple[float, float]
    grip_offset: float
    grip_tilt: float
    delay: tuple[int, int]
    encoders: tuple[EncoderSpec, EncoderSpec] | None
    torques: TorqueSpec | None
    hole: WanderSpec | None
    guard: float | None = None
    wild: float = 0.0
    view: EpisodeView | None = None
    camera: CameraSpec | None = None
    station: PinStation | None = None


INTRO = PinLevel(
    max_steps=600,
    clearance=(1e-4, 1e-4),
    chamfer=0.0005,
    friction=(0.3, 0.8, 1.2),
    stiffness=(1.0, 1.0),
    grip_offset=0.0,
    grip_tilt=0.0,
    delay=(0, 0),
    encoders=None,
    torques=None,
    hole=None,
)
STATE = PinLevel(
    max_steps=240,
    clearance=(5e-5, 1e-4),
    chamfer=0.0,
    friction=(0.3, 0.8, 1.25),
    stiffness=(5 / 6, 7 / 6),
    grip_offset=0.001,
    grip_tilt=2.0,
    delay=(1, 3),
    encoders=(
        EncoderSpec(bias=(0.0002, 0.0003), wavelength=0.02, backlash=0.0003, stiffness=5e4, noise=1e-4),
        EncoderSpec(bias=(0.002, 0.004), wavelength=0.2, backlash=0.003, stiffness=200.0, noise=0.0015),
    ),
    torques=TorqueSpec(bias=(0.5, 0.01), drift=(0.2, 0.004), stiction=(0.5, 0.01), noise=(0.5, 0.01), lag=0.03),
    hole=WanderSpec(
        radius=(0.002, 0.002), seconds=3.0, period=3, latency=3, dropout=0.1, outlier=0.03, outlier_size=(1.5, 4.0)
    ),
    station=PinStation(
        friction=(5 / 6, 1.2), stiffness=(0.9, 1.1), backlash=(0.8, 1.2), grip_offset=0.0005, delay=0, view=None
    ),
)
assert STATE.station is not None
STANDARD = replace(
    STATE,
    hole=None,
    guard=1.0,
    view=EpisodeView(
        look=AppearanceSpec(light=(0.7, 1.2), tint=0.05, direction=15.0, colour=0.05, camera=(0.001, 0.3))
    ),
    camera=ORDINARY,
    station=replace(
        STATE.station,
        view=StationView(
            pitch=(0.013, 0.017),
            turn=20.0,
            look=AppearanceSpec(light=(0.8, 1.1), tint=0.05, direction=20.0, colour=0.15, camera=(0.002, 1.5)),
        ),
    ),
)
EXPERT = replace(
    STANDARD,
    tilt="hard",
    clearance=(5e-5, 5e-5),
    friction=(0.33, 0.8, 1.25),
    view=EpisodeView(
        look=AppearanceSpec(light=(0.5, 1.3), tint=0.1, direction=25.0, colour=0.1, camera=(0.003, 1.0)), marks=8
    ),
    camera=POOR,
    wild=0.3,
)
FLEET = replace(
    STANDARD,
    camera=ASSORTED,
    station=PinStation(
        friction=(0.6, 1.6),
        stiffness=(0.7, 1.4),
        backlash=(0.5, 2.0),
        grip_offset=0.0015,
        delay=1,
        view=StationView(
            pitch=(0.012, 0.018),
            turn=45.0,
            look=AppearanceSpec(light=(0.6, 1.2), tint=0.1, direction=30.0, colour=0.2, camera=(0.004, 3.0)),
        ),
    ),
)

LEVELS = {"intro": INTRO, "state": STATE, "standard": STANDARD, "expert": EXPERT, "fleet": FLEET}
