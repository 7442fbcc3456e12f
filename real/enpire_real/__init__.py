"""The physical backend: stations made of arms, cameras and a safety monitor, and the twin that stands in for them.

Importing this package registers its tasks and their `ENPIRE/...-real-v0` ids. Nothing heavy is imported until an environment is
made.
"""

import os
import sys

from enpire_real.tasks import register_task

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # headless: must be decided before MuJoCo is imported

__all__ = ["ENV_IDS"]

_PUSHT = {"entry_point": "enpire_real.pusht.env:PushTRealEnv", "max_episode_steps": 300}

ENV_IDS = register_task(
    "pusht",
    "enpire_real.pusht.kit:KIT",
    {
        "ENPIRE/PushT-real-v0": {**_PUSHT, "kwargs": {"variant": "full"}},
        "ENPIRE/PushTSimple-real-v0": {**_PUSHT, "kwargs": {"variant": "simple"}},
    },
)
