"""The levels of cutting. `CutZipTieEnv` shows them as a table; what each is for is in the catalogue, `envs/README.md`.

Why ranked levels begin with the cutter on its stand: fetching it is part of the job in the paper, and how it was grasped decides where the
blades are for the rest of the episode, which is what has to be seen or felt before the cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from enpire_envs.appearance import AppearanceSpec
from enpire_envs.camera_model import ASSORTED, ORDINARY, POOR, CameraSpec
from enpire_envs.levels import EncoderSpec, TorqueSpec, WanderSpec

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """How far starts spread, each way and uniformly.

    Attributes:
        along: of the gripper along the tail, or of the cutter along its stand [m].
        up: of the gripper: upwards, or across the cutter on its stand [m].
        turned: of gripper and cutter [degrees]; a lying cutter twice as far.
        tail: how far the tail is turned where it leaves the head: up, aside [degrees].
        tie: of the whole tie and its bundle from where a station has them: x, y, z [m].
        tie_turn: of the same, about x, y, z [degrees].
    """

    along: float
    up: float
    turned: float
    tail: tuple[float, float]
    tie: Three = (0.0, 0.0, 0.0)
    tie_turn: Three = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutStation:
    """Ranges of what stays the same for all episodes at one station; an episode's own draws come on top.

    Attributes:
        tie: how far from the scene's origin ties usually are, each way: x, y, z [m].
        tie_yaw: how far they are usually turned about z, each way [degrees].
        cutter: how far from its place in `intro` the cutter usually lies, each way: x, y [m].
        slip: how far off fingers usually have a cutter: along each axis [m], about each [degrees].
        friction, stiffness, backlash: factors on the episode's friction, the end effector's stiffness, and the encoders' play.
        delay: how many further control periods an action may need at most.
        look: light, colours and cameras.
    """

    tie: Three
    tie_yaw: float
    cutter: tuple[float, float]
    slip: tuple[float, float]
    friction: tuple[float, float]
    stiffness: tuple[float, float]
    backlash: tuple[float, float]
    delay: int = 0
    look: AppearanceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSenses:
    """How a robot senses itself.

    Attributes:
        linear, angular, jaw: the end effector's position and angles and the jaw's angle, through encoders.
        torques: the wrench, through joint torques.
        jaw_torque: the jaw's torque, in the same way: bias, drift, dead band, noise [Nm].
    """

    linear: EncoderSpec
    angular: EncoderSpec
    jaw: EncoderSpec
    torques: TorqueSpec
    jaw_torque: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutLevel:
    """Numbers of one level; ranges are drawn per episode, uniformly, from the physics stream.

    Attributes:
        start: where the cutter is unless one asks otherwise.
        max_steps: time limit [control steps].
        longest: stub that counts [m]; the shortest is what the head's tooth still holds.
        once: the first cut decides: a stub that is too long is a failure, too.
        usual, wide: the starts "id" and "ood".
        wild: share of the usual starts that come from the wide ones.
        tip: length of the tail beyond its first 40 mm [m].
        bend: how far the tail is bent at either of the two places where it gives, up and aside each [degrees].
        cut_force: on both blades at once, at which a strap parts [N].
        friction: factors on every friction.
        stiffness: factors on the end effector's stiffness.
        slip: how far the cutter slips in the fingers as they close: along each axis [m], about each [degrees].
        delay: from an action to its effect [control periods], both ends included.
        senses: how the robot senses itself; None: exactly, and the wrench by a wrist sensor.
        cutter, tie: how a perception model sees the cutter (its handle and the middle of its lower blade) and the tie (where the tail leaves
            the head, and its tip), six components each [m]; None: see `images`, or off by a draw per episode.
        images: whether policies see by cameras, and are given no poses.
        camera: what cameras make of what there is to see; None: a renderer's pictures as they are.
        look: what of it differs from episode to episode.
        decoys: how many other straps are about the same bundle, whose tails must stay.
        clutter: how many cut-off tails lie about on the bench.
        station: what differs from station to station; None: nothing.
    """

    start: Literal["held", "table"]
    max_steps: int
    longest: float
    once: bool
    usual: Starts
    wide: Starts
    wild: float = 0.0
    tip: tuple[float, float]
    bend: float
    cut_force: tuple[float, float]
    friction: tuple[float, float]
    stiffness: tuple[float, float]
    slip: tuple[float, float]
    delay: tuple[int, int]
    senses: CutSenses | None = None
    cutter: WanderSpec | None = None
    tie: WanderSpec | None = None
    images: bool = False
    camera: CameraSpec | None = None
    look: AppearanceSpec | None = None
    decoys: int = 0
    clutter: int = 0
    station: CutStation | None = None


_SEEN = WanderSpec(
    radius=(0.0045,) * 6, seconds=6.0, period=3, latency=4, dropout=0.1, outlier=0.04, outlier_size=(2.0, 5.0)
)

_STATION = CutStation(
    tie=(0.008, 0.006, 0.004), tie_yaw=8.0, cutter=(0.008, 0.004), slip=(0.001, 2.0), friction=(0.85, 1.15), stiffness=(0.9, 1.1),
    backlash=(0.8, 1.2), look=AppearanceSpec(colour=0.1),
)  # fmt: skip

INTRO = CutLevel(
    start="held",
    max_steps=600,
    longest=0.012,
    once=False,
    usual=Starts(along=0.012, up=0.008, turned=3.0, tail=(6.0, 10.0)),
    wide=Starts(along=0.018, up=0.012, turned=6.0, tail=(12.0, 20.0)),
    tip=(0.010, 0.010),
    bend=0.0,
    cut_force=(25.0, 25.0),
    friction=(0.8, 1.2),
    stiffness=(1.0, 1.0),
    slip=(0.0, 0.0),
    delay=(0, 0),
)
STATE = CutLevel(
    start="table",
    max_steps=450,
    longest=0.008,
    once=True,
    usual=Starts(along=0.012, up=0.012, turned=4.0, tail=(8.0, 12.0), tie=(0.008, 0.006, 0.005), tie_turn=(4.0, 4.0, 8.0)),
    wide=Starts(along=0.016, up=0.016, turned=5.0, tail=(12.0, 18.0), tie=(0.012, 0.008, 0.006), tie_turn=(6.0, 6.0, 12.0)),
    tip=(0.005, 0.020),
    bend=10.0,
    cut_force=(22.0, 42.0),
    friction=(0.75, 1.3),
    stiffness=(0.8, 1.2),
    slip=(0.0015, 3.0),
    delay=(1, 3),
    senses=CutSenses(
        linear=EncoderSpec(bias=(0.0002, 0.0004), wavelength=0.05, backlash=0.0002, stiffness=4e4, noise=5e-5),
        angular=EncoderSpec(bias=(0.002, 0.004), wavelength=0.2, backlash=0.001, stiffness=200.0, noise=0.0005),
        jaw=EncoderSpec(bias=(0.005, 0.015), wavelength=0.4, backlash=0.03, stiffness=20.0, noise=0.003),
        torques=TorqueSpec(bias=(0.5, 0.01), drift=(0.2, 0.004), stiction=(0.5, 0.01), noise=(0.5, 0.01), lag=0.03),
        jaw_torque=(0.02, 0.01, 0.03, 0.01),
    ),
    cutter=_SEEN,
    tie=_SEEN,
    station=_STATION,
)  # fmt: skip
STANDARD = replace(
    STATE,
    cutter=None,
    tie=None,
    images=True,
    camera=ORDINARY,
    look=AppearanceSpec(light=(0.75, 1.25), tint=0.05, direction=15.0, colour=0.05, camera=(0.001, 0.3)),
    station=replace(
        _STATION, look=AppearanceSpec(light=(0.85, 1.15), tint=0.05, direction=15.0, colour=0.12, camera=(0.004, 2.0))
    ),
)  # fmt: skip
EXPERT = replace(
    STANDARD,
    longest=0.006,
    wild=0.3,
    bend=18.0,
    cut_force=(26.0, 48.0),
    slip=(0.002, 4.0),
    camera=POOR,
    look=AppearanceSpec(light=(0.65, 1.35), tint=0.08, direction=25.0, colour=0.08, camera=(0.003, 1.5)),
    decoys=2,
    clutter=6,
)
FLEET = replace(
    STANDARD,
    camera=ASSORTED,
    station=CutStation(
        tie=(0.012, 0.009, 0.005), tie_yaw=12.0, cutter=(0.010, 0.006), slip=(0.002, 4.0), friction=(0.6, 1.6), stiffness=(0.7, 1.4),
        backlash=(0.3, 3.0), delay=2, look=AppearanceSpec(light=(0.7, 1.3), tint=0.08, direction=25.0, colour=0.15, camera=(0.008, 4.0)),
    ),
)  # fmt: skip

LEVELS = {"intro": INTRO, "state": STATE, "standard": STANDARD, "expert": EXPERT, "fleet": FLEET}
