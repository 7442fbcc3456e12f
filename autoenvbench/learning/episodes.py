"""Episodes to learn from: what a policy saw, did and earned, with the word of who did it and where.

One file's format is `enpire_envs.episode_file`. Here files become arrays in memory, and episodes of different tasks, levels or versions of
an environment do not mix: what was shown in one is wrong in the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.episode_file import Episode, EpisodeError, describe_space, plain
from enpire_envs.episodes import Episodes
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.learning.task_file import SpacesOnly

#: One array, or arrays by key: (T+1, ...) each.
Observation = np.ndarray | Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Trajectory:
    """One episode of T steps.

    Attributes:
        observation: (T+1, ...), or a dictionary of such; the last row is what the last action led to.
        action: (T, a), as executed.
        reward: (T,)
        terminated: whether nothing comes after the last step. A time limit is no termination.
        success: the verdict.
        source: who chose the actions: a policy's name or its digest.
        path: the file that it was read from, where there is one.
        label: (T, a) what a teacher would have done in place of `action`, where one looked on; NaN at steps that are not to be imitated.
    """

    observation: Observation
    action: np.ndarray
    reward: np.ndarray
    terminated: bool
    success: bool
    source: str = ""
    path: Path | None = None
    label: np.ndarray | None = None

    def __len__(self) -> int:
        """Steps."""
        return len(self.reward)


@dataclass(frozen=True)
class Demonstrations(Sequence[Trajectory]):
    """Episodes of one environment.

    Attributes:
        env, env_kwargs, fingerprint: what was done, where; of all of them.
        observation_space, action_space: as an episode's description has them (`enpire_envs.episode_file.describe_space`).
    """

    trajectories: list[Trajectory] = field(repr=False)
    env: str
    env_kwargs: dict[str, Any]
    fingerprint: str | None
    observation_space: dict[str, Any]
    action_space: dict[str, Any]

    def __len__(self) -> int:
        """Episodes."""
        return len(self.trajectories)

    def __getitem__(self, which: Any) -> Any:
        return self.trajectories[which]

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self.trajectories)

    @property
    def steps(self) -> int:
        return sum(map(len, self.trajectories))

    @property
    def sources(self) -> dict[str, int]:
        """How many episodes are by whom."""
        return dict(Counter(t.source for t in self.trajectories))

    def check(self, env: gym.Env[Any, Any]) -> None:
        """Refuse them for another environment; of one that is known by its spaces alone, the version is not known. Raises UserError."""
        name = env.spec.id if env.spec else str(env)
        if name != self.env:
            raise UserError(
                f"these episodes are of {self.env}, not of {name}; give a folder of {name}, or say --env {self.env}"
            )
        if not isinstance(env, SpacesOnly) and (now := fingerprint(env)) != self.fingerprint:
            raise UserError(
                f"these episodes were made in another {name} (fingerprint {self.fingerprint}, now {now}): its code, versions or "
                f"arguments ({self.env_kwargs or 'none'}) differ; make them anew with `autoenvbench demos`"
            )
        for what, space, here in (
            ("observations", env.observation_space, self.observation_space), ("actions", env.action_space, self.action_space),
        ):  # fmt: skip
            if (now_is := plain(describe_space(space))) != here:
                raise UserError(f"the {what} of these episodes are {here}, those of {name} are {now_is}")


def load(folders: Sequence[str | Path], *, successes: bool = False) -> Demonstrations:
    """All *.episode files of some folders (or files), in order, in memory.

    Args:
        successes: leave the others out.

    Raises:
        UserError: for no episodes, a damaged one, or some that do not go together; the message names the file.
    """
    found = [episode for folder in folders for episode in _read(Path(folder))]
    found = [episode for episode in found if len(episode) and (episode.success or not successes)]
    if not found:
        raise UserError(
            f"no {'successful ' if successes else ''}episode with a step is in {', '.join(map(str, folders))}"
        )
    first = found[0]
    for episode in found[1:]:
        for what in ("env", "fingerprint", "observation_space", "action_space"):
            if episode.meta.get(what) != first.meta.get(what):
                raise UserError(
                    f"{episode.path} does not go with {first.path}: its {what} is {episode.meta.get(what)}, there it is "
                    f"{first.meta.get(what)}; learn from episodes of one environment"
                )
    try:
        trajectories = [_trajectory(episode) for episode in found]
    except EpisodeError as error:
        raise UserError(str(error)) from None
    about = first.meta
    return Demonstrations(
        trajectories, about.get("env", ""), about.get("env_kwargs", {}), about.get("fingerprint"),
        about["observation_space"], about["action_space"],
    )  # fmt: skip


def _read(folder: Path) -> list[Episode]:
    try:
        return list(Episodes(folder))
    except (EpisodeError, OSError) as error:
        raise UserError(f"cannot read episodes: {error}; `autoenvbench demos` makes some") from None


def _trajectory(episode: Episode) -> Trajectory:
    observation = episode.observation
    whole: Any = (
        {k: _array(v) for k, v in observation.items()} if isinstance(observation, Mapping) else _array(observation)
    )
    by = episode.meta.get("provenance", {})
    return Trajectory(
        whole, np.array(episode["action"], np.float32), np.array(episode["reward"], np.float32),
        bool(episode["terminated"][-1]), episode.success, str(by.get("policy") or by.get("agent") or "unknown"), episode.path,
    )  # fmt: skip


def _array(column: Any) -> np.ndarray:
    """A copy that no file stands behind; images are decoded."""
    return np.stack([column[k] for k in range(len(column))])
