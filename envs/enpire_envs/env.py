"""The one environment class: it joins a `Task` to a `Cell` and adds nothing that either could know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

import gymnasium as gym
import numpy as np
from gymnasium import logger, spaces

from enpire_envs.camera_model import CameraModel, CameraSpec
from enpire_envs.cell import Cell, CellFault
from enpire_envs.randomise import EpisodeStreams, station_stream
from enpire_envs.shaping import PotentialShaping
from enpire_envs.task import ALL_OBS_TYPES, Progress, Task, is_finite
from enpire_envs.time_limit import REASON, StepLimit, limits_around

if TYPE_CHECKING:
    from enpire_envs.contract import Identity
    from enpire_envs.tools.bodies import Body

ObsType = Literal["state", "environment_state_agent_pos", "pixels", "pixels_agent_pos"]
RewardType = Literal["sparse", "dense"]

MAX_RESET_ATTEMPTS = 3


class ResetFailed(RuntimeError):
    """The scene could not be brought to a verified start in `attempts` tries; no episode was begun."""

    def __init__(self, words: str, attempts: int = 1) -> None:
        super().__init__(words)
        self.attempts = attempts


class Installed(Protocol):
    """A part of a cell that is not the same at every station."""

    def install(self, rng: np.random.Generator) -> None:
        """Draw what stays the same for all episodes at one station; it holds from the next reset on."""


class CellOptions(TypedDict, total=False):
    """What every environment of the suite takes beside its own arguments (defaults: see `CellEnv`)."""

    obs_type: ObsType | None
    reward_type: RewardType
    gamma: float
    render_mode: str | None
    starts: Literal["id", "ood"]
    observation_width: int
    visualization_width: int
    max_episode_steps: int | None
    station_seed: int


class CellEnv(gym.Env[Any, np.ndarray]):
    """A `gymnasium.Env` over any task and cell. Concrete environments document themselves.

    `reset(options=...)` understands ``start`` (an exact start, see the task) and ``attempt`` (an int that re-draws
    sensing and physics for the same start, as pass@k needs) and, where stations differ, ``station`` (an int: from now on, the
    station of this `station_seed`). `info` carries ``success``, ``is_success``, ``score``,
    ``stage``, ``violations``, ``time``, ``cell`` on every step; a failed episode's last one also ``reason``; the
    reset's also ``reset_attempts``, ``reset_verified``, ``start``, ``episode_seed``.

    On a simulated cell `copy.deepcopy` and `pickle` are exact, also in mid-episode: a copy goes on bit for bit like its
    original.

    Args:
        installed: what differs from station to station, in an order that decides what each draws.
        camera: what cameras make of the scene; None: the renderer's pictures as they are.
        obs_type: "state", "environment_state_agent_pos", "pixels" or "pixels_agent_pos"; None for the task's default. "pixels" is an
            image, or a Dict of images by camera where the task has several.
        reward_type: "sparse": 1 on the step of a verified success, else 0. "dense": that and potential-based shaping by the task's
            potential, under which finishing beats stalling (`enpire_envs.shaping`).
        gamma: the discount per control step that the dense reward is made for.
        render_mode: None, "rgb_array" or "human".
        starts: "id", or "ood" for the task's named wider range.
        observation_width, visualization_width: sides of the square images of observations and of `render` [px].
        max_episode_steps: the time limit in control steps; None for that of `gymnasium.make`, or else the task's.
        station_seed: which station this is, where stations differ: it draws what stays the same for all episodes there.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        task: Task,
        cell: Cell,
        *,
        installed: Sequence[Installed] = (),
        camera: CameraSpec | None = None,
        obs_type: ObsType | None = None,
        reward_type: RewardType = "sparse",
        gamma: float = 0.99,
        render_mode: str | None = None,
        starts: Literal["id", "ood"] = "id",
        observation_width: int = 96,
        visualization_width: int = 640,
        max_episode_steps: int | None = None,
        station_seed: int = 0,
    ) -> None:
        choose("reward_type", reward_type, ("sparse", "dense"))
        choose("starts", starts, ("id", "ood"))
        check_render_mode(self, render_mode)
        self.task, self.cell = task, cell
        self._obs_type = obs_type or task.obs_types[0]
        shaping = PotentialShaping(gamma)
        self._shaping = shaping if reward_type == "dense" else None
        choose("obs_type", self._obs_type, task.obs_types)
        self.render_mode = render_mode
        self._starts = starts
        self._obs_size, self._view_size = observation_width, visualization_width
        self.limit = StepLimit(task.max_steps, max_episode_steps)
        self._last_step = 0  # of this episode, by the limit in force
        self.metadata = {**self.metadata, "render_fps": round(task.control_hz)}
        self.action_space = task.action_space
        # as actions are reckoned with: converting them anew in every step costs a microsecond
        self._lowest, self._highest = (
            task.action_space.low.astype(np.float64),
            task.action_space.high.astype(np.float64),
        )
        self.observation_space = self._make_observation_space()
        self._steps = 0
        self._over = True  # step() before reset() is refused by Gymnasium's own wrapper; after the end, by us
        self._last_info: dict[str, Any] = {}
        self._cameras: CameraModel | None = None
        if camera is not None:
            self._cameras = CameraModel(camera, list(dict.fromkeys([*task.cameras, task.camera])), task.control_hz)
            installed = (*installed, self._cameras)
        self._installed = tuple(installed)
        self._install(station_seed)

    # -- gymnasium ---------------------------------------------------------------------------------------------------
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Bring the scene to a start and verify it, in up to MAX_RESET_ATTEMPTS attempts; see the class for `options`.

        Raises:
            ResetFailed: no attempt did; no episode is begun.
            ValueError: unknown options, or a start that the task refuses.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        attempt = int(options.pop("attempt", 0))
        wanted = options.pop("start", None)
        station = options.pop("station", None) if self._installed else None
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}; known: {', '.join(self.reset_options)}")
        if station is not None:
            self._install(station)
        episode_seed = int(self.np_random.integers(2**62))
        streams = EpisodeStreams.derive(episode_seed, attempt)
        start = self.task.check_start(wanted) if wanted else self.task.sample_start(streams.start, self._starts)

        complaint = None
        for tries in range(1, MAX_RESET_ATTEMPTS + 1):  # noqa: B007  (reported below)
            self.cell.reset(start, streams.physics)
            readings = self.cell.read()
            complaint = self.task.ready(readings, start)
            if complaint is None:
                break
        else:
            self._over = True
            raise ResetFailed(f"{self.task.name}: not ready after {tries} resets: {complaint}", tries)
        self.task.begin(start, readings, streams.sensing)
        if self._cameras is not None:
            self._cameras.begin(streams.sensing.spawn(1)[0])
        self._steps, self._over = 0, False
        self._last_step = self.limit.within(limits_around(self))
        if self._shaping is not None:
            self._shaping.begin(self.task.potential(readings), self._last_step)
        observation = self._observe(readings)
        info = self._info(readings, Progress(self.task.stages[0], 0.0), False, [])
        info.update(reset_attempts=tries, reset_verified=True, start=start, episode_seed=episode_seed)
        self._last_info = info
        self._show()
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control period.

        Raises:
            ValueError: the action has another shape or is not finite; nothing has moved.
            ResetNeeded: the episode is over.
            CellFault: the cell itself failed.
        """
        self.advance(action)
        return self.conclude()

    def advance(self, action: np.ndarray) -> None:
        """The first half of `step`, the cell's motion alone: what a vector environment runs side by side."""
        if self._over:
            raise gym.error.ResetNeeded("the episode is over: call reset() before step()")
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape:
            raise ValueError(f"action has shape {action.shape}, expected {self.action_space.shape}")
        if not is_finite(action):
            raise ValueError(f"action {action} is not finite; expected numbers within {self.action_space}")
        action = np.minimum(np.maximum(action, self._lowest), self._highest)
        self.cell.apply(self.task.command(action))

    def conclude(self) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The second half: read, judge, observe."""
        self._steps += 1
        readings = self.cell.read()

        violation = self._check_safety(readings)
        # A violation scores nothing, and says how far it had come before.
        progress = self.task.update(readings) if violation is None else Progress(self._last_info["stage"], 0.0)
        success, reason = False, violation
        if violation is None and self.task.candidate(readings):
            verdict = self.task.verify(self.cell)
            success, reason = verdict.success, verdict.reason
            self._over = True
            if success:
                progress = Progress(self.task.stages[-1], 1.0)
        terminated = self._over = self._over or violation is not None
        truncated = not terminated and self._steps >= self._last_step
        if truncated:
            self._over, reason = True, REASON

        reward = float(success)
        if self._shaping is not None:
            reward += self._shaping.step(0.0 if terminated else self.task.potential(readings))
        info = self._info(readings, progress, success, [violation] if violation else [])
        if reason is not None:
            info["reason"] = reason
        self._last_info = info
        observation = self._observe(readings)
        self._show()
        return observation, reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The task's camera, (side, side, 3) uint8, or None where the mode is another one."""
        if self.render_mode is None:
            warn_of_no_render_mode(self)
        if self.render_mode == "rgb_array":
            return self._picture(self._steps)
        self._show()
        return None

    def close(self) -> None:
        """Let go of what the cell holds. Safe to call twice."""
        self.cell.close()

    # -- what a station asks (`enpire_envs.contract.StationEnv`) -----------------------------------------------------
    in_process = True
    real_cell: Any = None

    @property
    def reset_options(self) -> tuple[str, ...]:
        """What `reset(options=...)` understands."""
        return ("attempt", "start", "station") if self._installed else ("attempt", "start")

    @property
    def kind(self) -> str:
        """As `StationEnv.kind`: what the cell says of itself."""
        return self.cell.kind

    @property
    def control_hz(self) -> float:
        """Control rate of the task."""
        return self.task.control_hz

    @property
    def act_cpu_ms(self) -> float:
        """CPU time that a policy may use per call of `act` [ms]."""
        return self.task.act_cpu_ms

    @property
    def stages(self) -> tuple[str, ...]:
        """The task's stages; the last one is success."""
        return self.task.stages

    def finish(self) -> dict[str, Any]:
        """End the episode as it stands. Success was judged as it came, so this is the last step's `info`."""
        self._over = True
        return dict(self._last_info)

    def tools_body(self) -> Body | None:
        """What the tools of script policies act through; None where the task hides something, which its cameras' poses would tell."""
        from enpire_envs.tools.bodies import CellBody

        return CellBody(self) if self.task.obs_types == ALL_OBS_TYPES else None

    def identity(self) -> Identity:
        """The environment's module, with all that it imports of the suite but its brief, and MuJoCo's version."""
        module = type(self).__module__
        return {
            "code": [module],
            "aside": [f"{module.rpartition('.')[0]}.brief"],
            "versions": {"mujoco": metadata.version("mujoco")},
            # which station it is does not make it another environment: results of several are compared
            "ignore": ["station_seed"],
            "resolved": {"obs_type": self._obs_type},
        }

    @property
    def names(self) -> dict[str, Sequence[str]]:
        """What the numbers of observations and actions are called (`enpire_envs.contract.names_of`), where the task says it."""
        action, state, own = (getattr(self.task, f"{part}_names", ()) for part in ("action", "state", "agent_pos"))
        n = len(self.task.agent_pos_space.low)
        if self._obs_type == "environment_state_agent_pos":
            own = state[:n]
        return {
            "action": action,
            "observation": state,
            "observation.agent_pos": own,
            "observation.environment_state": state[n:],
        }

    def moment(self) -> Any:
        """What `draw` needs to show the scene as it is now, on a simulated cell: good until the next reset."""
        return self._steps, self.cell.snapshot()  # type: ignore[attr-defined]

    def draw(self, moment: Any) -> np.ndarray:
        """What `render` showed then, (side, side, 3) uint8, of an environment with ``render_mode="rgb_array"``."""
        step, snapshot = moment
        self.cell.restore(snapshot)  # type: ignore[attr-defined]
        return self._picture(step)

    # -- parts -------------------------------------------------------------------------------------------------------
    def _install(self, station_seed: int) -> None:
        if not isinstance(station_seed, int) or isinstance(station_seed, bool) or station_seed < 0:
            raise ValueError(f"station_seed {station_seed!r}: expected a whole number of at least 0")
        if station_seed and not self._installed:
            raise ValueError(
                f"station_seed {station_seed}: all stations of {self.task.name} are the same at this level"
            )
        for k, part in enumerate(self._installed):
            part.install(station_stream(station_seed, k))

    def _check_safety(self, readings: Any) -> str | None:
        try:
            return self.task.violation(readings)
        except Exception as error:  # a check that cannot be made has failed
            return f"safety_check_error: {error!r}"

    def _info(self, readings: Any, progress: Progress, success: bool, violations: list[str]) -> dict[str, Any]:
        return {
            "success": success,
            "is_success": success,
            "score": progress.score,
            "stage": progress.stage,
            "violations": violations,
            "time": self._steps / self.task.control_hz,
            "cell": self.cell.kind,
            **self.task.extras(readings),
        }

    def _picture(self, step: int) -> np.ndarray:
        """What people are shown: through no better a camera than policies have, as their authors see it too."""
        frame = self.cell.frame(self.task.camera, self._view_size, self._view_size)
        return frame if self._cameras is None else self._cameras.expose(self.task.camera, frame, step)

    def _pixels(self) -> np.ndarray | dict[str, np.ndarray]:
        images = {name: self.cell.frame(name, self._obs_size, self._obs_size) for name in self.task.cameras}
        if self._cameras is not None:
            images = self._cameras.deliver(images, self._steps)
        return images if len(images) > 1 else images[self.task.cameras[0]]

    def _observe(self, readings: Any) -> Any:
        if self._obs_type == "state":
            return self.task.observe(readings)
        if self._obs_type == "environment_state_agent_pos":
            n = len(self.task.agent_pos_space.low)
            state = self.task.observe(readings)
            return {"agent_pos": state[:n], "environment_state": state[n:]}
        if self._obs_type == "pixels":
            return self._pixels()
        return {"agent_pos": self.task.agent_pos(readings), "pixels": self._pixels()}

    def _make_observation_space(self) -> spaces.Space[Any]:
        size = self._obs_size
        state, agent = self.task.state_space, self.task.agent_pos_space
        image = spaces.Box(0, 255, (size, size, 3), np.uint8)
        cameras = self.task.cameras
        pixels = spaces.Dict(dict.fromkeys(cameras, image)) if len(cameras) > 1 else image
        n = len(agent.low)
        rest = spaces.Box(state.low[n:], state.high[n:], dtype=np.float32)
        made: dict[str, spaces.Space[Any]] = {
            "state": state,
            "environment_state_agent_pos": spaces.Dict({"agent_pos": agent, "environment_state": rest}),
            "pixels": pixels,
            "pixels_agent_pos": spaces.Dict({"agent_pos": agent, "pixels": pixels}),
        }
        return made[self._obs_type]

    def _show(self) -> None:
        if self.render_mode == "human":
            self.cell.show()


def choose(what: str, given: object, known: Collection[str]) -> None:
    """Raise ValueError unless `given` is one of the known values."""
    if given not in known:
        raise ValueError(f"unknown {what} {given!r}; choose one of: {', '.join(known)}")


def check_render_mode(env: gym.Env[Any, Any], render_mode: str | None) -> None:
    """Raise ValueError unless the environment can render so. None is always possible."""
    if render_mode is not None:
        choose("render_mode", render_mode, env.metadata["render_modes"])


def warn_of_no_render_mode(env: gym.Env[Any, Any]) -> None:
    """What Gymnasium's own environments say where `render` is called although nobody chose a mode."""
    env_id = env.spec.id if env.spec else type(env).__name__
    logger.warn(
        "You are calling render method without specifying any render mode. You can specify the render_mode at "
        f'initialization, e.g. gym.make("{env_id}", render_mode="rgb_array")'
    )


__all__ = ["CellEnv", "CellFault", "ResetFailed", "check_render_mode", "choose", "warn_of_no_render_mode"]
