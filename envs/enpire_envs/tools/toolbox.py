"""The tools of script policies. Every call advances the environment's time and goes through its own `step`, with the same
safety, time-limit and verdict checks.

Sources of the set: ENPIRE (arXiv 2606.19980) and CaP-X; the semantics here are our own and stand in each docstring, which is
what an agent is given to read.
"""

from __future__ import annotations

import inspect
from typing import Any

from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.tools.bodies import Body
from enpire_envs.tools.config import ToolsConfig
from enpire_envs.tools.episode import SECONDS, Ask, Episode, World, tool
from enpire_envs.tools.log import CallLog, EpisodeOver, ToolCall, ToolError, brief
from enpire_envs.tools.motion import MotionTools
from enpire_envs.tools.planning import PlannerTools
from enpire_envs.tools.servers import policy_server
from enpire_envs.tools.sight import SightTools

#: Which mode a gated tool is answered in.
GATED = {
    "get_task_info": "interactive",
    "reset_env": "interactive",
    "reset_to_initial": "interactive",
    "get_oracle_targets": "oracle",
}


class TaskTools:
    """What the task is, an external policy, and what is gated."""

    def __init__(self, episode: Episode) -> None:
        self._ep = episode
        url = episode.config.policy_url
        self._policy = policy_server(url) if url else None

    # -- task --------------------------------------------------------------------------------------------------------
    @tool("task")
    def get_task_description(self) -> str:
        """The task in words."""
        return self._ep.body.instruction()

    @tool("task")
    def use_policy_output(self, prompt: str = "", steps: int = 0) -> dict[str, Any]:
        """Ask the configured policy server for actions from the cameras and the robot's state now, and execute them (the first
        `steps`; 0: all it sent). Returns {"actions": (n, dim), "executed": n}."""
        assert self._policy is not None
        w, h = self._ep.config.width, self._ep.config.height
        images = {camera: self._ep.body.rgb(camera, w, h) for camera in self._ep.body.cameras}
        actions = self._policy.actions(images, self._ep.body.state(), prompt or self._ep.body.instruction())
        chunk = actions[: steps or len(actions)]
        for action in chunk:
            self._ep.steps += 1
            self._ep.world.step(action)
        return {"actions": actions, "executed": len(chunk)}

    # -- gated -------------------------------------------------------------------------------------------------------
    @tool("gated")
    def get_task_info(self) -> dict[str, Any]:
        """The environment's `info` now: success, score, stage. Interactive mode only."""
        return {
            key: value
            for key, value in self._ep.world.info().items()
            if key in ("success", "score", "stage", "time", "violations")
        }

    @tool("gated")
    def reset_env(self) -> dict[str, Any]:
        """Begin at another start. Interactive mode only."""
        return self._restart(same=False)

    @tool("gated")
    def reset_to_initial(self) -> dict[str, Any]:
        """Begin at the same start again. Interactive mode only."""
        return self._restart(same=True)

    @tool("gated")
    def get_oracle_targets(self) -> dict[str, Any]:
        """Where things really are. Only where a study enables the oracle."""
        return self._ep.body.targets()

    def _restart(self, *, same: bool) -> dict[str, Any]:
        self._ep.world.restart(same)
        self._ep.body.begin()
        self._ep.begin()
        self._ep.wait(1)
        return self._ep.body.state()


