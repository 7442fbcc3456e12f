"""ENPIRE environment suite: manipulation tasks that reset and verify themselves, for Gymnasium.

Importing this package registers the ``ENPIRE/`` ids. Nothing heavy is imported until an environment is made.
"""

from dataclasses import replace

from enpire_envs.registry import LEVELS, TaskEntry, register

__all__ = ["ENV_IDS", "SIMULATOR_IDS"]

# -- our own tasks ---------------------------------------------------------------------------------------------------
PUSHT = TaskEntry(
    package="enpire_envs.pusht",
    entry_point="enpire_envs.pusht.env:PushTEnv",
    envs={
        "ENPIRE/PushT-v0": {"variant": "full"},
        "ENPIRE/PushTSimple-v0": {"variant": "simple"},
        **{f"ENPIRE/PushT-{level.title()}-v0": {"level": level} for level in LEVELS if level != "intro"},
    },
    levels={
        **dict.fromkeys(("ENPIRE/PushT-v0", "ENPIRE/PushTSimple-v0"), LEVELS["intro"]),
        **{f"ENPIRE/PushT-{name.title()}-v0": level for name, level in LEVELS.items() if name != "intro"},
    },
    max_episode_steps=300,
    in_threads=True,
    template="enpire_envs.pusht.template",
    reference="enpire_envs.pusht.reference",
    secret=("enpire_envs.skills",),
    simulator=("mujoco",),
)


def _contact_task(name: str, cls: str, *levels: str) -> TaskEntry:
    """The tasks at the gripper differ in their folders, and in the levels that have ids of their own."""
    package = f"enpire_envs.{name}"
    ids = {f"ENPIRE/{cls}-v0": "intro", **{f"ENPIRE/{cls}-{level.title()}-v0": level for level in levels}}
    return TaskEntry(
        package=package,
        entry_point=f"{package}.env:{cls}Env",
        envs={env_id: {"level": level} if level != "intro" else {} for env_id, level in ids.items()},
        levels={env_id: LEVELS[level] for env_id, level in ids.items()},
        # of a task with levels, the level in force says how long an episode is
        max_episode_steps=None if levels else 600,
        in_threads=True,
        template=f"{package}.template",
        reference=f"{package}.reference",
        simulator=("mujoco",),
    )


#: Long horizon: composed of pin insertion's parts, and ranked like its level `standard`.
PIN_BOARD = TaskEntry(
    package="enpire_envs.pin_board",
    entry_point="enpire_envs.pin_board.env:PinBoardEnv",
    envs={"ENPIRE/PinBoard-v0": {}},
    levels={"ENPIRE/PinBoard-v0": LEVELS["standard"]},
    in_threads=True,
    template="enpire_envs.pin_board.template",
    reference="enpire_envs.pin_board.reference",
    simulator=("mujoco",),
)
#: Long horizon: composed of the parts of tying and cutting, and ranked like their level `state`.
ZIP_TIE_FULL = TaskEntry(
    package="enpire_envs.zip_tie_full",
    entry_point="enpire_envs.zip_tie_full.env:ZipTieFullEnv",
    envs={"ENPIRE/ZipTieFull-v0": {}},
    levels={"ENPIRE/ZipTieFull-v0": LEVELS["state"]},
    in_threads=True,
    template="enpire_envs.zip_tie_full.template",
    reference="enpire_envs.zip_tie_full.reference",
    simulator=("mujoco",),
)

ENV_IDS = (
    *register(PUSHT),
    *register(_contact_task("pin_insertion", "PinInsertion", "state", "standard", "expert", "fleet")),
    *register(PIN_BOARD),
    *register(_contact_task("gpu_insertion", "GPUInsertion", "state", "standard", "expert", "fleet")),
    *register(_contact_task("tie_zip_tie", "TieZipTie", "state", "standard", "expert", "fleet")),
    *register(_contact_task("cut_zip_tie", "CutZipTie", "state", "standard", "expert", "fleet")),
    *register(ZIP_TIE_FULL),
)

# -- other simulators, in interpreters of their own (`autoenvbench setup` makes those); their time limits are their own --------
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

ROBOCASA = TaskEntry(
    package="enpire_envs.simulators",
    entry_point="enpire_envs.remote.env:RoboCasaEnv",
    envs={f"ENPIRE/RoboCasa-{task}-v0": {"task": task} for task in ROBOCASA_TASKS},
    simulator=("mujoco", "robosuite", "robocasa"),
    start_sets={"robocasa-40": "robocasa_40.json"},
    scenes_argument="snapshots",
    needs="robocasa",
)
ROBOSUITE = TaskEntry(
    package="enpire_envs.simulators",
    entry_point="enpire_envs.remote.env:RobosuiteEnv",
    envs={f"ENPIRE/Robosuite-{task}-v0": {"task": task} for task in ROBOSUITE_TASKS},
    simulator=("mujoco", "robosuite"),
    needs="robocasa",
)
GYM_PUSHT = TaskEntry(
    package="enpire_envs.simulators",
    entry_point="enpire_envs.remote.env:GymPushTEnv",
    envs={"ENPIRE/GymPushT-v0": {}},
    simulator=("gym_pusht",),
    needs="gym-pusht",
)


def _other_kitchen_tasks() -> TaskEntry:
    """All other tasks of RoboCasa have ids as well, where it is set up and says which it has."""
    from enpire_envs.remote.venvs import SIMULATORS, NotInstalled

    try:
        tasks = SIMULATORS["robocasa"].about().get("tasks", ())
    except NotInstalled:
        tasks = ()
    more = {f"ENPIRE/RoboCasa-{task}-v0": {"task": task} for task in tasks if task not in ROBOCASA_TASKS}
    return replace(ROBOCASA, envs=more, listed=False)


#: RoboCasa, robosuite and gym-pusht.
SIMULATOR_IDS = (*register(ROBOCASA), *register(ROBOSUITE), *register(GYM_PUSHT))
register(_other_kitchen_tasks())
