"""What a station needs to know of an environment: the contract for people who bring their own.

A station drives any `gymnasium.Env` with a `Box` of actions whose `info` says ``success`` (bool). It reads, where they are there,
``score`` (float in [0, 1]), ``stage`` (str), ``violations`` (list of str), ``reason`` (str: why a failed episode failed), ``time``
(seconds of the episode), ``reset_attempts`` (int), ``scene`` (digest of the whole start) and ``cell`` (the `kind` below).
`render()` gives people a picture, (height, width, 3) uint8, with ``render_mode="rgb_array"``.

An environment that says more of itself has all of `StationEnv` on its innermost object (`env.unwrapped`): it may inherit from
`enpire_envs.env.CellEnv`, or just have these names; nothing need be imported. One that has no method `identity` is taken as
`PlainEnv` says. One that has it and lacks or misstates another part is refused with an error that names that part.

It may also have what nobody misses: a `brief` (see `brief_of`), `names` of its numbers (`names_of`), and pictures that are drawn
later (`moments_of`).

A reset that brings no scene to a verified start raises `enpire_envs.env.ResetFailed(words, attempts)`: no episode is begun, and none
is counted. A fault of the cell itself (unstable physics, a lost camera) raises `enpire_envs.cell.CellFault`: no evidence about the
policy. Any other exception of `step` is an outcome of what the policy sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

if TYPE_CHECKING:
    from enpire_envs.env import CellEnv
    from enpire_envs.remote.env import RemoteEnv

KINDS = ("sim", "twin", "real", "stand-in")
#: CPU time that a policy may use per call of `act` where the environment does not say [ms].
ACT_CPU_MS = 250.0
#: Arguments that change how an environment is shown, and no episode.
SHOWN = ("render_mode", "visualization_width")


class ContractError(ValueError):
    """An environment says of itself what is not so; the message names the attribute, and what was expected."""


class Identity(TypedDict, total=False):
    """What episodes depend on beside id, arguments, seed and actions: what `enpire_envs.fingerprint` makes a digest of.

    Attributes:
        code: modules by import name. What they import of the environment's own package and of the suite counts as well, and the
            scenes (`*.xml`) that lie beside any of these.
        aside: modules that this code imports and no episode depends on.
        files: further files or folders that decide episodes, such as meshes.
        versions: of the physics and whatever else moves numbers, by package.
        scene: anything else, as text: a station file without its cables.
        ignore: arguments that change no episode, beside `SHOWN`.
        resolved: arguments whose defaults depend on others, as they came out.
        arguments: all arguments as the environment understood them, where `gymnasium.make` cannot know.
    """

    code: Sequence[str]
    aside: Collection[str]
    files: Sequence[Path]
    versions: dict[str, str]
    scene: str
    ignore: Collection[str]
    resolved: dict[str, Any]
    arguments: dict[str, Any]


class Limit(Protocol):
    """A time limit in control steps: `enpire_envs.time_limit.StepLimit(300)`."""

    def within(self, outer: Iterable[int]) -> int:
        """The limit in force inside of Gymnasium's `TimeLimit`s of so many steps."""


class StationEnv(Protocol):
    """What a station asks an environment. Plain attributes do as well as properties."""

    @property
    def kind(self) -> str:
        """Where episodes happen: "sim", "twin" (of a robot), "real", or "stand-in" (a scene in place of the simulator's own)."""

    @property
    def control_hz(self) -> float:
        """Control rate."""

    @property
    def limit(self) -> Limit:
        """Its own time limit: there it ends the episode with ``truncated`` and ``info["reason"] == "time_limit"``."""

    @property
    def act_cpu_ms(self) -> float:
        """CPU time that a policy may use per call of `act`."""

    @property
    def stages(self) -> tuple[str, ...]:
        """What ``info["stage"]`` may say of an episode, first to last; the last one is success. At a violation it is the stage reached
        before; another word there is passed on."""

    @property
    def in_process(self) -> bool:
        """Whether it lives in this process alone: its reset costs little then, and it needs no `close` when the process ends."""

    @property
    def reset_options(self) -> Collection[str]:
        """What `reset(options=...)` understands: "attempt" (an int that re-draws sensing and physics at one start), "start" (an
        exact start), "station" (an int: another station from now on, where stations differ), "to_the_end" (of scripts: success ends no episode, `finish` judges)."""

    @property
    def real_cell(self) -> Any:
        """The `enpire_real.cell.RealCell` whose arms a person may stop, of kinds "twin" and "real"; else None."""

    def finish(self) -> dict[str, Any]:
        """End the episode as it stands and return its last `info`: when a script has returned, or an outer limit ended it."""

    def tools_body(self) -> Any:
        """The `enpire_envs.tools.bodies.Body` that the tools of script policies move, or None where there are none."""

    def identity(self) -> Identity:
        """What episodes depend on."""


