"""Pin insertion's episodes for `real_audit.py`: what policies leave, scenes near the verdict's thresholds, and what the twin says is true."""

from __future__ import annotations

import math
import time
from typing import Any

import gymnasium as gym
import numpy as np
from audit_rows import Row
from enpire_envs.reference import make_reference
from enpire_real.pin_insertion.equipment import COLLAR_HALF, HANDLE_HALF, PLATE_HEIGHT, hole
from enpire_real.pin_insertion.kit import TWIN
from enpire_real.pin_insertion.task import START_ACROSS, START_HEIGHT
from enpire_real.pin_insertion.twin.near_misses import bring_about, draw_near_miss, is_in, is_near, slide
from scipy.spatial.transform import Rotation

HOSTILE = (
    "dropped", "thrown out", "lying on the table", "lying on the plate", "on its head", "half in", "jammed", "pressed against the fixture",
    "in another hole", "slid in the hand", "arm sent home",
)  # fmt: skip
SLACK = 0.0005  # by which joints and truth may differ on where a start is [m]
UPRIGHT = math.cos(math.radians(4))


class Subject:
    """`ENPIRE/PinInsertion-real-v0` on a twin."""

    env_id, twin = "ENPIRE/PinInsertion-real-v0", TWIN

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env = env
        self.scene = env.unwrapped.real_cell.scene  # type: ignore[attr-defined]
        self.simulated = self.scene.station.twin
        self.task = env.unwrapped.task  # type: ignore[attr-defined]

    @property
    def begun(self) -> bool:
        """Whether the hand holds a pin over the fixture."""
        return self.scene.hand.servo is not None and self.scene.hand.holds()

    # -- what is left ---------------------------------------------------------------------------------------------------
    def leave(self, who: str, rng: np.random.Generator) -> str:
        """Let somebody act after a reset; returns in words what that left. Raises CellFault."""
        if who == "hostile":
            left = str(rng.choice(HOSTILE))
            self._hostile(left, rng)
            return left
        steps = int(rng.integers(10, 120))
        policy = make_reference(self.env)
        observation = self.env.unwrapped._observe(self.scene.read())  # type: ignore[attr-defined]
        policy.reset(observation)
        for k in range(steps):
            if who == "random" and k % 10 == 0:
                action = rng.uniform(-1, 1, 3)
            if who == "reference":
                action = policy.act(observation)
            observation, _, terminated, truncated, _ = self.env.step(action)
            if terminated or truncated:
                break
        return f"{k + 1} steps"

    def _hostile(self, left: str, rng: np.random.Generator) -> None:
        hand = self.scene.hand
        if left in ("half in", "in another hole"):
            if left == "in another hole":
                self.scene.target = np.array([*hole(*rng.integers(0, 3, 2)), 0.0])
            miss = draw_near_miss(rng)
            bring_about(self.scene, type(miss)("over", float(rng.uniform(0.003, 0.019))))
            hand.open()
        elif left == "jammed":
            self._push([*rng.uniform(-0.5, 0.5, 2), -1.0], 60)
            if rng.random() < 0.5:
                hand.open()
        elif left == "pressed against the fixture":
            way = np.append(_unit(rng.normal(size=2)), 0.0)
            self._push([*way[:2], 0.0], 40)
            self._push([*(-way[:2]), -1.0], 60)
        elif left == "slid in the hand":
            slide(self.simulated, float(rng.uniform(0.0005, 0.004)))
        elif left == "arm sent home":
            self.scene.home()
        else:
            self._push(rng.uniform(-1, 1, 3), int(rng.integers(5, 30)))
            hand.open()
            self._lay(left, rng)

    def _push(self, action: Any, steps: int) -> None:
        for _ in range(steps):
            _, _, terminated, truncated, _ = self.env.step(np.asarray(action, dtype=np.float64))
            if terminated or truncated:
                break

    def _lay(self, left: str, rng: np.random.Generator) -> None:
        """The pin as it lies, and half a second for it to settle."""
        plate = self.simulated.truth()["fixture"].position
        turn, flat = Rotation.from_euler("z", rng.uniform(-math.pi, math.pi)), Rotation.from_euler("y", math.pi / 2)
        around = np.array([*rng.uniform(-0.10, 0.10, 2), 0.0])
        if left == "thrown out":
            away = _unit(rng.normal(size=2)) * rng.uniform(0.18, 0.45)
            self._put(np.array([plate[0] + away[0], plate[1] + away[1], COLLAR_HALF + 0.002]), turn * flat)
        elif left == "lying on the table":
            side = _unit(np.array([rng.normal(), -abs(rng.normal())])) * rng.uniform(0.075, 0.11)
            self._put(np.array([plate[0] + side[0], plate[1] + side[1], COLLAR_HALF + 0.002]), turn * flat)
        elif left == "lying on the plate":
            self._put(plate + 0.3 * around + [0, 0, COLLAR_HALF + 0.002], turn * flat)
        elif left == "on its head":
            down = turn * Rotation.from_euler("x", math.pi)
            height = PLATE_HEIGHT if rng.random() < 0.5 else 0.0
            self._put(np.array([*(plate + (0.4 if height else 1.0) * around)[:2], height + HANDLE_HALF + 0.020]), down)
        self.scene.station.clock.sleep(0.5)

    def _put(self, at: np.ndarray, turn: Rotation) -> None:
        twin = self.simulated
        with twin.lock:
            start, dof = (int(getattr(twin.model.joint("pin"), name)[0]) for name in ("qposadr", "dofadr"))
            twin.data.qpos[start : start + 7] = *at, *turn.as_quat(scalar_first=True)
            twin.data.qvel[dof : dof + 6] = 0.0

    def tidy(self) -> None:
        """As a person leaves the table: the pin stands in its nest."""
        with self.simulated.lock:
            self.simulated.props.dispense(self.simulated.data, np.random.default_rng(0))

    # -- what is true ---------------------------------------------------------------------------------------------------
    def wrong(self, info: dict[str, Any]) -> str | None:
        """Why an episode should not have begun, or None."""
        truth = self.simulated.truth()
        off = truth["pin_tip"] - self.scene.target - np.array(info["start"]["tip"])
        if math.hypot(*off[:2]) > START_ACROSS + SLACK or abs(off[2]) > START_HEIGHT + SLACK:
            return f"the tip is {np.round(1000 * off, 2).tolist()} mm from its start"
        if truth["pin_axis"][2] < UPRIGHT:
            return f"the pin leans by {math.degrees(math.acos(truth['pin_axis'][2])):.1f} degrees"
        if not info["reset_verified"]:
            return "nobody verified the reset"
        return None

    def truth(self) -> bool | None:
        """Whether the pin is in; None in the guard band."""
        return is_in(self.scene)

    # -- verdicts -------------------------------------------------------------------------------------------------------
    def near_miss(self, rng: np.random.Generator) -> Row:
        """Bring a scene about; raises CellFault."""
        miss = draw_near_miss(rng)
        there = bring_about(self.scene, miss)
        depth = -float((self.simulated.truth()["pin_tip"] - self.scene.target)[2])
        return {
            "kind": miss.kind,
            "wanted_mm": 1000 * miss.depth,
            "there": there,
            "near": miss.kind != "beside" and is_near(depth),
        }

    def judge(self) -> Row:
        """As an episode is judged that stands still: the verifier's word counts where the joints have asked for it. Raises CellFault."""
        cell = self.env.unwrapped.cell  # type: ignore[attr-defined]
        self.task._deep = 0
        asked = False
        for _ in range(6):
            self.scene.station.clock.sleep(1 / self.task.control_hz)
            asked = self.task.candidate(cell.read()) or asked
        verdict = self.task.verify(cell)
        depth = -1000 * float((self.simulated.truth()["pin_tip"] - self.scene.target)[2])
        return {
            "asked": asked, "verified": verdict.success, "verdict": asked and verdict.success, "reason": verdict.reason,
            "truth": self.truth(), "true_mm": depth, "joints_mm": 1000 * float(cell.read().insertion),
        }  # fmt: skip

    def frame_ms(self) -> list[float]:
        """CPU time of a look, per frame [ms]; nothing where one camera sees too little."""
        eyes = self.scene.eyes
        for camera in (eyes.wrist, eyes.side):
            eyes.image(camera)  # drawing it is the twin's work
        began = time.process_time()
        said = eyes.in_hole((float(self.scene.target[0]), float(self.scene.target[1])))
        return [] if None in said else [500 * (time.process_time() - began)]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
