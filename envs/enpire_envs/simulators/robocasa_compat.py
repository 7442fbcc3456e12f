"""RoboCasa 1.0.1 on released robosuite 1.5.2: bridges the three things that only robosuite's master branch has.

Each bridge looks for the feature first, so on a robosuite that has it nothing is touched.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from robosuite.controllers.parts import controller_factory
from robosuite.environments.base import MujocoEnv
from robosuite.environments.manipulation.manipulation_env import ManipulationEnv
from robosuite.models.tasks import ManipulationTask

from enpire_envs.simulators.standin import STAMP


def bridge() -> list[str]:
    """Install what is missing; returns the names of the bridges that were needed. Idempotent."""
    made = []
    if not _takes(ManipulationEnv, "load_model_on_init"):
        _defer_loading()
        made.append("load_model_on_init")
    for option in ("enable_multiccd", "enable_sleeping_islands"):
        if not _takes(ManipulationTask, option):
            _drop(ManipulationTask, option)  # speed only: another collision routine and sleeping bodies
            made.append(option)
    if "JOINT_VELOCITY_LEGACY" not in inspect.getsource(controller_factory.mobile_base_controller_factory):
        _alias_controller()
        made.append("JOINT_VELOCITY_LEGACY")
    return made


def make_assets_writable() -> None:
    """RoboCasa writes beside its object models. The stand-in's are few: where they are read-only (an agent's cage), copy them."""
    assets = Path(os.environ.get("ROBOCASA_ASSETS_PATH", ""))
    if (assets / STAMP).exists() and not os.access(assets / "objects", os.W_OK):
        copy = Path(tempfile.mkdtemp(prefix="aeb-kitchen-")) / "assets"
        shutil.copytree(assets, copy)
        os.environ["ROBOCASA_ASSETS_PATH"] = str(copy)


def _takes(cls: type, option: str) -> bool:
    return option in inspect.signature(cls).parameters or hasattr(cls, f"_aeb_{option}")


def _drop(cls: Any, option: str) -> None:
    original = cls.__init__

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.pop(option, None)
        original(self, *args, **kwargs)

    cls.__init__ = init
    setattr(cls, f"_aeb_{option}", True)


def _defer_loading() -> None:
    """RoboCasa builds the model on the first reset only. Released robosuite builds one in the constructor as well,
    which costs a second; what would go wrong there is that a model under construction is thrown away before it has a
    simulation."""
    _drop(ManipulationEnv, "load_model_on_init")
    destroy = MujocoEnv._destroy_sim

    def destroy_if_any(self: Any) -> None:
        if getattr(self, "sim", None) is not None:
            destroy(self)

    MujocoEnv._destroy_sim = destroy_if_any


def _alias_controller() -> None:
    """The mobile base's controller under its former name."""
    original = controller_factory.mobile_base_controller_factory

    def factory(name: str, params: Any) -> Any:
        return original("JOINT_VELOCITY" if name == "JOINT_VELOCITY_LEGACY" else name, params)

    controller_factory.mobile_base_controller_factory = factory
