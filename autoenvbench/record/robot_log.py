"""Logs of anybody's robots and models, for MRU and MTU: a documented CSV or JSONL, or the ledger of a run.

A line is one of three things. Times are seconds of any clock (of one clock in the whole file), or dates as in 2026-11-30T14:05:00+01:00.

    {"robot": "left", "from": 12.0, "to": 31.5, "reason": "episode"}     the robot was busy: an episode, a reset, a probe
    {"from": 31.5, "to": 36.0, "tokens": 1840}                           a call to a model: fresh input and output tokens
    {"session": "monday", "from": 0, "to": 28800}                        the wall-clock that counts

The same as CSV has the columns robot, from, to, reason, tokens, session in any order, of which tokens, reason and session may be missing
and others may be added. A robot that never worked has a line with `from` equal to `to`. Without a session the wall-clock goes from the
first time of the file to its last; with several it is all of them. A call counts at its end, or where it has none at its begin.

What robots do twice at once counts once. What has no end counts as idle. Both are said, and so is what else looks wrong.
"""

from __future__ import annotations

import csv
import json
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.record import metrics
from autoenvbench.record.events import NOT_AGENTS
from autoenvbench.record.ledger import Event
from autoenvbench.record.results import research_seconds, started
from autoenvbench.record.utilisation import Utilisation, utilisation
from autoenvbench.text import short

MOST_LINES = 5_000_000
MOST_ROBOTS, MOST_REASONS, MOST_SESSIONS = 1000, 100, 1000
MAX_LINE = 1 << 16  # characters
MAX_NAME = 100  # characters
MAX_WALL_S = 3 * 366 * 86_400.0  # longer than that, two clocks are in one file
_SUFFIXES = (".csv", ".jsonl", ".ndjson")
_HOW = 'see `python -c "import autoenvbench.record.robot_log as log; help(log)"`'


@dataclass(slots=True)
class Busy:
    """When one robot worked: disjoint, in order.

    Attributes:
        start, end: (n,) [s].
        reason: (n,) index into the log's `reasons`.
    """

    start: np.ndarray
    end: np.ndarray
    reason: np.ndarray

    @property
    def seconds(self) -> float:
        return float(np.sum(self.end - self.start))


@dataclass(slots=True)
class RobotLog:
    """What robots and models did.

    Attributes:
        sessions: the wall-clock that counts, disjoint and in order [s].
        busy: by robot.
        reasons: names of what robots worked on.
        calls: (n, 2) when each call to a model counts [s], and its headline tokens.
        remarks: what looks wrong in it, in words.
        use: the numbers.
    """

    sessions: list[tuple[float, float]]
    busy: dict[str, Busy]
    reasons: list[str]
    calls: np.ndarray
    remarks: list[str]
    use: Utilisation

    def seconds_by_reason(self) -> dict[str, float]:
        """Of all robots together [s], the most first."""
        total = np.zeros(len(self.reasons))
        for one in self.busy.values():
            total += np.bincount(one.reason, weights=one.end - one.start, minlength=len(self.reasons))
        return {self.reasons[k]: float(total[k]) for k in np.argsort(-total, kind="stable") if total[k] > 0}


