"""What a policy's author would otherwise find out by probing: a task's controller, its limits, its senses and its geometry, as Markdown.

An environment that can say this has a method ``brief() -> str`` (`contract.brief_of`), and an agent's TASK.md has what it returns. Our tasks
each have a module `brief` with one function ``describe(task, model, obs_type) -> str``, which fills a `Brief`. Its rules:

1. No number is typed into a sentence. Every one comes from the level in force, from a constant of the task or scene, or from the compiled
   model, through the words below (`mm`, `span`, `encoders`, ...). So what is said is what is run.
2. A range that episodes draw from is said, what an episode has drawn is not: the model is as compiled. Neither is what a station
   differs in.
3. What is exact is said to be exact, and what is noisy comes with its numbers. Two errors that add are said to add.
4. Every number of a level changes the brief, also those of a new level: where one is missing, the author of the level adds a row.

`tests/envs/test_brief.py` holds all tasks to 1 and 4. Nothing here changes an episode, so none of it is in a fingerprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enpire_envs.camera_model import SENSOR, WHITE, CameraSpec
from enpire_envs.end_effector import FRICTION_FACTORS
from enpire_envs.levels import EncoderSpec, TorqueSpec, WanderSpec
from enpire_envs.randomise import SensingSpec

if TYPE_CHECKING:
    import mujoco

    from enpire_envs.appearance import AppearanceSpec
    from enpire_envs.contact import SafetyLimits

Row = tuple[str, str]  # what, how much
_DRAWN = " per episode"
MILLIMETRES, DEGREES = ("mm", 1000.0), ("deg", math.degrees(1))  # units, and what SI is multiplied by


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """One task at one level.

    Attributes:
        controller: what moves, how stiffly, how late and within which limits.
        sensed: each part of the observation, and how well it is known.
        cameras: where each is (`enpire_envs.brief_cameras`).
        sketch: tool and target with their dimensions, in fixed-width characters.
        notes: what follows from these, in sentences.
    """

    controller: Sequence[Row]
    sensed: Sequence[Row]
    sketch: str
    notes: Sequence[str] = ()
    cameras: Sequence[Row] = ()

    def markdown(self) -> str:
        """The tables, the sketch and the notes, under headings of the third level."""
        return "\n\n".join(
            [
                "### Controller, limits and contact",
                _table(self.controller),
                "### What is sensed, and how well",
                _table(self.sensed),
                *(["### Where the cameras are", _table(self.cameras)] if self.cameras else []),
                *(["- " + "\n- ".join(self.notes)] if self.notes else []),
                "### Tool and target",
                f"```text\n{self.sketch.strip(chr(10))}\n```",
            ]
        )


def _table(rows: Iterable[Row]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {how} |" for what, how in rows)])


# -- quantities ---------------------------------------------------------------------------------------------------------
def number(value: float) -> str:
    """As short as it can be said, to six digits: 0.3, 25, 0.0001."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.6g}"


def span(low: float, high: float, unit: str, scale: float = 1.0) -> str:
    """ "0.2 to 0.45 N" of numbers that `scale` turns into the unit, or one number where both are the same."""
    first, last = number(low * scale), number(high * scale)
    return f"{first} {unit}".rstrip() if first == last else f"{first} to {last} {unit}".rstrip()


def mm(low: float, high: float | None = None) -> str:
    """Metres, in millimetres."""
    return span(low, low if high is None else high, "mm", 1000)


def degrees(low: float, high: float | None = None) -> str:
    """Radians, in degrees."""
    return span(low, low if high is None else high, "deg", math.degrees(1))


def periods(low: float, hz: float, high: float | None = None) -> str:
    """Control periods, with their time."""
    high = low if high is None else high
    unit, scale = ("s", 1.0) if high >= hz else ("ms", 1000.0)
    named = span(low, high, "control period" + ("s" if high != 1 else ""))
    return f"{named} ({span(low / hz, high / hz, unit, scale)})"


def drawn(low: float, high: float, unit: str, scale: float = 1.0) -> str:
    """A range that each episode draws from, or one number."""
    return span(low, high, unit, scale) + (_DRAWN if low != high else "")


def looks(spec: AppearanceSpec) -> str:
    """How far light, colours and cameras may be off, as far as they may."""
    metres, turned = spec.camera
    parts = [f"light {span(*spec.light, 'times')} as bright"] if spec.light != (1.0, 1.0) else []
    parts += [f"tinted by up to {number(100 * spec.tint)} %"] if spec.tint else []
    parts += [f"turned by up to {number(spec.direction)} deg"] if spec.direction else []
    parts += [f"colours of things off by up to {number(100 * spec.colour)} %"] if spec.colour else []
    parts += [f"cameras off by up to {mm(metres)} along each axis and {number(turned)} deg"] if metres or turned else []
    return ", ".join(parts) or "as it is"


