"""Who brings a new thing when the last one is out of reach."""

from __future__ import annotations

from typing import Protocol

from enpire_real.cell import PersonNeeded


class Supply(Protocol):
    """Brings what a task handles to the place where a reset takes it up. The hand must be open and out of the way."""

    def bring(self) -> None:
        """A new one stands in its place, and none lies about. Raises PersonNeeded where nobody brings one."""


class NoSupply:
    """Nobody brings anything; a person has to.

    Args:
        what: to do, for that person.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def bring(self) -> None:
        """Raises PersonNeeded: the arms are parked and a person is asked."""
        raise PersonNeeded(self._what)
