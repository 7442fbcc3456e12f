"""The levels of Push-T. `PushTEnv` shows them as a table; what each is for is in the catalogue, `envs/README.md`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from enpire_envs.appearance import AppearanceSpec
from enpire_envs.camera_model import ASSORTED, ORDINARY, POOR, CameraSpec
from enpire_envs.levels import EncoderSpec, HidingSpec, WanderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSpec:
    """The arm that holds the fingertip, as the top camera sees it.

    Attributes:
        half_width: of the strip that it hides, from the fingertip towards its base [m].
        direction: how far that strip may be turned from straight towards -y, drawn per station [degrees].
    """

    half_width: float
    direction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What may differ, drawn uniformly: once per station and once per episode, each with ranges of its own.

    Attributes:
        friction: factors on the T's friction on the table.
        torsion: factors on how much of it resists turning.
        pressure: radius of the disc in which the T's weight may rest, around its centroid [m].
        tip_friction: factors on the friction between fingertip and T.
        stiffness: factors on the drives.
        tip_offset: radius of the disc in which the fingertip may be off in the gripper [m].
        look: what a camera sees differently.
    """

    friction: tuple[float, float] = (1.0, 1.0)
    torsion: tuple[float, float] = (1.0, 1.0)
    pressure: float = 0.0
    tip_friction: tuple[float, float] = (1.0, 1.0)
    stiffness: tuple[float, float] = (1.0, 1.0)
    tip_offset: float = 0.0
    look: AppearanceSpec = field(default_factory=AppearanceSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTLevel:
    """Numbers of one level.

    Attributes:
        images: whether a policy sees the top image and no pose.
        camera: what the camera makes of what there is to see; None: a renderer's pictures as they are.
        episode, station: what differs from episode to episode, and from station to station.
        delay: from an action to its effect [control periods], both ends included.
        encoders: how the fingertip's position is sensed; None: exactly.
        block: how the T's pose is seen, (x, y, yaw); None: by `task.SENSING`.
        hiding: share of the T behind the arm from which on perception gives no pose; None where no pose is given anyway.
        arm: what stands between camera and T; None: nothing.
        decoys: Ts of another colour that are printed on the table.
        clutter: other prints on the table.
        ood: share of the starts that are drawn from the wider range.
    """

    images: bool = False
    camera: CameraSpec | None = None
    episode: Spread
    station: Spread = field(default_factory=Spread)
    delay: tuple[int, int] = (0, 0)
    encoders: EncoderSpec | None = None
    block: WanderSpec | None = None
    hiding: HidingSpec | None = None
    arm: ArmSpec | None = None
    decoys: int = 0
    clutter: int = 0
    ood: float = 0.0


_ARM = ArmSpec(half_width=0.05, direction=30.0)
_ENCODERS = EncoderSpec(bias=(0.0005, 0.0010), wavelength=0.2, backlash=0.0005, stiffness=2e4, noise=0.0003)
_LIGHT = AppearanceSpec(light=(0.7, 1.25), tint=0.08, direction=20.0, colour=0.08)
_EPISODE = Spread(
    friction=(0.75, 1.33), torsion=(0.7, 1.3), pressure=0.006, tip_friction=(0.5, 1.5), tip_offset=0.002, look=_LIGHT
)
# two metres above the table a knock turns the camera by less than one on a bench, and shows as much
_KNOCKED = replace(_EPISODE, look=replace(_LIGHT, camera=(0.001, 0.05)))
_STATION = Spread(
    friction=(0.75, 1.33), torsion=(0.8, 1.25), pressure=0.006, tip_friction=(0.7, 1.4), stiffness=(0.8, 1.25),
    tip_offset=0.002, look=AppearanceSpec(colour=0.12, camera=(0.003, 0.1)),
)  # fmt: skip

LEVELS = {
    "intro": PushTLevel(episode=Spread(friction=(0.9, 1.1))),
    "state": PushTLevel(
        episode=_EPISODE,
        station=_STATION,
        delay=(1, 2),
        encoders=_ENCODERS,
        block=WanderSpec(
            radius=(0.003, 0.003, math.radians(2.0)), seconds=3.0, period=1, latency=1, dropout=0.05, outlier=0.03,
            outlier_size=(10.0, 30.0),
        ),
        hiding=HidingSpec(edges=((0.2, 0.4),), blur=0.05),
        arm=_ARM,
    ),
    "standard": PushTLevel(
        images=True, camera=ORDINARY, episode=_KNOCKED, station=_STATION, delay=(1, 2), encoders=_ENCODERS, arm=_ARM
    ),
    "expert": PushTLevel(
        images=True,
        camera=POOR,
        episode=Spread(
            friction=(0.6, 1.6), torsion=(0.6, 1.5), pressure=0.010, tip_friction=(0.4, 1.6), stiffness=(0.8, 1.25),
            tip_offset=0.003,
            look=AppearanceSpec(light=(0.55, 1.4), tint=0.12, direction=30.0, colour=0.10, camera=(0.003, 0.15)),
        ),
        station=_STATION,
        delay=(1, 3),
        encoders=_ENCODERS,
        arm=_ARM,
        decoys=1,
        clutter=4,
        ood=0.3,
    ),
    "fleet": PushTLevel(
        images=True,
        camera=ASSORTED,
        episode=_KNOCKED,
        station=Spread(
            friction=(0.5, 2.0), torsion=(0.6, 1.6), pressure=0.012, tip_friction=(0.4, 2.0), stiffness=(0.5, 1.6),
            tip_offset=0.004,
            look=AppearanceSpec(light=(0.7, 1.3), tint=0.10, direction=30.0, colour=0.20, camera=(0.010, 0.4)),
        ),
        delay=(0, 3),
        encoders=_ENCODERS,
        arm=_ARM,
    ),
}  # fmt: skip
