"""A task whose stations differ, as a package of its own: every observation says at which station it was made."""

from enpire_envs.registry import LEVELS, TaskEntry

_IDS = {f"Test/Stationed-{name.title()}-v0": name for name in ("standard", "fleet")}
TASK = TaskEntry(
    package="stationed",
    entry_point="stationed.env:StationedEnv",
    envs={"Test/Stationed-v0": {}, **{env_id: {"level": name} for env_id, name in _IDS.items()}},
    levels={"Test/Stationed-v0": LEVELS["intro"], **{env_id: LEVELS[name] for env_id, name in _IDS.items()}},
)