# -- the end effector -----------------------------------------------------------------------------------------------------
def drives(model: mujoco.MjModel, turns: bool, factors: tuple[float, float] = (1.0, 1.0)) -> list[Row]:
    """Stiffness, lag and force limits of `end_effector.xml`'s drives, as compiled.

    Args:
        turns: whether the policy turns the tool as well.
        factors: smallest and largest that a level multiplies the stiffness by; damping goes with their root.
    """
    low, high = factors
    rows = [("control", "compliant: force = stiffness x (commanded - real pose), within the force limits")]
    sets = [(("ee_x", "ee_y"), "x, y", "N/m", "N"), (("ee_z",), "z", "N/m", "N"), (("ee_rx", "ee_ry", "ee_rz"), "rotation", "Nm/rad", "Nm")]  # fmt: skip
    for names, axes, unit, force in sets:
        drive = model.actuator(names[0])
        stiffness, damping, limit = drive.gainprm[0], -drive.biasprm[2], drive.forcerange[1]
        fast, slow = (round(1000 * damping / stiffness / math.sqrt(factor), 1) for factor in (high, low))
        moved = "" if turns or axes != "rotation" else " (not commanded; it gives way)"
        rows.append(
            (
                f"{axes}{moved}",
                f"{drawn(low * stiffness, high * stiffness, unit)}, at most {number(limit)} {force}; in free motion "
                f"{span(fast, slow, 'ms')} behind its target",
            )
        )
    reach = model.actuator("ee_x").actrange
    rows.append(("commanded position", f"{mm(*reach)} about the scene's origin; what goes beyond is cut"))
    return rows


def motion(names: str, step: float, hz: float, turn: bool = False) -> Row:
    """What an action of 1 does in a control period [m or rad]."""
    each, speed = (degrees(step), degrees(step * hz)) if turn else (mm(step), mm(step * hz))
    axes = "; the angles rx, ry, rz add up on their own, and the pose is turned by Rx(rx) Ry(ry) Rz(rz)" if turn else ""
    return f"action of 1 along {names}", f"moves the commanded pose by {each} per step ({speed}/s){axes}"


def delay(low: int, high: int, hz: float) -> Row:
    """From an action to its effect [control periods]."""
    if not (low or high):
        return "delay of actions", "none"
    return "delay of actions", periods(low, hz, high) + ("" if low == high else ", drawn per episode")


def safety(limits: SafetyLimits) -> list[Row]:
    """What ends an episode with a violation."""
    reach = ", ".join(f"{axis} {mm(low, high)}" for axis, low, high in zip("xyz", limits.low, limits.high, strict=True))
    return [
        ("violation `out_of_workspace`", f"end effector beyond {reach} of its start"),
        ("violation `force_limit`", f"more than {number(limits.force)} N for {number(limits.seconds)} s in a row"),
        ("violation `penetration`", f"bodies deeper than {mm(limits.depth)} in one another: motion that is too fast"),
    ]


def friction(what: str, nominal: float) -> Row:
    """Sliding friction as `end_effector.draw_friction` draws it."""
    low, high = FRICTION_FACTORS
    return f"friction of {what}", drawn(nominal * low, nominal * high, "")


def commanded_pose(*, late: bool = False) -> str:
    """How a policy knows what it has commanded."""
    when = "; the delay says from when on they count" if late else ""
    return f"The commanded pose is known exactly, though it is not observed: add up your own actions, clipped to the action space{when}."


# -- senses ---------------------------------------------------------------------------------------------------------------
def encoders(spec: EncoderSpec | None, *, angles: bool = False) -> str:
    """How well a tool's position, or how it is turned, is known."""
    if spec is None:
        return "exact"
    small, force = ("mrad", "Nm") if angles else ("mm", "N")
    wave = f"{number(spec.wavelength)} rad" if angles else mm(spec.wavelength)
    return (
        f"joint encoders: {number(1000 * spec.backlash)} {small} backlash; {number(1000 / spec.stiffness)} {small}/{force} of flex that they do not "
        f"see; an error of {span(*spec.bias, small, 1000)} at most that changes with the position over a wave of {wave}, drawn per episode and axis; "
        f"{number(1000 * spec.noise)} {small} noise per reading"
    )


