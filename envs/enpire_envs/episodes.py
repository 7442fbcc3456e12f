"""Many episodes as one data set for learning: flat arrays over all steps, split by episodes.

    from enpire_envs.episodes import Episodes

    episodes = Episodes("data/practice")             # all *.episode files of a folder, by name
    train, test = episodes.split(0.9, np.random.default_rng(0))
    train.observation, train.action, train.reward    # (steps, ...) arrays over all episodes
    train.next_observation, train.terminated         # the last observation of each episode is kept, too
    episodes[0].meta["verdict"], episodes[0]["time"] # one episode, memory-mapped

One file's format, reader and writer are `enpire_envs.episode_file`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from enpire_envs.episode_file import (
    SUFFIX,
    Episode,
    EpisodeError,
    Head,
    Table,
    nested,
    opened,
    read_bytes,
    read_episode,
    read_head,
)


class Episodes(Sequence[Episode]):
    """Many episodes as one data set: their columns end to end, loaded when first asked for.

    Args:
        source: a folder (its *.episode files, by name), one file, or files.

    Attributes:
        paths: (episodes,) files, in order.
        lengths: (episodes,) steps of each.
        starts: (episodes + 1,) where each begins among all steps, and how many there are.

    Raises EpisodeError, FileNotFoundError if there is no episode.
    """

    def __init__(self, source: str | Path | Iterable[str | Path]) -> None:
        if isinstance(source, str | Path):
            folder = Path(source)
            paths = _files_of(folder) if folder.is_dir() else [folder]
            if not paths:
                raise FileNotFoundError(f"there are no episodes (*{SUFFIX}) in {folder}")
        else:
            paths = [Path(path) for path in source]
        self._use([read_head(path) for path in paths])

    def _use(self, heads: Sequence[Head]) -> Episodes:
        self._heads = heads
        self.paths = [head.path for head in heads]
        self.lengths = np.array([head.steps for head in heads], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._open = functools.lru_cache(maxsize=64)(read_episode)  # mapped files: each holds a descriptor
        self.__dict__.pop("_numbers", None)
        return self

    # -- episode by episode --------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        """Episodes."""
        return len(self._heads)

    def __reduce__(self) -> tuple[Any, ...]:
        return Episodes, (self.paths,)  # another process maps its own files

    @overload
    def __getitem__(self, which: int) -> Episode: ...
    @overload
    def __getitem__(self, which: slice | Sequence[int] | np.ndarray) -> Episodes: ...
    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray) -> Episode | Episodes:
        """One episode, or those of a slice, of indices or of a mask."""
        if isinstance(which, int | np.integer):
            return self._open(self.paths[which])
        chosen = np.arange(len(self))[which]
        return Episodes.__new__(Episodes)._use([self._heads[k] for k in chosen])

    @property
    def meta(self) -> list[dict[str, Any]]:
        """What is known of each episode."""
        return [head.meta for head in self._heads]

    def select(self, wanted: Callable[[dict[str, Any]], bool]) -> Episodes:
        """Those whose META is wanted, such as `lambda meta: meta["verdict"]["success"]`."""
        return self[[k for k, head in enumerate(self._heads) if wanted(head.meta)]]

    def split(self, fraction: float, rng: np.random.Generator) -> tuple[Episodes, Episodes]:
        """A random share of the episodes, and the others: no episode is in both. Each has at least one if there are two."""
        order = rng.permutation(len(self))
        first = min(max(round(fraction * len(self)), 1), max(len(self) - 1, 1))
        return self[np.sort(order[:first])], self[np.sort(order[first:])]

    # -- as flat arrays ------------------------------------------------------------------------------------------------
    @property
    def steps(self) -> int:
        return int(self.starts[-1])

    @functools.cached_property
    def episode_of(self) -> np.ndarray:
        """(steps,) the episode that each step belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def column(self, name: str) -> np.ndarray:
        """All rows of a column that is no image: (steps, ...), or (steps + episodes, ...) of an observation.

        Raises KeyError, EpisodeError where episodes differ in it.
        """
        found = self._numbers.get(name)
        if found is None:
            held = ", ".join(self._numbers) or "none"
            raise KeyError(
                f"these episodes have no numbers called {name!r} in common; they have: {held}. Images: see `images`"
            )
        return found

    @property
    def observation(self) -> Any:
        """(steps, ...) what each action answered, or a dictionary of such (of images: see `images`)."""
        return self._observed(0)

    @property
    def next_observation(self) -> Any:
        """(steps, ...) what each action led to, at the end of an episode as well."""
        return self._observed(1)

    def _observed(self, later: int) -> Any:
        rows = np.arange(self.steps) + self.episode_of + later
        return nested(self._numbers, lambda name: self.column(name)[rows])

    action = property(lambda self: self.column("action"), doc="(steps, n), as executed.")
    reward = property(lambda self: self.column("reward"), doc="(steps,)")
    terminated = property(lambda self: self.column("terminated"), doc="(steps,) bool: nothing comes after it.")
    truncated = property(
        lambda self: self.column("truncated"), doc="(steps,) bool: cut off, bootstrap from what it led to."
    )
    time = property(lambda self: self.column("time"), doc="(steps,) seconds since the episode's start.")
    source = property(lambda self: self.column("source"), doc="(steps,) of `Source`.")
    late = property(lambda self: self.column("late"), doc="(steps,) bool.")

    def windows(self, length: int) -> np.ndarray:
        """(windows, length) steps, each row within one episode: for sequences and n-step returns."""
        begins = np.concatenate(
            [np.arange(a, b - length + 1) for a, b in zip(self.starts, self.starts[1:], strict=False)]
        )
        return begins.astype(np.int64)[:, None] + np.arange(length)

    def images(self, name: str, steps: Iterable[int], later: int = 0) -> np.ndarray:
        """(len(steps), height, width, channels) images that these steps' actions answered; with `later=1`, led to."""
        found = []
        for step in steps:
            episode = int(np.searchsorted(self.starts, step, side="right")) - 1
            found.append(self._open(self.paths[episode])[name][int(step - self.starts[episode]) + later])
        return np.stack(found)

    @functools.cached_property
    def _numbers(self) -> dict[str, np.ndarray]:
        """All columns of numbers that the episodes share, end to end: each file is read once, in one piece."""
        names = [name for name in self._heads[0].columns if self._heads[0].is_number(name)] if self._heads else []
        names = [name for name in names if all(name in head.columns for head in self._heads)]
        kinds = {name: (self._heads[0].table[name][0], self._heads[0].table[name][1][1:]) for name in names}
        rows = {name: sum(head.columns[name] for head in self._heads) for name in names}
        flat = {name: np.empty((rows[name], *shape), dtype) for name, (dtype, shape) in kinds.items()}
        filled = dict.fromkeys(names, 0)
        checked: Table = {}
        for head in self._heads:
            if head.table is not checked:
                self._check_kinds(head, kinds)
                checked, length = head.table, max((head.table[name][3] for name in names), default=0)
            with opened(head.path) as (fd, _):
                block = read_bytes(head.path, fd, head.data, length)
            for name in names:
                begin, end = filled[name], filled[name] + head.columns[name]
                flat[name][begin:end] = head.array(name, block, 0)
                filled[name] = end
        return flat

    def _check_kinds(self, head: Head, kinds: dict[str, Any]) -> None:
        for name, kind in kinds.items():
            dtype, shape, _, _ = head.table.get(name, (None, (), 0, 0))
            if (dtype, shape[1:]) != kind:
                raise EpisodeError(
                    f"{head.path}: {name} is {dtype} {shape[1:]}, in {self.paths[0]} it is {kind[0]} {kind[1]}"
                )


def _files_of(folder: Path) -> list[Path]:
    names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX) and not name.startswith("."))
    return [folder / name for name in names]
