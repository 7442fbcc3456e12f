"""Tying by touch, at `state`.

Averages of what is estimated say where the slot is to within a millimetre or two, and the strap has a quarter of one to spare. So the tip goes
against the head's face, row by row from the middle of what is believed outwards, and slides along each row, sideways, as a strap hardly
bends that way, until it falls in. How hard it presses is known best by how far the command leads: the drives are springs, and encoders are
better than the wrench by joint torques. What they say without any load, and how late they are, is measured on the way to the face.
"""

from __future__ import annotations

import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.tie_zip_tie.reference.tying import BEFORE, IN, THROUGH, Tying

_ROWS = (
    np.array([0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1.5, -1.5]) * 0.00055
)  # above where the slot is believed, in this order: as far apart as the slot's least play and a little that the tip bends [m]
_REACH = 0.002  # of a row to either side [m]
_CLEAR = 0.0007  # back from the face on the way to a row [m]
_NEAR, _THERE = 0.0003, 0.0006  # how near the command and the tip must be to a row's beginning [m]
_STILL = 5  # control periods that the load-free lead is measured for
# towards the face
_FAST, _SLOW = 0.0002, 0.00012  # the first time and later: the tip meets it before that is noticed [m per step]
_LATE = 4.5  # from a command to its effect, until it is measured [control periods]
_FREE = 14  # after so many control periods it moves steadily
_STOPPED, _SHARE = 5, 0.4  # met: so long, at less than this share of its speed
_AWAY = 0.0023  # so far beyond where the face should be there is none: the tip is in the slot [m]
_BEYOND = 0.0012  # the same, once it is known where the face is [m]
# along it
_SLIDE = 0.00012  # [m per step]
_PRESS = 0.0004  # lead that presses with half a newton [m]
_FOLLOW, _BACK, _ON = 0.3, 0.0001, 0.00012  # share of a wrong lead made good in a step, but at most so much [m]
_FELL, _OVER = 0.0003, 8  # a tip that advances so far [m] within so many control periods has fallen in
_POKE, _DEEPER = (
    9,
    0.0004,
)  # at a row's end: so long straight ahead, in case it hooked behind the slot's edge; then it advances so far [m]
_HOOKED = 0.001  # back from there to where the slot is [m]
# going in
_LEAD_IN = 0.0015  # how far the command may run ahead: 2 N while the tip may be blocked [m]
_PATIENCE, _LEAST = 12, 0.0003  # not in the slot: after so many control periods it advanced by less in eight [m]


class ByTouch(Tying):
    """Finds the slot by where the tip falls into it."""

    settle, late, quick, bend = 25, 4, 0.2, 0.5

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        super().reset(observation)
        self._row, self._way = 0, 1.0  # which is next, and which way along it
        self._face: float | None = None  # where the tip meets it [m]
        self._lag, self._free_lead = _LATE, 0.0  # [control periods], [m]

    def _look(self, o: np.ndarray) -> None:
        if self._mode != "line_up":
            return
        if o[25] > 0.5:
            self._slot.add(o[14:17])
            self._slot_turn.add(o[22:24])
        if o[20] > 0.5:
            self._average_tip(o, round(o[28] * CONTROL_HZ), o[26:28])

    def _begin_search(self) -> None:
        self._go("clear")

    def _go(self, mode: str) -> None:
        super()._go(mode)
        self._went: list[float] = []  # where the tip was along the slot since then [m]
        self._leads: list[float] = []  # and the command's lead [m]

    def _next_row(self) -> None:
        self._row, self._way = (self._row + 1) % len(_ROWS), -self._way
        self._go("clear")

    # -- each returns where the tip (3,) should be, in the slot's frame ----------------------------------------------------
    def _clear(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """To a row's beginning, clear of the face; the first time wait there, and measure the lead without any load."""
        goal = np.array([-BEFORE if self._face is None else self._face - _CLEAR, -self._way * _REACH, _ROWS[self._row]])
        if np.abs(bound - goal).max() < _NEAR and np.abs(tip - goal).max() < _THERE:
            self._leads.append(self._lead())
            if self._face is not None or len(self._leads) == _STILL:
                self._free_lead = float(np.mean(self._leads)) if self._face is None else self._free_lead
                self._go("touch")
        return goal

    def _touch(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Straight ahead until the tip stops at the face."""
        self._went.append(tip[0])
        self._leads.append(self._lead())
        speed, n = (_FAST if self._face is None else _SLOW), len(self._went)
        if self._face is None and n == _FREE:
            self._lag = (float(np.mean(self._leads[-6:-1])) - self._free_lead) / speed
        if n > _STOPPED + 3 and self._went[-1] - self._went[-1 - _STOPPED] < _SHARE * _STOPPED * speed:
            moving = self._leads[-12:-6] if n > 16 else self._leads[-6:-5]
            self._free_lead = float(np.mean(moving)) - self._lag * speed
            self._face = tip[0] if self._face is None else (self._face + tip[0]) / 2
            self._go("slide")
        elif tip[0] > (_AWAY if self._face is None else self._face + _BEYOND):
            self._fall(tip)
        return np.array([bound[0] + self._stride(speed), -self._way * _REACH, _ROWS[self._row]])

    def _slide(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Along the row, pressing lightly, until the tip falls in."""
        self._went.append(tip[0])
        press = np.clip(_FOLLOW * (_PRESS - self._lead() + self._free_lead), -_BACK, _ON)
        before = self._went[-_OVER - 3 : -_OVER]
        if len(before) == 3 and np.mean(self._went[-2:]) - np.mean(before) > _FELL:
            self._fall(tip)
        elif tip[1] * self._way > _REACH:
            self._face = float(np.mean(self._went[-8:]))
            self._go("poke")
        along = bound[1] + self._way * self._stride(_SLIDE)
        return np.array([bound[0] + self._stride(press), along, _ROWS[self._row]])

    def _poke(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Straight ahead at the row's end: a tip that hooked behind the slot's edge advances, one at the face does not."""
        self._went.append(tip[0])
        if np.mean(self._went[-2:]) - self._went[0] > _DEEPER:
            self._fall(tip)
            self._middle[0] -= self._way * _HOOKED
        elif len(self._went) > _POKE:
            self._next_row()
        return np.array([bound[0] + self._stride(_SLOW), self._way * _REACH, _ROWS[self._row]])

    def _fall(self, tip: np.ndarray) -> None:
        self._middle = np.array([tip[1], _ROWS[self._row]])
        self._go("enter")

    def _enter(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """On into the slot until it shows behind the head; if it does not, it was not the slot."""
        self._went.append(tip[0])
        stuck = len(self._went) > _PATIENCE and tip[0] - self._went[-8] < _LEAST
        if self._past > IN:
            self._go("push")
        elif stuck or tip[0] - self._went[0] > THROUGH:
            self._next_row()
        return np.append(bound[0] + self._forward(_LEAD_IN), self._middle)