def read_log(path: Path, *, robots: int | None = None, wall_s: float | None = None) -> RobotLog:
    """Read a CSV or JSONL file.

    Args:
        robots: that there are, where not all of them are in the file.
        wall_s: the wall-clock in place of the one that the file tells, which it must cover [s].

    Raises UserError, with the line, for what cannot be counted.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} is no log: give a .csv or .jsonl file ({_HOW}), a run's folder, or a LeRobotDataset's")
    collected = Collected(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, row in _rows_of_csv(path, file) if path.suffix.lower() == ".csv" else _rows_of_jsonl(path, file):
                collected.add(line, row)
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8") from None
    return collected.log(robots, wall_s)


def of_run(events: list[Event]) -> RobotLog:
    """The log of a run: its robots by cell where robot time is scarce, and its agents' calls. Raises UserError without a started run."""
    config, research_s = started(events)[1], research_seconds(events)
    collected = Collected(Path("the run"))
    if config.pace:
        for e in events:
            if metrics.robot_seconds(e) and e.t_run <= research_s:
                begin = max(0.0, e.t_run - metrics.robot_seconds(e))
                collected.busy(e.seq, e.station or "?", begin, e.t_run, getattr(e.payload, "purpose", None) or "reset")
    for e in events:
        if e.kind == "tokens" and e.agent not in NOT_AGENTS and not e.payload.in_flight and e.t_run <= research_s:
            collected.call(e.seq, e.t_run, metrics.headline_tokens(e.payload))
    collected.session(0, 0.0, research_s)
    log = collected.log(config.cells if config.pace else 0, None)
    # Robot time is counted without pauses, and a call that ends after the deadline has been spent: the numbers are the result's.
    log.remarks = [] if config.pace else ["robot time is free in a run at --pace 0: it has no MRU"]
    log.use = utilisation(
        research_s, robots=config.cells if config.pace else 0, busy_s=metrics.busy_seconds(events) if config.pace else {},
        tokens=metrics.token_totals(events, research_s).headline,
    )  # fmt: skip
    return log


