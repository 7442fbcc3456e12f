"""The episodes of `autoenvbench score`, as LeRobot's loop runs them: the same starts, the same door for actions, the same verdicts.

LeRobot resets an environment at once where its episode ended, also of a batch in which others go on, and only then asks for the next
start. A robot is not moved for that: until a seed comes, the last observation is shown again, no action does anything and nothing is earned.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.contract import ContractError, contract_of, step_limit
from enpire_real.dataset import ENVIRONMENT_STATE, STATE, feature_name
from gymnasium import spaces

from autoenvbench.errors import UserError
from autoenvbench.make_env import choose_stations, make_env
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.actions import check_action
from autoenvbench.station.batch import draw_starts
from autoenvbench.station.codec import leaves
from autoenvbench.station.faults import describe, is_device_fault, reason_of
from autoenvbench.station.policy_process import PolicyFault
from autoenvbench.station.rollout import overdue
from autoenvbench.station.trajectories import describe as describe_env
from autoenvbench.study.score import secret_of, station_of_start

ID = "enpire_lerobot/Episodes-v0"
_IMAGES = "observation.images."
_VECTORS = {
    "agent_pos": STATE,
    "environment_state": ENVIRONMENT_STATE,
}  # as LeRobot's environments call them, and its policies


def full_id(task: str) -> str:
    """The id of a task, which may have been given without its namespace."""
    return task if "/" in task else f"ENPIRE/{task}"


class Layout:
    """How an observation is shown to LeRobot: by the names that `enpire_real.dataset` gives the same columns.

    Attributes:
        vectors: "agent_pos" and "environment_state" -> shape, of those that are not empty.
        images: camera -> (height, width, 3).
        space: of what `show` returns.

    Raises UserError for what LeRobot has no name for.
    """

    def __init__(self, space: spaces.Space[Any], repeat_state: bool) -> None:
        self._from: dict[str, tuple[str, ...]] = {}
        parts: dict[str, spaces.Space[Any]] = {}
        pixels: dict[str, spaces.Space[Any]] = {}
        self._cameras: dict[str, tuple[str, ...]] = {}
        for path, box in leaves(space):
            name = feature_name(".".join(("observation", *path)), box.shape, box.dtype)
            if name.startswith(_IMAGES):
                camera = name.removeprefix(_IMAGES)
                pixels[camera], self._cameras[camera] = box, path
            elif known := [key for key, called in _VECTORS.items() if called == name]:
                parts[known[0]], self._from[known[0]] = box, path
            else:
                raise UserError(
                    f"LeRobot's environments show {STATE}, {ENVIRONMENT_STATE} and images; this one shows {name}, too"
                )
        if not pixels and set(parts) == {"agent_pos"}:
            parts["environment_state"], self._from["environment_state"] = parts["agent_pos"], self._from["agent_pos"]
            if not repeat_state:
                del parts["agent_pos"], self._from["agent_pos"]
        self.vectors = {key: tuple(part.shape or ()) for key, part in parts.items()}
        self.images = {key: tuple(part.shape or ()) for key, part in pixels.items()}
        parts.setdefault(
            "agent_pos", spaces.Box(-np.inf, np.inf, (0,), np.float32)
        )  # LeRobot's models ask for it, whatever they see
        self.space = spaces.Dict({**parts, **({"pixels": spaces.Dict(pixels)} if pixels else {})})

    @staticmethod
    def called(vector: str) -> str:
        """What a policy calls it."""
        return _VECTORS[vector]

    def show(self, observation: Any) -> dict[str, Any]:
        """The observation, as `space` has it."""
        shown: dict[str, Any] = {"agent_pos": np.zeros(0, np.float32)}
        shown |= {key: _at(observation, path) for key, path in self._from.items()}
        if self._cameras:
            shown["pixels"] = {camera: _at(observation, path) for camera, path in self._cameras.items()}
        return shown


def _at(observation: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        observation = observation[key]
    return observation


class LerobotEpisodes(gym.Env[dict[str, Any], np.ndarray]):
    """One of our environments, for LeRobot's `rollout`. `info` says `is_success`, and at the end of an episode `score` and `reason`.

    Args:
        task, kwargs, score_seed, repeat_state: as of `EnpireEnvConfig`.

    Raises UserError, and in `step` CellFault: the machine was at fault, which says nothing of the policy.
    """

    def __init__(
        self, task: str, kwargs: dict[str, Any] | None = None, score_seed: int = 0, repeat_state: bool = True
    ) -> None:
        self._env = env = make_env(full_id(task), kwargs)
        self._layout = Layout(env.observation_space, repeat_state)
        assert isinstance(env.action_space, spaces.Box)
        self._space = env.action_space
        self.observation_space, self.action_space = self._layout.space, self._space
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self._max_episode_steps = step_limit(env)  # LeRobot's loop asks for these three
        self.task = full_id(task)
        self.task_description = str(describe_env(env)["task"] or self.task)
        secret = secret_of(score_seed)
        self._streams = StartStreams(secret)
        self._station = station_of_start(choose_stations(env, kwargs or {}, None, 1), secret, "score")
        self._ended = self._idle = False  # whether the episode is over, and LeRobot's first reset after it was answered
        self._steps = 0
        self._shown: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin at the start of this number. Without one: once after an episode nothing is done, and else the environment draws a start."""
        if seed is None and self._ended and not self._idle:
            self._idle = True
            return self._shown, {"is_success": False}
        if seed is None:
            observation, _ = self._env.reset()
        else:
            start = next(draw_starts(self._streams, "score", seed, 1, station=self._station))
            station = {} if start.station is None else {"station": start.station}
            observation, _ = self._env.reset(seed=start.seed, options=station or None)
        self._ended, self._idle, self._steps = False, False, 0
        self._shown = self._layout.show(observation)
        return self._shown, {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """As the environment's own; what the policy may not do ends the episode as a failure, as under `score`."""
        if self._ended:
            return self._shown, 0.0, False, False, {"is_success": False}
        self._steps += 1
        try:
            given = check_action(np.asarray(action), self._space)
            observation, reward, terminated, truncated, info = self._env.step(given)
        except PolicyFault as fault:
            return self._failed(fault.reason)
        except CellFault as fault:
            if is_device_fault(fault):
                raise
            return self._failed(reason_of(fault))
        except ContractError:
            raise
        except Exception as error:  # of what the policy sent
            return self._failed(f"env_error: {describe(error)}")
        self._ended = terminated or truncated
        if self._steps >= self._max_episode_steps and not self._ended:
            raise overdue(self._env, self._steps)
        if truncated and not {"reason", "success"} & {key for key, value in info.items() if value}:
            info = {**info, **contract_of(self._env).finish()}  # an outer limit, of which the environment does not know
        self._shown = self._layout.show(observation)
        success = bool(info.get("success"))
        said: dict[str, Any] = {"is_success": success, "score": float(info.get("score", success))}
        if self._ended and not success:
            said["reason"] = str(info.get("reason") or "time_limit")
        return self._shown, float(reward), terminated, truncated, said

    def _failed(self, reason: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self._ended = True
        return self._shown, 0.0, True, False, {"is_success": False, "score": 0.0, "reason": reason}

    def render(self) -> np.ndarray | None:
        """The environment's picture."""
        picture: np.ndarray | None = self._env.render()  # type: ignore[assignment]
        return picture

    def close(self) -> None:
        """Let go of the environment; arms fold down."""
        self._env.close()


#: Nothing around it: LeRobot looks for attributes.
gym.register(ID, f"{__name__}:{LerobotEpisodes.__name__}", order_enforce=False, disable_env_checker=True)