class Toolbox:
    """One episode's tools, by name.

    Args:
        seed: of whatever a tool draws.
        ask: the vision-language model, or None.
    """

    def __init__(self, body: Body, world: World, config: ToolsConfig, seed: int, ask: Ask | None = None) -> None:
        self._ep = Episode(body, world, config, seed, ask)
        motion, sight = MotionTools(self._ep), SightTools(self._ep)
        self._tools: dict[type, Any] = {
            MotionTools: motion,
            SightTools: sight,
            PlannerTools: PlannerTools(self._ep, motion, sight),
            TaskTools: TaskTools(self._ep),
        }
        self.log = CallLog()

    def names(self) -> list[str]:
        """The tools of this environment under this configuration."""
        return available(self._ep.body, self._ep.config)

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Run one tool. Raises ToolError, EpisodeOver."""
        owner, group = _TOOLS.get(name, (None, "task"))
        method = getattr(self._tools[owner], name) if owner else None
        entry = ToolCall(name[:60], group, {}, self._ep.world.time())
        self.log.calls.append(entry)
        began = self._ep.steps
        try:
            if name in GATED:
                self._pass_gate(name)
            elif method is None or name not in self.names():
                raise ToolError("usage", f"there is no tool {name!r} here; there are: {', '.join(self.names())}")
            assert method is not None
            try:
                bound = inspect.signature(method).bind(*args, **kwargs)
            except TypeError as error:
                raise ToolError("usage", f"{name}: {error}; it is {name}{inspect.signature(method)}") from None
            try:
                entry.arguments = {key: brief(value) for key, value in bound.arguments.items()}
                result = method(*bound.args, **bound.kwargs)
            except (ToolError, EpisodeOver, CellFault, ResetFailed):
                raise
            except Exception as error:  # arguments that no tool is made for are the script's mistake, not the station's
                raise ToolError("usage", f"{name}: {type(error).__name__}: {error}") from None
            if self._ep.steps == began:
                self._ep.spend(SECONDS.get(name) or SECONDS.get(group, 0.0))  # to look and to think takes time as well
            entry.result = brief(result)
            return result
        except ToolError as error:
            entry.ok, entry.error, entry.kind = False, str(error)[:500], error.kind
            if self._ep.steps == began:
                self._ep.wait(1)
            raise
        except EpisodeOver as over:
            entry.ok, entry.error, entry.kind = True, str(over), "over"
            raise
        finally:
            entry.steps = self._ep.steps - began

    def _pass_gate(self, name: str) -> None:
        order = ("canonical", "interactive", "oracle")
        if order.index(self._ep.config.mode) < order.index(GATED[name]):
            raise ToolError(
                "gated", f"{name} is answered in {GATED[name]} mode only; this episode is {self._ep.config.mode}"
            )


#: name -> (the class that has it, its group)
_TOOLS: dict[str, tuple[type, str]] = {
    name: (owner, method.group)
    for owner in (MotionTools, PlannerTools, SightTools, TaskTools)
    for name, method in vars(owner).items()
    if hasattr(method, "group")
}


def available(body: Body, config: ToolsConfig) -> list[str]:
    """The tools that a body has under a configuration; the gated ones are never among them."""
    plans = config.planner and (body.plans or config.planner_url is not None)
    lacking = {
        "get_gripper_info": not body.grips, "set_gripper": not body.grips, "open_gripper": not body.grips,
        "close_gripper": not body.grips, "rotate_gripper_in_place": not body.turns, "move_base": not body.drives,
        "get_camera_depth": not body.sees_depth, "sample_grasp_pose": not (body.sees_depth and body.grips),
        "update_planner_world": not (plans and body.sees_depth), "refresh_planner_world": not (plans and body.sees_depth),
        "disable_collision_avoid": not plans, "use_policy_output": config.policy_url is None,
        "vlm_query": config.vlm is None or config.vision == "none",
    }  # fmt: skip
    blind = {"camera", "perception"} if config.vision != "images" else set()
    looking = {"update_planner_world", "refresh_planner_world"} if blind else set()
    return [
        name for name, (_, group) in _TOOLS.items()
        if group != "gated" and not lacking.get(name) and name not in looking
        and (group not in blind or name == "vlm_query")
    ]  # fmt: skip


def reference(names: list[str]) -> str:
    """These tools with their docstrings, for briefs."""
    rows = []
    for name in names:
        method = getattr(_TOOLS[name][0], name)
        parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
        plain = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
        rows.append(f"- `{name}({plain})`: {' '.join(inspect.cleandoc(method.__doc__ or '').split())}")
    return "\n".join(rows)