# -- lines ---------------------------------------------------------------------------------------------------------------
def _rows_of_csv(path: Path, file: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    def lines() -> Iterator[str]:
        while text := file.readline(MAX_LINE + 1):
            if len(text) > MAX_LINE:
                raise UserError(f"{path} has a line of more than {MAX_LINE} characters")
            yield text

    reader = csv.reader(lines())
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not {"from", "to"} <= set(header) or len(set(header)) < len(header):
            raise UserError(
                f"{path} begins with {short(','.join(header), 80)!r}; a log begins with robot,from,to,reason,tokens ({_HOW})"
            )
        for values in reader:
            if any(value.strip() for value in values):
                if len(values) > len(header):
                    raise UserError(f"{path}, line {reader.line_num}: more values than the first line has names")
                yield (
                    reader.line_num,
                    {name: value.strip() for name, value in zip(header, values, strict=False) if value.strip()},
                )
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None


def _rows_of_jsonl(path: Path, file: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    line = 0
    while text := file.readline(MAX_LINE + 1):
        line += 1
        if len(text) > MAX_LINE:
            raise UserError(f"{path}, line {line}: more than {MAX_LINE} characters")
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {line}: {short(text.strip(), 60)!r} is no JSON object ({_HOW})")
        yield line, {name: value for name, value in row.items() if value is not None}


@dataclass(slots=True)
class _Spans:
    start: array[float] = field(default_factory=lambda: array("d"))
    end: array[float] = field(default_factory=lambda: array("d"))
    reason: array[int] = field(default_factory=lambda: array("H"))
    back: int = 0  # lines that are earlier than the one before


class Collected:
    """A log line by line, of the file that errors name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spans: dict[str, _Spans] = {}
        self._reasons: dict[str, int] = {}
        self._calls: tuple[array[float], array[float]] = (array("d"), array("d"))
        self._sessions: list[tuple[float, float]] = []
        self._endless = self._lines = 0
        self._low, self._high = math.inf, -math.inf

    def add(self, line: int, row: Mapping[str, Any]) -> None:
        """One line of a file. Raises UserError for what cannot be counted."""
        self._lines += 1
        if self._lines > MOST_LINES:
            raise UserError(f"{self._path} has more than {MOST_LINES:,} lines; give the log of a shorter time")
        if "from" not in row:
            self._wrong(line, "there is no `from`")
        begin = self._time(line, "from", row["from"])
        end = self._time(line, "to", row["to"]) if "to" in row else None
        if end is not None and end < begin:
            self._wrong(line, "it ends before it begins; was a clock set back?")
        if "session" in row:
            if end is None:
                self._wrong(line, "a session has no `to`")
            self.session(line, begin, end)
        elif "robot" in row:
            if "tokens" in row:
                self._wrong(line, "a line is of a robot or of a call to a model; this one has a robot and tokens")
            self.busy(line, self._name(line, "robot", row["robot"]), begin, end, self._name(line, "reason", row.get("reason", "busy")))  # fmt: skip
        elif "tokens" in row:
            self.call(line, begin if end is None else end, self._tokens(line, row["tokens"]))
        else:
            self._wrong(line, "it has no robot, no tokens and no session")

    def busy(self, line: int, robot: str, begin: float, end: float | None, reason: str) -> None:
        """A robot worked; without an end nobody knows how long."""
        if robot not in self._spans and len(self._spans) >= MOST_ROBOTS:
            self._wrong(line, f"there are more than {MOST_ROBOTS} robots")
        if reason not in self._reasons and len(self._reasons) >= MOST_REASONS:
            self._wrong(line, f"there are more than {MOST_REASONS} reasons; put details into a column of another name")
        own, last = self._spans.setdefault(robot, _Spans()), begin if end is None else end
        self._low, self._high = min(self._low, begin), max(self._high, last)
        self._endless += end is None
        own.back += last > begin and bool(own.start) and begin < own.start[-1]
        own.start.append(begin)
        own.end.append(last)
        own.reason.append(self._reasons.setdefault(reason, len(self._reasons)))

    def call(self, line: int, at: float, tokens: int) -> None:
        """A call to a model has ended."""
        self._low, self._high = min(self._low, at), max(self._high, at)
        self._calls[0].append(at)
        self._calls[1].append(tokens)

    def session(self, line: int, begin: float, end: float) -> None:
        """This time counts."""
        if len(self._sessions) >= MOST_SESSIONS:
            self._wrong(line, f"there are more than {MOST_SESSIONS} sessions")
        self._sessions.append((begin, end))

    def log(self, robots: int | None, wall_s: float | None) -> RobotLog:
        """All of it. Raises UserError where that is nothing, or no wall-clock."""
        sessions, remarks = self._wall(), []
        length = sum(b - a for a, b in sessions)
        busy: dict[str, Busy] = {}
        for robot, spans in self._spans.items():
            busy[robot], twice, outside = _disjoint(spans, sessions)
            if twice:
                remarks.append(
                    f"{short(robot, MAX_NAME)} begins something before it is done with what it did ({twice} x): that time counts "
                    "once. Two robots of one name? Give each its own"
                )
            if spans.back:
                remarks.append(f"lines of {short(robot, MAX_NAME)} go back in time ({spans.back} x): several logs in one file, or a clock that was set back")  # fmt: skip
            if outside:
                remarks.append(f"what {short(robot, MAX_NAME)} did outside of all sessions does not count ({outside} x)")  # fmt: skip
        if self._endless:
            remarks.append(f"what has no `to` counts as idle ({self._endless} x)")
        calls = np.stack([np.asarray(part, np.float64) for part in self._calls], axis=1)
        inside = np.zeros(len(calls), np.bool_)
        for a, b in sessions:
            inside |= (calls[:, 0] >= a) & (calls[:, 0] <= b)
        if not inside.all():
            remarks.append(f"calls that ended outside of all sessions do not count ({int((~inside).sum())} x)")  # fmt: skip
        calls = calls[inside]
        named = len(busy)
        if robots is not None and robots < named:
            raise UserError(f"{self._path} names {named} robots; --robots {robots} is fewer")
        if wall_s is not None and wall_s < length:
            raise UserError(f"{self._path} covers {length:.0f} s; --wall {wall_s:.0f} s is shorter")
        use = utilisation(
            length if wall_s is None else wall_s, robots=named if robots is None else robots,
            busy_s={robot: one.seconds for robot, one in busy.items()}, tokens=int(calls[:, 1].sum()),
        )  # fmt: skip
        return RobotLog(sessions, busy, list(self._reasons), calls, remarks, use)

    def _wall(self) -> list[tuple[float, float]]:
        """The wall-clock, disjoint and in order."""
        if not self._spans and not self._calls[0] and not self._sessions:
            raise UserError(f"{self._path} tells of no robot and no call to a model ({_HOW})")
        merged: list[tuple[float, float]] = []
        for a, b in sorted(self._sessions or [(self._low, self._high)]):
            if merged and a <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
            else:
                merged.append((a, b))
        if merged[-1][1] - merged[0][0] > MAX_WALL_S:
            raise UserError(f"{self._path} goes from {merged[0][0]:.0f} to {merged[-1][1]:.0f} s, which is over three years: are all times of one clock?")  # fmt: skip
        if merged[-1][1] <= merged[0][0]:
            raise UserError(f"all times of {self._path} are the same: there is no wall-clock to take a share of")
        return merged

    # -- values ------------------------------------------------------------------------------------------------------
    def _time(self, line: int, name: str, value: Any) -> float:
        try:
            if isinstance(value, str):
                try:
                    seconds = float(value)
                except ValueError:
                    at = datetime.fromisoformat(value)
                    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
            elif isinstance(value, bool):
                raise ValueError
            else:
                seconds = float(value)
        except (ValueError, TypeError, OverflowError):
            self._wrong(line, f"{name} is {short(str(value), 40)!r}; give seconds, or a date like 2026-11-30T14:05:00+01:00")  # fmt: skip
        if not math.isfinite(seconds) or abs(seconds) > 1e12:
            self._wrong(line, f"{name} is {seconds}; give seconds")
        return seconds

    def _tokens(self, line: int, value: Any) -> int:
        try:
            count = float(value) if not isinstance(value, bool) else math.nan
        except (ValueError, TypeError, OverflowError):
            count = math.nan
        if not (0 <= count <= 1e12 and count == int(count)):
            self._wrong(line, f"tokens is {short(str(value), 40)!r}; give a whole number")
        return int(count)

    def _name(self, line: int, what: str, value: Any) -> str:
        if not isinstance(value, str | int) or isinstance(value, bool) or not 1 <= len(str(value)) <= MAX_NAME:
            self._wrong(line, f"{what} is {short(str(value), 40)!r}; give a name of at most {MAX_NAME} characters")
        return str(value)

    def _wrong(self, line: int, what: str) -> NoReturn:
        raise UserError(f"{self._path}, line {line}: {what}")


def _disjoint(spans: _Spans, sessions: list[tuple[float, float]]) -> tuple[Busy, int, int]:
    """A robot's work in the sessions, each moment once, as of what began first; how often it began something before it was done with what it did,
    and how many spans are outside of the sessions as a whole or in part."""
    start, end, reason = (np.asarray(part) for part in (spans.start, spans.end, spans.reason))
    order = np.argsort(start, kind="stable")
    start, end, reason = start[order], end[order], reason[order]
    free = np.concatenate([[-np.inf], np.maximum.accumulate(end)[:-1]])  # when the robot is done with all before
    twice = int(np.count_nonzero((start < free) & (end > start)))
    begun = np.maximum(start, free)
    pieces = [(np.maximum(begun, a), np.minimum(end, b), reason) for a, b in sessions]
    a, b, reason = (np.concatenate([piece[k] for piece in pieces]) for k in range(3))
    inside = sum(
        np.maximum(0.0, np.minimum(end, b_) - np.maximum(start, a_)) for a_, b_ in sessions
    )  # of each span, what counts
    outside = int(np.count_nonzero(inside < (end - start) * (1 - 1e-9)))
    kept = b > a
    return Busy(a[kept], b[kept], reason[kept].astype(np.int64)), twice, outside
