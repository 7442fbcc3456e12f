"""One episode: reset, verify the reset, act until the environment's verdict, say what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from enpire_envs.contract import ContractError, check_info, contract_of, step_limit
from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.episode_file import EpisodeWriter

from autoenvbench.errors import UserError
from autoenvbench.station.actions import check_action
from autoenvbench.station.batch import Stop
from autoenvbench.station.faults import describe, is_device_fault, reason_of
from autoenvbench.station.film import Lens
from autoenvbench.station.policy_process import PolicyFault, PolicyProcess
from autoenvbench.station.window import Window


class Policy(Protocol):
    """What a rollout drives: a caged policy process, an expert or a random one."""

    def reset(self, observation: Any) -> None:
        """Begin an episode with its first observation."""

    def act(self, observation: Any) -> np.ndarray:
        """The action (n,) for an observation, once per control step. Raises PolicyFault."""


@dataclass(slots=True)
class Outcome:
    """How one episode went.

    `infrastructure`: the machine was at fault, as `detail` proves; no evidence about the policy. `interrupted`: it was ended from
    outside, and counts as it stands.
    """

    success: bool
    score: float
    stage: str
    reason: str | None
    detail: str | None
    violations: list[str]
    steps: int
    sim_s: float
    robot_s: float
    reset_attempts: int
    cell: str = "sim"
    scene: str | None = None  # digest of the whole initial scene, where the environment gives one
    infrastructure: bool = False
    interrupted: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)  # of a script: its tool calls

    @classmethod
    def of(cls, info: dict[str, Any], *, success: bool, **rest: Any) -> Outcome:
        """With what the episode's last `info` says; `rest` are the other fields."""
        return cls(
            success=success,
            score=float(info.get("score", success)),
            stage=str(info.get("stage", "")),
            violations=list(info.get("violations", [])),
            scene=info.get("scene"),
            **rest,
        )


def run_episode(
    env: gym.Env[Any, Any],
    policy: Policy,
    seed: int,
    options: dict[str, Any] | None = None,
    *,
    pace: float = 0.0,
    lens: Lens | None = None,
    record: EpisodeWriter | None = None,
    stop: Stop = lambda: None,
    on_begin: Callable[[], None] = lambda: None,
    robot: RobotTimer | None = None,
    window: Window | None = None,
) -> Outcome:
    """Run one episode of `policy` from the start that `seed` names.

    Args:
        options: of the environment's reset: `attempt` re-draws sensing and physics, `start` names the start itself.
        pace: 1 runs in real time by sleeping, 0 as fast as possible.
        lens: looks at it, for people.
        record: is given every step; an action's time is the environment's own, or at a pace, what the clock says.
        stop: asked before each step; an answer ends the episode, which counts as it stands. Time spent in it is no robot time.
        on_begin: called when the scene is ready, before the policy sees it.
        robot: counts the episode's robot time, also where nothing is returned; a new one by default.
        window: shows it to people who look on, in time that is left.

    Raises:
        ResetFailed, NotBegun: the scene could not be made ready, or was not needed any more; the policy saw nothing.
        ContractError: the environment is not what it says.
    """
    contract, last_step = contract_of(env), step_limit(env)
    control_period = 1.0 / contract.control_hz
    space = env.action_space
    assert isinstance(space, gym.spaces.Box)
    robot = robot or RobotTimer(env, pace)
    observation, info = begin(env, seed, options, stop, robot)
    on_begin()
    reset_attempts = int(info.get("reset_attempts", 1))
    steps, reason, detail, infrastructure, interrupted = 0, None, None, False, False
    if record is not None:
        record.begin(observation, info.get("start"))
    try:
        policy.reset(observation)
        terminated = truncated = False
        due = time.monotonic()
        timer = StepTimer(pace, control_period)
        while not (terminated or truncated):
            why, waited = robot.ask(stop)
            if why is not None:
                reason, detail, interrupted = "interrupted", why, True
                break
            due += waited
            timer.hold(waited)
            if lens is not None:
                lens.look(steps)
            action = check_action(policy.act(observation), space)
            given, late = timer.given(info.get("time", steps * control_period))
            observation, reward, terminated, truncated, info = env.step(action)
            steps += 1
            if record is not None:  # actions as they were executed: they replay
                late = bool(info.get("late", late))
                record.step(action, observation, float(reward), terminated, truncated, time=given, late=late, info=info)
            if pace:
                due += control_period / pace
            if window is not None:
                window.show(due - time.monotonic() if pace else math.inf)
            if pace:
                time.sleep(max(0.0, due - time.monotonic()))
            timer.told()
            if steps >= last_step and not (terminated or truncated):
                raise overdue(env, steps)
        if truncated and not {"reason", "success"} & {key for key, value in info.items() if value}:
            info = {**info, **contract.finish()}  # an outer limit, of which the environment does not know
        check_info(env, info, ended=steps > 0 and not interrupted)
        reason = reason or info.get("reason")
    except PolicyFault as fault:
        reason, detail, infrastructure = fault.reason, fault.detail, fault.infrastructure
        if isinstance(policy, PolicyProcess):
            policy.close()  # the next episode starts it afresh
    except CellFault as fault:
        reason, detail, infrastructure = reason_of(fault), str(fault), is_device_fault(fault)
    except ContractError:
        raise
    except Exception as error:  # raised while what the policy sent was carried out: its own outcome, and on record
        reason, detail = "env_error", describe(error)
    if lens is not None:
        lens.look(steps, last=True)
    success = bool(info.get("success")) and not infrastructure and detail is None
    robot.simulated = float(info.get("time", steps * control_period))
    return Outcome.of(
        info,
        cell=contract.kind,
        success=success,
        reason=None if success else (reason or "time_limit"),
        detail=detail,
        steps=steps,
        sim_s=robot.simulated,
        robot_s=robot.seconds(),
        reset_attempts=reset_attempts,
        infrastructure=infrastructure,
        interrupted=interrupted,
    )


