"""Named data sets of mixed quality, to compare offline learning on: `autoenvbench demos --set pin-mixed-v0 --out DIR`.

As D4RL's and Minari's sets are, each is the work of policies of different quality, and what it is made of is written down: here as a recipe
that makes it anew, in minutes, in place of a download. `autoenvbench/data/data_sets.json` holds the recipes, each with the fingerprint of
the environment and the hash of what it gave where it was published. A half-trained policy is the task's script interrupted by bursts of
random actions, and not a network's early checkpoint: another processor would train another network.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from enpire_envs.episode_file import SUFFIX
from enpire_envs.fingerprint import fingerprint
from enpire_envs.registry import entry_of

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.station.bundles import policy_digest
from autoenvbench.study.demos import contents, record_demos

MANIFEST = "data_set.json"


@dataclass(frozen=True)
class Part:
    """Episodes of one policy, failures too.

    Attributes:
        by: scripted, naive or random; noise: the share of its control steps that bursts of random actions take.
        seed: of the starts, and of all that the policy draws. No two parts of a set share one.
    """

    by: str
    episodes: int
    seed: int
    noise: float = 0.0

    @property
    def name(self) -> str:
        """As the names of its files begin."""
        return f"{self.by}-noise{round(100 * self.noise):02d}" if self.noise else self.by


@dataclass(frozen=True)
class DataSet:
    """A recipe, and what it gave where it was published.

    Attributes:
        fingerprint: of the environment; sha256: over the columns of all episodes.
    """

    name: str
    env: str
    parts: tuple[Part, ...]
    fingerprint: str
    sha256: str

    @property
    def episodes(self) -> int:
        return sum(part.episodes for part in self.parts)

    def __str__(self) -> str:
        parts = ", ".join(f"{part.episodes} {part.name}" for part in self.parts)
        return f"{self.name} ({self.env}: {parts})"


def published() -> dict[str, DataSet]:
    """All named sets."""
    recipes = json.loads(resources.files("autoenvbench.data").joinpath("data_sets.json").read_text())
    return {
        name: DataSet(name, about["env"], tuple(Part(**part) for part in about["parts"]), about["fingerprint"], about["sha256"])
        for name, about in recipes.items()
    }  # fmt: skip


def find_set(name: str) -> DataSet:
    """The set of this name. Raises UserError, with all that there are."""
    known = published()
    if name not in known:
        raise UserError(f"there is no data set {name!r}; choose one of: {'; '.join(map(str, known.values()))}")
    return known[name]


def record_set(
    recipe: DataSet, out: Path, *, on_kept: Callable[[EpisodeEvent], None] = lambda event: None
) -> dict[str, Any]:
    """Make a set: one folder of episodes, which appears when it is whole, with its manifest `data_set.json`.

    Returns the manifest: name, env and fingerprint; of each part who (with the digest of the task's own policies), how many episodes and
    steps, how many successes, the seed and the hash; steps and hash of all; and whether that is the published one.

    Raises:
        UserError: where `out` is in use, or the environment is not the one that the recipe is for.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; name a new folder")
    now, code = _of_here(recipe.env)
    if now != recipe.fingerprint:
        raise UserError(
            f"{recipe.name} was made in {recipe.env} of fingerprint {recipe.fingerprint}, which is {now} here: code, versions or arguments "
            "differ, so that its episodes cannot be made again; use the version of AutoEnvBench that published it, or record others "
            "with `autoenvbench demos --all`"
        )
    part_folder = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        whole, parts = part_folder / "whole", []
        whole.mkdir(parents=True)
        for part in recipe.parts:
            folder = part_folder / part.name
            made = record_demos(
                recipe.env, part.by, part.episodes, folder, noise=part.noise, keep_failures=True, seed=part.seed,
                sandbox="none", on_kept=on_kept,
            )  # fmt: skip
            for file in sorted(folder.glob(f"*{SUFFIX}")):
                file.rename(whole / f"{part.name}-{file.name}")
            said = ("by", "noise", "seed", "episodes", "successes", "steps", "sha256")
            parts.append({**{name: made[name] for name in said}, "policies_sha256": code})
        manifest = {
            "name": recipe.name, "env": recipe.env, "fingerprint": now, "parts": parts, "episodes": recipe.episodes,
            "successes": sum(part["successes"] for part in parts), **contents(whole),
        }  # fmt: skip
        manifest["as_published"] = manifest["sha256"] == recipe.sha256
        (whole / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        if out.is_dir():
            out.rmdir()
        whole.rename(out)
        return manifest
    finally:
        shutil.rmtree(part_folder, ignore_errors=True)


def check_set(folder: Path) -> dict[str, Any]:
    """The manifest of a set whose episodes are all there, as they were made. Raises UserError for any other folder."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no data set: {error}; make one with `autoenvbench demos --set NAME`") from None
    found = contents(folder)["sha256"]
    if found != manifest.get("sha256"):
        raise UserError(
            f"the episodes in {folder} are not those of its {MANIFEST} (their sha256 is {found}); make the set anew"
        )
    return manifest


def _of_here(env_id: str) -> tuple[str, str]:
    """The fingerprint of an environment, and the digest of the policies that come with its task."""
    env = make_env(env_id)
    try:
        entry = entry_of(env_id)
        if entry is None or entry.reference is None:
            raise UserError(f"{env_id} comes with no policies, and a set is made by those of its task")
        module = importlib.import_module(entry.reference)
        return fingerprint(env), policy_digest(Path(str(module.__file__)).parent)
    finally:
        env.close()
