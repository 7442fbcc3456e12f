"""What a cell is asked to run, and the one way to run it: `Cell.run(batch, sink, stop)`, here or in a worker of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from enpire_envs.episode_file import Source

from autoenvbench.errors import UserError
from autoenvbench.record.events import Purpose
from autoenvbench.record.ledger import EventSink
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.bundles import Bundle

#: Asked before each step: why the episode must end now, or None. It may hold the episode for a while (a pause).
Stop = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Start:
    """Where one episode begins.

    Attributes:
        index: of the start in its stream.
        attempt: how often this start was run before, in the same evaluation; it re-draws sensing and physics.
        seed: from which the environment draws the start. A cell is told it when the episode is about to begin, never the secret.
        named: the start itself, in place of what the seed draws (the environment's ``options["start"]``), or None.
        station: the station of this episode (``options["station"]``); None: the one that the cell is.
        policy_seed: what the policy's own random numbers follow from; it says nothing of the start.
        weights: the declared network that acts, a file that is named by its SHA-256, in place of the batch's bundle; of learning.
    """

    index: int
    attempt: int
    seed: int
    named: dict[str, Any] | None = None
    station: int | None = None
    policy_seed: int = 0
    weights: Path | None = None


def draw_starts(
    streams: StartStreams,
    purpose: Purpose,
    first: int,
    n: int,
    *,
    attempts: int = 1,
    skip: frozenset[tuple[int, int]] = frozenset(),
    named: Sequence[dict[str, Any]] = (),
    station: Callable[[int], int | None] = lambda index: None,
) -> Iterator[Start]:
    """`n` starts from index `first` on, all of them once before any is attempted again.

    Args:
        skip: (index, attempt) pairs that are left out: they are in the ledger already.
        named: starts by index, in place of what the streams draw.
        station: of a start, by its index.
    """
    for attempt, index in itertools.product(range(attempts), range(first, first + n)):
        if (index, attempt) not in skip:
            yield Start(
                index, attempt, streams.seed(purpose, index), named[index] if named else None, station(index),
                streams.policy_seed(purpose, index, attempt),
            )  # fmt: skip


Insight = Literal["none", "stage", "all"]
MOST_KEPT = 20 << 30  # bytes of episodes in a folder


@dataclass(frozen=True, slots=True)
class Keep:
    """Where every episode of a batch is kept, as a file of its own (`trajectories.Trajectories`).

    Attributes:
        secret: nobody may know the starts' seeds, so the files do not say them.
        starts: whether to say where an episode began, in the task's own terms (more than a policy is told).
        insight: what the files say of each step beside what the policy saw and did: "stage", as the station judged it; "all" that the
            environment's `info` has in numbers as well, which on a simulated cell is the truth; or "none".
        source: who drives (`enpire_envs.episode_file.Source`).
        policy: what the files say of the policy: its name, or its digest.
        most: what the folder may hold [bytes]: all in all, and then no more is kept, or what is of `own`, whose oldest files make room.
        own: the member's evaluations whose files these are, oldest first; None: nothing is removed.
        required: they are what was asked for, so one that cannot be kept is an error.
        pictures: whether the files may hold evidence of a verdict, which is pictures.
        apart: the folder where pictures go that the files may not hold; None: nowhere.
    """

    folder: Path
    secret: bool
    starts: bool = True
    insight: Insight = "none"
    source: int = Source.POLICY
    policy: str | None = None
    most: int = MOST_KEPT
    required: bool = False
    pictures: bool = True
    own: tuple[str, ...] | None = None
    apart: Path | None = None


@dataclass(frozen=True, slots=True)
class Film:
    """Where the pictures of one success and one failure go: ``folder/stem + "success"`` and so on.

    Attributes:
        strip: six pictures side by side (.jpg) in place of a film of every control step (.mp4).
        done: which of the two there are already.
    """

    folder: Path
    stem: str
    strip: bool = False
    done: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Episodes of one bundle, which any number of cells share by taking their starts from one iterator.

    Attributes:
        evaluation: the id under which they are on record.
        planned: how many episodes the evaluation has, with those that ran before an interruption.
        starts: taken one at a time, each by the cell that is free for it.
        attempts: at each start.
        agent: who asked, and lives while this runs; None where nobody does (held-out scoring).
        idea, beats: what the ledger's evaluation events say (see `EvaluationEvent`).
        interactive: whether scripts may use the tools of interactive mode.
        keep: where the episodes are kept, or None.
        film: pictures to keep, or None.
        sheets: how many failures leave a few pictures in their files.
        by_clock: whether the run's clock rules it: a pause holds it between two steps, and the end of the budget ends it.
    """

    evaluation: str
    purpose: Purpose
    bundle: Bundle
    planned: int
    starts: Iterable[Start]
    attempts: int = 1
    agent: str | None = None
    idea: str | None = None
    beats: str | None = None
    interactive: bool = False
    keep: Keep | None = None
    film: Film | None = None
    sheets: int = 0
    by_clock: bool = False


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell's part of a batch ended.

    Attributes:
        through: whether it ran until there were no more starts; False where it was stopped, or a person stopped the arms.
        shown: file names of the films, by "success" and "failure".
        full: why no more episodes are kept in the batch's folder, or None.
        sheets: how many failures are left that may leave pictures in their files.
    """

    through: bool
    shown: dict[str, str] = field(default_factory=dict)
    full: str | None = None
    sheets: int = 0


class CellLost(UserError):
    """A cell's worker ended by itself, or sent what is no message. What began counts as it stands."""


class Cell(Protocol):
    """One environment that runs one batch at a time, in this process (`LocalCell`) or in one of its own (`RemoteCell`)."""

    name: str

    def run(self, batch: Batch, sink: EventSink, stop: Stop) -> CellResult:
        """Run episodes until `batch.starts` ends or `stop` answers.

        Each episode is reported to `sink` when it begins, before its policy sees anything, and when it is judged; what is in the
        sink is durable. One that is stopped is judged as it stands.

        Raises:
            UserError: the scene could not be made ready, or the bundle cannot run here; what ran before counts.
            CellLost: it will run nothing more.
        """


C = TypeVar("C", bound=Cell)


class Crew(Protocol[C]):
    """Where a batch has its cells from, which may be lent to others between two of its episodes. Safe from any thread.

    Attributes:
        most: cells that it is given at once.
    """

    @property
    def most(self) -> int: ...

    def take(self, until: Callable[[], bool]) -> C | None:
        """A cell to run episodes on, as soon as there is one; None once `until` is true, or where no further one will come.

        Raises CellLost where every cell is lost.
        """

    def keeps(self, cell: C) -> bool:
        """Asked before each episode on a cell that was taken: whether it may begin. If not, the cell is given back."""

    def give_back(self, cell: C) -> None:
        """Nothing of the batch runs on this cell any more."""

    def lose(self, cell: C) -> bool:
        """A cell was lost. Returns whether others are left to go on with."""
