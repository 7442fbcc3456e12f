"""A run's folder: made once, held by one process at a time, and where a person asks a run to pause."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig

PAUSE_FILE = "paused"  # there while the run is to stand still
PAUSES_WITHIN_S = 15.0


def make_run_dir(config: RunConfig, members: list[str], out: Path) -> Path:
    """A new folder below `out`, named by date, agent, task and seed. Raises UserError."""
    task = config.env.rpartition("/")[2]
    agent = members[0].rpartition("-")[0] if len(members) == 1 else f"{len(members)}-agents"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{k}" for k in range(2, 100))):
        path = out / f"{stamp}-{agent}-{task}-s{config.seed}{suffix}"
        try:
            path.mkdir(parents=True)
            (path / "data").mkdir()
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"cannot make a run's folder in {out}: {error.strerror}; choose another with --out"
            ) from None
    raise UserError(f"too many runs in {out} in this second; try again")


@contextlib.contextmanager
def exclusive(run_dir: Path) -> Iterator[None]:
    """Hold the run's folder: one process at a time works on a run. Raises UserError."""
    with (run_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is at work on {run_dir}; wait for it, or stop it first") from None
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            error.add_note(f"what the ledger has is kept: mend this, then autoenvbench resume {run_dir}")
            raise


def is_live(run_dir: Path) -> bool:
    """Whether a process holds the run's folder."""
    with (run_dir / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def pause(run_dir: Path) -> None:
    """Ask a run that is under way to stand still; returns when it does. Raises UserError."""
    if not (run_dir / "lock").exists():
        raise UserError(f"{run_dir} is no run's folder; runs are in runs/ unless --out said otherwise")
    if not is_live(run_dir):
        raise UserError(f"{run_dir} is not under way; autoenvbench resume {run_dir} goes on with an interrupted run")
    ledger = Ledger(run_dir / "ledger.sqlite")
    seq = max((e.seq for e in ledger.events("run")), default=0)
    (run_dir / PAUSE_FILE).touch()
    for _ in range(round(PAUSES_WITHIN_S / 0.1)):
        if any(e.payload.phase == "paused" for e in ledger.events("run", after=seq)):
            return
        time.sleep(0.1)
    (run_dir / PAUSE_FILE).unlink(missing_ok=True)
    raise UserError(
        f"{run_dir} did not pause: its research is over, or it is just starting; see autoenvbench ledger {run_dir}"
    )


def unpause(run_dir: Path) -> bool:
    """Let a paused run go on; whether there was one, under way and paused."""
    paused = (run_dir / PAUSE_FILE).exists()
    (run_dir / PAUSE_FILE).unlink(missing_ok=True)
    return paused and is_live(run_dir)
