"""Reach: a whole task in one folder, and what says so. See `enpire_envs.registry` for each line."""

from enpire_envs.registry import TaskEntry

TASK = TaskEntry(
    package="reach",
    entry_point="reach.env:ReachEnv",
    envs={"Example/Reach-v0": {}, "Example/ReachFine-v0": {"tolerance": 0.01}},
    template="reach.template",
    reference="reach.reference",
    start_sets={"corners": "corners.json"},
)
