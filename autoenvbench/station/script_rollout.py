"""One episode of a script policy: the environment stays here, the script calls its tools from the cage."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gymnasium as gym
import numpy as np
from enpire_envs.contract import ContractError, check_info, contract_of, step_limit
from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.episode_file import EpisodeWriter
from enpire_envs.tools.config import ToolsConfig
from enpire_envs.tools.log import EpisodeOver, ToolError

from autoenvbench.errors import UserError
from autoenvbench.record.addresses import check_public
from autoenvbench.record.ledger import EventSink
from autoenvbench.station.actions import check_action
from autoenvbench.station.batch import Stop
from autoenvbench.station.faults import describe, is_device_fault, reason_of
from autoenvbench.station.film import Lens
from autoenvbench.station.policy_process import PolicyFault, PolicyProcess
from autoenvbench.station.rollout import NotBegun, Outcome, RobotTimer, StepTimer, begin, overdue
from autoenvbench.station.window import Window

if TYPE_CHECKING:
    from enpire_envs.tools.bodies import Body
    from enpire_envs.tools.episode import Ask

MAX_RESTARTS = 20  # of an episode in interactive mode


@dataclass(slots=True)
class ScriptSettings:
    """How scripts are run: their tools, and the model behind `vlm_query`."""

    tools: ToolsConfig = field(default_factory=ToolsConfig)
    ask: Ask | None = None

    def in_mode(self, interactive: bool) -> ScriptSettings:
        """These, with interactive mode's tools if asked for."""
        if not interactive or self.tools.mode != "canonical":
            return self
        return ScriptSettings(replace(self.tools, mode="interactive"), self.ask)


def checked_tools(tools: dict[str, Any], replay: str | None, base_url: str | None) -> ToolsConfig:
    """The tools' settings, whose model can be reached as far as can be known beforehand. Raises UserError."""
    try:
        config = ToolsConfig.of(tools)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from None
    if replay is not None:
        from autoenvbench.gateway.upstream import Replay

        Replay(Path(replay))
    if base_url is not None and not (urlsplit(base_url).scheme in ("http", "https") and urlsplit(base_url).hostname):
        raise UserError(f"{base_url!r} is not an address; write it like http://127.0.0.1:8000/v1")
    check_public(base_url)
    if config.vlm is not None and not (replay or base_url or os.environ.get("OPENAI_API_KEY")):
        raise UserError(
            f"vlm={config.vlm} needs OPENAI_API_KEY: type `export OPENAI_API_KEY=...` (or --base-url, or a script with --tools-replay)"
        )
    return config


@contextlib.contextmanager
def script_settings(
    tools: dict[str, Any], replay: str | None, base_url: str | None, ledger: EventSink
) -> Iterator[ScriptSettings]:
    """The settings of a run, with its model's door open as long as they are used. Raises UserError."""
    config = checked_tools(tools, replay, base_url)
    if config.vlm is None:
        yield ScriptSettings(config)
        return
    from autoenvbench.gateway.policy_models import PolicyModels

    with PolicyModels(ledger, config.vlm, Path(replay) if replay else None, base_url) as models:
        yield ScriptSettings(config, models.ask)


class ScriptWorld:
    """The environment as a toolbox acts on it: each step is checked, filmed and recorded like any other policy's."""

    def __init__(
        self, env: gym.Env[Any, Any], seed: int, options: dict[str, Any], pace: float, lens: Lens | None,
        record: EpisodeWriter | None, stop: Stop, robot: RobotTimer, window: Window | None = None,
    ) -> None:  # fmt: skip
        self._env, self._seed, self._options, self._stop, self._robot = env, seed, options, stop, robot
        self._pace, self._lens, self._record, self._window = pace, lens, record, window
        assert isinstance(env.action_space, gym.spaces.Box)
        self._space = env.action_space
        self._contract, self._last_step = contract_of(env), step_limit(env)
        self.period = 1.0 / self._contract.control_hz
        self.limit = self._last_step * self.period
        self.steps, self.restarts = 0, 0
        self.over = self.out_of_time = False
        self.interrupted: str | None = None
        self.broken: str | None = None  # what the environment raised
        self.breach: ContractError | None = None
        observation, self._info = begin(env, seed, options, stop, robot)
        self.reset_attempts = int(self._info.get("reset_attempts", 1))
        self._due = time.monotonic()
        self._timer = StepTimer(pace, self.period)
        if record is not None:
            record.begin(observation, self._info.get("start"))

    def step(self, action: np.ndarray) -> None:
        """One control step. Raises EpisodeOver at the end, ToolError for what is no possible action, CellFault."""
        if self.over:
            raise EpisodeOver("the episode is over")
        why, waited = self._robot.ask(self._stop)
        if why is not None:
            self.over, self.interrupted = True, why
            raise EpisodeOver("the episode was ended")
        self._due += waited
        self._timer.hold(waited)
        if self._lens is not None:
            self._lens.look(self.steps)
        try:
            action = check_action(action, self._space)
        except PolicyFault as fault:  # arguments from which no action follows
            raise ToolError("usage", f"this asks for no possible action: {fault.detail}") from None
        given, late = self._timer.given(self.time())
        try:
            observation, reward, terminated, truncated, self._info = self._env.step(action)
        except CellFault:
            raise
        except (
            Exception
        ) as error:  # the script's outcome: nothing goes on in an environment that broke under its action
            self.over, self.broken = True, describe(error)
            raise EpisodeOver("the episode is over: env_error") from None
        self.steps += 1
        self._robot.simulated = self.steps * self.period
        if self._record is not None:
            late = bool(self._info.get("late", late))
            self._record.step(
                action, observation, float(reward), terminated, truncated, time=given, late=late, info=self._info
            )
        if self._pace:
            self._due = max(self._due + self.period / self._pace, time.monotonic() - 1.0)  # thinking takes time, too
        if self._window is not None:
            self._window.show(self._due - time.monotonic() if self._pace else math.inf)
        if self._pace:
            time.sleep(max(0.0, self._due - time.monotonic()))
        self._timer.told()
        if terminated or truncated:
            self.over, self.out_of_time = True, truncated
            why = "success" if self._info.get("success") else str(self._info.get("reason") or "time_limit")
            raise EpisodeOver(f"the episode is over: {why}")
        if self.steps >= self._last_step:
            self.over, self.breach = True, overdue(self._env, self.steps)
            raise EpisodeOver("the episode is over: time_limit")

    def time(self) -> float:
        """Of the episode [s]."""
        return float(self._info.get("time", self.steps * self.period))

    def info(self) -> dict[str, Any]:
        """The `info` of the last step."""
        return self._info

    def restart(self, same: bool) -> None:
        """Interactive mode: begin anew, at the same start or another. Raises EpisodeOver, ResetFailed, NotBegun."""
        self.restarts += 1
        if self.restarts > MAX_RESTARTS:
            raise EpisodeOver(f"{MAX_RESTARTS} restarts are all there are in an episode")
        observation, self._info = begin(
            self._env, self._seed + (0 if same else self.restarts), self._options, self._stop, self._robot
        )
        if self._record is not None:  # what is kept is one episode, from its reset on
            self._record.begin(observation, self._info.get("start"))
            self._timer = StepTimer(self._pace, self.period)
        if self._lens is not None:
            self._lens.clear()

    def verdict(self) -> dict[str, Any]:
        """The last `info`, judged now where the environment judges at the end."""
        late = {"reason": "time_limit"} if self.out_of_time else {}
        return {**(self._contract.finish() or self._info), **late}


