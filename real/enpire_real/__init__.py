"""The physical backend: stations made of arms, cameras and a safety monitor, and the twin that stands in for them.

Importing this package registers the ``ENPIRE/...-real-v0`` ids. Nothing heavy is imported until an environment is made.
"""

import os
import sys

import gymnasium as gym

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # headless: must be decided before MuJoCo is imported

__all__ = ["ENV_IDS"]


def _register() -> tuple[str, ...]:
    pusht = "enpire_real.pusht.env:PushTRealEnv"
    entries: dict[str, tuple[str, int, dict[str, str]]] = {
        "ENPIRE/PushT-real-v0": (pusht, 300, {"variant": "full"}),
        "ENPIRE/PushTSimple-real-v0": (pusht, 300, {"variant": "simple"}),
    }
    for env_id, (entry_point, steps, kwargs) in entries.items():
        if env_id not in gym.registry:
            # The cell keeps time with motors and cameras: the same seed gives the same start, but not the same episode.
            gym.register(env_id, entry_point=entry_point, kwargs=kwargs, max_episode_steps=steps, nondeterministic=True)
    return tuple(entries)


ENV_IDS = _register()