class RobotTimer:
    """Counts robot time, from the reset on: how long the robot is kept busy [s].

    At a pace it is the machine's clock, and on arms their station's, pauses left out. Where time is simulated as fast as it goes (pace
    0) it is that time: a twin's own clock, or else the episode's, since a simulated cell that resets by writing its state needs none for it.

    Attributes:
        simulated: time of the episodes since the reset, as their environment tells it [s].
    """

    def __init__(self, env: gym.Env[Any, Any], pace: float) -> None:
        cell = contract_of(env).real_cell
        clock = cell.station.clock if cell is not None and not pace else None
        self._now = time.monotonic if clock is None else clock.now
        self._by_episode = clock is None and not pace
        self._holds = clock is None or not clock.virtual  # virtual time stands still in a pause anyway
        self._began: float | None = None
        self._held = 0.0
        self.simulated = 0.0

    def start(self) -> None:
        """A reset begins; the first one counts."""
        if self._began is None:
            self._began, self._held = self._now(), 0.0

    def ask(self, stop: Stop) -> tuple[str | None, float]:
        """What `stop` answers, and how long it took [s], which is no robot time."""
        asked = time.monotonic()
        why = stop()
        waited = time.monotonic() - asked
        self._held += waited if self._holds else 0.0
        return why, waited

    def seconds(self) -> float:
        """Robot time so far [s]."""
        if self._began is None:
            return 0.0
        return self.simulated if self._by_episode else self._now() - self._began - self._held


class StepTimer:
    """When actions are given [s since the episode's start], and whether they come late: after their control period.

    Where time stands still while the policy thinks (pace 0), the time is the environment's own and nothing is late. At a pace,
    wall-clock time is scaled to the environment's.
    """

    def __init__(self, pace: float, control_period: float) -> None:
        self._pace, self._period = pace, control_period
        self._began = self._told = time.monotonic()

    def hold(self, paused: float) -> None:
        """Leave out a pause [s]."""
        self._began += paused
        self._told += paused

    def given(self, simulated: float) -> tuple[float, bool]:
        """Time of the action that is given now, and whether it is late."""
        if not self._pace:
            return float(simulated), False
        now = time.monotonic()
        return (now - self._began) * self._pace, (now - self._told) * self._pace > self._period

    def told(self) -> None:
        """The policy sees what its action led to."""
        self._told = time.monotonic()


class NotBegun(Exception):
    """The batch was ended before or during a reset: no episode was begun."""


def begin(
    env: gym.Env[Any, Any], seed: int, options: dict[str, Any] | None, stop: Stop, robot: RobotTimer
) -> tuple[Any, dict[str, Any]]:
    """Reset to the start that seed and options name. Raises ResetFailed, NotBegun, ContractError; UserError for a start that the
    environment refuses."""
    if (why := robot.ask(stop)[0]) is not None:
        raise NotBegun(why)
    robot.start()
    try:
        observation, info = env.reset(seed=seed, options=options or None)
    except (ResetFailed, CellFault):
        raise
    except Exception as error:  # of an environment that was asked for something impossible: whatever it raises
        if options is None or "start" not in options:
            raise
        said = str(error) if isinstance(error, ValueError) else repr(error)
        raise UserError(f"this is no possible start: {said}") from None
    check_info(env, info, ended=False)
    if (why := robot.ask(stop)[0]) is not None:
        raise NotBegun(why)
    return observation, info


def overdue(env: gym.Env[Any, Any], steps: int) -> ContractError:
    """What is wrong with an episode that goes on after its last step."""
    return ContractError(
        f"{env} says `limit` and its episode goes on after {steps} steps; expected truncated=True there"
    )


__all__ = [
    "NotBegun", "Outcome", "Policy", "ResetFailed", "RobotTimer", "StepTimer", "begin", "overdue", "run_episode",
]  # fmt: skip
