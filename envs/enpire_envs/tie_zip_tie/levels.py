"""The levels of tying a zip tie. `TieZipTieEnv` shows them as a table; what each is for is in the catalogue, `envs/README.md`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from enpire_envs.appearance import AppearanceSpec
from enpire_envs.camera_model import ASSORTED, ORDINARY, POOR, CameraSpec
from enpire_envs.levels import EncoderSpec, HidingSpec, TorqueSpec, WanderSpec
from enpire_envs.randomise import SensingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSpec:
    """What one station may have for good, drawn uniformly; an episode's draws are on top.

    Attributes:
        head: how far the vise with the head is displaced along each axis [m], and turned about y and z [degrees].
        friction, drag, stiffness, backlash: factors on an episode's friction, ratchet, end effector and play of the encoders.
        hand_eye: how far the estimates of a camera are off along each axis [m].
        look: colours and cameras.
    """

    head: tuple[float, float]
    friction: tuple[float, float]
    drag: tuple[float, float]
    stiffness: tuple[float, float]
    backlash: tuple[float, float]
    hand_eye: float
    look: AppearanceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TieLevel:
    """Numbers of one level. Ranges are drawn per episode, uniformly: of the start from the start's stream, the others from the physics'.

    Attributes:
        max_steps: time limit [control steps].
        images: whether a policy has two views and proprioception, and no estimate.
        clearance: slot less strap [m].
        grip: where the fingers hold the strap, from its tip [m].
        off: the tip aside of the slot +- [m] and the gripper turned about y and z +- [degrees], at a start.
        far: the same for starts from the wider range ("ood").
        ood: share of the usual starts that come from the wider range.
        head: how far the head is displaced along each axis [m], and turned about y and z [degrees].
        curl: how the strap is bent at rest, per 10 mm: evenly about y, evenly about z, and anyhow at each joint [degrees].
        kink: largest further bend at one joint near the tip [degrees].
        yields: how far a joint may be bent before some of it stays [rad]; None: it springs back from everything.
        grasp: how far the strap is turned in the fingers about y and z [degrees].
        friction: nominal sliding friction, and the factors that it is multiplied by.
        drag: what the ratchet's pawl holds back with while the strap goes in [N].
        flex: factors on the stiffness of the strap.
        stiffness: factors on the stiffness of the end effector.
        delay: from an action to its effect [control periods], both ends included.
        encoders: how the end effector's position and angles are sensed; None: exactly.
        torques: how the wrench is sensed; None: by a wrist sensor (`contact.WRENCH_SENSING`).
        seen: how the head, and how the tip is seen: x, y, z [m], turned about y and z [rad]; None: with a bias and noise.
        hiding: when the head hides the tip, behind each of `scene.FACES` [m]; None where no perception model looks for it.
        past: how the length beyond the head is seen [m]; None: with noise alone.
        camera: what cameras make of what there is to see; None: a renderer's pictures as they are.
        look: light, and what else of the appearance changes between episodes.
        distractor: whether another zip tie lies about.
        station: what differs from station to station; None: nothing.
        fallen: the strap has been dropped when its mean height is below [m].
    """

    max_steps: int
    images: bool = False
    clearance: tuple[float, float]
    grip: tuple[float, float]
    off: tuple[float, float]
    far: tuple[float, float]
    ood: float = 0.0
    head: tuple[float, float] = (0.0, 0.0)
    curl: tuple[float, float, float] = (0.0, 0.0, 0.0)
    kink: float = 0.0
    yields: float | None = None
    grasp: float = 0.0
    friction: tuple[float, float, float]
    drag: tuple[float, float] = (0.0, 0.0)
    flex: tuple[float, float] = (1.0, 1.0)
    stiffness: tuple[float, float] = (1.0, 1.0)
    delay: tuple[int, int] = (0, 0)
    encoders: tuple[EncoderSpec, EncoderSpec] | None = None
    torques: TorqueSpec | None = None
    seen: tuple[WanderSpec, WanderSpec] | None = None
    hiding: HidingSpec | None = None
    past: SensingSpec | None = None
    camera: CameraSpec | None = None
    look: AppearanceSpec | None = None
    distractor: bool = False
    station: StationSpec | None = None
    fallen: float = -0.05


_SEEN = WanderSpec(
    radius=(0.0015, 0.0015, 0.0015, 0.06, 0.06), seconds=3.0, period=3, latency=3, dropout=0.1, outlier=0.03,
    outlier_size=(1.5, 4.0),
)  # fmt: skip

_STATE = TieLevel(
    max_steps=450,
    clearance=(5e-4, 8e-4),
    grip=(0.021, 0.055),
    off=(0.006, 5.0),
    far=(0.010, 7.0),
    head=(0.003, 6.0),
    curl=(1.5, 0.5, 0.5),
    grasp=3.0,
    friction=(0.15, 2 / 3, 1.5),
    drag=(0.2, 0.7),
    flex=(0.8, 1.4),
    stiffness=(0.75, 1.25),
    delay=(1, 3),
    encoders=(
        EncoderSpec(bias=(0.0002, 0.0003), wavelength=0.02, backlash=0.0001, stiffness=5e4, noise=3e-5),
        EncoderSpec(bias=(0.002, 0.004), wavelength=0.2, backlash=0.001, stiffness=200.0, noise=0.0005),
    ),
    torques=TorqueSpec(bias=(0.5, 0.01), drift=(0.2, 0.004), stiction=(0.5, 0.01), noise=(0.5, 0.01), lag=0.03),
    seen=(_SEEN, _SEEN),
    hiding=HidingSpec(edges=((0.0, 0.0015),) * 2 + ((-0.003, 0.0015),) * 4, blur=0.0003),
    past=SensingSpec(bias_std=(0.0005,), noise_std=(0.0005,), latency_steps=(3,), dropout=0.1),
    station=StationSpec(
        head=(0.002, 2.0),
        friction=(0.85, 1.2),
        drag=(0.8, 1.25),
        stiffness=(0.9, 1.1),
        backlash=(0.7, 1.4),
        hand_eye=0.0005,
        look=AppearanceSpec(light=(0.85, 1.1), tint=0.05, direction=15.0, colour=0.1, camera=(0.001, 0.5)),
    ),
    fallen=-0.08,
)  # fmt: skip

_STANDARD = replace(
    _STATE,
    images=True,
    seen=None,
    hiding=None,
    past=None,
    camera=ORDINARY,
    look=AppearanceSpec(light=(0.7, 1.25), tint=0.08, direction=15.0, camera=(0.001, 0.3)),
)

LEVELS = {
    "intro": TieLevel(
        max_steps=600,
        clearance=(8e-4, 8e-4),
        grip=(0.021, 0.055),
        off=(0.001, 3.0),
        far=(0.002, 5.0),
        friction=(0.15, 0.8, 1.2),
    ),
    "state": _STATE,
    "standard": _STANDARD,
    "expert": replace(
        _STANDARD,
        clearance=(4e-4, 6e-4),
        ood=0.25,
        head=(0.004, 8.0),
        curl=(3.0, 1.0, 1.0),
        kink=12.0,
        yields=0.2,
        drag=(0.3, 0.8),
        camera=POOR,
        look=AppearanceSpec(light=(0.5, 1.4), tint=0.12, direction=25.0, colour=0.05, camera=(0.003, 1.0)),
        distractor=True,
    ),
    "fleet": replace(
        _STANDARD,
        camera=ASSORTED,
        station=StationSpec(
            head=(0.004, 5.0),
            friction=(0.6, 1.7),
            drag=(0.6, 1.4),
            stiffness=(0.7, 1.4),
            backlash=(0.5, 3.0),
            hand_eye=0.001,
            look=AppearanceSpec(light=(0.75, 1.15), tint=0.07, direction=20.0, colour=0.15, camera=(0.004, 2.0)),
        ),
    ),
}
