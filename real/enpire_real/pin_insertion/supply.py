"""Who brings a new pin when the last one is out of reach."""

from __future__ import annotations

from typing import Protocol

from enpire_envs.cell import CellFault

from enpire_real.pin_insertion.section import PinSection
from enpire_real.station import Station


class Supply(Protocol):
    """Brings pins into the nest. The hand must be open and out of the way."""

    def bring(self) -> None:
        """A new pin stands in the nest, and none lies about. Raises CellFault where nobody brings one."""


class NoSupply:
    """Nobody brings pins; a person has to."""

    def bring(self) -> None:
        """Raises CellFault: the arms are parked and a person is asked for."""
        raise CellFault(
            "no pin stands in a hole or in the nest: stand one in the nest, take away what lies about, and reset again"
        )


def supply_of(station: Station, section: PinSection) -> Supply:
    """What a station file names."""
    if section.supply == "twin" and station.twin is not None:
        from enpire_real.pin_insertion.twin.dispenser import Dispenser

        return Dispenser(station.twin)
    return NoSupply()
