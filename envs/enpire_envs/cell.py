"""What a cell is: a body, simulated or physical, that can be reset, commanded, read and probed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class CellKind:
    """Where episodes happened; copied into every result, so a twin can never pass for a robot."""

    SIM = "sim"
    TWIN = "twin"
    REAL = "real"


class CellFault(RuntimeError):
    """The cell itself failed (unstable physics, lost camera, motor fault): the episode says nothing
    about the policy."""


class Cell(Protocol):
    """A robot cell. One control period passes per `apply`; probes may take longer."""

    kind: str

    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """Bring the scene to `start`; `rng` draws this episode's physical variation."""

    def apply(self, command: np.ndarray) -> None:
        """Track `command` for one control period."""

    def read(self) -> Any:
        """The task's readings, now. Raises CellFault if they cannot be trusted."""

    def frame(self, camera: str, width: int, height: int) -> np.ndarray:
        """An image (height, width, 3) uint8 from the named camera."""

    def probe(self, name: str) -> Any:
        """Act once for the verifier (for example "clear_view") and return fresh readings."""

    def show(self) -> None:
        """Bring a live view for people up to date (`render_mode="human"`)."""

    def close(self) -> None:
        """Release devices and renderers. Safe to call twice."""
