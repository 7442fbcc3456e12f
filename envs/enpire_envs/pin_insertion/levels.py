"""The levels of pin insertion. `PinInsertionEnv` shows them as a table; what each is for is in the catalogue, `envs/README.md`."""

from __future__ import annotations

from dataclasses import dataclass

from enpire_envs.levels import EncoderSpec, TorqueSpec, WanderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PinLevel:
    """Numbers of one level; ranges are drawn per episode, uniformly, from the physics stream.

    Attributes:
        max_steps: time limit [control steps].
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
    """

    max_steps: int
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


LEVELS = {
    "intro": PinLevel(
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
    ),
    "state": PinLevel(
        max_steps=240,
        clearance=(5e-5, 1e-4),
        chamfer=0.0,
        friction=(0.3, 2 / 3, 1.5),
        stiffness=(0.75, 1.25),
        grip_offset=0.001,
        grip_tilt=2.0,
        delay=(1, 3),
        encoders=(
            EncoderSpec(bias=(0.0002, 0.0003), wavelength=0.02, backlash=0.0001, stiffness=5e4, noise=3e-5),
            EncoderSpec(bias=(0.002, 0.004), wavelength=0.2, backlash=0.001, stiffness=200.0, noise=0.0005),
        ),
        torques=TorqueSpec(bias=(0.5, 0.01), drift=(0.2, 0.004), stiction=(0.5, 0.01), noise=(0.5, 0.01), lag=0.03),
        hole=WanderSpec(
            radius=(0.002, 0.002), seconds=3.0, period=3, latency=3, dropout=0.1, outlier=0.03, outlier_size=(1.5, 4.0)
        ),
    ),
}  # fmt: skip
