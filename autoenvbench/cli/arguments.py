"""Types of command-line arguments: a wrong value is refused by name, with what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from autoenvbench.errors import UserError

N = TypeVar("N", int, float)

DEFAULT_ENV = "ENPIRE/PushT-v0"  # of commands that are told no other
#: Seeds go into NumPy's generators and, as 63 bits at most, into records.
MAX_SEED = 2**63 - 1


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as every other wrong use: as a UserError, in one line. Its subcommands do, too."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; see {self.prog} --help")


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""
    return partial(_ranged, int, "whole number", low, high)


def real(low: float, high: float) -> Callable[[str], float]:
    """A finite number from `low` to `high`."""
    return partial(_ranged, float, "number", low, high)


def _ranged(read: Callable[[str], N], what: str, low: N, high: N, text: str) -> N:
    try:
        value = read(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {what}; give one from {low} to {high}") from None
    if not low <= value <= high:  # nor is a NaN
        raise argparse.ArgumentTypeError(f"{text} is out of range; give a {what} from {low} to {high}")
    return value


def path(text: str) -> Path:
    """A file or folder. An empty name is refused: it would silently be the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name; give a file or folder, '.' for the working folder")
    return Path(text)


seed = whole(0, MAX_SEED)
episodes = whole(1, 100_000)
attempts = whole(1, 64)
port = whole(0, 65_535)
