"""The proxies: environments that live in another interpreter and look like any other from here."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from enpire_envs import simulators
from enpire_envs.env import CellFault, ResetFailed, check_render_mode, choose, warn_of_no_render_mode
from enpire_envs.remote.venvs import (
    ASSETS_VARIABLE,
    GYM_PUSHT,
    PACKAGE_ASSETS,
    ROBOCASA,
    STANDIN,
    NotInstalled,
    Simulator,
)
from enpire_envs.remote.wire import Channel, Closed
from enpire_envs.time_limit import StepLimit, limits_around

if TYPE_CHECKING:
    from enpire_envs.contract import Identity
    from enpire_envs.tools.bodies import Body

_START_S, _ANSWER_S = 300.0, 120.0  # backstops; the first start compiles robosuite's helpers
_HOST = Path(__file__).with_name("host.py")
#: Errors of the other side that are the caller's own, by name. Anything else is the cell's fault.
_PASSED_ON: dict[str, type[Exception]] = {
    "ValueError": ValueError, "TypeError": TypeError, "ResetNeeded": gym.error.ResetNeeded, "ResetFailed": ResetFailed,
}  # fmt: skip


class RemoteEnv(gym.Env[Any, np.ndarray]):
    """An environment in a process of another interpreter. It dies with this one; a dead one is started anew by `reset`.

    A copy (`copy.deepcopy`, `pickle`) is a fresh environment of the same arguments with the same generator of starts: it has a
    process of its own from its first `reset` on, and no part in the original's episode.

    Raises:
        NotInstalled: the simulator's environment has not been made (`autoenvbench setup NAME` makes it).
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    simulator: Simulator
    entry: str  # module:class over there
    data: tuple[Path, ...] = ()  # files that the code over there reads and that decide episodes
    act_cpu_ms = 250.0  # CPU time that a policy may use per call of `act` when it is evaluated
    stages = ("start", "success")
    in_process = False
    reset_options = ("attempt", "start", "to_the_end")
    real_cell = None

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        check_render_mode(self, render_mode)
        self.render_mode = render_mode
        self._kwargs = kwargs
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None
        own = StepLimit(1, kwargs.get("max_episode_steps")).own  # checked before anything is started
        self.about: dict[str, Any] = self._start()
        self.limit = StepLimit(self.about["limit"], own)
        self.observation_space = _space(self.about["observation_space"])
        space = _space(self.about["action_space"])
        assert isinstance(space, spaces.Box)
        self.action_space = space
        self.metadata = {**self.metadata, "render_fps": self.about["hz"]}
        self.control_hz = float(self.about["hz"])

    # -- gymnasium ---------------------------------------------------------------------------------------------------
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As any environment of the suite; starts the other interpreter where there is none. Raises ResetFailed, ValueError, CellFault."""
        super().reset(seed=seed)
        if self._process is None:
            self.about = self._start()
        episode_seed = int(self.np_random.integers(2**31))  # RoboCasa's own protocol counts seeds to 2^31
        limit = self.limit.within(limits_around(self))
        observation, info = self._ask({"do": "reset", "seed": episode_seed, "options": options, "limit": limit})
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control period. Raises ValueError for a bad action, ResetNeeded after the end, CellFault where the process dies."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape:
            raise ValueError(f"action has shape {action.shape}, expected {self.action_space.shape}")
        if not np.isfinite(action).all():
            raise ValueError(f"action {action} is not finite; expected numbers within {self.action_space}")
        observation, reward, terminated, truncated, info = self._ask({"do": "step", "action": action})
        return observation, reward, terminated, truncated, info

    def finish(self) -> dict[str, Any]:
        """Judge now, by the simulator's own predicate: what ends the episode of a script. Returns the last `info`."""
        info: dict[str, Any] = self._ask({"do": "finish"})
        return info

    def render(self) -> np.ndarray | None:
        """The simulator's own view, (side, side, 3) uint8; None without a render mode."""
        if self.render_mode is None:
            warn_of_no_render_mode(self)
            return None
        image: np.ndarray = self._ask({"do": "render"})
        return image

    # -- what a station asks (`enpire_envs.contract.StationEnv`) -----------------------------------------------------
    @property
    def kind(self) -> str:
        """ "sim", or "stand-in" for the kitchen of primitive shapes."""
        return str(self.about["cell"])

    def tools_body(self) -> Body | None:
        """What the tools of script policies act through, where the simulator's robot has such a body."""
        from enpire_envs.tools.bodies import RemoteBody

        return RemoteBody(self) if self.about["body"] else None

    def identity(self) -> Identity:
        """The proxy's code and the other side's, by the versions and with the arguments of the other side."""
        return {
            "code": [type(self).__module__, self.about["entry"]],
            "files": self.data,
            "versions": self.about["versions"],
            "arguments": self.about["arguments"],
            "scene": self.kind,
            "ignore": ("snapshots",),  # where snapshots lie
        }

    # -- the other side ----------------------------------------------------------------------------------------------
    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Ask the robot's body over there: what the tools of script policies are made of."""
        return self._ask({"do": "call", "name": name, "args": list(args), "kwargs": kwargs})

    def close(self) -> None:
        """End the other process. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            self._channel.close()  # it ends by itself
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def __getstate__(self) -> dict[str, Any]:
        ours = {key: value for key, value in self.__dict__.items() if key != "_channel"}
        return {**ours, "_process": None, "_log": None}

    def _start(self) -> dict[str, Any]:
        self.simulator.about()
        to_read, from_us = os.pipe()
        to_us, to_write = os.pipe()
        if self._log is None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._process = subprocess.Popen(
            [str(self.simulator.python), "-s", str(_HOST), str(to_read), str(to_write)],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, pass_fds=(to_read, to_write), env=self._environment(),
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._channel = Channel(to_us, from_us)
        about: dict[str, Any] = self._ask({"do": "make", "entry": self.entry, "kwargs": self._kwargs}, _START_S)
        return {**about, "entry": self.entry.partition(":")[0]}

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "MUJOCO_GL", "CUDA_VISIBLE_DEVICES", "DISPLAY")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        return {"MUJOCO_GL": "egl", "PYTHONHASHSEED": "0", **env}

    def _ask(self, request: dict[str, Any], timeout: float = _ANSWER_S) -> Any:
        if self._process is None:
            raise CellFault(f"there is no {self.simulator.name} process; reset() starts it")
        try:
            self._channel.send(request)
            answer = self._channel.receive(timeout)
        except (Closed, TimeoutError, ValueError) as error:
            tail = self._output()
            self.close()
            what = "gave no answer" if isinstance(error, TimeoutError) else "died"
            raise CellFault(f"the {self.simulator.name} process {what} during {request['do']}: {tail}") from None
        if isinstance(answer, dict) and "ok" in answer:
            return answer["ok"]
        if not (
            isinstance(answer, dict) and all(isinstance(answer.get(k), str) for k in ("error", "text", "traceback"))
        ):
            self.close()
            raise CellFault(
                f"the {self.simulator.name} process gave no answer to {request['do']} but {str(answer)[:200]}"
            )
        if request["do"] == "make":
            self.close()
        kind = _PASSED_ON.get(answer["error"])
        if kind is not None:
            raise kind(answer["text"])
        raise CellFault(f"{self.simulator.name}: {answer['error']}: {answer['text']}\n{answer['traceback']}")

    def _output(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), 1500, max(0, size - 1500)).decode("utf-8", "replace").strip()


def _space(described: dict[str, Any]) -> spaces.Space[Any]:
    if "dict" in described:
        return spaces.Dict({key: _space(part) for key, part in described["dict"].items()})
    return spaces.Box(described["low"], described["high"], dtype=described["low"].dtype.type)


class RobosuiteEnv(RemoteEnv):
    """A task of robosuite 1.5 with its default robot and controller.

    ## Action
    What robosuite's default controller of the robot takes. One Panda: (7,) in [-1, 1]: displacement of the end effector
    (x 5 cm, base frame), rotation vector (x 0.5 rad, base frame), gripper (-1 opens, +1 closes). Two arms: one after the other.
    20 Hz.

    ## Observation
    - ``state``: the flat vector of robosuite's own GymWrapper (object state, then proprioception), float32.
    - ``pixels_agent_pos``: ``agent_pos`` (proprioception), ``pixels`` and ``pixels_wrist`` (uint8 RGB).

    ## Success
    robosuite's own predicate (`_check_success`) at the end of the episode. An episode ends early once it has held for 0.5 s; a
    script's episode ends when the script does.

    ## Start
    Drawn by robosuite from the episode's seed alone, whatever ran before. ``options={"start": {"seed": 7}}`` asks for
    one by name; ``attempt`` re-draws the noise on the arm's first posture.

    Args:
        task: robosuite's name of the task, such as "Door".
        robots: robosuite's names of the robots; None for one Panda, or two where the task needs them.
        obs_type: "state" or "pixels_agent_pos".
        reward_type: "sparse", or "dense" for robosuite's shaped reward.
        observation_width: side of the square images [px].
        max_episode_steps: the time limit in control steps (500 unless the task says otherwise).
    """

    simulator = ROBOCASA
    entry = "enpire_envs.simulators.robosuite_env:RobosuiteTask"


class RoboCasaEnv(RemoteEnv):
    """A kitchen task of RoboCasa365 (1.0.1): a Panda on an Omron mobile base.

    ## Action
    (12,) in [-1, 1]: end effector displacement (x 5 cm) and rotation vector (x 0.5 rad) in the base's frame, gripper (-1 opens, +1
    closes), base velocity (forward, left, turn), torso, and mode (above 0: the base moves, else the arm). 20 Hz.

    ## Observation
    - ``state``: (16,) proprioception alone: gripper (2), base pose (3 + 4), end effector relative to the base (3 + 4). What stands
      in the kitchen is for the cameras to see.
    - ``pixels_agent_pos``: ``agent_pos`` (the same), ``pixels_left``, ``pixels_right``, ``pixels_wrist`` (uint8 RGB).

    ## Success
    RoboCasa's own predicate at the end of the episode. An episode ends early once it has held for 0.5 s; a script's episode ends
    when the script does. The time limit is RoboCasa's horizon for the task, enforced here.

    ## Start
    A kitchen is a (seed, layout, style) triplet; `reset(seed)` draws one from the `split`, and ``options={"start":
    {"seed": 478163327, "layout": 36, "style": 15}}`` asks for one. None that is drawn is a kitchen of the 40 development triplets
    (``robocasa-40``), so that runs are held out from these. The first reset to a start notes a digest of the whole
    compiled scene and its state, and later ones restore that state or fail: two methods see the same scene, or neither runs.

    ## Kitchens
    With RoboCasa's assets (``autoenvbench setup robocasa --assets FOLDER``) the real ones. Without them a stand-in of primitive shapes with
    one layout: then ``info["cell"]`` is "stand-in", and its scores are not RoboCasa scores.

    Args:
        task: RoboCasa's class name of the task, such as "OpenDrawer".
        split: "target", "pretrain" or "all": which kitchens and objects `reset(seed)` draws from.
        obs_type: "state" or "pixels_agent_pos".
        observation_width: side of the square images [px].
        kitchen: "official", "stand-in", or None for the official one where it is installed.
        snapshots: folder that keeps the starts seen, so that other processes restore the same ones.
        max_episode_steps: the time limit in control steps; None for RoboCasa's horizon.
    """

    simulator = ROBOCASA
    entry = "enpire_envs.simulators.robocasa_env:RoboCasaTask"
    data = (Path(simulators.__file__).with_name("robocasa_40.json"),)  # kitchens that no seed draws

    def __init__(self, *, kitchen: str | None = None, **kwargs: Any) -> None:
        choose("kitchen", kitchen or "None", ("None", "official", "stand-in"))
        self._assets = official_assets()
        if kitchen == "official" and self._assets is None:
            raise ValueError("RoboCasa's assets are not installed; type: autoenvbench setup robocasa --assets FOLDER")
        if kitchen == "stand-in":
            self._assets = None
        if self._assets is None and STANDIN not in self.simulator.about():  # setup was interrupted before it was made
            raise NotInstalled("there is no kitchen yet; type: autoenvbench setup robocasa")
        super().__init__(**kwargs, standin=self._assets is None)

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), ASSETS_VARIABLE: str(self._assets or self.simulator.path / STANDIN)}


class GymPushTEnv(RemoteEnv):
    """gym-pusht's PushT-v0 (the task of Diffusion Policy and LeRobot) under this suite's contract.

    Action: (2,) target of the fingertip in [0, 512]^2 px. Observation: ``state`` (5,) or ``pixels_agent_pos``. 10 Hz, 300 steps.
    Success: the T covers over 95 % of its target, as gym-pusht has it. `attempt` changes nothing: its physics has no noise.

    Args:
        obs_type: "state", "environment_state_agent_pos", "pixels" or "pixels_agent_pos".
        observation_width: side of the square images [px].
        max_episode_steps: the time limit in control steps.
    """

    simulator = GYM_PUSHT
    entry = "enpire_envs.simulators.gym_pusht_env:GymPushTTask"


def official_assets() -> Path | None:
    """RoboCasa's downloaded assets, if they are here and whole enough to make a kitchen."""
    about = ROBOCASA.about()
    for folder in filter(None, (os.environ.get(ASSETS_VARIABLE), about.get("assets"), about.get(PACKAGE_ASSETS))):
        if not missing_assets(Path(folder)):
            return Path(folder)
    return None


def missing_assets(folder: Path) -> list[str]:
    """Which parts of RoboCasa's download are not in this folder."""
    needed = ("textures", "fixtures/sinks", "fixtures/stoves", "fixtures/coffee_machines", "objects/objaverse")
    return [part for part in needed if not any((folder / part).glob("*"))]
