"""A finished run's ledger, written through the public door, and ways to tamper with it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard
from autoenvbench.publish.verification import Check, Fresh, Verification, row_sha256, version
from autoenvbench.record.clock import RunClock
from autoenvbench.record.contents import BundleContents
from autoenvbench.record.events import (
    AgentEvent,
    CommitEvent,
    ContentsEvent,
    EpisodeEvent,
    EvaluationEvent,
    IdeaEvent,
    Payload,
    RunEvent,
)
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import HeldOut, Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.summary import wilson

ME = "cem"
#: An id whose level is ranked.
RANKED = "ENPIRE/PinInsertion-State-v0"


def episode(
    streams: StartStreams, evaluation: str, purpose: Any, index: int, success: bool, **more: Any
) -> EpisodeEvent:
    given = {
        "commit": "c1", "digest": "d1", "score": float(success), "stage": "success" if success else "reach",
        "reason": None if success else "time_limit", "steps": 10, "sim_s": 1.0, "robot_s": 0.1,
    }  # fmt: skip
    return EpisodeEvent(
        evaluation=evaluation, purpose=purpose, index=index, success=success, seed=streams.seed(purpose, index),
        **{**given, **more},
    )  # fmt: skip


def write_run(
    folder: Path, *, number: int = 0, wins: int = 150, held_out: int = 200, work: bool = True, calls: list[Payload | float] | None = None,
    started: dict[str, Any] | None = None, resumed: dict[str, Any] | None = None, contents: dict[str, Any] | None = None, cell: str = "sim", seen: Sequence[Payload] = (),
    **config: Any,
) -> Path:  # fmt: skip
    """A run's folder with its ledger and result.json; `config` and `started` replace fields of the configuration and first event,
    `contents` says what the answer's bundle holds beside text, `cell` where it was scored, `seen` what its station reported before that."""
    given = {
        "agent": ME,
        "env": RANKED,
        "budget_s": 60,
        "sandbox": "bwrap",
        "held_out": held_out,
        "seed": number,
    }
    made = RunConfig(**{**given, **config})
    secret = hashlib.sha256(f"{folder} {number}".encode()).digest()
    streams = StartStreams(secret)
    facts = {
        "fingerprint": "f" * 16,
        "versions": {"autoenvbench": "0.1.0"},
        "hardware": "a computer",
        "compute_class": "2c-cpu",
    }
    first = {
        "run_id": folder.name, "secret_sha256": streams.commitment, "known_starts": False, "cell": "sim",
        "prices": {"gpt-x": {"input": 1.0, "cached_input": 0.1, "cache_write": 1.0, "output": 5.0}}, **facts,
    }  # fmt: skip
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.sqlite", RunClock.start(60))
    ledger._db.execute("PRAGMA synchronous=OFF")  # nothing here need survive a power cut
    ledger.append(
        RunEvent(phase="started", config=made.model_dump(exclude={"held_out_secret"}), **{**first, **(started or {})})
    )
    ledger.append(CommitEvent(phase="received", commit="c0", digest="d0"), agent="admin")
    ledger.append(CommitEvent(phase="starter", commit="c0", digest="d0"))
    ledger.append(AgentEvent(phase="started", name=ME, agent_version="1.0"), agent=ME)
    for call in calls or []:
        if isinstance(call, float):
            time.sleep(call)
        else:
            ledger.append(call, agent=ME)
    if work:
        ledger.append(IdeaEvent(id="I1", title="an idea"), agent=ME)
        ledger.append(CommitEvent(phase="received", commit="c1", digest="d1"), agent=ME)
        for name, purpose, first_index in (("E1", "evaluate", 0), ("E2", "confirm", 20)):
            batch = [episode(streams, name, purpose, first_index + k, k % 4 != 0) for k in range(20)]
            about = {"id": name, "purpose": purpose, "commit": "c1", "digest": "d1", "planned": 20}
            ledger.append(EvaluationEvent(phase="started", **about), agent=ME)
            for event in batch:
                ledger.append(event, agent=ME)
            ledger.append(
                EvaluationEvent(phase="finished", episodes=20, successes=15, score=0.75, robot_s=2.0, **about), agent=ME
            )
        ledger.append(CommitEvent(phase="submitted", commit="c1", digest="d1"), agent=ME)
    if resumed is not None:
        ledger.append(RunEvent(phase="resumed", **{**facts, **resumed}))
    ledger.append(RunEvent(phase="agents_stopped", detail="deadline"))
    answer = {} if work else {"commit": "c0", "digest": "d0"}
    held = BundleContents(**{"numbers": 100, "table": 3, **(contents or {})})
    ledger.append(ContentsEvent(digest="d1" if work else "d0", contents=held))
    for event in seen:
        ledger.append(event, station="station-1")
    for k in range(held_out):
        ledger.append(episode(streams, "held-out", "heldout", k, k < wins, cell=cell, **answer), station="station-1")
    ledger.append(RunEvent(phase="finished", secret=secret.hex()))
    result = Result.from_events(list(ledger.events()))
    ledger.close()
    (folder / "result.json").write_text(result.model_dump_json(indent=1) + "\n")
    return folder