def tools_body(env: gym.Env[Any, Any]) -> Body:
    """What the tools of scripts move in an environment. Raises UserError where there are none."""
    body = contract_of(env).tools_body()
    if body is None:
        raise UserError(
            f"{env.spec.id if env.spec else env} has no tools, so it takes no script policies; write a class Policy"
        )
    return body


def run_script_episode(
    env: gym.Env[Any, Any], policy: PolicyProcess, seed: int, options: dict[str, Any], settings: ScriptSettings, *,
    pace: float = 0.0, lens: Lens | None = None, record: EpisodeWriter | None = None, stop: Stop = lambda: None,
    on_begin: Callable[[], None] = lambda: None, robot: RobotTimer | None = None, window: Window | None = None,
) -> Outcome:  # fmt: skip
    """Run `run(tools)` once from a start (see `run_episode`). Raises ResetFailed; UserError where the environment has no tools."""
    import scipy.spatial.transform  # noqa: F401  (tools compute with it: it is there before the robot's time begins)
    from enpire_envs.tools.toolbox import Toolbox

    robot = robot or RobotTimer(env, pace)
    body = tools_body(env)
    contract = contract_of(env)
    to_the_end = {"to_the_end": True} if "to_the_end" in contract.reset_options else {}
    world = ScriptWorld(env, seed, {**options, **to_the_end}, pace, lens, record, stop, robot, window)
    body.begin()
    toolbox = Toolbox(body, world, settings.tools, seed, settings.ask)
    on_begin()
    reason = detail = None
    infrastructure = False
    info = world.info()
    try:
        policy.run(toolbox.names(), toolbox.call)
        info = world.verdict()
        reason = info.get("reason")
    except PolicyFault as fault:
        reason, detail, infrastructure = fault.reason, fault.detail, fault.infrastructure
        info = world.info()
    except CellFault as fault:
        reason, detail, infrastructure = reason_of(fault), str(fault), is_device_fault(fault)
    except (ResetFailed, NotBegun):  # of a restart
        raise
    except Exception as error:  # raised while what the script asked for was carried out: its own outcome, and on record
        reason, detail = "env_error", describe(error)
    finally:
        body.close()
    if lens is not None:
        lens.look(world.steps, last=True)
    if world.breach is not None:
        raise world.breach
    check_info(env, info, ended=False)
    if world.broken is not None:
        reason, detail = "env_error", world.broken
    if world.interrupted is not None:
        reason, detail, infrastructure = "interrupted", world.interrupted, False
    success = bool(info.get("success")) and not infrastructure and detail is None
    if not success and reason in (None, "predicate", "policy_error") and toolbox.log.calls:
        cause = toolbox.log.cause()
        reason = cause if detail is None or cause != "predicate" else reason
    return Outcome.of(
        info,
        cell=contract.kind,
        success=success,
        reason=None if success else (reason or "predicate"),
        detail=detail,
        steps=world.steps,
        sim_s=world.steps * world.period,
        robot_s=robot.seconds(),
        reset_attempts=world.reset_attempts,
        infrastructure=infrastructure,
        interrupted=world.interrupted is not None,
        calls=toolbox.log.rows(),
    )
