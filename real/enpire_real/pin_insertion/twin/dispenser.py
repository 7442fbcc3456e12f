"""The twin's dispenser: a magazine over the nest, and somebody who sweeps up. A device, as cameras and motors are; it tells nothing."""

from __future__ import annotations

import numpy as np

from enpire_real.pin_insertion.twin.props import PinProps
from enpire_real.twin.station import Twin


class Dispenser:
    """A `Supply`."""

    def __init__(self, twin: Twin) -> None:
        assert isinstance(twin.props, PinProps), "the twin's table has another task's things"
        self._twin, self._props = twin, twin.props
        self._rng = np.random.default_rng(0)

    def bring(self) -> None:
        """A pin stands in the nest; what lay about is gone."""
        with self._twin.lock:
            self._props.dispense(self._twin.data, self._rng)