#: Of every wrench: `end_effector.xml` has its sensors at the end effector's origin.
_WRENCH = (
    "what the surroundings exert on the tool, along the end effector's own axes, which turn with it; torques are about its origin, the point between the "
    "fingers whose position is commanded; "
)


def torques(spec: TorqueSpec | None, otherwise: SensingSpec) -> str:
    """What a wrench is, and how well it is known: through joint torques, or by a sensor of its own."""
    return _WRENCH + _errors(spec, otherwise)


def _errors(spec: TorqueSpec | None, otherwise: SensingSpec) -> str:
    if spec is None:
        return sensor(otherwise, "N", 1, of=slice(0, 3)) + "; " + sensor(otherwise, "mNm", 1000, of=slice(3, 6))

    def both(pair: tuple[float, float]) -> str:
        return f"{number(pair[0])} N and {number(1000 * pair[1])} mNm"

    return (
        f"joint torques: {both(spec.bias)} bias (std, drawn per episode), which drifts by {both(spec.drift)} per root second; changes below "
        f"{both(spec.stiction)} are not felt; {number(1000 * spec.lag)} ms lag; {both(spec.noise)} noise (std) per reading"
    )


def sensor(spec: SensingSpec, unit: str, scale: float = 1.0, of: slice = slice(None)) -> str:
    """How well a quantity is known that a `Sensor` reads: those of its components that share a unit, by the largest."""
    bias, noise = max(spec.bias_std[of]), max(spec.noise_std[of])
    if not bias and not noise and not any(spec.latency_steps) and not spec.dropout:
        return "exact"
    return f"{number(bias * scale)} {unit} bias (std, drawn per episode), {number(noise * scale)} {unit} noise (std) per reading"


def pictures(spec: CameraSpec | None, hz: float) -> str:
    """What a camera makes of what there is to see."""
    if spec is None:
        return "as a pinhole sees it, without noise or delay"
    k = number(spec.distortion)
    read, shot = number(spec.read_noise), number(spec.shot_noise)
    return (
        f"each {periods(spec.delay[0], hz, spec.delay[1])} old (drawn per episode; at first the start's own stays); blurred by a round Gaussian of "
        f"{span(*spec.blur, 'px')} (std, in a picture of {SENSOR} px; drawn per episode and camera); radial distortion: at (x, y) from the middle, in half widths, "
        f"is what a pinhole has at s (1 + k r^2) (x, y), k between -{k} and {k}, s the largest that leaves no empty border; corners darker by "
        f"{span(*spec.vignetting, '%', 100)}, with r^2 (a station keeps k and this for each camera); brightness {span(*spec.exposure, 'times')}, red, green and blue "
        f"up to {number(100 * spec.white_balance)} % off each (drawn per episode and camera), with a sine of up to {number(100 * spec.flicker)} % and "
        f"{span(*spec.flicker_period, 's')}; noise of each pixel, colour and frame: variance {read}^2 + {shot}^2 b / {number(WHITE)} at brightness b of "
        f"{number(WHITE)}"
    )


def dropouts(share: float) -> str:
    """How often a look gives nothing."""
    return f"{number(100 * share)} % of looks fail (`valid` 0, the last estimate stays)"


def wander(spec: WanderSpec, hz: float, units: Sequence[tuple[str, float]]) -> str:
    """How well a perception model knows where something is. `units`: (name, scale) of each component, such as ("mm", 1000)."""
    parts: dict[str, list[str]] = {}
    for radius, (unit, scale) in zip(spec.radius, units, strict=True):
        parts.setdefault(unit, []).append(number(radius * scale))
    bound = " and ".join(f"({', '.join(radii)}) {unit}" for unit, radii in parts.items())
    low, high = spec.outlier_size
    return (
        f"a look every {periods(spec.period, hz)}, {periods(spec.latency, hz)} old; off by up to {bound}, an error that wanders within "
        f"{number(spec.seconds)} s; {dropouts(spec.dropout)}; "
        f"{number(100 * spec.outlier)} % are wrong by {span(low, high, 'times')} that bound and say `valid` 1"
    )


def seen(
    obs_type: str, proprioception: Sequence[Row], others: Sequence[Row], cameras: Sequence[str], pictured: str
) -> list[Row]:
    """The rows of what this kind of observation carries; `pictured`: what `pictures` says."""
    image = (
        "`pixels`",
        f"{' and '.join(f'`{camera}`' for camera in cameras)}: {pictured}; nothing else of the scene is given",
    )
    return {"pixels": [image], "pixels_agent_pos": [*proprioception, image]}.get(obs_type, [*proprioception, *others])
