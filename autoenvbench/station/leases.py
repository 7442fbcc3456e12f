"""Who has which cell: a station's cells are leased to its members' jobs, fairly.

A member has one job at a time. A job takes one cell or as many as are free, and is asked between two episodes whether it keeps each:

- Where somebody wants cells, all come to hold equally many, to within one.
- Where there are fewer cells than jobs, a member that has had none yet gets the next that comes to the end of an episode. To the others a
  member gives its last cell up once in `TURN` episodes of its own, however many jobs they cut their episodes into: a cell that comes back
  starts a policy's process anew, which may cost more than an episode.
- A cell that is free goes to the job that holds fewest, and among equals to the member that has gone without for longest. So nobody who
  asks again and again keeps another from a robot.

There is no clock in here: an order of calls has one outcome.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from autoenvbench.errors import RobotBusy
from autoenvbench.station.batch import Cell, CellLost

TURN = 5  # episodes of a member between two times that it makes room for one that has had a cell already
_LOOK_S = 0.05  # between two looks at whether who waits still wants a cell
C = TypeVar("C", bound=Cell)


class Asked(NamedTuple):
    """A job: whose, and what in words."""

    member: str
    what: str


class Pool(Generic[C]):
    """The cells of a station, at so many places. Safe from any thread.

    Args:
        places: how many cells there are when none is lost.
        own: the places at which a client works; whoever is not named works at all.
    """

    def __init__(self, places: int, own: Mapping[str, frozenset[int]] | None = None) -> None:
        self.places = places
        self._own, self._everywhere = own or {}, frozenset(range(places))
        self.cells: dict[int, C] = {}  # by place
        self._away: set[int] = set()  # places whose cell was lost and may be replaced
        self._leases: list[Lease[C]] = []
        self.changed = threading.Condition()
        self._uses, self._used = itertools.count(1), Counter[str]()  # by member: when it last had a cell
        self._turn = Counter[str]()  # by member: episodes since it last gave its last cell up

    # -- cells -------------------------------------------------------------------------------------------------------
    def put(self, place: int, cell: C) -> None:
        """A cell is ready."""
        with self.changed:
            self.cells[place] = cell
            self._away.discard(place)
            self.assign()

    def lose(self, place: int, *, returns: bool) -> None:
        """The cell at this place is gone, for good or until another is `put` there."""
        with self.changed:
            cell = self.cells.pop(place, None)
            (self._away.add if returns else self._away.discard)(place)
            for lease in self._leases:
                if cell is not None:
                    lease.drop(cell)
            self.assign()

    def place_of(self, cell: C) -> int | None:
        """Where a cell is; None for one that was lost."""
        return next((place for place, each in self.cells.items() if each is cell), None)

    # -- who has what ------------------------------------------------------------------------------------------------
    def open(self, member: str, what: str, most: int | None = None) -> Lease[C]:
        """Stand in line for a job.

        Args:
            what: the job in words.
            most: cells that it takes at once; None: as many as it gets.

        Raises RobotBusy where this member has a job already.
        """
        with self.changed:
            for other in self._leases:
                if other.member == member:
                    raise RobotBusy(busy_with(other.what))
            lease = Lease(self, member, what, most or self.places, self._own.get(member, self._everywhere))
            self._leases.append(lease)
            self.assign()
            return lease

    def jobs(self) -> list[Asked]:
        """What is under way or waits, in the order in which it was asked for."""
        with self.changed:
            return [lease.asked for lease in self._leases]

    def at_work(self) -> dict[int, Asked | None]:
        """By place, the job that has its cell; None where it is free. Places whose cell was lost are left out."""
        with self.changed:
            held = {cell: lease.asked for lease in self._leases for cell in lease.held}
            return {place: held.get(cell) for place, cell in sorted(self.cells.items())}

    def holders(self, places: frozenset[int]) -> list[Asked]:
        """The jobs that have a cell at one of these places."""
        with self.changed:
            cells = {cell for place, cell in self.cells.items() if place in places}
            return [lease.asked for lease in self._leases if cells & lease.held.keys()]

    def waiting(self) -> list[Asked]:
        """The jobs that have no cell."""
        with self.changed:
            return [lease.asked for lease in self._leases if lease.wants and not lease.held]

    def assign(self) -> None:
        """Give every free cell to who is next. With `changed` held."""
        taken = {cell for lease in self._leases for cell in lease.held}
        for place, cell in self.cells.items():
            if cell in taken:
                continue
            if (lease := self._next(place, {each: len(each.held) for each in self._leases})) is not None:
                lease.grant(cell)
                self.use(lease.member)
        self.changed.notify_all()

    def shall_leave(self, lease: Lease[C], cell: C) -> bool:
        """Whether a lease gives up a cell on which it ran an episode. With `changed` held."""
        place, held = self.place_of(cell), self._held_soon()
        if place is None:
            return True
        for other in self._leases:
            if other is lease or not other.wants or held[other] >= other.most or place not in other.places:
                continue
            if held[other] + 1 < held[lease]:
                return True
            if (
                held[other] == 0
                and held[lease] == 1
                and (not self._used[other.member] or self._turn[lease.member] >= TURN)
            ):
                return True
        return False

    def is_served(self, lease: Lease[C]) -> bool:
        """Whether there is, or will be, a cell for it to wait for. With `changed` held."""
        return bool(lease.places & (self.cells.keys() | self._away))

    def use(self, member: str) -> None:
        """A member has, or had, a cell now. With `changed` held."""
        self._used[member] = next(self._uses)

    def count(self, member: str) -> None:
        """A member begins an episode. With `changed` held."""
        self._turn[member] += 1

    def give_way(self, member: str) -> None:
        """A member gives its last cell up to another. With `changed` held."""
        self._turn[member] = 0

    def remove(self, lease: Lease[C]) -> None:
        """It has ended. With `changed` held."""
        self._leases.remove(lease)
        self.assign()

    def _next(self, place: int, held: Mapping[Lease[C], int]) -> Lease[C] | None:
        wanting = [each for each in self._leases if each.wants and held[each] < each.most and place in each.places]
        return min(wanting, key=lambda each: (held[each], self._used[each.member]), default=None)

    def _held_soon(self) -> dict[Lease[C], int]:
        """How many cells each will hold when those that are being given up have gone to who is next."""
        held = {each: len(each.held) - len(each.leaving) for each in self._leases}
        for cell in itertools.chain.from_iterable(each.leaving for each in self._leases):
            place = self.place_of(cell)
            if place is not None and (lease := self._next(place, held)) is not None:
                held[lease] += 1
        return held


class Lease(Generic[C]):
    """A job's place in line, and the cells that it has (see `Crew`)."""

    def __init__(self, pool: Pool[C], member: str, what: str, most: int, places: frozenset[int]) -> None:
        self.member, self.what, self.most, self.places = member, what, most, places
        self._pool = pool
        self.wants = True  # further cells
        self.held: dict[C, int] = {}  # -> episodes since
        self.leaving: set[C] = set()  # of these, what it gives back after the episode that has just ended
        self._ready: deque[C] = deque()  # of these, what nobody has taken up

    def poll(self) -> C | None:
        """A cell, if one is there for it now; it stands in line otherwise."""
        with self._pool.changed:
            if not self.wants:
                self.wants = True
                self._pool.assign()
            return self._ready.popleft() if self._ready else None

    def take(self, until: Callable[[], bool]) -> C | None:
        """A cell, as soon as there is one; None once `until` is true, and it stands in line no more. Raises CellLost where there is none to
        wait for."""
        with self._pool.changed:
            while not until():
                if (cell := self.poll()) is not None:
                    return cell
                if not self._pool.is_served(self):
                    raise CellLost(f"every cell is lost on which {self.member} works")
                self._pool.changed.wait(_LOOK_S)
            self.enough()
            return None

    @property
    def asked(self) -> Asked:
        """Whose job it is, and what."""
        return Asked(self.member, self.what)

    def waits_for(self) -> list[Asked]:
        """The jobs that have the cells it could use."""
        return self._pool.holders(self.places)

    def untake(self, cell: C) -> None:
        """What was taken is the next to be taken."""
        with self._pool.changed:
            if cell in self.held:
                self._ready.appendleft(cell)

    def enough(self) -> None:
        """It needs no further cells for now."""
        with self._pool.changed:
            self.wants = False
            for cell in self._ready:
                self.drop(cell, ready=False)
            self._ready.clear()
            self._pool.assign()

    def keeps(self, cell: C) -> bool:
        """Whether it runs another episode on a cell that it has taken. If not, it gives it back at once."""
        with self._pool.changed:
            if cell not in self.held:
                return False
            if self.held[cell] and self._pool.shall_leave(self, cell):
                self.leaving.add(cell)
                self._pool.use(self.member)
                if self.leaving == self.held.keys():
                    self._pool.give_way(self.member)
                return False
            self.held[cell] += 1
            self._pool.count(self.member)
            return True

    def give_back(self, cell: C) -> None:
        """It is free for others. What it does not have any more is no matter."""
        with self._pool.changed:
            if cell in self.held:
                self.drop(cell)
                self._pool.use(self.member)
                self._pool.assign()

    def lose(self, cell: C) -> bool:
        """A cell was lost under it. Returns whether others are left to go on with."""
        with self._pool.changed:
            if (place := self._pool.place_of(cell)) is not None:
                self._pool.lose(place, returns=False)
            return self._pool.is_served(self)

    def close(self) -> None:
        """Its job is over."""
        with self._pool.changed:
            self.held.clear()
            self._pool.remove(self)

    def grant(self, cell: C) -> None:
        """A cell is its own now. With the pool's `changed` held."""
        self.held[cell] = 0
        self._ready.append(cell)

    def drop(self, cell: C, *, ready: bool = True) -> None:
        """A cell is its own no more. With the pool's `changed` held."""
        self.held.pop(cell, None)
        self.leaving.discard(cell)
        if ready and cell in self._ready:
            self._ready.remove(cell)


def busy_with(what: str) -> str:
    """What a member is told that has a job already."""
    return (
        f"the robot is busy with a job of yours ({what}), and a member has one at a time; wait for it to finish, or end it, "
        "then try again"
    )
