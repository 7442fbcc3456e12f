"""Tools that plan: motion around what the depth cameras saw."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from enpire_envs.tools.episode import SECONDS, Episode, tool, vector
from enpire_envs.tools.log import ToolError
from enpire_envs.tools.motion import MotionTools
from enpire_envs.tools.servers import PlannerServer
from enpire_envs.tools.sight import SightTools


class PlannerTools:
    """Tools that move the hand around obstacles, by the body's own planner or one behind a URL."""

    def __init__(self, episode: Episode, motion: MotionTools, sight: SightTools) -> None:
        self._ep, self._motion, self._sight = episode, motion, sight
        url = episode.config.planner_url
        self._server = PlannerServer(url) if url else None

    @tool("motion")
    def freespace_move(self, position: Any, quaternion: Any = None, timeout: float = 15.0) -> dict[str, Any]:
        """Move the hand to a pose around the obstacles that the planner knows of. Raises where no way is found. Without a
        planner it moves straight. Returns what move_eef does, and "plan" in words."""
        goal = vector(position, 3)
        turn = vector(quaternion, 4)
        assert goal is not None
        if turn is None:
            turn = np.asarray(self._ep.body.state()["quaternion"])
        if not self._ep.config.planner or not (self._ep.body.plans or self._server):
            return {**self._motion.go(goal, turn, 0.006, timeout), "plan": "straight: no planner here"}
        plan = self._plan(goal, turn)
        if not plan["ok"]:
            raise ToolError("planning", f"freespace_move: {plan['why']}")
        joints, follow = plan.get("joints"), getattr(self._ep.body, "set_posture", None)
        began = self._ep.world.time()
        end = began + timeout
        for k, (point, rotation) in enumerate(zip(plan["positions"], plan["quaternions"], strict=True)):
            if follow is not None and joints is not None:
                follow(joints[k])
            if k % 2 and k + 1 < len(plan["positions"]):
                continue  # every other one is a guide rail already
            if self._ep.world.time() > end:
                break
            self._motion.go(point, rotation, 0.02, min(2.0, end - self._ep.world.time()), turn_tolerance=0.15)
        last = self._motion.go(goal, turn, 0.006, max(1.0, end - self._ep.world.time()))
        return {**last, "time": self._ep.world.time() - began, "plan": plan["why"]}

    def _plan(self, goal: np.ndarray, turn: np.ndarray) -> dict[str, Any]:
        seed = int(self._ep.rng.integers(2**31))
        self._ep.spend(SECONDS["plan"])
        if self._server is not None:
            return self._server.plan(
                self._ep.body.state()["joint_positions"],
                goal,
                turn,
                self._ep.cloud if self._ep.avoid else self._ep.cloud[:0],
            )
        plan: dict[str, Any] = cast(Any, self._ep.body).plan(goal, turn, seed, self._ep.avoid)
        return plan

    @tool("planner")
    def update_planner_world(self, cameras: Any = None) -> dict[str, Any]:
        """Add what these cameras (all) see now to the obstacles of freespace_move. Returns {"points"}."""
        seen = []
        for camera in sorted({self._sight.camera(camera) for camera in cameras or self._ep.body.cameras}):
            points = self._sight.points(camera)
            assert points is not None
            seen.append(points[::2, ::2].reshape(-1, 3))
        cloud = np.concatenate([self._ep.cloud, *seen])
        cloud = cloud[np.isfinite(cloud).all(1)]
        _, first = np.unique((cloud / 0.01).round().astype(int), axis=0, return_index=True)
        self._ep.cloud = cloud[first]
        keep = getattr(self._ep.body, "set_obstacles", None)
        count = keep(self._ep.cloud) if keep is not None and self._server is None else len(self._ep.cloud)
        return {"points": int(count)}

    @tool("planner")
    def refresh_planner_world(self, cameras: Any = None) -> dict[str, Any]:
        """Forget the obstacles and look anew. Returns {"points"}."""
        self._ep.cloud = self._ep.cloud[:0]
        return self.update_planner_world(cameras)

    @tool("planner")
    def disable_collision_avoid(self, disabled: bool = True) -> dict[str, Any]:
        """Let freespace_move ignore obstacles, to touch things on purpose; False minds them again."""
        self._ep.avoid = not disabled
        return {"avoiding": self._ep.avoid}
