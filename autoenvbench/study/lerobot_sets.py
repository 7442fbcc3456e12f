"""`autoenvbench demos --from ... --to lerobot`, and back: folders of episodes as LeRobotDatasets that keep the word of who made them.

`enpire_real.dataset` does the work, in an interpreter that has LeRobot: see there what each column becomes. Our own episodes come back bit
for bit (images that were made videos about so), and so does the folder's manifest, which lies in the dataset's `enpire/`. What other
software reads of it lacks each episode's last observation, its seed and start, the stages, the evidence of its verdict, and who acted.

A dataset of others does not say which environment it is of. Whoever imports it says so (`--env`), and every episode then says that this was
declared; shapes, rate and bounds are checked, what the numbers mean cannot be.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.contract import contract_of
from enpire_envs.episode_file import STEP_COLUMNS, Column, EncodedImages, Episode, EpisodeError, write_episode
from enpire_envs.episodes import Episodes
from enpire_real.dataset import BESIDE, convert

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.station.trajectories import describe

MANIFESTS = ("demos.json", "data_set.json")


def to_lerobot(source: Path, out: Path, *, python: str | None = None, video: bool = True) -> dict[str, Any]:
    """Make the LeRobotDataset `out` of a folder of episodes.

    Args:
        python: an interpreter that has LeRobot; None: this one.
        video: images become videos, which loses a little; False: PNG.

    Returns how much there is: dataset, episodes, frames, cameras. Raises UserError.
    """
    if _is_lerobot(source):
        raise UserError(f"{source} is a LeRobotDataset already; leave --to out to make episodes of it")
    made = _converted(source, out, python, video)
    _copy_manifests(source, out / BESIDE)
    return made


def from_lerobot(
    source: Path, out: Path, *, env_id: str | None = None, env_kwargs: dict[str, Any] | None = None, python: str | None = None
) -> dict[str, Any]:  # fmt: skip
    """Make a folder of episodes of the LeRobotDataset `source`; it appears when it is whole.

    Args:
        env_id, env_kwargs: of which environment a dataset of others is. Our own says so itself.

    Returns how much there is: episodes, frames. Raises UserError where episodes do not fit the environment.
    """
    if not _is_lerobot(source):
        raise UserError(f"{source} is no LeRobotDataset (it has no meta/info.json); with --to lerobot it becomes one")
    if env_id is None and not (source / BESIDE).is_dir():
        raise UserError(f"{source} does not say which environment it is of; say so with --env ID")
    if out.exists():
        raise UserError(f"{out} is there already; name a new folder")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        made = _converted(source, part, python, True)
        said = {str(meta["env"]) for meta in Episodes(part).meta if "env" in meta}
        if said and env_id is not None and said != {env_id}:
            raise UserError(f"{source} is of {', '.join(sorted(said))}, not of {env_id}; leave --env out")
        if not said and env_id is not None:
            env = make_env(env_id, env_kwargs)
            try:
                for episode in Episodes(part):
                    _declare(episode, env)
            finally:
                env.close()
        _copy_manifests(source / BESIDE, part)
        part.rename(out)
        return {"episodes": made["episodes"], "frames": made["frames"]}
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_lerobot(folder: Path) -> bool:
    return (folder / "meta" / "info.json").is_file()


def _converted(source: Path, out: Path, python: str | None, video: bool) -> dict[str, Any]:
    try:
        return convert(source, out, python, video=video)
    except (EpisodeError, OSError, ImportError) as error:
        raise UserError(str(error)) from None


def _copy_manifests(source: Path, out: Path) -> None:
    for name in MANIFESTS:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


# -- datasets of others ----------------------------------------------------------------------------------------------------
def _declare(episode: Episode, env: gym.Env[Any, Any]) -> None:
    """Write an episode again as one of `env`. Raises UserError where it cannot be one."""
    about, path = describe(env), episode.path
    assert path is not None
    rate = contract_of(env).control_hz
    if (was := episode.meta.get("control_hz")) != rate:
        raise UserError(f"these episodes run at {was} Hz, {about['env']} at {rate:g}; resample them first")
    columns: dict[str, Column] = {name: episode[name] for name in STEP_COLUMNS if name in episode.columns}
    if "action" not in columns:
        raise UserError(f"these episodes have no action; they have: {', '.join(episode.columns)}")
    if episode.success:  # what solves a task ends the episode, and a dataset without rewards has none for it
        last = np.arange(len(episode)) == len(episode) - 1
        columns["terminated"] = last
        if not np.any(columns["reward"]):
            columns["reward"] = last.astype(np.float64)
    columns["action"] = _fitting("action", columns["action"], env.action_space)
    for name, space in _columns_of(env.observation_space).items():
        told = _in_lerobot(name, space)
        if told not in episode.columns:
            raise UserError(
                f"{about['env']} observes {name}, which would be {told}; these episodes have: {', '.join(episode.columns)}"
            )
        columns[name] = _fitting(told, episode[told], space)
    by = {**episode.meta.get("provenance", {}), "policy": "imported", "declared": about["env"]}
    write_episode(
        path, {**episode.meta, **about, "task": episode.meta.get("task") or about["task"], "provenance": by}, columns
    )


def _columns_of(space: gym.Space[Any], name: str = "observation") -> dict[str, Any]:
    """The parts of an observation, by the names of their columns."""
    if not isinstance(space, gym.spaces.Dict):
        return {name: space}
    return {key: part for child, inner in space.items() for key, part in _columns_of(inner, f"{name}.{child}").items()}


def _in_lerobot(name: str, space: Any) -> str:
    """What LeRobot calls the part of an observation."""
    if len(space.shape) == 3:
        key = name.removeprefix("observation.").removeprefix("pixels.")
        return f"observation.images.{'pixels' if key == 'observation' else key}"
    return "observation.state" if name in ("observation", "observation.agent_pos") else name


def _fitting(name: str, column: Column, space: Any) -> Column:
    """The column in the space's type. Raises UserError where it is none of the space's."""
    if isinstance(column, EncodedImages):
        if tuple(column.shape) != tuple(space.shape):
            raise UserError(f"{name} is {column.shape}, the environment's {space.shape}")
        return column
    if column.shape[1:] != tuple(space.shape):
        raise UserError(f"{name} has rows of shape {column.shape[1:]}, the environment's {space.shape}")
    values = np.asarray(column, space.dtype)
    if not np.isfinite(values).all() or (values < space.low).any() or (values > space.high).any():
        raise UserError(
            f"{name} goes from {values.min()} to {values.max()}, outside the environment's bounds; scale it first"
        )
    return values
