"""The leaderboard: checks results, files them as submissions, builds the pages.

`add` files one result as JSON under submissions/: a run's is computed anew from its ledger, and what result.json says must be
that. `build` writes README.md, index.html and result.schema.json from all submissions and from the published curves, which
stand apart as `reported`. One bad file is listed as broken; it never keeps the others from being built.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
from pydantic import ValidationError

from autoenvbench.errors import UserError
from autoenvbench.publish.board_pages import html_page, markdown_page
from autoenvbench.publish.ledger_audit import audited_events
from autoenvbench.publish.ranking import sections, unranked_because
from autoenvbench.publish.score_result import result_of_score
from autoenvbench.publish.verification import Verification, read_verifications
from autoenvbench.record.ledger import Event
from autoenvbench.record.results import Result, started
from autoenvbench.text import short

MAX_FILE = 4 << 20  # bytes of a submission
#: Fields of a result that earlier versions did not write, by a field of the configuration that is as new: of runs from before it a ledger
#: gives the field's default, and result.json has none.
ADDED = {
    "contents": "robot_budget_s", "robot_budget_s": "robot_budget_s", "stations": "private_stations",
    "stations_sha256": "private_stations", "cells": "cells", "mru_of_cells": "cells", "real_time": "cells",
    "vision": "vision_model", "milestones": "vision_model", "members": "team", "team_average": "team", "experience_sha256": "experience", "average_to_threshold": "team",
    "judges": "canary_every", "corrected": "canary_every",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Added:
    """A submission that was filed, and remarks for the person who filed it."""

    path: Path
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Board:
    """The submissions of a board: results by file name, what re-runs have found by run, and what is wrong with broken files by name."""

    results: dict[str, Result] = field(default_factory=dict)
    verifications: dict[str, Verification] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


# -- add -------------------------------------------------------------------------------------------------------------
def add(source: Path, board: Path) -> Added:
    """File a finished run (its folder) or a score (the JSON that `score --json` printed) in the folder `board`.

    Raises:
        UserError: for a result that its ledger does not bear out, or that is filed already under another name.
    """
    if source.is_dir():
        result, remarks = check_run(source)
    else:
        result, remarks = (
            result_of_score(read_json(source)),
            ["a score is self-reported and never ranked: no ledger bears it out"],
        )
    return Added(file_result(result, board), remarks)


def file_result(result: Result, board: Path) -> Path:
    """Write a result among a board's submissions, once; returns the file. Raises UserError where another one is there already."""
    folder = board / "submissions"
    path = folder / f"{result.run_id}.json"
    text = result.model_dump_json(indent=1) + "\n"
    for name, other in read(board).results.items():
        if name == path.name and other == result:
            return path
        if what := _same_identity(result, other):
            raise UserError(f"{folder / name} has the same {what}; a run stands on a board once, under its own name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # "x" also refuses a link that points out of the board.
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} exists and differs; a submission is never overwritten: move it away first") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path


def check_run(run_dir: Path) -> tuple[Result, list[str]]:
    """A run's result, computed from its ledger, and remarks. Raises UserError naming the first field of result.json that differs."""
    file = run_dir / "result.json"
    if not (run_dir / "ledger.sqlite").exists():
        raise UserError(f"{run_dir} is no run's folder; name one that `autoenvbench eval` made, like runs/<id>")
    if not file.exists():
        raise UserError(f"{run_dir} has no result.json; finish the run first: autoenvbench resume {run_dir}")
    result, edited, remarks = compare(read_json(file), audited_events(run_dir / "ledger.sqlite"), str(file))
    if edited:
        raise UserError(f"{edited[0]}: this result was changed, or is another run's")
    return result, remarks + fingerprint_remarks(result)


def compare(given: Any, events: list[Event], name: str) -> tuple[Result, list[str], list[str]]:
    """A run's result by its ledger; each field of what result.json holds that differs, in words; and remarks. Raises UserError.

    Args:
        name: of the file that holds `given`.
    """
    result = Result.from_events(events)
    first = started(events)[0].payload
    remarks = [f"not ranked: {reason}" for reason in unranked_because(result)]
    if first.run_id is None:
        remarks.append(
            f"filed is what the ledger bears out; {name} of an earlier version says more and was not compared"
        )
        return result, [], remarks
    expected = result.model_dump(mode="json")
    for added, came_with in ADDED.items():
        blank = Result.model_fields[added].get_default(call_default_factory=True)
        known = came_with in (first.config or {})
        if not known and isinstance(given, dict) and added not in given and expected[added] == blank:
            del expected[added]
    edited = [
        f"{where} in {name} is {short(json.dumps(filed))}, and by the ledger it is {short(json.dumps(computed))}"
        for where, filed, computed in differences(given, expected)
    ]
    return result, edited, remarks