class PlainEnv:
    """How a station takes an environment that says nothing of itself: the defaults, all in one place.

    A simulation, at the rate of `metadata["render_fps"]` (30 Hz without), limited by the `TimeLimit`s around it, judged by its last `info`,
    with no tools. Attempts at one start are the same episode, unless it draws from elsewhere.
    """

    kind = "sim"
    act_cpu_ms = ACT_CPU_MS
    stages: tuple[str, ...] = ()  # not known
    in_process = False
    reset_options: tuple[str, ...] = ()
    real_cell = None

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self._env = env
        self.control_hz = float(env.metadata.get("render_fps") or 30)

    @property
    def limit(self) -> Limit:
        return _OuterLimit(str(self._env))

    def finish(self) -> dict[str, Any]:
        return {}

    def tools_body(self) -> None:
        return None

    def identity(self) -> Identity:
        return {"code": [type(self._env).__module__]}


@dataclass(frozen=True, slots=True)
class _OuterLimit:
    name: str

    def within(self, outer: Iterable[int]) -> int:
        if not (limits := list(outer)):
            raise ContractError(f"{self.name} has no time limit; register it with max_episode_steps=...")
        return min(limits)


def contract_of(env: gym.Env[Any, Any]) -> StationEnv:
    """What an environment says to a station, checked. Raises ContractError."""
    inner: Any = env.unwrapped
    if not hasattr(inner, "identity"):
        return PlainEnv(inner)
    name = env.spec.id if env.spec else type(inner).__name__
    for attribute, (expected, holds) in _RULES.items():
        if not hasattr(inner, attribute):
            raise ContractError(f"{name} lacks `{attribute}`, expected {expected}: see enpire_envs.contract.StationEnv")
        value = getattr(inner, attribute)
        if not holds(value):
            raise ContractError(f"{name} says {attribute}={value!r}, expected {expected}")
    if (inner.real_cell is None) != (inner.kind in ("sim", "stand-in")):
        has = "no" if inner.real_cell is None else "a"
        raise ContractError(
            f"{name} says kind={inner.kind!r} and has {has} `real_cell`; twins and real cells have one, others none"
        )
    contract: StationEnv = inner
    return contract


def brief_of(env: gym.Env[Any, Any]) -> str:
    """What an environment says to whoever writes a policy, beside its docstring: ``brief() -> str``, Markdown with headings of the third level.

    Its controller, limits, senses and geometry in the numbers in force, so that nobody spends episodes on finding them out; what an episode
    has drawn is not in it. `enpire_envs.brief` has the parts, and the rules for our own tasks. Empty where there is no such method.
    Raises ContractError where it returns no text.
    """
    say = getattr(env.unwrapped, "brief", None)
    if say is None:
        return ""
    if not callable(say) or not isinstance(text := say(), str):
        raise ContractError(f"{env} says a `brief` that is no text; expected a method that returns Markdown")
    return text.strip()


