"""Errors that are the user's to mend: the command line prints them as one line and exits with their code."""

from __future__ import annotations

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


_BY_EXIT_CODE = {error.exit_code: error for error in (UserError, BudgetOver, RobotBusy, PolicyFailed)}


def error_of(exit_code: int, words: str) -> UserError:
    """The error that another process has told of."""
    return _BY_EXIT_CODE.get(exit_code, UserError)(words)
