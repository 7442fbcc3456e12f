"""ENPIRE environment suite: manipulation tasks that reset and verify themselves, for Gymnasium.

Importing this package registers the ``ENPIRE/`` ids. Nothing heavy is imported until an environment is made.
"""

import gymnasium as gym

__all__ = ["ENV_IDS", "REFERENCE_DIR_NAME"]

#: The package folder that holds the privileged reference policies; every cage hides it.
REFERENCE_DIR_NAME = "reference"


def _register() -> tuple[str, ...]:
    pusht = "enpire_envs.pusht.env:PushTEnv"
    pin = "enpire_envs.pin_insertion.env:PinInsertionEnv"
    gpu = "enpire_envs.gpu_insertion.env:GPUInsertionEnv"
    tie = "enpire_envs.tie_zip_tie.env:TieZipTieEnv"
    cut = "enpire_envs.cut_zip_tie.env:CutZipTieEnv"
    entries: dict[str, tuple[str, int, dict[str, str]]] = {
        "ENPIRE/PushT-v0": (pusht, 300, {"variant": "full"}),
        "ENPIRE/PushTSimple-v0": (pusht, 300, {"variant": "simple"}),
        "ENPIRE/PinInsertion-v0": (pin, 600, {}),
        "ENPIRE/GPUInsertion-v0": (gpu, 600, {}),
        "ENPIRE/TieZipTie-v0": (tie, 600, {}),
        "ENPIRE/CutZipTie-v0": (cut, 600, {}),
    }
    for env_id, (entry_point, steps, kwargs) in entries.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=entry_point,
                vector_entry_point=f"enpire_envs.vector:{entry_point.rpartition(':')[2]}",
                kwargs=kwargs,
                max_episode_steps=steps,
            )
    return tuple(entries)


ENV_IDS = _register()
