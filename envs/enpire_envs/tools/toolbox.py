"""The tools of script policies. Every call advances the environment's time and goes through its own `step`, with the same
safety, time-limit and verdict checks.

Sources of the set: ENPIRE (arXiv 2606.19980) and CaP-X; the semantics here are our own and stand in each docstring, which is
what an agent is given to read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np

from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.tools import perception
from enpire_envs.tools.bodies import Body
from enpire_envs.tools.config import ToolsConfig
from enpire_envs.tools.log import CallLog, EpisodeOver, Group, ToolCall, ToolError, brief
from enpire_envs.tools.rotations import about, from_matrix, rotation_vector, to_matrix
from enpire_envs.tools.servers import PlannerServer, Segmenter, policy_server

OPENING_M = 0.08  # between the fingers of a wide open gripper
STRIDE_M, STRIDE_RAD = 0.03, 0.3  # of a moving target, ahead of the hand
NUDGE_M = 0.1  # the longest nudge
STALLED_S = 1.0  # without progress before a motion is given up
GATED = {
    "get_task_info": "interactive",
    "reset_env": "interactive",
    "reset_to_initial": "interactive",
    "get_oracle_targets": "oracle",
}


#: What a call takes that does not move anything, by tool or by group [s of the episode]; at least one control period.
_SECONDS = {"perception": 0.1, "planner": 0.1, "vlm_query": 1.0, "plan": 0.5}


class World(Protocol):
    """What the toolbox acts on: the environment, wrapped by whoever runs the episode."""

    period: float  # of one control step [s]
    limit: float  # of the episode [s]

    def step(self, action: np.ndarray) -> None:
        """One control period. Raises EpisodeOver."""

    def time(self) -> float:
        """Seconds since the start."""

    def info(self) -> dict[str, Any]: ...

    def restart(self, same: bool) -> None:
        """Begin anew, at the same start or the next one."""

    def observation(self) -> Any: ...


Ask = Callable[[str, np.ndarray | None], str]  # a question to the vision-language model, with an image or without


def tool(group: Group) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def mark(method: Callable[..., Any]) -> Callable[..., Any]:
        method.group = group  # type: ignore[attr-defined]
        return method

    return mark


class Toolbox:
    """One episode's tools.

    Args:
        seed: of whatever a tool draws.
        ask: the vision-language model, or None.
    """

    def __init__(self, body: Body, world: World, config: ToolsConfig, seed: int, ask: Ask | None = None) -> None:
        self._body, self._world, self._config, self._ask = body, world, config, ask
        self._rng = np.random.default_rng(seed)
        self._segmenter = Segmenter(config.segmenter_url) if config.segmenter_url else None
        self._planner = PlannerServer(config.planner_url) if config.planner_url else None
        self._policy = policy_server(config.policy_url) if config.policy_url else None
        self.log = CallLog()
        self._steps = 0
        self._grip: float | None = None
        self._avoid, self._cloud = True, np.zeros((0, 3))
        self._home = dict(body.state())
        self._hold: tuple[Any, Any] = (self._home["position"], self._home["quaternion"])

    # -- what a script's side calls ----------------------------------------------------------------------------------
    def names(self) -> list[str]:
        """The tools of this environment under this configuration."""
        return available(self._body, self._config)

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Run one tool. Raises ToolError, EpisodeOver."""
        method = getattr(type(self), name, None) if name in _TOOLS else None
        group = getattr(method, "group", "task")
        entry = ToolCall(name[:60], group, {}, self._world.time())
        self.log.calls.append(entry)
        began = self._steps
        try:
            if name in GATED:
                self._pass_gate(name)
            elif method is None or name not in self.names():
                raise ToolError("usage", f"there is no tool {name!r} here; there are: {', '.join(self.names())}")
            assert method is not None
            try:
                bound = inspect.signature(method).bind(self, *args, **kwargs)
            except TypeError as error:
                raise ToolError("usage", f"{name}: {error}; it is {name}{inspect.signature(method)}") from None
            entry.arguments = {key: brief(value) for key, value in bound.arguments.items() if key != "self"}
            try:
                result = method(*bound.args, **bound.kwargs)
            except (ToolError, EpisodeOver, CellFault, ResetFailed):
                raise
            except Exception as error:  # arguments that no tool is made for are the script's mistake, not the station's
                raise ToolError("usage", f"{name}: {type(error).__name__}: {error}") from None
            if self._steps == began:
                self._spend(_SECONDS.get(name) or _SECONDS.get(group, 0.0))  # to look and to think takes time as well
            entry.result = brief(result)
            return result
        except ToolError as error:
            entry.ok, entry.error, entry.kind = False, str(error)[:500], error.kind
            if self._steps == began:
                self._wait(1)
            raise
        except EpisodeOver as over:
            entry.ok, entry.error, entry.kind = True, str(over), "over"
            raise
        finally:
            entry.steps = self._steps - began

    def _pass_gate(self, name: str) -> None:
        order = ("canonical", "interactive", "oracle")
        if order.index(self._config.mode) < order.index(GATED[name]):
            raise ToolError(
                "gated", f"{name} is answered in {GATED[name]} mode only; this episode is {self._config.mode}"
            )

    # -- state -------------------------------------------------------------------------------------------------------
    @tool("state")
    def get_robot_state(self) -> dict[str, Any]:
        """{"position": (3,) m, "quaternion": (4,) w x y z, "joint_positions", "gripper_opening": 0 to 1, "base": (x, y, yaw), "time":
        s, "time_left": s}: of the hand, in the frame of every other tool."""
        state = self._body.state()
        now = self._world.time()
        return {**state, "time": now, "time_left": max(0.0, self._world.limit - now)}

    @tool("state")
    def get_gripper_info(self) -> dict[str, Any]:
        """{"opening": 0 to 1, "width": m, "holding": whether something keeps the closed fingers apart}."""
        opening = float(self._body.state()["gripper_opening"])
        closing = self._grip is not None and self._grip > 0
        return {"opening": opening, "width": opening * OPENING_M, "holding": bool(closing and opening > 0.03)}

    # -- gripper -----------------------------------------------------------------------------------------------------
    @tool("gripper")
    def open_gripper(self) -> dict[str, Any]:
        """Open wide; returns get_gripper_info()."""
        return self._set_grip(-1.0)

    @tool("gripper")
    def close_gripper(self) -> dict[str, Any]:
        """Close until something is held or the fingers meet; returns get_gripper_info()."""
        return self._set_grip(1.0)

    @tool("gripper")
    def set_gripper(self, opening: float) -> dict[str, Any]:
        """Open (above 0.5) or close; this gripper knows nothing in between. Returns get_gripper_info()."""
        return self._set_grip(-1.0 if float(opening) > 0.5 else 1.0)

    def _set_grip(self, grip: float) -> dict[str, Any]:
        self._grip = grip
        before, still = -1.0, 0
        for _ in range(round(2.0 / self._world.period)):
            self._act()
            opening = float(self._body.state()["gripper_opening"])
            still = still + 1 if abs(opening - before) < 0.003 else 0
            if still * self._world.period >= 0.25:
                break
            before = opening
        return self.get_gripper_info()

    # -- motion ------------------------------------------------------------------------------------------------------
    @tool("motion")
    def move_eef(
        self, position: Any = None, quaternion: Any = None, tolerance: float = 0.006, timeout: float = 8.0
    ) -> dict[str, Any]:
        """Move the hand straight to a position (3,) [m] and orientation (w, x, y, z), either may be None to keep it. Contact is
        not an error: returns {"reached", "position_error" [m], "rotation_error" [rad], "time" [s]}."""
        return self._go(_vector(position, 3), _vector(quaternion, 4), tolerance, timeout)

    @tool("motion")
    def freespace_move(self, position: Any, quaternion: Any = None, timeout: float = 15.0) -> dict[str, Any]:
        """Move the hand to a pose around the obstacles of the planner's world (update_planner_world fills it). Raises where no way
        is found. Without a planner it moves straight. Returns what move_eef does, and "plan" in words."""
        goal = _vector(position, 3)
        turn = _vector(quaternion, 4)
        assert goal is not None
        if turn is None:
            turn = np.asarray(self._body.state()["quaternion"])
        if not self._config.planner or not (self._body.plans or self._planner):
            return {**self._go(goal, turn, 0.006, timeout), "plan": "straight: no planner here"}
        plan = self._plan(goal, turn)
        if not plan["ok"]:
            raise ToolError("planning", f"freespace_move: {plan['why']}")
        joints, follow = plan.get("joints"), getattr(self._body, "set_posture", None)
        began = self._world.time()
        end = began + timeout
        for k, (point, rotation) in enumerate(zip(plan["positions"], plan["quaternions"], strict=True)):
            if follow is not None and joints is not None:
                follow(joints[k])
            if k % 2 and k + 1 < len(plan["positions"]):
                continue  # every other one is a guide rail already
            if self._world.time() > end:
                break
            self._go(point, rotation, 0.02, min(2.0, end - self._world.time()), turn_tolerance=0.15)
        last = self._go(goal, turn, 0.006, max(1.0, end - self._world.time()))
        return {**last, "time": self._world.time() - began, "plan": plan["why"]}

    def _plan(self, goal: np.ndarray, turn: np.ndarray) -> dict[str, Any]:
        seed = int(self._rng.integers(2**31))
        self._spend(_SECONDS["plan"])
        if self._planner is not None:
            return self._planner.plan(
                self._body.state()["joint_positions"], goal, turn, self._cloud if self._avoid else self._cloud[:0]
            )
        plan: dict[str, Any] = cast(Any, self._body).plan(goal, turn, seed, self._avoid)
        return plan

    @tool("motion")
    def nudge(self, offset: Any, timeout: float = 4.0) -> dict[str, Any]:
        """Move the hand by an offset (3,) of up to 0.1 m, straight, keeping its orientation. Returns what move_eef does."""
        step = _vector(offset, 3)
        assert step is not None
        if np.linalg.norm(step) > NUDGE_M:
            raise ToolError("usage", f"nudge: at most {NUDGE_M} m; use move_eef or freespace_move for longer ways")
        state = self._body.state()
        return self._go(np.asarray(state["position"]) + step, np.asarray(state["quaternion"]), 0.004, timeout)

    @tool("motion")
    def rotate_gripper_in_place(self, angle: float) -> dict[str, Any]:
        """Turn the hand about its approach axis by an angle [rad]. Returns what move_eef does."""
        state = self._body.state()
        turned = to_matrix(state["quaternion"]) @ about("z", float(angle))
        return self._go(np.asarray(state["position"]), from_matrix(turned), 0.006, 6.0)

    @tool("motion")
    def go_home(self) -> dict[str, Any]:
        """Move the hand back to where it was at the start. Returns what move_eef does."""
        return self._go(np.asarray(self._home["position"]), np.asarray(self._home["quaternion"]), 0.02, 10.0)

    @tool("motion")
    def move_base(self, x: float, y: float, yaw: float = 0.0, timeout: float = 8.0) -> dict[str, Any]:
        """Drive the base to (x, y) [m] and yaw [rad], seen from where it stood at the start. Returns {"reached", "base"}."""
        goal, best, stalled = np.array([x, y, yaw], float), np.inf, 0.0
        for _ in range(round(timeout / self._world.period)):
            error = goal - np.asarray(self._body.state()["base"])
            error[2] = (error[2] + np.pi) % (2 * np.pi) - np.pi
            size = float(np.linalg.norm(error))
            if np.linalg.norm(error[:2]) < 0.01 and abs(error[2]) < 0.02:
                break
            stalled = 0.0 if size < best - 0.002 else stalled + self._world.period
            best = min(best, size)
            if stalled > STALLED_S:
                break
            self._act(base=error)
        state = self._body.state()
        self._hold = (state["position"], state["quaternion"])  # the hand came along
        self._wait(2)
        error = goal - np.asarray(self._body.state()["base"])
        return {
            "reached": bool(np.linalg.norm(error[:2]) < 0.02 and abs(error[2]) < 0.05),
            "base": self._body.state()["base"],
        }

    def _go(
        self, position: np.ndarray | None, quaternion: np.ndarray | None, tolerance: float, timeout: float, *,
        turn_tolerance: float = 0.05,
    ) -> dict[str, Any]:  # fmt: skip
        began, best, stalled = self._world.time(), np.inf, 0.0
        if quaternion is None:
            quaternion = np.asarray(self._body.state()["quaternion"])
        goal_turn = to_matrix(quaternion)
        while True:
            state = self._body.state()
            here, turned = np.asarray(state["position"]), to_matrix(state["quaternion"])
            offset = np.zeros(3) if position is None else position - here
            turn = rotation_vector(goal_turn @ turned.T) if self._body.turns else np.zeros(3)
            distance, angle = float(np.linalg.norm(offset)), float(np.linalg.norm(turn))
            elapsed = self._world.time() - began
            reached = distance <= tolerance and angle <= turn_tolerance
            error = distance + 0.1 * angle
            stalled = 0.0 if error < best - 2e-4 else stalled + self._world.period
            best = min(best, error)
            if reached or elapsed >= timeout or stalled > STALLED_S:
                self._hold = (
                    (position, quaternion) if reached else (here, state["quaternion"])
                )  # where it got to: no pressing on
                return {"reached": reached, "position_error": distance, "rotation_error": angle, "time": elapsed}
            ahead = None if position is None else here + offset * min(1.0, STRIDE_M / max(distance, 1e-9))
            part = min(1.0, STRIDE_RAD / max(angle, 1e-9))
            towards = quaternion if part == 1.0 else from_matrix(_turn_by(turn * part) @ turned)
            self._act(ahead, towards)

    def _act(
        self, position: np.ndarray | None = None, quaternion: np.ndarray | None = None, base: np.ndarray | None = None
    ) -> None:
        self._steps += 1
        if position is None and quaternion is None:
            position, quaternion = self._hold
        self._world.step(self._body.action(position, quaternion, self._grip, base))

    def _spend(self, seconds: float) -> None:
        self._wait(max(1, round(seconds / self._world.period)))

    def _wait(self, steps: int) -> None:
        for _ in range(steps):
            self._act()

    # -- cameras -----------------------------------------------------------------------------------------------------
    @tool("camera")
    def get_camera_image(self, camera: str = "") -> np.ndarray:
        """(height, width, 3) uint8 RGB of a camera, at the fixed resolution of this study."""
        return self._body.rgb(self._camera(camera), self._config.width, self._config.height)

    @tool("camera")
    def get_camera_depth(self, camera: str = "") -> np.ndarray:
        """(height, width) float32 metres along the optical axis, aligned with the image."""
        return self._body.depth(self._camera(camera), self._config.width, self._config.height)

    @tool("camera")
    def get_camera_intrinsics(self, camera: str = "") -> np.ndarray:
        """(3, 3) pinhole matrix [px] of these images; the first pixel's centre is (0, 0)."""
        return self._body.intrinsics(self._camera(camera), self._config.width, self._config.height)

    @tool("camera")
    def get_camera_extrinsics(self, camera: str = "") -> np.ndarray:
        """(4, 4) pose of the camera (x right, y down, z forward) in the frame of get_robot_state."""
        return self._body.extrinsics(self._camera(camera))

    def _camera(self, name: str) -> str:
        if not name:
            return self._body.cameras[0]
        if name not in self._body.cameras:
            raise ToolError("usage", f"there is no camera {name!r}; there are: {', '.join(self._body.cameras)}")
        return name

    # -- perception --------------------------------------------------------------------------------------------------
    @tool("perception")
    def detect_object(self, prompt: str, camera: str = "") -> list[dict[str, Any]]:
        """What a prompt such as "the red cube" may mean, best first: [{"box": (x0, y0, x1, y1) px, "score", "position": (3,) m (median
        of its visible points), "extent": (3,) m}]. Raises where nothing is found."""
        camera = self._camera(camera)
        points = self._points(camera)
        found = []
        for region in self._regions(prompt, camera, points)[:8]:
            item: dict[str, Any] = {"box": list(region.box), "score": region.score}
            if points is not None:
                item |= _place(points[region.mask])
            found.append(item)
        return found

    @tool("perception")
    def segment_object(self, prompt: str, camera: str = "") -> np.ndarray:
        """(height, width) bool: the best region for a prompt. Raises where nothing is found."""
        camera = self._camera(camera)
        return self._regions(prompt, camera, self._points(camera))[0].mask

    @tool("perception")
    def segment_object_all(self, prompt: str, camera: str = "") -> np.ndarray:
        """(n, height, width) bool: every region for a prompt, best first. Raises where nothing is found."""
        camera = self._camera(camera)
        return np.array([region.mask for region in self._regions(prompt, camera, self._points(camera))[:16]])

    @tool("perception")
    def sample_grasp_pose(self, prompt: str = "", camera: str = "", mask: Any = None) -> list[dict[str, Any]]:
        """Grasps of an object by prompt or mask, best first: [{"position": (3,), "quaternion": (4,), "width": m, "score"}]; the hand's z
        axis approaches, its y axis closes. Raises where there is nothing to grasp."""
        camera = self._camera(camera)
        points = self._points(camera)
        assert points is not None
        chosen = np.asarray(mask, bool) if mask is not None else self._regions(prompt, camera, points)[0].mask
        if chosen.shape != points.shape[:2]:
            raise ToolError("usage", f"a mask is {points.shape[:2]}, this one {chosen.shape}")
        found = perception.grasps(points[chosen], OPENING_M, to_matrix(self._body.state()["quaternion"]))
        if not found:
            raise ToolError("perception", "sample_grasp_pose: too few points with depth to grasp anything")
        return found

    @tool("perception")
    def vlm_query(self, question: str, camera: str | None = "") -> str:
        """Ask a vision-language model about a camera's image now (None: without an image). Its tokens are metered apart."""
        assert self._ask is not None
        image = (
            None if camera is None else self._body.rgb(self._camera(camera), self._config.width, self._config.height)
        )
        return self._ask(str(question)[:4000], image)

    def _points(self, camera: str) -> np.ndarray | None:
        if not self._body.sees_depth:
            return None
        w, h = self._config.width, self._config.height
        return perception.to_points(
            self._body.depth(camera, w, h), self._body.intrinsics(camera, w, h), self._body.extrinsics(camera)
        )

    def _regions(self, prompt: str, camera: str, points: np.ndarray | None) -> list[perception.Region]:
        w, h = self._config.width, self._config.height
        rgb = self._body.rgb(camera, w, h)
        if self._config.prompts == "rewritten" and self._ask is not None:
            prompt = (
                self._ask(f"Reword for an object detector, at most four words, no punctuation: {prompt}", None).strip()
                or prompt
            )
        if self._segmenter is not None:
            found = self._segmenter.segment(prompt, rgb)
        else:
            found = perception.segment(str(prompt), rgb, points, self._body.robot_pixels(camera, w, h))
        if not found:
            raise ToolError(
                "perception",
                f"nothing like {prompt!r} in {camera}; look at get_camera_image, name a colour, try another camera",
            )
        return found

    # -- planner -----------------------------------------------------------------------------------------------------
    @tool("planner")
    def update_planner_world(self, cameras: Any = None) -> dict[str, Any]:
        """Add what these cameras (all) see now to the obstacles of freespace_move. Returns {"points"}."""
        seen = []
        for camera in sorted({self._camera(camera) for camera in cameras or self._body.cameras}):
            points = self._points(camera)
            assert points is not None
            seen.append(points[::2, ::2].reshape(-1, 3))
        cloud = np.concatenate([self._cloud, *seen])
        cloud = cloud[np.isfinite(cloud).all(1)]
        _, first = np.unique((cloud / 0.01).round().astype(int), axis=0, return_index=True)
        self._cloud = cloud[first]
        keep = getattr(self._body, "set_obstacles", None)
        count = keep(self._cloud) if keep is not None and self._planner is None else len(self._cloud)
        return {"points": int(count)}

    @tool("planner")
    def refresh_planner_world(self, cameras: Any = None) -> dict[str, Any]:
        """Forget the obstacles and look anew. Returns {"points"}."""
        self._cloud = self._cloud[:0]
        return self.update_planner_world(cameras)

    @tool("planner")
    def disable_collision_avoid(self, disabled: bool = True) -> dict[str, Any]:
        """Let freespace_move ignore obstacles, to touch things on purpose; False minds them again."""
        self._avoid = not disabled
        return {"avoiding": self._avoid}

    # -- task --------------------------------------------------------------------------------------------------------
    @tool("task")
    def get_task_description(self) -> str:
        """The task in words."""
        return self._body.instruction()

    @tool("task")
    def use_policy_output(self, prompt: str = "", steps: int = 0) -> dict[str, Any]:
        """Ask the configured policy server for actions from the cameras and the robot's state now, and execute them (the first
        `steps`; 0: all it sent). Returns {"actions": (n, dim), "executed": n}."""
        assert self._policy is not None
        w, h = self._config.width, self._config.height
        images = {camera: self._body.rgb(camera, w, h) for camera in self._body.cameras}
        actions = self._policy.actions(images, self._body.state(), prompt or self._body.instruction())
        chunk = actions[: steps or len(actions)]
        for action in chunk:
            self._steps += 1
            self._world.step(action)
        return {"actions": actions, "executed": len(chunk)}

    # -- gated -------------------------------------------------------------------------------------------------------
    @tool("gated")
    def get_task_info(self) -> dict[str, Any]:
        """The environment's `info` now: success, score, stage. Interactive mode only."""
        return {
            key: value
            for key, value in self._world.info().items()
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
        return self._body.targets()

    def _restart(self, *, same: bool) -> dict[str, Any]:
        self._world.restart(same)
        self._body.begin()
        self._grip, self._cloud, self._home = None, self._cloud[:0], dict(self._body.state())
        self._hold = (self._home["position"], self._home["quaternion"])
        self._wait(1)
        return self.get_robot_state()


_TOOLS = {name: method.group for name, method in vars(Toolbox).items() if hasattr(method, "group")}


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
        name for name, group in _TOOLS.items()
        if group != "gated" and not lacking.get(name) and name not in looking
        and (group not in blind or name == "vlm_query")
    ]  # fmt: skip


def reference(names: list[str]) -> str:
    """These tools with their docstrings, for briefs."""
    rows = []
    for name in names:
        method = getattr(Toolbox, name)
        parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
        plain = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
        rows.append(f"- `{name}({plain})`: {' '.join(inspect.cleandoc(method.__doc__ or '').split())}")
    return "\n".join(rows)


def _vector(value: Any, n: int) -> np.ndarray | None:
    if value is None:
        return None
    vector = np.asarray(value, float)
    if vector.shape != (n,) or not np.isfinite(vector).all():
        raise ToolError("usage", f"expected {n} finite numbers, got {value!r}"[:300])
    return vector


def _turn_by(vector: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    return to_matrix(np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * vector / angle]))


def _place(points: np.ndarray) -> dict[str, Any]:
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return {}
    low, high = np.percentile(points, [5, 95], axis=0)
    return {"position": np.median(points, axis=0), "extent": high - low}
