"""Tying by a light barrier, at `intro`.

Estimates of slot and tip are off by more than the strap's play in the slot, but there one thing is known well: the head hides the tip
(`valid` 0) while it is between 1 mm before the slot and its far end, within the widest slot. So the script creeps forward until the tip is
hidden, goes up and then aside until it shows, which gives the slot's middle to a tenth of a millimetre, and goes in.
"""

from __future__ import annotations

import math

import numpy as np

from enpire_envs.tie_zip_tie.reference.tying import BEFORE, IN, THROUGH, Tying
from enpire_envs.tie_zip_tie.scene import HALF_Y, HALF_Z

_PRIOR = 1 / 3  # share of the estimated offset that is believed; starts spread by 1 mm, and so do both estimates
# looking for the slot
_CREEP, _SWEEP = (
    0.00012,
    0.00018,
)  # forward, and across the slot: a dark tip must be noticed within a few tenths of a millimetre [m per step]
_INTO = 0.0003  # further forward than where the tip was first known to be hidden: away from the edge of hiding [m]
_PAST = (
    0.0014  # this far beyond where the slot should begin, still in sight: the tip is before the head, not the slot [m]
)
_FELT = 0.8  # so is one that meets this force; noise is a quarter of it [N]
_CLEAR = (
    0.0007  # back from the head's face before sweeping: a tip that rubs on it sticks, and the strap bends instead [m]
)
_REACH = 0.0028  # how far to sweep each way for a slot that was missed [m]
_UNSEEN = 22  # steps after which the tip should have been hidden again below the edge
_LOST = 80  # steps after which to start again
_CENTRED = 0.00012  # how near to the middle to be to go in: a third of the least play [m]
# going in
_LEAD_IN = 0.002  # how far the command may run ahead: 3 N while the tip may be blocked [m]
_BLOCKED = 2.0  # a tip that meets this force is not in the slot; a strap in it is held back with less than 1 N [N]


class ByLight(Tying):
    """Finds the slot by when the head hides the tip."""

    settle, late, quick, bend = 10, 2, 0.5, 0.0
    gentle = ("seek", "edge", "unstick", "side", "centre")

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        super().reset(observation)
        self._dark = self._swaps = 0
        self._hidden = self._was_hidden = False
        o = np.asarray(observation, float)
        self._aim = (1 - _PRIOR) * (o[17:20] - o[14:17])[1:]

    def _look(self, o: np.ndarray) -> None:
        seen = o[20] > 0.5
        self._hidden, self._dark = not seen, 0 if seen else self._dark + 1
        if self._mode == "line_up":
            self._slot.add(o[14:17])
            self._slot_turn.add(np.zeros(2))
            if seen:
                self._average_tip(o, 0, None)

    def _begin_search(self) -> None:
        self._go("advance")

    def _go(self, mode: str) -> None:
        super()._go(mode)
        self._was_hidden = False

    def _is_clear(self, tip: np.ndarray) -> bool:
        """Whether the tip is as far back from the head as it should be for a sweep."""
        return bool(tip[0] < self._hold[0] + 0.0003)

    # -- each returns where the tip (3,) should be, in the slot's frame ----------------------------------------------------
    def _advance(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Creep forward until the tip is hidden, or meets the head."""
        if self._hidden:
            self._hold = np.array([tip[0] + _INTO, tip[1], tip[2]])
            self._go("edge")
        elif tip[0] > _PAST or (self._load.rise[0] > _FELT and tip[0] > -BEFORE + 0.0005):
            self._hold = np.array([tip[0] - _CLEAR, tip[1], tip[2]])
            self._way, self._turned = 1.0, 0
            self._go("seek")
        return np.array([bound[0] + self._stride(_CREEP), *self._aim])

    def _seek(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """The head was met beside the slot: sweep up, then down, until the tip is hidden; that is where the slot begins."""
        ready = self._is_clear(tip)
        if self._dark == 1:
            self._went_dark = tip[2]
        if self._hidden and ready:
            self._edge_at, self._middle[1] = tip[2], self._went_dark + self._way * HALF_Z
            self._go("side")
        elif (tip[2] - self._hold[2]) * self._way > _REACH:
            self._turned, self._way = self._turned + 1, -self._way
            if self._turned > 1:
                self._go("retreat")
        return np.array([*self._hold[:2], bound[2] + ready * self._way * self._stride(_SWEEP)])

    def _edge(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Up until the tip shows: it is over the slot's upper edge."""
        if not self._hidden:
            self._edge_at, self._middle[1] = tip[2], tip[2] - HALF_Z
            self._go("side")
        elif tip[2] - self._hold[2] > 2 * HALF_Z + 0.0006:  # the slot is not that high: the tip sticks to the head
            self._hold[0] -= _CLEAR
            self._go("unstick")
        return np.array([*self._hold[:2], bound[2] + self._is_clear(tip) * self._stride(_SWEEP)])

    def _unstick(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Back to where the sweep began, further from the head."""
        if np.abs(tip - self._hold).max() < 0.0003:
            self._go("edge" if self._hidden else "advance")
        return self._hold

    def _side(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Back to the middle's height, and aside until the tip shows again."""
        up = float(self._middle[1])
        ready = abs(tip[2] - up) < 0.0005
        self._was_hidden |= self._hidden and ready
        if self._was_hidden and not self._hidden:
            self._middle[0] = tip[1] - HALF_Y
            self._go("centre")
        elif not self._was_hidden and self._time - self._since > _UNSEEN:  # then it was the slot's other edge
            self._middle[1] += math.copysign(2 * HALF_Z, self._edge_at - up)
            self._since, self._swaps = self._time, self._swaps + 1
        if self._time - self._since > _LOST or self._swaps > 1:
            self._swaps = 0
            self._go("retreat")
        return np.array([self._hold[0], bound[1] + (ready and self._was_hidden) * self._stride(_SWEEP), up])

    def _centre(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        if np.abs(tip[1:] - self._middle).max() < _CENTRED:
            self._go("enter")
        return np.append(self._hold[0], self._middle)

    def _enter(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        if self._past > IN:
            self._go("push")
        elif tip[0] - self._hold[0] > THROUGH or self._load.rise[0] > _BLOCKED:
            self._aim = self._middle.copy()
            self._go("retreat")
        return np.append(bound[0] + self._forward(_LEAD_IN), self._middle)

    def _retreat(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        if self._past > 2 * IN:  # it was in after all, and the ratchet holds it
            self._go("push")
        elif tip[0] < -BEFORE + 0.001:
            self._go("advance")
        return np.array([-BEFORE, *self._aim])
