"""Where the other interpreters are, and what to type when they are not."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Overrides the folder in which `autoenvbench setup` makes its environments.
HOME_VARIABLE = "AUTOENVBENCH_SIMULATORS"
#: Where RoboCasa's official assets are, if not inside the package itself.
ASSETS_VARIABLE = "ROBOCASA_ASSETS_PATH"
ABOUT = "about.json"  # written last: its presence says that the environment is whole
PACKAGE_ASSETS = "package_assets"  # in it: where RoboCasa's own download puts them
STANDIN = "standin"  # the folder with the stand-in kitchen's assets


class NotInstalled(RuntimeError):
    """The simulator's environment has not been made, or cannot run."""


class SetupFailed(RuntimeError):
    """The simulator's environment cannot be made; the message says why and what to type."""


@dataclass(frozen=True, slots=True)
class Simulator:
    """One environment of its own: its name, and exactly what is installed into it."""

    name: str
    requirements: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Its folder."""
        return simulators_dir() / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def about(self) -> dict[str, Any]:
        """What `autoenvbench setup` noted. Raises NotInstalled."""
        try:
            about: dict[str, Any] = json.loads((self.path / ABOUT).read_text())
        except (OSError, ValueError):
            raise NotInstalled(
                f"{self.name} is not installed here ({self.path}); type: autoenvbench setup {self.name}"
            ) from None
        if about.get("requirements") != list(self.requirements):
            raise NotInstalled(f"{self.path} is of another version; type: autoenvbench setup {self.name}")
        return about

    @property
    def installed(self) -> bool:
        """Whether it is made, whole and of this version."""
        try:
            self.about()
        except NotInstalled:
            return False
        return True


#: Tried together; see the notes of each. h5py is needed by robosuite and not declared there.
ROBOCASA = Simulator(
    "robocasa",
    ("robosuite==1.5.2", "rlinf-robocasa365==1.0.1", "mujoco==3.9.0", "numpy==1.26.4", "gymnasium==1.4.0", "numba==0.68.1",
     "h5py==3.16.0", "msgpack==1.2.4", "ompl==2.0.1"),
)  # fmt: skip
GYM_PUSHT = Simulator("gym-pusht", ("gym-pusht==0.1.8", "gymnasium==1.4.0", "msgpack==1.2.4"))
SIMULATORS = {simulator.name: simulator for simulator in (ROBOCASA, GYM_PUSHT)}


def simulators_dir() -> Path:
    """Inside this interpreter's own environment, so that both are made and thrown away together."""
    return Path(os.environ.get(HOME_VARIABLE) or Path(sys.prefix) / "simulators").absolute()
