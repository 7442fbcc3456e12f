"""Which station each episode of a run is at, where stations differ (`Level.stations`): numbers that nobody knows beforehand.

A number, an environment's `station_seed`, draws what stays the same at a station: friction, backlash, cameras, looks. It comes from the
run's secret, so that whoever has the secret that a result reveals has the numbers as well: the first 63 bits of HMAC-SHA256 over

    autoenvbench/1/station/run            stations "run": the one station of all cells, in practice, evaluation, confirmation and scoring
    autoenvbench/1/station/cell/K         stations "each": of cell K = 0, 1, ..., in practice, evaluation and confirmation
    autoenvbench/1/station/heldout/I      stations "each": of held-out start I = 0, 1, ..., at each attempt

A confirmation is at the stations of the evaluation that it repeats, so that like is compared with like: how a policy fares at a station that
it has not met, scoring alone says.

In place of that, a run may take its numbers from a file of private ones. They are put in the order of HMAC-SHA256 over
`autoenvbench/1/station/private/NUMBER`: the run or cell K has the Kth from the front, held-out start I the Ith from the back.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autoenvbench.errors import UserError

Scope = Literal["run", "each"]
#: Where the numbers of a run came from: its secret, a file that somebody holds, or its configuration (which anybody can read).
Source = Literal["run", "private", "public"]
#: The environments' argument.
ARGUMENT = "station_seed"
#: Smaller private numbers would be found by trying: the digest of their file is public.
SMALLEST, LARGEST = 2**40, 2**63 - 1
_DRAW = 'python -c "import json, secrets; print(json.dumps([secrets.randbits(63) for _ in range(400)]))" > FILE'


@dataclass(frozen=True)
class Stations:
    """The stations of one run. The same secret and private numbers give the same.

    Args:
        scope: as `Level.stations`.
        secret: the run's, 32 bytes.
        private: numbers of a file, or None.
    """

    scope: Scope
    secret: bytes
    private: Sequence[int] | None = None

    def of_cell(self, cell: int) -> int:
        """The station of a cell, 0, 1, ..., in practice, evaluation and confirmation."""
        if self.private is not None:
            return self._private_in_order[cell if self.scope == "each" else 0]
        return self._number("run" if self.scope == "run" else f"cell/{cell}")

    def of_held_out(self, start: int) -> int | None:
        """The station of a held-out start where it is no cell's; None: the episode is where its cell is."""
        if self.scope == "run":
            return None
        return self._number(f"heldout/{start}") if self.private is None else self._private_in_order[-1 - start]

    @functools.cached_property
    def _private_in_order(self) -> list[int]:
        return sorted(self.private or (), key=lambda number: self._mac(f"private/{number}"))

    def _number(self, label: str) -> int:
        return int.from_bytes(self._mac(label)[:8], "big") >> 1

    def _mac(self, label: str) -> bytes:
        return hmac.new(self.secret, f"autoenvbench/1/station/{label}".encode(), hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class PrivateStations:
    """A file of private numbers.

    Attributes:
        sha256: of the numbers in ascending order, in decimal, a line each: what results say of the file.
    """

    numbers: tuple[int, ...]
    sha256: str

    @classmethod
    def load(cls, path: Path, scope: Scope, *, cells: int, held_out: int) -> PrivateStations:
        """Read a JSON list of numbers. Raises UserError, also where they are too few for so many cells and held-out starts."""
        try:
            given = json.loads(path.read_text())
        except OSError as error:
            raise UserError(f"cannot read the private stations {path}: {error.strerror}") from None
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in given):
            raise UserError(f"{path} is no JSON list of whole numbers; make one: {_DRAW}")
        if len(set(given)) < len(given) or not all(SMALLEST <= n <= LARGEST for n in given):
            raise UserError(
                f"{path}: private stations are different numbers from {SMALLEST} to {LARGEST}, drawn at random, so that nobody finds "
                f"them by trying: {_DRAW}"
            )
        needed = 1 if scope == "run" else cells + held_out
        if len(given) < needed:
            raise UserError(f"{path} holds {len(given)} private stations, and this needs {needed}; make more: {_DRAW}")
        numbers = tuple(sorted(given))
        return cls(numbers, hashlib.sha256("\n".join(map(str, numbers)).encode()).hexdigest())
