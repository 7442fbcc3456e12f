"""`autoenvbench score`: a policy's episodes from given starts, and its rates with intervals."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gymnasium as gym
from enpire_envs.episode_file import SUFFIX, Source
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.make_env import ChosenStations, choose_stations, make_env
from autoenvbench.record import metrics
from autoenvbench.record.clock import RunClock
from autoenvbench.record.compute import compute_class, hardware
from autoenvbench.record.events import EpisodeEvent, Purpose
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import HeldOut, cell_kind, versions
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.summary import summarise
from autoenvbench.sandbox.cage import Sandbox, Track
from autoenvbench.station.batch import Batch, Film, Insight, Keep, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import Tally, evaluate
from autoenvbench.station.script_rollout import script_settings
from autoenvbench.study.policies import OWN, answer_in, resolve_policy
from autoenvbench.study.start_sets import starts


def score(
    env_id: str,
    policy: str,
    n: int,
    *,
    env_kwargs: dict[str, Any] | None = None,
    attempts: int = 1,
    seed: int = 0,
    held_out_secret: str | None = None,
    private_stations: Path | None = None,
    sandbox: Sandbox = "bwrap",
    track: Track = "open",
    trajectories: Path | None = None,
    protocol: str | None = None,
    tools: dict[str, Any] | None = None,
    tools_replay: str | None = None,
    tools_url: str | None = None,
    ood: int = 0,
    on_episode: Callable[[EpisodeEvent], None] = lambda event: None,
) -> dict[str, Any]:
    """Run a policy's episodes and count.

    Args:
        policy: "reference", "scripted", "naive", "random", "zero-shot", "vla", or a folder with policy.py.
        n: starts.
        attempts: episodes per start.
        seed: of the starts, and of a random policy.
        held_out_secret: hexadecimal; replays the held-out starts of the run that revealed it, in their order and at its stations, instead.
        private_stations: a file of numbers that stations are drawn from. Without it, the secret and the argument `station_seed`, episodes of
            a level whose runs have one station each are at station 0, and where every start has another one, `seed` draws them.
        track: "station" hides the simulator from the policy.
        trajectories: a new folder for one file per episode (see `enpire_envs.episodes`; with the reference policy: scripted
            demonstrations), and of scripts their tool calls and two videos.
        protocol: the name of a fixed set, of which the first `n` starts are taken instead.
        tools: how the tools of a script are set up (`ToolsConfig`).
        tools_replay: a script that stands in for the model behind vlm_query.
        tools_url: address of that model's provider.
        ood: starts out of distribution (the environment's `starts="ood"`) from which it runs as well, one attempt each: what they come to
            stands beside the rest, as `out_of_distribution`.
        on_episode: called with each judged episode.

    Returns:
        The JSON object that the command prints (its fields: `publish.score_result.ScoreReport`).

    Raises:
        UserError: for a policy, protocol or folder that cannot be used.
    """
    if n < 1 or attempts < 1:
        raise UserError(f"nothing to score: -n {n} --attempts {attempts}; both must be at least 1")
    if trajectories is not None:
        try:
            trajectories.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write trajectories to {trajectories}: {error.strerror}") from None
        if any(trajectories.glob(f"*{SUFFIX}")):
            raise UserError(f"{trajectories} holds trajectories already; name a new folder")
    outside = _outside(env_id, env_kwargs or {}) if ood else {}
    named = starts(env_id, protocol, n) if protocol is not None else ()
    env = make_env(env_id, env_kwargs)
    try:
        bundle, driver = resolve_policy(env, policy, seed)
        chosen = choose_stations(env, env_kwargs or {}, private_stations, n)
        purpose: Purpose = "heldout" if held_out_secret else "score"
        secret = StartStreams.parse_secret(held_out_secret) if held_out_secret else secret_of(seed)
        ledger = Ledger(Path(":memory:"), RunClock.start(float("inf")))
        with script_settings(tools or {}, tools_replay, tools_url, ledger) as scripts:
            keep = film = None
            if trajectories is not None:
                keep = keep_all(trajectories, policy, bundle, "all")
                film = Film(trajectories, "") if driver is None else None
            cell = LocalCell(
                env, sandbox=sandbox, track=track, scripts=scripts, policy=driver, answer=answer_in(bundle)
            )
            drawn = draw_starts(
                StartStreams(secret),
                purpose,
                0,
                n,
                attempts=attempts,
                named=named,
                station=station_of_start(chosen, secret, purpose),
            )
            batch = Batch("score", purpose, bundle, n * attempts, drawn, attempts=attempts, keep=keep, film=film)
            began = time.monotonic()
            tally = evaluate([cell], batch, ledger, on_episode=on_episode)
            wall = time.monotonic() - began
        report = _report(
            env,
            env_id,
            env_kwargs,
            policy,
            bundle,
            tally,
            wall,
            sandbox if driver is None else "in-process",
            seed,
            attempts,
        )
        own = metrics.token_totals(ledger.events(), 1.0, of_policies=True)
        asked = {"policy_tokens": own.headline, "deterministic": own.calls == 0}
        beside = None
        if ood:
            wider = score(
                env_id, policy, ood, env_kwargs=outside, seed=seed, held_out_secret=held_out_secret, private_stations=private_stations,
                sandbox=sandbox, track=track, tools=tools, tools_replay=tools_replay, tools_url=tools_url, on_episode=on_episode,
            )  # fmt: skip
            beside = {name: wider[name] for name in HeldOut.model_fields}
        of_no_run = chosen.source == "run" and not held_out_secret  # so: anybody can compute them
        return {
            **report,
            "out_of_distribution": beside,
            "stations": "public" if of_no_run else chosen.source,
            "protocol": protocol,
            "tools": tools or {},
            **asked,
        }
    finally:
        env.close()


def _outside(env_id: str, env_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the environment with its wider range of starts. Raises UserError where it has none."""
    if "starts" in env_kwargs:
        raise UserError("--ood is beside starts in distribution: leave --env-arg starts=... out")
    outside = {**env_kwargs, "starts": "ood"}
    try:
        make_env(env_id, outside).close()
    except UserError as error:
        raise UserError(f"{env_id} has no starts out of distribution; leave --ood out ({error})") from None
    return outside


def secret_of(seed: int) -> bytes:
    """What the starts of `score --seed` are drawn from: anybody can compute it."""
    return hashlib.sha256(f"autoenvbench score {seed}".encode()).digest()


def keep_all(folder: Path, policy: str, bundle: Bundle, insight: Insight) -> Keep:
    """Every episode of a policy, in a folder, with the word of whose they are."""
    source = Source.REFERENCE if policy in OWN else Source.POLICY
    return Keep(
        folder, secret=False, insight=insight, source=source, policy=bundle.digest, most=sys.maxsize, required=True
    )


def station_of_start(chosen: ChosenStations, secret: bytes, purpose: Purpose) -> Callable[[int], int | None]:
    """The station of each start that is scored, by its index; None for that of the environment as it was made."""
    drawn = chosen.drawn(secret)
    if drawn is None or (drawn.scope == "run" and chosen.private is None and purpose != "heldout"):
        return lambda index: None
    return drawn.of_held_out if drawn.scope == "each" else lambda index: drawn.of_cell(0)


def _report(
    env: gym.Env[Any, Any], env_id: str, env_kwargs: dict[str, Any] | None, policy: str, bundle: Bundle, tally: Tally,
    wall: float, sandbox: str, seed: int, attempts: int,
) -> dict[str, Any]:  # fmt: skip
    numbers = asdict(summarise(tally.episodes))
    details = {e.reason: e.detail for e in tally.episodes if e.detail}
    sim = sum(e.sim_s for e in tally.episodes)
    by_start = sorted(tally.episodes, key=lambda e: (e.index, e.attempt))
    return {
        "env": env_id,
        "env_kwargs": env_kwargs or {},
        "policy": policy,
        "kind": cell_kind(tally.episodes),
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "compute_class": compute_class(),
        "versions": versions(),
        "attempts": attempts,
        **numbers,
        "failure_details": details,
        "seconds_per_episode": wall / len(tally.episodes),
        "realtime_factor": sim / wall if wall else 0.0,
        "fingerprint": fingerprint(env),
        "digest": bundle.digest,
        "sandbox": sandbox,
        "scenes": [e.scene for e in by_start],
        "outcomes": [None if e.infrastructure else e.success for e in by_start],
    }
