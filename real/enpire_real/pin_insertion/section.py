"""Pin insertion's section in a station file."""

from __future__ import annotations

from typing import ClassVar

from enpire_real.fixture_section import FixtureSection
from enpire_real.pin_insertion.equipment import PLATE_HEIGHT


class PinSection(FixtureSection):
    """Where the fixture stands, roughly, which arm inserts and which cameras look; who brings a new pin."""

    HEIGHT: ClassVar[float] = PLATE_HEIGHT
