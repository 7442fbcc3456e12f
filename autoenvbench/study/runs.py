"""One research run of a study: what it is, where it is, and how it is begun, taken up again or found finished.

A planned run has a folder of its own, named by everything that changes it; in there are the folders of what was begun, of which
the last one counts. So a study that was killed finds its finished runs, and goes on with those that were interrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from autoenvbench.errors import UserError
from autoenvbench.publish.report import write_report
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research import run as research_run
from autoenvbench.research.observer import Observer
from autoenvbench.research.run_dir import is_live

#: Fields of a configuration that name files of the user's, of those that a study may set.
FILES = ("replay", "tools_replay", "experience")
_UNWATCHED = Observer()


class PlannedRun(BaseModel):
    """A run that a study wants.

    Attributes:
        name: what people call it: its level and seed.
        agents: of its members.
        folder: below which its own folder is made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    agents: list[str]
    config: RunConfig
    folder: Path

    @property
    def key(self) -> str:
        """Its name among all runs of the study."""
        return self.folder.name


def script_of(agent: str) -> Path | None:
    """The user's file that an agent's name holds, if it does."""
    kind, _, path = agent.partition(":")
    return Path(path) if kind == "replay" else None


def run_key(config: RunConfig, agents: list[str]) -> str:
    """A file name that two runs share if nothing that matters is different: contents of files count, not where they are."""
    paths = {name: path for name in FILES if (path := getattr(config, name))}
    paths |= {f"agent {k}": path for k, agent in enumerate(agents) if (path := script_of(agent))}
    contents = {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in paths.items()}
    told = json.dumps(
        [
            config.model_dump(mode="json", exclude={*FILES, "agent"}),
            contents,
            [agent if script_of(agent) is None else "replay" for agent in agents],
        ],
        sort_keys=True,
    )
    kind = agents[0].partition(":")[0] if len(agents) == 1 else f"{len(agents)}-agents"
    return f"{kind}-{config.env.rpartition('/')[2]}-s{config.seed}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a planned run is.

    Attributes:
        run_dir: the folder that counts; None where nothing was begun.
        t_run: research time that it has behind it [s].
    """

    state: Literal["new", "interrupted", "finished", "void"]
    run_dir: Path | None = None
    t_run: float = 0.0


def standing_of(run: PlannedRun) -> Standing:
    """How far a planned run is, by what is in its folder. Raises UserError for a ledger that cannot be read."""
    for run_dir in sorted((p.parent for p in run.folder.glob("*/ledger.sqlite")), reverse=True):
        phases, t_run = _progress(run_dir)
        if "finished" in phases:
            return Standing("void" if result_of(run_dir).void_because else "finished", run_dir, t_run)
        if phases:
            return Standing("interrupted", run_dir, t_run)
    return Standing("new")


def _progress(run_dir: Path) -> tuple[list[str], float]:
    """What has happened to a run, and its research time [s]; nothing before its first event."""
    path = run_dir / "ledger.sqlite"
    if (
        not path.exists() or not path.stat().st_size or not _has_table(path)
    ):  # being made at this moment, or killed in it
        return [], 0.0
    ledger = Ledger(path)
    try:
        return [e.payload.phase for e in ledger.events("run")], ledger.last_t_run()
    finally:
        ledger.close()


def _has_table(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as db:
        try:
            return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchone())
        except sqlite3.DatabaseError:
            return True  # the ledger says what is wrong with it


def result_of(run_dir: Path) -> Result:
    """A finished run's result; it is made where the run was killed after its end and before that. Raises UserError."""
    path = run_dir / "result.json"
    if not path.exists():
        write_report(run_dir)
        return research_run.write_result(run_dir)
    return Result.model_validate_json(path.read_text())


def carry_out(run: PlannedRun, observer: Observer = _UNWATCHED) -> Path:
    """Begin a run or take it up where it was; returns its folder at its end, which is there already where it had finished.

    Raises:
        UserError: it cannot run here, or it measured nothing.
    """
    from autoenvbench.study.demos import of_a_run

    standing = standing_of(run)
    if standing.state == "finished":
        assert standing.run_dir is not None
        return standing.run_dir
    if standing.state == "interrupted":
        assert standing.run_dir is not None
        files = {name: getattr(run.config, name) for name in FILES}  # they may have moved since it began
        research_run.resume(standing.run_dir, observer, demonstrate=of_a_run, files=files, agents=run.agents)
    else:
        for begun in run.folder.glob("*/"):  # killed before its first event
            if not _progress(begun)[0] and not is_live(begun):
                shutil.rmtree(begun)
        research_run.research(run.config, run.folder, observer, run.agents, demonstrate=of_a_run(run.config))
    ended = standing_of(run)
    if ended.state != "finished":
        assert ended.run_dir is not None
        why = "; ".join(result_of(ended.run_dir).void_because) if ended.state == "void" else "it did not finish"
        raise UserError(f"the run {ended.run_dir} measured nothing: {why}. Mend that and start the study again: it goes on where it was")  # fmt: skip
    assert ended.run_dir is not None
    return ended.run_dir
