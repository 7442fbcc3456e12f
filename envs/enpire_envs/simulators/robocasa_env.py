"""RoboCasa's kitchen tasks under the suite's contract."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs.simulators import robocasa_compat

robocasa_compat.bridge()
robocasa_compat.make_assets_writable()

import robocasa  # noqa: E402, F401  (after the bridges; registers the tasks)
import robosuite  # noqa: E402
from robocasa.environments.kitchen.kitchen import REGISTERED_KITCHEN_ENVS  # noqa: E402
from robocasa.models.objects.kitchen_object_utils import OBJ_CATEGORIES  # noqa: E402
from robocasa.utils.dataset_registry_utils import get_task_horizon  # noqa: E402
from robosuite.controllers import load_composite_controller_config  # noqa: E402

from enpire_envs.env import ResetFailed  # noqa: E402
from enpire_envs.simulators.kitchens import SPLITS, draw  # noqa: E402
from enpire_envs.simulators.robosuite_env import RobosuiteTask  # noqa: E402
from enpire_envs.simulators.versions import versions  # noqa: E402

DEFAULT_HORIZON = 1000  # of tasks that RoboCasa's registry does not list
MAX_LAYOUTS = 60
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class RoboCasaTask(RobosuiteTask):
    """See `enpire_envs.remote.env.RoboCasaEnv`, whose arguments these are."""

    cameras = {  # noqa: RUF012
        "pixels_left": "robot0_agentview_left", "pixels_right": "robot0_agentview_right", "pixels_wrist": "robot0_eye_in_hand",
    }  # fmt: skip
    view = "robot0_agentview_right"

    def __init__(
        self, *, task: str, split: str = "all", standin: bool, snapshots: str | None = None, obs_type: str = "state",
        observation_width: int = 128, visualization_width: int = 480, max_episode_steps: int | None = None,
    ) -> None:  # fmt: skip
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; choose one of: {', '.join(SPLITS)}")
        self._split = split
        self.cell = "stand-in" if standin else "sim"
        self._snapshots: dict[str, dict[str, Any]] = {}
        self._folder = Path(snapshots) if snapshots else None
        if standin:
            _forget_absent_objects()
        super().__init__(
            task=task, obs_type=obs_type, observation_width=observation_width, visualization_width=visualization_width,
            max_episode_steps=max_episode_steps,
        )  # fmt: skip

    def horizon(self, task: str) -> int:
        """RoboCasa's own horizon of the task [control steps]."""
        try:
            return int(get_task_horizon(task))
        except (KeyError, ValueError, AssertionError):
            return DEFAULT_HORIZON

    def make(self, task: str, robots: Any) -> Any:
        if task not in REGISTERED_KITCHEN_ENVS or task == "Kitchen":
            raise ValueError(
                f"RoboCasa has no task {task!r}; the tasks are listed by: autoenvbench setup robocasa --tasks"
            )
        try:
            # RoboCasa's own construction (its `create_env`), without its renderer: pictures are ours.
            return robosuite.make(
                env_name=task, robots="PandaOmron", controller_configs=load_composite_controller_config(robot="PandaOmron"),
                has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False, use_object_obs=True, ignore_done=True,
                seed=0, obj_instance_split=None if self._split == "all" else self._split, layout_and_style_ids=[(1, 1)],
                randomize_cameras=False, renderer="mujoco",
            )  # fmt: skip
        except Exception as error:
            if self.cell != "stand-in":
                raise
            raise ValueError(self._lacking(error)) from error

    def _lacking(self, error: Exception) -> str:
        return (
            f"the stand-in kitchen has not all that this task needs ({error!r}); it takes RoboCasa's own assets: "
            "autoenvbench setup robocasa"
        )

    def state(self) -> np.ndarray:
        """(16,) float32, proprioception alone; see `RoboCasaEnv`."""
        return self.proprioception()

    def proprioception(self) -> np.ndarray:
        names = ("gripper_qpos", "base_pos", "base_quat", "base_to_eef_pos", "base_to_eef_quat")
        return np.concatenate([self._raw[f"robot0_{name}"] for name in names]).astype(np.float32)

    def instruction(self) -> str:
        return str(self.env.get_ep_meta().get("lang") or self.task)

    def reset(self, seed: int, options: dict[str, Any] | None, limit: int) -> tuple[Any, dict[str, Any]]:
        try:
            return super().reset(seed, options, limit)
        except (AttributeError, AssertionError, KeyError, RuntimeError) as error:
            if self.cell != "stand-in" or isinstance(error, ResetFailed):
                raise
            raise ResetFailed(self._lacking(error)) from error

    # -- starts ------------------------------------------------------------------------------------------------------
    def check_start(self, start: dict[str, Any] | None, seed: int) -> dict[str, Any]:
        """The (seed, layout, style) asked for, or one drawn by `seed` from the split (`kitchens.draw`). Raises ValueError."""
        if start is None:
            return dict(draw(seed, self._split))
        numbers = {key: start.get(key) for key in ("seed", "layout", "style")}
        if start.keys() != numbers.keys() or not all(isinstance(v, int) for v in start.values()):
            raise ValueError(f'a start here is like {{"seed": 478163327, "layout": 36, "style": 15}}; got {start}')
        if not (1 <= start["layout"] <= MAX_LAYOUTS and 1 <= start["style"] <= MAX_LAYOUTS):
            raise ValueError(f"layouts and styles go from 1 to {MAX_LAYOUTS}; got {start}")
        return dict(start)

    def begin(self, start: dict[str, Any], attempt: int) -> None:
        self.env.layout_and_style_ids = [(start["layout"], start["style"])]
        super().begin(start, 0)
        self._match(start)
        if attempt:
            self._jiggle(np.random.default_rng([start["seed"], attempt, 2]))
            self._raw = self.env._get_observations(force_update=True)

    def _match(self, start: dict[str, Any]) -> None:
        """Go to the noted state of this start, or note it. Raises ResetFailed if the scene itself is another one."""
        key = f"{self.task}-{self.cell}-{start['seed']}-{start['layout']}-{start['style']}"
        scene = _digest(self.model)
        known = self._snapshots.get(key) or self._load(key)
        if known is None:
            state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
            mujoco.mj_getState(self.model, self.data, state, _STATE)
            known = {"scene": scene, "state": state}
            self._save(key, known)
        if known["scene"] != scene:
            raise ResetFailed(
                f"the kitchen of {start} was compiled differently than the first time: no comparison is possible"
            )
        self._snapshots[key] = known
        mujoco.mj_setState(self.model, self.data, known["state"], _STATE)
        self.env.sim.forward()
        self._scene = hashlib.sha256(scene.encode() + known["state"].tobytes()).hexdigest()[:16]
        self._raw = self.env._get_observations(force_update=True)

    def _load(self, key: str) -> dict[str, Any] | None:
        file = self._folder / f"{key}.npz" if self._folder else None
        if file is None or not file.exists():
            return None
        with np.load(file) as data:
            return {"scene": str(data["scene"]), "state": data["state"]}

    def _save(self, key: str, snapshot: dict[str, Any]) -> None:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **snapshot)
            scratch = self._folder / f"{key}.{id(self)}.part"
            scratch.write_bytes(buffer.getvalue())
            scratch.rename(self._folder / f"{key}.npz")

    def extras(self) -> dict[str, Any]:
        return {"scene": self._scene, "instruction": self.instruction()}

    _scene = ""

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "versions": versions("robosuite", "rlinf-robocasa365", "robocasa")}


def _forget_absent_objects() -> None:
    """Categories with no model in these assets cannot be drawn."""
    for registries in OBJ_CATEGORIES.values():
        for kind in [kind for kind, category in registries.items() if not category.mjcf_paths]:
            del registries[kind]


def _digest(model: Any) -> str:
    """SHA-256 of what decides how the scene moves and looks."""
    sha = hashlib.sha256()
    for name in ("body_pos", "body_quat", "body_mass", "geom_pos", "geom_quat", "geom_size", "geom_rgba", "geom_friction",
                 "jnt_range", "jnt_axis", "dof_damping", "dof_frictionloss", "cam_pos", "cam_quat", "qpos0", "mesh_vert", "mat_rgba",
                 "tex_data"):  # fmt: skip
        sha.update(np.ascontiguousarray(getattr(model, name)).tobytes())
    return sha.hexdigest()
