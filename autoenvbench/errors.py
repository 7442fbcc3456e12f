"""Errors that are the user's to mend: the command line prints them as one line and exits with their code."""

from __future__ import annotations

import traceback
from pathlib import Path

#: Exit code of a run that ended but measured nothing: its agent never worked, or its model did not answer.
RUN_VOID = 6


class UserError(Exception):
    """Wrong use. The message says what was wrong, what was expected and what to type next."""

    exit_code = 2


class BudgetOver(UserError):
    """The run's wall-clock budget is spent."""

    exit_code = 3


class RobotBusy(UserError):
    """Another client holds the robot."""

    exit_code = 4


class PolicyFailed(UserError):
    """The policy could not be loaded or run at all."""

    exit_code = 5


class StationFault(UserError):
    """The station itself failed at what it was asked to do: no fault of whoever asked."""

    exit_code = 7

    @classmethod
    def of(cls, error: BaseException) -> StationFault:
        """Any exception of the station's own, with the place that raised it."""
        if isinstance(error, StationFault):
            return error
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return cls(
            f"the station failed, which is no fault of yours: {type(error).__name__}: {error}{place}. It is on record. Try again; where it "
            "stays so nothing can be run here, and `aeb note` may say so"
        )


_BY_EXIT_CODE = {error.exit_code: error for error in (UserError, BudgetOver, RobotBusy, PolicyFailed, StationFault)}


def error_of(exit_code: int, words: str) -> UserError:
    """The error that another process has told of."""
    return _BY_EXIT_CODE.get(exit_code, UserError)(words)
