"""Tools that say where the robot is and move it: state, gripper, straight motion, base."""

from __future__ import annotations

from typing import Any

import numpy as np

from enpire_envs.tools.episode import Episode, tool, vector
from enpire_envs.tools.log import ToolError
from enpire_envs.tools.rotations import about, from_matrix, from_vector, rotation_vector, to_matrix

OPENING_M = 0.08  # between the fingers of a wide open gripper
STRIDE_M, STRIDE_RAD = 0.03, 0.3  # of a moving target, ahead of the hand
NUDGE_M = 0.1  # the longest nudge
STALLED_S = 1.0  # without progress before a motion is given up


class MotionTools:
    """Tools that read the robot's state and move hand, gripper and base in straight lines."""

    def __init__(self, episode: Episode) -> None:
        self._ep = episode

    # -- state -------------------------------------------------------------------------------------------------------
    @tool("state")
    def get_robot_state(self) -> dict[str, Any]:
        """{"position": (3,) m, "quaternion": (4,) w x y z, "joint_positions", "gripper_opening": 0 to 1, "base": (x, y, yaw), "time":
        s, "time_left": s}: of the hand, in the frame of every other tool."""
        state = self._ep.body.state()
        now = self._ep.world.time()
        return {**state, "time": now, "time_left": max(0.0, self._ep.world.limit - now)}

    @tool("state")
    def get_gripper_info(self) -> dict[str, Any]:
        """{"opening": 0 to 1, "width": m, "holding": whether something keeps the closed fingers apart}."""
        opening = float(self._ep.body.state()["gripper_opening"])
        closing = self._ep.grip is not None and self._ep.grip > 0
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
        self._ep.grip = grip
        before, still = -1.0, 0
        for _ in range(round(2.0 / self._ep.world.period)):
            self._ep.act()
            opening = float(self._ep.body.state()["gripper_opening"])
            still = still + 1 if abs(opening - before) < 0.003 else 0
            if still * self._ep.world.period >= 0.25:
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
        return self.go(vector(position, 3), vector(quaternion, 4), tolerance, timeout)

    @tool("motion")
    def nudge(self, offset: Any, timeout: float = 4.0) -> dict[str, Any]:
        """Move the hand by an offset (3,) of up to 0.1 m, straight, keeping its orientation. Returns what move_eef does."""
        step = vector(offset, 3)
        assert step is not None
        if np.linalg.norm(step) > NUDGE_M:
            raise ToolError("usage", f"nudge: at most {NUDGE_M} m; use move_eef or freespace_move for longer ways")
        state = self._ep.body.state()
        close = min(0.004, 0.2 * float(np.linalg.norm(step)))
        return self.go(np.asarray(state["position"]) + step, np.asarray(state["quaternion"]), close, timeout)

    @tool("motion")
    def rotate_gripper_in_place(self, angle: float) -> dict[str, Any]:
        """Turn the hand about its approach axis by an angle [rad]. Returns what move_eef does."""
        state = self._ep.body.state()
        turned = to_matrix(state["quaternion"]) @ about("z", float(angle))
        return self.go(np.asarray(state["position"]), from_matrix(turned), 0.006, 6.0)

    @tool("motion")
    def go_home(self) -> dict[str, Any]:
        """Move the hand back to where it was at the start. Returns what move_eef does."""
        return self.go(np.asarray(self._ep.home["position"]), np.asarray(self._ep.home["quaternion"]), 0.02, 10.0)

    @tool("motion")
    def move_base(self, x: float, y: float, yaw: float = 0.0, timeout: float = 8.0) -> dict[str, Any]:
        """Drive the base to (x, y) [m] and yaw [rad], seen from where it stood at the start. Returns {"reached", "base"}."""
        goal, best, stalled = np.array([x, y, yaw], float), np.inf, 0.0
        for _ in range(round(timeout / self._ep.world.period)):
            error = goal - np.asarray(self._ep.body.state()["base"])
            error[2] = (error[2] + np.pi) % (2 * np.pi) - np.pi
            size = float(np.linalg.norm(error))
            if np.linalg.norm(error[:2]) < 0.01 and abs(error[2]) < 0.02:
                break
            stalled = 0.0 if size < best - 0.002 else stalled + self._ep.world.period
            best = min(best, size)
            if stalled > STALLED_S:
                break
            self._ep.act(base=error)
        state = self._ep.body.state()
        self._ep.hold = (state["position"], state["quaternion"])  # the hand came along
        self._ep.wait(2)
        error = goal - np.asarray(self._ep.body.state()["base"])
        return {
            "reached": bool(np.linalg.norm(error[:2]) < 0.02 and abs(error[2]) < 0.05),
            "base": self._ep.body.state()["base"],
        }

    def go(
        self, position: np.ndarray | None, quaternion: np.ndarray | None, tolerance: float, timeout: float, *,
        turn_tolerance: float = 0.05,
    ) -> dict[str, Any]:  # fmt: skip
        """Move the hand until it is there, stalls or time is up.

        Args:
            position: (3,) goal [m], or None to turn alone.
            quaternion: (4,) goal as (w, x, y, z), or None to keep the present one.
            tolerance: of the position [m]; never finer than two steps of the hand.
            timeout: [s].
            turn_tolerance: of the rotation [rad].

        Returns:
            {"reached": bool, "position_error": m, "rotation_error": rad, "time": s}.

        Raises:
            EpisodeOver: the episode ended on the way.
        """
        began, best, stalled = self._ep.world.time(), np.inf, 0.0
        if quaternion is None:
            quaternion = np.asarray(self._ep.body.state()["quaternion"])
        goal_turn = to_matrix(quaternion)
        progress = 0.004 * self._ep.body.step_m
        tolerance = min(tolerance, 2 * self._ep.body.step_m)  # where steps are of tenths of millimetres, so are goals
        while True:
            state = self._ep.body.state()
            here, turned = np.asarray(state["position"]), to_matrix(state["quaternion"])
            offset = np.zeros(3) if position is None else position - here
            turn = rotation_vector(goal_turn @ turned.T) if self._ep.body.turns else np.zeros(3)
            distance, angle = float(np.linalg.norm(offset)), float(np.linalg.norm(turn))
            elapsed = self._ep.world.time() - began
            reached = distance <= tolerance and angle <= turn_tolerance
            error = distance + 0.1 * angle
            stalled = 0.0 if error < best - progress else stalled + self._ep.world.period
            best = min(best, error)
            if reached or elapsed >= timeout or stalled > STALLED_S:
                self._ep.hold = (
                    (position, quaternion) if reached else (here, state["quaternion"])
                )  # where it got to: no pressing on
                return {"reached": reached, "position_error": distance, "rotation_error": angle, "time": elapsed}
            ahead = None if position is None else here + offset * min(1.0, STRIDE_M / max(distance, 1e-9))
            part = min(1.0, STRIDE_RAD / max(angle, 1e-9))
            towards = quaternion if part == 1.0 else from_matrix(from_vector(turn * part) @ turned)
            self._ep.act(ahead, towards)