def names_of(env: gym.Env[Any, Any]) -> dict[str, list[str]]:
    """What an environment calls the numbers of its vectors: its optional ``names``, by column of `enpire_envs.episode_file`.

    ``{"observation": ["x", "y", "z", "fx", ...]}``, or of a dictionary ``{"observation.agent_pos": [...], ...}``, and ``"action"``. What
    plots draw goes by these: ``x y z`` of the tool [m], ``rx ry rz`` [rad], ``fx fy fz`` [N] and ``tx ty tz`` [Nm] that it feels; the rest is
    free. A column whose names are not as many as its numbers is left out.
    """
    names = getattr(env.unwrapped, "names", None) or {}
    sizes: dict[str, int] = {}
    for column, space in (("observation", env.observation_space), ("action", env.action_space)):
        parts = space.spaces if isinstance(space, gym.spaces.Dict) else {"": space}
        shapes = {f"{column}.{key}".rstrip("."): part.shape or () for key, part in parts.items()}
        sizes |= {key: shape[0] for key, shape in shapes.items() if len(shape) == 1}
    return {
        column: [str(name) for name in names[column]]
        for column, size in sizes.items()
        if column in names and len(names[column]) == size
    }


@dataclass(frozen=True, slots=True)
class Moments:
    """How pictures of an episode are drawn after it: only those that somebody wants.

    Attributes:
        keep: returns what `draw` needs to show the scene as it is now; quick, and without consequence for the episode.
        draw: the picture (height, width, 3) uint8 of a moment that was kept. The scene stays there, until the next reset.
    """

    keep: Callable[[], Any]
    draw: Callable[[Any], np.ndarray]


def moments_of(env: gym.Env[Any, Any]) -> Moments | None:
    """An environment's optional methods ``moment()`` and ``draw(moment)``; None where a picture must be taken when there is something to see."""
    inner: Any = env.unwrapped
    if contract_of(env).real_cell is not None or not (hasattr(inner, "moment") and hasattr(inner, "draw")):
        return None
    return Moments(inner.moment, inner.draw)


def check_info(env: gym.Env[Any, Any], info: dict[str, Any], *, ended: bool) -> None:
    """Hold an `info` against what the environment says of itself. Raises ContractError.

    Args:
        info: of a reset, or of the last step.
        ended: whether the episode is over, so that it must say how it ended.
    """
    contract = contract_of(env)
    if info.get("cell", contract.kind) != contract.kind:
        raise ContractError(f"{env} says kind={contract.kind!r}, and its info says cell={info['cell']!r}")
    stage = info.get("stage")
    if stage and contract.stages and not info.get("violations") and stage not in contract.stages:
        raise ContractError(f"{env} says stages={contract.stages}, and its info says stage={stage!r}")
    if ended and "success" not in info:
        raise ContractError(f"{env} ends an episode without `success` in its info; expected True or False")


def step_limit(env: gym.Env[Any, Any]) -> int:
    """The time limit in force of an environment with all that is wrapped around it [control steps].

    Raises ContractError for an environment that has none.
    """
    contract, outer = contract_of(env), []
    while isinstance(env, gym.Wrapper):
        if isinstance(env, TimeLimit):
            outer.append(env._max_episode_steps)
        env = env.env
    return contract.limit.within(outer)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _names(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str) and all(isinstance(name, str) for name in value)


#: Attribute -> what is expected, in words, and whether a value is that.
_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": (f"one of {', '.join(KINDS)}", lambda value: value in KINDS),
    "control_hz": ("a rate above 0 Hz", _positive),
    "limit": ("a StepLimit of control steps", lambda value: callable(getattr(value, "within", None))),
    "act_cpu_ms": ("milliseconds above 0", _positive),
    "stages": ("names of stages, the last one success", lambda value: _names(value) and len(value) > 0),
    "in_process": ("True or False", lambda value: isinstance(value, bool)),
    "reset_options": ("names of reset options", _names),
    "real_cell": ("a RealCell or None", lambda value: True),
    "finish": ("a method", callable),
    "tools_body": ("a method", callable),
    "identity": ("a method", callable),
}


if TYPE_CHECKING:

    def _ours(cell: CellEnv, remote: RemoteEnv) -> tuple[StationEnv, ...]:
        """The type checker holds our own environments to the contract."""
        return cell, remote
