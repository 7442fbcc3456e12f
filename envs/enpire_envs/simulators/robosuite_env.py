"""robosuite's tasks under the suite's contract."""

from __future__ import annotations

import functools
import inspect
import logging
from typing import Any

import numpy as np
import robosuite
from robosuite.controllers.composite.composite_controller import CompositeController
from robosuite.environments.base import REGISTERED_ENVS

from enpire_envs.simulators.contract import SimulatorTask, box, seeded
from enpire_envs.simulators.planner import arm_joints
from enpire_envs.simulators.robot_body import RobotBody
from enpire_envs.simulators.versions import versions
from enpire_envs.tools.views import Views

logging.getLogger("robosuite_logs").setLevel(logging.ERROR)

# An action's limits are asked for three times in each of a control step's 25 physics steps, and were worked out anew each time.
CompositeController.action_limits = functools.cached_property(CompositeController.action_limits.fget)
CompositeController.action_limits.__set_name__(CompositeController, "action_limits")

HORIZON = 500  # control steps; robosuite's own benchmark
_OBS = ("state", "pixels_agent_pos")


class RobosuiteTask(SimulatorTask):
    """See `enpire_envs.remote.env.RobosuiteEnv`, whose arguments these are."""

    hz = 20.0
    cameras = {"pixels": "agentview", "pixels_wrist": "robot0_eye_in_hand"}  # noqa: RUF012
    view = "agentview"

    def __init__(
        self, *, task: str, robots: str | list[str] | None = None, obs_type: str = "state", reward_type: str = "sparse",
        observation_width: int = 96, visualization_width: int = 480, max_episode_steps: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if obs_type not in _OBS or reward_type not in ("sparse", "dense"):
            raise ValueError(
                f"obs_type is one of {_OBS}, reward_type sparse or dense; got {obs_type!r}, {reward_type!r}"
            )
        self._obs_type, self._dense = obs_type, reward_type == "dense"
        self._width, self._view_width = observation_width, visualization_width
        self.limit = max_episode_steps or self.horizon(task)
        self.task = task
        self.views = Views()
        with seeded(0):
            self.env = self.make(task, robots)
        self.low, self.high = self.env.action_spec
        self._raw = self.env._get_observations(force_update=True)
        self.body = RobotBody(self)

    # -- what differs in RoboCasa ------------------------------------------------------------------------------------
    def horizon(self, task: str) -> int:
        """Control steps of an episode where nobody asks for others."""
        return HORIZON

    def make(self, task: str, robots: str | list[str] | None) -> Any:
        """The simulator's own environment of a task. Raises ValueError with the tasks that there are."""
        if task not in REGISTERED_ENVS:
            known = sorted(
                n for n in REGISTERED_ENVS if n not in ("MujocoEnv", "RobotEnv", "ManipulationEnv", "TwoArmEnv")
            )
            raise ValueError(f"robosuite has no task {task!r}; it has: {', '.join(known)}")
        two = "TwoArm" in task
        takes = inspect.signature(REGISTERED_ENVS[task].__init__).parameters
        shaped = {"reward_shaping": True} if self._dense and "reward_shaping" in takes else {}
        return robosuite.make(
            task, robots=robots or (["Panda", "Panda"] if two else "Panda"), has_renderer=False, has_offscreen_renderer=False,
            use_camera_obs=False, use_object_obs=True, control_freq=round(self.hz), ignore_done=True, **shaped,
        )  # fmt: skip

    def state(self) -> np.ndarray:
        """robosuite's GymWrapper: the object's state, then each robot's proprioception."""
        parts = [self._raw["object-state"]] if "object-state" in self._raw else []
        return np.concatenate([*parts, self.proprioception()]).astype(np.float32)

    def proprioception(self) -> np.ndarray:
        """(n,) float32: each robot's own part of the observation, one after the other."""
        return np.concatenate([self._raw[f"robot{k}_proprio-state"] for k in range(len(self.env.robots))]).astype(
            np.float32
        )

    def instruction(self) -> str:
        """What to do, in words."""
        words = {
            "Lift": "Lift the red cube off the table.", "Stack": "Stack the red cube on the green cube.",
            "Door": "Open the door.", "Wipe": "Wipe the table clean.",
        }  # fmt: skip
        return words.get(self.task, f"robosuite task {self.task}.")

    # -- contract ----------------------------------------------------------------------------------------------------
    def begin(self, start: dict[str, Any], attempt: int) -> None:
        seed = start["seed"]
        with seeded(seed):
            self.env.rng = np.random.default_rng(seed)
            self.env.placement_initializer = (
                None  # made anew from `rng`; a kept one has samplers with generators of their own
            )
            self.env.reset()
            if attempt:
                self._jiggle(np.random.default_rng([seed, attempt, 2]))
        self._raw = self.env._get_observations(force_update=True)
        self.body.begin()

    def _jiggle(self, rng: np.random.Generator) -> None:
        """Another first posture for the same scene: robosuite's own noise, drawn again."""
        for robot in self.env.robots:
            indexes = arm_joints(robot)
            self.env.sim.data.qpos[indexes] = np.ravel(robot.init_qpos) + 0.02 * rng.standard_normal(len(indexes))
        self.env.sim.forward()
        for robot in self.env.robots:
            robot.composite_controller.update_state()
            robot.composite_controller.reset()

    def advance(self, action: np.ndarray) -> float:
        self._raw, reward, _, _ = self.env.step(action)
        return float(reward)

    def solved(self) -> bool:
        return bool(self.env._check_success())

    def reward(self, native: float, success: bool) -> float:
        return native if self._dense else float(success)

    def observe(self) -> Any:
        if self._obs_type == "state":
            return self.state()
        images = {key: self.frame(camera, self._width, self._width) for key, camera in self.cameras.items()}
        return {"agent_pos": self.proprioception(), **images}

    def frame(self, camera: str, width: int, height: int) -> np.ndarray:
        """What a camera of the model sees, (height, width, 3) uint8."""
        return self.views.rgb(self.model, self.data, camera, width, height)

    def render(self) -> np.ndarray:
        return self.frame(self.view, self._view_width, self._view_width)

    @property
    def model(self) -> Any:
        """The compiled `mujoco.MjModel`."""
        return self.env.sim.model._model

    @property
    def data(self) -> Any:
        """Its `mujoco.MjData`."""
        return self.env.sim.data._data

    def describe(self) -> dict[str, Any]:
        state = self.state() if self._obs_type == "state" else self.proprioception()
        vector = box(np.full(state.shape, -np.inf), np.full(state.shape, np.inf))
        image = box(np.zeros((self._width, self._width, 3)), np.full((self._width, self._width, 3), 255), np.uint8)
        pixels = {"dict": {"agent_pos": vector, **dict.fromkeys(self.cameras, image)}}
        return {
            "observation_space": vector if self._obs_type == "state" else pixels,
            "action_space": box(self.low, self.high),
            "hz": self.hz,
            "limit": self.limit,
            "cell": self.cell,
            "body": self.body.describe(),
            "versions": versions("robosuite"),
        }

    def close(self) -> None:
        self.views.close()
        self.env.close()
