"""What a fault of the cell says about a policy: nothing where a device failed by itself, and everything else is its outcome."""

from __future__ import annotations

import traceback

from enpire_envs.cell import CellFault

BY_PERSON = "stopped_by_person"  # by hand, or by the emergency stop
#: Reasons of the safety monitor that name a device. The others (limits, margins, silence, an agent's stop) follow from what the
#: arms were told.
_DEVICE_STOPS = ("stale_feedback", "motor_fault", "loop_error", "loop_dead", "observer_failed")


def is_device_fault(fault: CellFault) -> bool:
    """Whether a motor, a bus, a camera or the control loop of an arm's station failed: proof that the machine was at fault.
    A person's stop says as little about the policy; its episode is on record, never run again, and ends the batch.

    What a simulator cannot go on from is none: it followed from the actions that it was given.
    """
    from enpire_real.bus import BusDown, BusTaken  # drivers, which a simulator's cell does not wait for
    from enpire_real.cameras import CameraLost
    from enpire_real.control import Stopped
    from enpire_real.motors import MotorFault, ScaleMismatch

    cause = fault.__cause__
    if isinstance(cause, Stopped):
        return cause.stop.person or cause.stop.reason in _DEVICE_STOPS or cause.stop.reason.startswith("camera_")
    return isinstance(cause, MotorFault | ScaleMismatch | BusDown | BusTaken | CameraLost)


def reason_of(fault: CellFault) -> str:
    """The ledger's reason: who stopped the arms, where somebody did, else `cell_fault`."""
    from enpire_real.control import Stopped

    cause = fault.__cause__
    if not isinstance(cause, Stopped):
        return "cell_fault"
    if cause.stop.person:
        return BY_PERSON
    return "stopped_by_agent" if cause.stop.reason == "stopped_by_agent" else "cell_fault"


def describe(error: Exception) -> str:
    """An exception that nobody foresaw, with where it came from."""
    return f"{type(error).__name__}: {error}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}"[:4000]
