"""The physical backend: stations made of arms, cameras and a safety monitor, and the twin that stands in for them.

Importing this package registers its tasks and their `ENPIRE/...-real-v0` ids. Nothing heavy is imported until an environment is
made.
"""

import os
import sys
from pathlib import Path

from enpire_envs.registry import TaskEntry

from enpire_real.tasks import register_task

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # headless: must be decided before MuJoCo is imported

__all__ = ["ENV_IDS"]

ENV_IDS = register_task(
    "pusht",
    "enpire_real.pusht.kit:KIT",
    TaskEntry(
        package="enpire_real.pusht",
        entry_point="enpire_real.pusht.env:PushTRealEnv",
        envs={"ENPIRE/PushT-real-v0": {"variant": "full"}, "ENPIRE/PushTSimple-real-v0": {"variant": "simple"}},
        max_episode_steps=300,
        nondeterministic=True,
        template="enpire_envs.pusht.template",
        reference="enpire_real.pusht.reference",
        secret=("enpire_envs.skills",),
        simulator=("enpire_real.twin", "enpire_real.pusht.twin", "enpire_envs.pusht", "mujoco"),
        real=True,
        listed_with={"station": str(Path(__file__).with_name("twin.yaml"))},
    ),
)
ENV_IDS += register_task(
    "pin_insertion",
    "enpire_real.pin_insertion.kit:KIT",
    TaskEntry(
        package="enpire_real.pin_insertion",
        entry_point="enpire_real.pin_insertion.env:PinRealEnv",
        envs={"ENPIRE/PinInsertion-real-v0": {}},
        max_episode_steps=600,
        nondeterministic=True,
        template="enpire_envs.pin_insertion.template",
        reference="enpire_real.pin_insertion.reference",
        simulator=("enpire_real.twin", "enpire_real.pin_insertion.twin", "enpire_envs.pin_insertion", "mujoco"),
        real=True,
        listed_with={"station": str(Path(__file__).parent / "pin_insertion" / "twin.yaml")},
    ),
)
ENV_IDS += register_task(
    "tie_zip_tie",
    "enpire_real.tie_zip_tie.kit:KIT",
    TaskEntry(
        package="enpire_real.tie_zip_tie",
        entry_point="enpire_real.tie_zip_tie.env:TieRealEnv",
        envs={"ENPIRE/TieZipTie-real-v0": {}},
        max_episode_steps=600,
        nondeterministic=True,
        template="enpire_envs.tie_zip_tie.template",
        reference="enpire_real.tie_zip_tie.reference",
        simulator=("enpire_real.twin", "enpire_real.tie_zip_tie.twin", "enpire_envs.tie_zip_tie", "mujoco"),
        real=True,
        listed_with={"station": str(Path(__file__).parent / "tie_zip_tie" / "twin.yaml")},
    ),
)
