"""ENPIRE environment suite: manipulation tasks that reset and verify themselves, for Gymnasium.

Importing this package registers the ``ENPIRE/`` ids. Nothing heavy is imported until an environment is made.
"""

import gymnasium as gym

__all__ = ["ENV_IDS", "REFERENCE_DIR_NAME", "SIMULATOR_IDS"]

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


#: The kitchen tasks of ENPIRE's ablations.
ROBOCASA_TASKS = (
    "OpenCabinet", "PickPlaceSinkToCounter", "TurnOnSinkFaucet", "OpenDrawer", "OpenStandMixerHead", "TurnOffStove",
    "PickPlaceCounterToCabinet", "CoffeeSetupMug",
)  # fmt: skip
ROBOSUITE_TASKS = (
    "Lift", "Stack", "Door", "Wipe", "ToolHang", "NutAssembly", "NutAssemblySingle", "NutAssemblySquare", "NutAssemblyRound",
    "PickPlace", "PickPlaceSingle", "PickPlaceMilk", "PickPlaceBread", "PickPlaceCereal", "PickPlaceCan", "TwoArmLift",
    "TwoArmPegInHole", "TwoArmHandover", "TwoArmTransport",
)  # fmt: skip


def _register_simulators() -> tuple[str, ...]:
    """Ids of other simulators, which run in interpreters of their own (`autoenvbench setup` makes those)."""
    listed = {f"ENPIRE/RoboCasa-{task}-v0": ("RoboCasaEnv", {"task": task}) for task in ROBOCASA_TASKS}
    listed |= {f"ENPIRE/Robosuite-{task}-v0": ("RobosuiteEnv", {"task": task}) for task in ROBOSUITE_TASKS}
    listed |= {"ENPIRE/GymPushT-v0": ("GymPushTEnv", {})}
    # All other tasks of RoboCasa have ids as well, where it is set up and says which it has.
    more = {f"ENPIRE/RoboCasa-{task}-v0": ("RoboCasaEnv", {"task": task}) for task in _installed_tasks()}
    for env_id, (name, kwargs) in {**more, **listed}.items():
        if env_id not in gym.registry:
            gym.register(
                env_id, entry_point=f"enpire_envs.remote.env:{name}", kwargs=kwargs
            )  # its time limit is its own
    return tuple(listed)


def _installed_tasks() -> list[str]:
    from enpire_envs.remote.venvs import ROBOCASA, NotInstalled

    try:
        return list(ROBOCASA.about().get("tasks", ()))
    except NotInstalled:
        return []


ENV_IDS = _register()
#: RoboCasa, robosuite and gym-pusht.
SIMULATOR_IDS = _register_simulators()
