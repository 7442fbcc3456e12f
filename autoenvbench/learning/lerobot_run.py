"""Training with LeRobot, which caps PyTorch below what is used here and so lives in an environment of its own.

Here is the half that runs in this interpreter: it finds the other one, starts `lerobot_train` there with the demonstrations, and takes over
the declared network that comes of it. The run's folder is that of `run`, and beside it

    dataset/        the demonstrations as a LeRobotDataset
    lerobot/        the trained policy as LeRobot saves it, for its own tools
    lerobot.log     what LeRobot said beside
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import enpire_envs
import enpire_real
import gymnasium as gym
from enpire_envs.episode_file import SUFFIX
from enpire_real.dataset import feature_name

import autoenvbench
from autoenvbench.errors import UserError
from autoenvbench.learning.episodes import Trajectory
from autoenvbench.learning.lerobot_place import find
from autoenvbench.learning.lerobot_train import NETWORK, REPORT
from autoenvbench.learning.run import require_folder
from autoenvbench.station.codec import leaves
from autoenvbench.station.networks import NetworkError, NetworkPolicy

#: Our packages where they are not installed: the modules that are named, without the packages' own starts.
_ALONE = """
import json, sys
for name, folder in json.loads(sys.argv[1]).items():
    package = sys.modules[name] = type(sys)(name)
    package.__path__ = [folder]
"""
_LEARN = (
    _ALONE
    + """
from autoenvbench.learning.lerobot_train import end_with_its_caller, main
end_with_its_caller()
main(json.loads(sys.argv[2]))
"""
)
_OURS = {
    package.__name__: str(Path(str(package.__file__)).parent) for package in (autoenvbench, enpire_envs, enpire_real)
}


class LerobotTraining:
    """What `run.Training` is to other algorithms: how long, where, and how it goes on. Its arguments are those.

    Attributes:
        step, seconds: of the training, once it is over.
    """

    def __init__(
        self, out: Path, *, seed: int, minutes: float, threads: int = 1, resume: bool = False,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self.python = find()
        require_folder(out, resume)
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.step, self.seconds = out, 0, 0.0
        self._told = {
            "out": str(out.absolute()),
            "seed": seed,
            "minutes": minutes,
            "threads": threads,
            "resume": resume,
        }
        self._log, self._resume = log, resume

    def learn(self, module: ModuleType, env: gym.Env[Any, Any], demos: Sequence[Trajectory], settings: Any) -> bytes:
        """The declared network that comes of these demonstrations. Raises UserError."""
        name = module.__name__.rpartition(".")[2]
        module.check(settings)
        shown = [t for t in demos if t.path is not None and (t.success or not settings.successes)]
        if not shown:
            raise UserError(
                f"{name} needs demonstrations that were solved: make some with `autoenvbench demos`, and give --demos DIR"
            )
        dataset, source = self.out / "dataset", self.out / ".demonstrations"
        if not self._resume:
            shutil.rmtree(dataset, ignore_errors=True)  # of a run that was killed before its first checkpoint
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        for k, trajectory in enumerate(shown):
            assert trajectory.path is not None
            (source / f"{k:06d}{SUFFIX}").symlink_to(trajectory.path.absolute())
        self._run({
            **self._told, "module": module.__file__, "settings": asdict(settings), "parts": _parts(env.observation_space),
            "source": str(source.absolute()), "dataset": str(dataset.absolute()),
        })  # fmt: skip
        shutil.rmtree(source)
        made = json.loads((self.out / REPORT).read_text())
        self.step, self.seconds = made["steps"], made["seconds"]
        network = (self.out / NETWORK).read_bytes()
        try:
            NetworkPolicy(network, env.observation_space, env.action_space)  # type: ignore[arg-type]
        except NetworkError as error:
            raise UserError(f"LeRobot's {name} became no network that a station runs: {error}") from None
        return network

    def _run(self, told: dict[str, Any]) -> None:
        """Train in the other interpreter; what it prints is progress."""
        env = {
            **os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(self.out.absolute() / ".huggingface"),
            "OMP_NUM_THREADS": str(told["threads"]),
        }  # fmt: skip
        line = [str(self.python), "-sP", "-c", _LEARN, json.dumps(_OURS), json.dumps(told)]
        log = self.out / "lerobot.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
            )
            with process:  # it ends when its standard input does, so with this process, too
                assert process.stdout is not None
                for text in process.stdout:
                    self._log(text.rstrip())
        if process.returncode:
            last = (log.read_text(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            words = last.removeprefix("UserError: ")
            raise UserError(words if words != last else f"LeRobot's training failed: {last}; the rest is in {log}")


def _parts(space: gym.Space[Any]) -> list[dict[str, Any]]:
    """What is seen, in order, see `lerobot_graph.Declared`. Raises UserError for what LeRobot's policies cannot see."""
    parts = []
    for path, box in leaves(space):
        name, image = ".".join(("observation", *path)), len(box.shape) == 3
        if (image and box.shape[2] != 3) or len(box.shape) not in (1, 3):
            raise UserError(f"LeRobot's policies see vectors and colour images; {name} is {box.shape}")
        parts.append(
            {"name": name, "key": feature_name(name, box.shape, box.dtype), "shape": list(box.shape), "image": image}
        )
    return parts
