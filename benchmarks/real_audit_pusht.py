"""Push-T's episodes for `real_audit.py`: what policies leave, scenes near the verdict's threshold, and what the twin says is true."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import gymnasium as gym
import numpy as np
from audit_rows import Row
from enpire_envs.pusht.geometry import in_frame
from enpire_envs.pusht.task import ANGLE_OK, GOAL_BOX_MARGIN
from enpire_envs.reference import make_reference
from enpire_real.pusht.task import START_ANGLE, START_DISTANCE
from enpire_real.station_file import TWIN_FILE
from scipy.spatial.transform import Rotation

HOSTILE = ("flipped", "on its edge", "off the mat", "out of reach", "in the corner", "arm sent home")
GUARD = (0.0005, math.radians(0.3))  # around the verdict's threshold: a tenth of the goal box's margin or less [m, rad]
SLACK = (0.003, math.radians(1))  # by which perception and truth may differ on where the T starts


class Subject:
    """`ENPIRE/PushT-real-v0` on a twin."""

    env_id, twin = "ENPIRE/PushT-real-v0", TWIN_FILE

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env = env
        self.scene = env.unwrapped.real_cell.scene  # type: ignore[attr-defined]
        self.simulated = self.scene.station.twin
        self.task = env.unwrapped.task  # type: ignore[attr-defined]

    @property
    def begun(self) -> bool:
        """Whether the tip is on the mat."""
        return self.scene.arm.servo is not None

    # -- what is left ---------------------------------------------------------------------------------------------------
    def leave(self, who: str, rng: np.random.Generator) -> str:
        """Let somebody act after a reset; returns in words what that left. Raises CellFault."""
        if who == "hostile":
            left = str(rng.choice(HOSTILE))
            self._hostile(left, rng)
            return left
        policy = make_reference(self.env)
        observation = self.env.unwrapped._observe(self.scene.read())  # type: ignore[attr-defined]
        policy.reset(observation)
        for k in range(int(rng.integers(10, 120))):
            if who == "random" and k % 4 == 0:
                action = rng.uniform(-1, 1, 2)
            if who == "reference":
                action = policy.act(observation)
            observation, _, terminated, truncated, _ = self.env.step(action)
            if terminated or truncated:
                break
        return f"{k + 1} steps"

    def _hostile(self, left: str, rng: np.random.Generator) -> None:
        if left == "arm sent home":
            self.scene.home()
            return
        self.scene.arm.avoid()
        yaw = Rotation.from_euler("z", rng.uniform(-math.pi, math.pi))
        x, y = rng.uniform(-0.15, 0.15), rng.uniform(-0.10, 0.10)
        if left == "flipped":
            self._put((x, y, 0.016), yaw * Rotation.from_euler("x", math.pi))
        elif left == "on its edge":
            self._put((x, y, 0.085), yaw * Rotation.from_euler("x", math.pi / 2))
        elif left == "off the mat":
            self._put((math.copysign(rng.uniform(0.30, 0.34), x), y, 0.016), yaw)
        elif left == "out of reach":
            self._put((x, math.copysign(rng.uniform(0.50, 0.60), y), 0.016), yaw)
        else:
            self._put((math.copysign(0.24, x), math.copysign(0.18, y), 0.016), yaw)
        self.scene.station.clock.sleep(0.7)

    def _put(self, at: tuple[float, float, float], turn: Rotation) -> None:
        """The T at a place of the mat's frame."""
        twin, props = self.simulated, self.simulated.props
        mat = Rotation.from_euler("z", props._yaw)
        with twin.lock:
            start, dof = (int(getattr(twin.model.joint("block"), name)[0]) for name in ("qposadr", "dofadr"))
            place = mat.apply(at) + np.array([*props._origin, 0.0])
            twin.data.qpos[start : start + 7] = *place, *(mat * turn).as_quat(scalar_first=True)
            twin.data.qvel[dof : dof + 6] = 0.0

    def tidy(self) -> None:
        """As a person leaves the table: the T lies on the mat, red side up, and no arm is over it."""
        self._put((0.0, 0.08, 0.016), Rotation.identity())

    # -- what is true ---------------------------------------------------------------------------------------------------
    def _flat(self) -> bool:
        _, x, y, _ = self.simulated.data.body("block").xquat
        return bool(abs(x) < 0.02 and abs(y) < 0.02)

    def wrong(self, info: dict[str, Any]) -> str | None:
        """Why an episode should not have begun, or None."""
        dx, dy, turn = in_frame(self.simulated.truth()["block"], info["start"]["block"])
        if not self._flat():
            return "the T does not lie flat, red side up"
        if math.hypot(dx, dy) > START_DISTANCE + SLACK[0] or abs(turn) > START_ANGLE + SLACK[1]:
            return f"the T is {1000 * math.hypot(dx, dy):.1f} mm and {math.degrees(turn):.1f} degrees from its start"
        return None if info["reset_verified"] else "nobody verified the reset"

    def truth(self) -> bool | None:
        """Whether the T lies on its target; None where half a millimetre or a third of a degree would change that."""
        x, y, yaw = self.simulated.truth()["block"]
        shifts = itertools.product((-GUARD[0], 0.0, GUARD[0]), (-GUARD[0], 0.0, GUARD[0]), (-GUARD[1], 0.0, GUARD[1]))
        said = {bool(self.task._solved((x + dx, y + dy, yaw + turn))) for dx, dy, turn in shifts}
        return None if len(said) > 1 else said.pop() and self._flat()

    # -- verdicts -------------------------------------------------------------------------------------------------------
    def near_miss(self, rng: np.random.Generator) -> Row:
        """Lay the T within twice what is allowed of its target, on either side; a third of the scenes lie further off."""
        self.scene.arm.avoid()
        near = bool(rng.random() < 0.7)
        x, y, yaw = self.task.goal
        off = rng.uniform(-1, 1, 3) * (GOAL_BOX_MARGIN / 2, GOAL_BOX_MARGIN / 2, ANGLE_OK / 2)
        axis = int(rng.integers(3))
        off[axis] = math.copysign(1.0, off[axis]) * (GOAL_BOX_MARGIN, GOAL_BOX_MARGIN, ANGLE_OK)[axis]
        off[axis] *= rng.uniform(0.5, 2.0) if near else rng.uniform(2.0, 10.0)
        turn = Rotation.from_euler("z", yaw + float(off[2]))
        self._put((x + float(off[0]), y + float(off[1]), 0.016), turn)
        self.scene.station.clock.sleep(0.3)
        return {"kind": "near" if near else "far", "near": near}

    def judge(self) -> Row:
        """What the verifier says. Raises CellFault."""
        verdict = self.task.verify(self.env.unwrapped.cell)  # type: ignore[attr-defined]
        return {"verdict": verdict.success, "reason": verdict.reason, "truth": self.truth()}

    def frame_ms(self) -> list[float]:
        """CPU time of a look, per frame [ms]."""
        self.scene.camera._frames.newest(self.scene.camera.name)  # drawing it is the twin's work
        began = time.process_time()
        self.scene.camera.glance()
        return [1000 * (time.process_time() - began)]
