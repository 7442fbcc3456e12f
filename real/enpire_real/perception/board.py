"""The printed ChArUco board that cameras are calibrated with: its image, and its corners in an image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class Board:
    """Squares along each side and their sizes [m]; print it at 200 x 200 mm and measure a square."""

    squares: int = 5
    square_m: float = 0.040
    marker_m: float = 0.030

    @property
    def side_m(self) -> float:
        """Of the whole board."""
        return self.squares * self.square_m


BOARD = Board()
#: Where it goes, roughly, for calibrating: on the table between the arms, face up (station frame), ...
BOARD_ON_TABLE = (0.36, 0.0, 0.004)
#: ... or clamped in a hand (flange frame), face up when the hand is level.
BOARD_ON_FLANGE, BOARD_ON_FLANGE_QUAT = (0.16, 0.0, 0.05), (1.0, 0.0, 0.0, 0.0)


def _board() -> cv2.aruco.CharucoBoard:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    return cv2.aruco.CharucoBoard((BOARD.squares, BOARD.squares), BOARD.square_m, BOARD.marker_m, dictionary)


def board_image(pixels: int) -> np.ndarray:
    """The board for printing, (pixels, pixels) uint8, no margin."""
    return np.asarray(_board().generateImage((pixels, pixels), marginSize=0, borderBits=1))


def find_board(image: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Inner corners of the board in an RGB image: (n, 3) in the board's frame [m] and (n, 2) pixels; None below 8.

    Board frame: origin at the corner where the first marker lies, x along its row, y down its column, z into the board.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    board = _board()
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board).detectBoard(gray)
    if ids is None or len(ids) < 8:
        return None
    points = np.asarray(board.getChessboardCorners(), dtype=np.float64)
    index = np.asarray(ids).ravel()
    return points[index], np.asarray(corners, dtype=np.float64).reshape(-1, 2)