def verified(results, *, fresh=None, verdict="verified", reasons=()):
    """Verifications of these results, by run: on fresh starts each came to what it claims, or to `fresh` successes."""
    found = {}
    for r in results:
        n, wins = r.held_out.episodes, r.held_out.successes if fresh is None else fresh
        low, high = wilson(wins, n)
        shown = HeldOut(
            episodes=n, successes=wins, success_rate=wins / n if n else 0.0, wilson95=(low, high), score=wins / n if n else 0.0, streak=0,
            failures={"time_limit": n - wins} if n > wins else {},
        )  # fmt: skip
        check = Check(
            date="2026-11-30T12:00:00+00:00", fingerprint=version(r), row_sha256=row_sha256(r), verdict=verdict, reasons=list(reasons),
            archive_sha256="a" * 64, hardware="a computer", versions={}, sandbox="bwrap", fresh=Fresh(secret="b" * 64, held_out=shown),
        )  # fmt: skip
        found[r.run_id] = Verification(
            run_id=r.run_id, ledger_sha256=r.ledger_sha256, answer=r.answer.digest, checks=[check]
        )
    return found


def verify_all(board: Path) -> None:
    """Leave a record of verification beside each row of a board."""
    (board / "verifications").mkdir(exist_ok=True)
    for run_id, record in verified(leaderboard.read(board).results.values()).items():
        (board / "verifications" / f"{run_id}.json").write_text(record.model_dump_json())


def result_of(run: Path) -> Result:
    return Result.model_validate_json((run / "result.json").read_text())


def tampered(run: Path, *statements: str) -> Path:
    """A copy of the run whose ledger was edited with the triggers out of the way, and whose result.json follows from it."""
    copy = run.parent / f"{run.name}-tampered"
    shutil.copytree(run, copy)
    db = sqlite3.connect(copy / "ledger.sqlite", isolation_level=None)
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(statement)
    for _, sql in triggers:
        db.execute(sql)
    db.close()
    ledger = Ledger(copy / "ledger.sqlite")
    (copy / "result.json").write_text(Result.from_events(list(ledger.events())).model_dump_json())
    ledger.close()
    return copy


def edits(value, path=()):
    """Every way to change one place of a JSON value: (path, new value), or (path, ...) to take it out."""
    if isinstance(value, dict):
        yield (*path, "one_more"), 1
        for key, item in value.items():
            yield (*path, key), ...
            yield from edits(item, (*path, key))
    elif isinstance(value, list):
        yield path, [*value, 1]
        for k, item in enumerate(value):
            yield from edits(item, (*path, k))
    else:
        yield path, {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v * 1.01 + 0.01, str: lambda v: v + "x"}.get(
            type(value), lambda v: "x")(value)  # fmt: skip
        yield path, None if value is not None else 1


def edited(original, path, value):
    changed = json.loads(json.dumps(original))
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


def refuse_every_edit(run, scratch):
    """Each single change of result.json is refused by name; returns how many were tried, and the fields they were in."""
    original = json.loads((run / "result.json").read_text())
    shutil.copytree(run, scratch)
    fields, tried = set(), 0
    for path, value in edits(original):
        (scratch / "result.json").write_text(json.dumps(edited(original, path, value)))
        with pytest.raises(UserError) as refused:
            leaderboard.check_run(scratch)
        assert str(refused.value).startswith(".".join(map(str, path))), (path, str(refused.value))
        fields.add(path[0] if path else "")
        tried += 1
    return tried, fields
