"""The twin's feeder: a magazine of straps, and somebody who sweeps up. A device, as cameras and motors are; it tells nothing."""

from __future__ import annotations

import numpy as np

from enpire_real.tie_zip_tie.twin.props import TieProps
from enpire_real.twin.station import Twin


class Feeder:
    """A `Supply`."""

    def __init__(self, twin: Twin) -> None:
        assert isinstance(twin.props, TieProps), "the twin's table has another task's things"
        self._twin, self._props = twin, twin.props
        self._rng = np.random.default_rng(0)

    def bring(self) -> None:
        """What lay about is gone and a strap is in the feeder; what is in the head or in a hand stays there, and nothing comes."""
        with self._twin.lock:
            if self._props.lies_about(self._twin.data):
                self._props.feed(self._twin.model, self._twin.data, self._rng)
