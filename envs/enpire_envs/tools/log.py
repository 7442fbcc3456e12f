"""What a script called and how it went, and what that says about why it failed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Group = Literal["state", "gripper", "motion", "camera", "perception", "planner", "task", "gated"]


class ToolError(RuntimeError):
    """A tool could not do what it was asked; the script may go on. `kind` is where it went wrong."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class EpisodeOver(RuntimeError):
    """The episode has ended: time limit, verdict or violation. Nothing more can be done in it."""


@dataclass(slots=True)
class ToolCall:
    """One call: arguments and result in short, seconds of the episode when it began, control steps it took."""

    tool: str
    group: str
    arguments: dict[str, Any]
    time: float
    steps: int = 0
    ok: bool = True
    result: Any = None
    error: str | None = None
    kind: str | None = None


@dataclass(slots=True)
class CallLog:
    """The tool calls of one episode, in order."""

    calls: list[ToolCall] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """One JSON-able dict per call."""
        return [asdict(call) for call in self.calls]

    def cause(self) -> str:
        """Why a failed episode failed, by its last sign of trouble: "perception", "planning", "grasp", or "predicate" where
        every call went well and the result is still not what the task wants."""
        for call in reversed(self.calls):
            if not call.ok:
                return {"perception": "perception", "planning": "planning", "grasp": "grasp"}.get(
                    call.kind or "", "tool_error"
                )
            if call.tool == "close_gripper" and isinstance(call.result, dict) and call.result.get("holding") is False:
                return "grasp"
            if call.tool == "freespace_move" and isinstance(call.result, dict) and call.result.get("reached") is False:
                return "planning"
        return "predicate"


def brief(value: Any) -> Any:
    """A value as a log keeps it: arrays of more than 16 numbers become their shape."""
    import numpy as np

    if isinstance(value, np.ndarray):
        small = value.size <= 16 and value.dtype.kind in "fiub"
        return value.round(4).tolist() if small else f"array{value.shape} {value.dtype}"
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(key)[:60]: brief(part) for key, part in list(value.items())[:16]}
    if isinstance(value, list | tuple):
        return [brief(part) for part in value[:8]] + ([f"... {len(value)} in all"] if len(value) > 8 else [])
    return value if isinstance(value, int | float | bool | None) else str(value)[:500]
