"""What an agent asks of its practice, checked before anything of it reaches a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enpire_envs.registry import level_of

from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig

MAX_SEED = 1 << 32  # practice starts are counted; the secret ones are drawn from far more
MAX_SHEETS = 10
#: What a film is, in words for who wants to read one.
FILM = (
    "MPEG-4 in MP4, as fast as it happened: a frame per control step, the first and the last one included (fewer of a simulator in another "
    "interpreter); cv2.VideoCapture(path) reads it, cv2.CAP_PROP_FPS is its rate; so does ffmpeg"
)
_MOST = 50  # names in a start, and numbers in each list
_LONGEST = 100  # characters of a name or a word
_DEEPEST = 3  # lists within lists


@dataclass(frozen=True, slots=True)
class Practice:
    """Attributes:
    n: episodes.
    seed: of the first start; None: the next one that nobody had.
    start: the start itself, of all episodes; None: what the seeds draw.
    video: film the first success and the first failure.
    sheets: how many failures leave a few pictures in their files.
    interactive: give a script the tools of interactive mode.
    """

    n: int = 5
    seed: int | None = None
    start: dict[str, Any] | None = None
    video: bool = False
    sheets: int = 0
    interactive: bool = False

    @classmethod
    def of(cls, body: dict[str, Any]) -> Practice:
        """What a client's request asks for. Raises UserError."""
        seed = None if body.get("seed") is None else whole(body, "seed", 0)
        if seed is not None and seed >= MAX_SEED:
            raise UserError(f"seed {seed} is none of a practice start; they go from 0 to {MAX_SEED - 1}")
        return cls(
            n=whole(body, "n", 5), seed=seed, start=_checked_start(body.get("start")), video=bool(body.get("video")),
            sheets=min(whole(body, "sheets", 0), MAX_SHEETS), interactive=bool(body.get("interactive")),
        )  # fmt: skip


def takes_starts(config: RunConfig) -> bool:
    """Whether practice in this run may be asked for an exact start. With the simulator at hand anyone can have one anyway."""
    level = level_of(config.env)
    return config.track == "open" or level is None or level.named_starts


def whole(body: dict[str, Any], key: str, default: int) -> int:
    """A whole number of a request, zero or above. Raises UserError."""
    value = body.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"{key} must be a whole number, zero or above; got {value!r}")
    return value


def _checked_start(start: object) -> dict[str, Any] | None:
    """Names, with finite numbers or lists of them: what may be in a start otherwise, the environment says when it is asked for it."""
    if start is None:
        return None
    named = isinstance(start, dict) and 0 < len(start) <= _MOST and all(len(name) <= _LONGEST for name in start)
    if not isinstance(start, dict) or not named or not all(map(_of_numbers, start.values())):
        raise UserError(
            f'a start is a JSON object of 1 to {_MOST} names, with finite numbers or lists of them, such as {{"tip": [0.001, 0, '
            "0.0045]}; TASK.md says under Starts what this environment takes"
        )
    return start


def _of_numbers(value: object, depth: int = 0) -> bool:
    if isinstance(value, list):
        return depth < _DEEPEST and len(value) <= _MOST and all(_of_numbers(each, depth + 1) for each in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return isinstance(value, bool | int | float) and abs(value) <= 1e9  # also false of NaN