def differences(given: Any, expected: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, value given, value expected) of every leaf in which two JSON values differ; floats to one part in 10^9."""
    if isinstance(given, dict) and isinstance(expected, dict):
        for key in dict.fromkeys([*expected, *given]):
            yield from differences(
                given.get(key, "(missing)"), expected.get(key, "(no such field)"), f"{where}.{key}".lstrip(".")
            )
    elif isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        for k, (one, two) in enumerate(zip(given, expected, strict=True)):
            yield from differences(one, two, f"{where}.{k}")
    elif not _equal(given, expected):
        yield where or "the whole", given, expected


def _equal(one: Any, two: Any) -> bool:
    plain = (int, float)
    if isinstance(one, plain) and isinstance(two, plain) and not isinstance(one, bool) and not isinstance(two, bool):
        return one == two or math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-12)
    return type(one) is type(two) and one == two


def fingerprint_remarks(result: Result) -> list[str]:
    """A remark if the result's environment is not the one installed here. Another version may be right: it is not refused."""
    from enpire_envs.fingerprint import fingerprint

    from autoenvbench.make_env import is_real, make_env

    if is_real(result.env.id) or result.env.id not in gymnasium.registry:
        return [f"the fingerprint of {result.env.id} cannot be computed here"]
    try:
        env = make_env(result.env.id, result.env.kwargs)
        here = fingerprint(env)
        env.close()
    except UserError as error:
        return [f"the fingerprint cannot be computed here: {error}"]
    if here == result.env.fingerprint:
        return []
    return [
        f"{result.env.id} was another version: its fingerprint is {result.env.fingerprint}, and the one installed here has {here}"
    ]


def _same_identity(one: Result, two: Result) -> str | None:
    if one.run_id.casefold() == two.run_id.casefold():
        return "run_id"
    for what in ("ledger_sha256", "held_out_secret"):
        value = getattr(one, what)
        if value is not None and value.lower() == (getattr(two, what) or "").lower():
            return what
    return None


# -- build -----------------------------------------------------------------------------------------------------------
def build(board: Path) -> tuple[list[Path], dict[str, str]]:
    """Write the board's pages; returns them, and the broken submissions with what is wrong. Raises UserError."""
    if not board.is_dir():
        raise UserError(f"there is no leaderboard in {board}; add a result first: autoenvbench leaderboard add RUN")
    found = read(board)
    ranked = sections(list(found.results.values()), found.verifications)
    pages = {
        "README.md": markdown_page(ranked, found.broken),
        "index.html": html_page(ranked, found.broken),
        "result.schema.json": json.dumps(Result.model_json_schema(), indent=1) + "\n",
    }
    for name, text in pages.items():
        try:
            scratch = board / f".{name}.tmp"
            scratch.unlink(missing_ok=True)
            with scratch.open("x") as file:
                file.write(text)
            os.replace(scratch, board / name)
        except OSError as error:
            raise UserError(f"cannot write {board / name}: {error.strerror}") from None
    return [board / name for name in pages], found.broken


def read(board: Path) -> Board:
    """Every submission of a board. Broken is a file that holds no result, is not named after its run, or repeats another's."""
    verifications, unreadable = read_verifications(board)
    found = Board(verifications=verifications, broken=unreadable)
    for file in sorted((board / "submissions").glob("*.json")):
        try:
            result = parse(read_json(file))
            if file.stem != result.run_id:
                raise UserError(f"it holds the run {result.run_id}, and is named otherwise")
            for name, other in found.results.items():
                if what := _same_identity(result, other):
                    raise UserError(f"it has the same {what} as {name}")
        except UserError as error:
            found.broken[file.name] = short(str(error), 300)
        else:
            found.results[file.name] = result
    return found


def read_json(file: Path) -> Any:
    """A JSON file that a stranger may have written. Raises UserError."""
    try:
        if not file.is_file():
            raise UserError(f"cannot read {file}: no such file; give a run's folder, or what `score --json` printed")
        if file.stat().st_size > MAX_FILE:
            raise UserError(f"{file} is larger than {MAX_FILE >> 20} MB: it is no result")
        return json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {file}: {error}; give a run's folder, or what `score --json` printed") from None


def parse(given: Any) -> Result:
    """A result as a file holds it. Raises UserError."""
    try:
        return Result.model_validate(given)
    except (ValidationError, RecursionError, OverflowError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            raise UserError(f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from None
        raise UserError(f"its numbers or nesting are beyond all measure: {error!r}") from None
