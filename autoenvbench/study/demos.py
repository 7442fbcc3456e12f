"""`autoenvbench demos`: a folder of episodes to learn from, and the word of who made them, where and how often it worked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
from enpire_envs.episode_file import SUFFIX
from enpire_envs.episodes import Episodes
from enpire_envs.fingerprint import fingerprint
from enpire_envs.reference import NAMES, demonstrator

from autoenvbench.errors import UserError
from autoenvbench.make_env import choose_stations, make_env
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.stations import ARGUMENT
from autoenvbench.research.run import Demonstrate
from autoenvbench.sandbox.cage import Sandbox, Track
from autoenvbench.station.batch import Batch, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import evaluate
from autoenvbench.study.policies import TRUSTED, NoisyPolicy, resolve_policy
from autoenvbench.study.score import keep_all, station_of_start
from autoenvbench.study.teleoperation import DEVICES, Operator

GIVE_UP_AFTER = 50  # starts in a row that were not solved
MOST = 20 << 30  # bytes of a folder
ROUND = 25  # starts between two looks at what was solved


def record_demos(
    env_id: str,
    by: str | None,
    n: int,
    out: Path,
    *,
    noise: float = 0.0,
    keep_failures: bool = False,
    most: int = MOST,
    env_kwargs: dict[str, Any] | None = None,
    seed: int = 0,
    sandbox: Sandbox = "bwrap",
    track: Track = "open",
    on_kept: Callable[[EpisodeEvent], None] = lambda event: None,
) -> dict[str, Any]:
    """Run a policy until `n` of its episodes are kept.

    The folder appears when it is whole. Its `demos.json` is what is returned. The starts are drawn from a secret of their own, so no
    score of any seed ever begins where a demonstration did.

    Args:
        by: None: whoever can show how (`enpire_envs.reference.demonstrator`); "scripted", "reference", "naive", "random", a folder with policy.py, or one of `teleoperation.DEVICES`: a person, in real time,
            who may end it before `n` are kept.
        noise: share of the control steps in which a task's own policy does something else (`policies.NoisyPolicy`).
        out: a new folder.
        keep_failures: keep what was not solved, too; then `n` starts are run.
        most: what the folder may hold [bytes]; pictures are kept as PNG.

    Returns:
        env, env_kwargs (without the station, which whoever learns from them may not know), fingerprint; by, its digest and noise; seed; kept ("successes" or "all"); attempted, successes (of the starts run),
        episodes and steps kept; sha256 over all kept files.

    Raises:
        UserError: for a policy or folder that cannot be used, a policy that solves nothing, or more than `most`.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; name a new folder")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    env = make_env(env_id, env_kwargs)
    operator: Operator | None = None
    try:
        by = by or _shown_by(env)
        if by in DEVICES:
            operator = Operator(env, by)
        bundle, driver = (Bundle(by, by, "", Path()), operator) if operator else resolve_policy(env, by, seed)
        if noise:
            if driver is None or by not in TRUSTED:
                raise UserError(f"--noise interrupts a task's own policies (--by {', '.join(TRUSTED)}), not {by}")
            bundle = replace(bundle, digest=f"{bundle.digest} with {noise:g} noise")
            driver = NoisyPolicy(driver, env.action_space, noise, seed)
        chosen = choose_stations(env, env_kwargs or {}, None, n)
        secret = hashlib.sha256(f"autoenvbench demos {seed}".encode()).digest()
        station = station_of_start(chosen, secret, "score")
        part.mkdir(parents=True)
        keep = replace(keep_all(part, by, bundle, "stage"), most=most)
        ledger = Ledger(Path(":memory:"), RunClock.start(float("inf")))
        cell = LocalCell(env, sandbox=sandbox, track=track, policy=driver, pace=0.0 if operator is None else 1.0)
        kept, attempted, successes, in_vain = 0, 0, 0, 0
        while kept < n:
            count = min(ROUND, n - kept) if operator is None else 1
            starts = draw_starts(StartStreams(secret), "score", attempted, count, station=station)
            batch = Batch("demo", "score", bundle, count, starts, keep=keep)
            for event in evaluate([cell], batch, ledger).episodes:
                if operator is not None and operator.over:  # nobody tried this one to its end
                    (part / f"demo-{event.index}{SUFFIX}").unlink(missing_ok=True)
                    break
                attempted, successes = attempted + 1, successes + event.success
                in_vain = 0 if event.success else in_vain + 1
                file = part / f"demo-{event.index}{SUFFIX}"
                if not (event.success or keep_failures):
                    file.unlink(missing_ok=True)
                if file.exists():
                    kept += 1
                    on_kept(event)
                if in_vain >= GIVE_UP_AFTER and not keep_failures and operator is None:
                    raise UserError(
                        f"{by} solved none of {in_vain} starts of {env_id} in a row (the last: {event.reason}), so it has nothing to "
                        "show; --all keeps failures, too"
                    )
            if operator is not None and operator.over:
                break
        if operator is not None and not kept:
            raise UserError(f"nothing is kept: {operator.over}")
        made = {
            "env": env_id, "env_kwargs": {k: v for k, v in (env_kwargs or {}).items() if k != ARGUMENT}, "fingerprint": fingerprint(env), "by": by,
            "digest": bundle.digest, "noise": noise, "seed": seed, "kept": "all" if keep_failures else "successes",
            "attempted": attempted, "successes": successes, "episodes": kept, **contents(part),
        }  # fmt: skip
        (part / "demos.json").write_text(json.dumps(made, indent=1) + "\n")
        if out.is_dir():
            out.rmdir()
        part.rename(out)
        return made
    finally:
        if operator is not None:
            operator.close()
        env.close()
        shutil.rmtree(part, ignore_errors=True)


def _shown_by(env: gym.Env[Any, Any]) -> str:
    try:
        return NAMES[demonstrator(env)[0]]
    except LookupError as error:
        raise UserError(str(error)) from None


def of_a_run(config: RunConfig) -> Demonstrate:
    """What records the demonstrations that a run begins with, by whoever can show how, at the run's own station."""

    def demonstrate(env_kwargs: dict[str, Any], out: Path) -> dict[str, Any]:
        return record_demos(
            config.env, None, config.demos, out, env_kwargs=env_kwargs, seed=config.seed, track=config.track
        )

    return demonstrate


def contents(folder: Path) -> dict[str, Any]:
    """Steps in all files of a folder, and the hash of the columns of all of them: when they were made is not in it."""
    episodes, digest = Episodes(folder), hashlib.sha256()
    for episode in episodes:
        for name in sorted(episode.columns):
            column = episode[name]
            digest.update(name.encode() + (column.data if hasattr(column, "codec") else column).tobytes())
    return {"steps": episodes.steps, "sha256": digest.hexdigest()}
