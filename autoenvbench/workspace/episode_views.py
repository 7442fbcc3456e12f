"""What an agent looks at of a practice episode: a plot of its numbers, and a sheet of its pictures, as PNG files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from enpire_envs.episode_file import SUFFIX, Episode, EpisodeError, read_episode, read_head

from autoenvbench.errors import UserError

PRACTICE = Path("data") / "practice"  # of a workspace
SHOWN = "shown"  # where the PNG files go, in the workspace
MOST = 10  # episodes that one command shows
_ONE, _BATCH = re.compile(r"E\d+-\d+(\.\d+)?"), re.compile(r"E\d+")
_SMALL, _LARGE, _CAPTION = 240, 480, 22  # sides of the pictures of a sheet, and its lines of words [px]
_PER_PANEL = 12  # lines of a plot's panel


def find(workspace: Path, which: str | None) -> list[Path]:
    """The files of one practice episode (`E3-2`), or the failures of a practice (`E3`; None: of the newest), MOST at most.

    Raises UserError, also for what is no practice: the episodes of evaluations are the station's alone.
    """
    folder = workspace / PRACTICE
    if which is not None and _ONE.fullmatch(which):
        if not (path := folder / f"{which}{SUFFIX}").is_file():
            raise UserError(f"there is no practice episode {which}{_known(folder)}")
        return [path]
    if which is not None and not _BATCH.fullmatch(which):
        raise UserError(f"{which!r} names no episode: write E3-2, or E3 for the failures of a practice")
    batches = _batches(folder)
    if not batches or which not in (None, *batches):
        raise UserError(f"there is no practice {which or 'yet'}{_known(folder)}")
    files = batches[which or next(reversed(batches))]
    failed = [path for path in files if not read_head(path).meta.get("verdict", {}).get("success")]
    if not failed:
        raise UserError("every episode of this practice succeeded; name one to see it, such as " + files[0].stem)
    return failed[:MOST]


def _batches(folder: Path) -> dict[str, list[Path]]:
    """The files of each practice, in the order of their names' numbers."""
    found = [path for path in folder.glob(f"E*{SUFFIX}") if _ONE.fullmatch(path.stem)]
    found.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", path.stem)])
    batches: dict[str, list[Path]] = {}
    for path in found:
        batches.setdefault(path.stem.partition("-")[0], []).append(path)
    return batches


def _known(folder: Path) -> str:
    known = list(_batches(folder))[-5:]
    if not known:
        return "; `aeb practice -n 5` makes some"
    return f"; practices: {', '.join(known)} (episodes of evaluations are kept by the station, and shown to nobody)"


# -- a plot ------------------------------------------------------------------------------------------------------------
def plot(path: Path, into: Path) -> Path:
    """Force, position, stage, actions and whatever else the file tells of each step, over time. Returns the PNG's path.

    Raises UserError for a file that is none, or holds no step.
    """
    episode = _read(path)
    if not len(episode):
        raise UserError(f"{path.stem} ended before its first step: {episode.meta.get('verdict', {}).get('reason')}")
    from matplotlib.figure import Figure

    panels = list(_panels(episode))
    figure = Figure(figsize=(11, 0.9 + 1.7 * len(panels)), dpi=90, layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    changes = _stage_changes(episode)
    for ax, (label, lines) in zip(axes, panels, strict=True):
        for name, times, values in lines:
            heavy = name.startswith("|") or len(lines) == 1
            ax.plot(times, values, label=name, linewidth=1.6 if heavy else 0.9, drawstyle="steps-post" if label in _HELD else None)  # fmt: skip
        for at, _ in changes:
            ax.axvline(at, color="0.6", linewidth=0.8, linestyle=":")
        ax.set_ylabel(label)
        ax.grid(alpha=0.25)
        if len(lines) > 1:
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
        if label == "stage":
            names = [str(name) for name in episode.meta.get("stages", [])]
            ax.set_yticks(range(len(names)), names)
            ax.set_ylim(-0.5, len(names) - 0.5)
    axes[-1].set_xlabel("time [s]")
    figure.suptitle(f"{path.stem}: {_words(episode)}", fontsize=11)
    made = into / f"{path.stem}.plot.png"
    into.mkdir(exist_ok=True)
    figure.savefig(made)
    return made


_HELD = ("stage", "action")  # panels of what holds for a control period
Line = tuple[str, np.ndarray, np.ndarray]


def _panels(episode: Episode) -> Iterator[tuple[str, list[Line]]]:
    """Each panel's label and lines (name, times, values)."""
    given = np.asarray(episode["time"])
    period = 1 / float(episode.meta.get("control_hz") or 1)
    after = np.append(given[1:], given[-1] + period)  # when the result of an action is there
    seen = np.append(given, given[-1] + period)
    named = {name: values for name, values in _named(episode) if "[" not in name}
    truth = {name.removeprefix("info."): np.asarray(episode[name]) for name in episode.columns if name.startswith("info.")}  # fmt: skip

    def lines(names: Iterable[str], scale: float = 1.0) -> list[Line]:
        return [(name, seen, scale * named[name]) for name in names if name in named]

    force = lines(("fx", "fy", "fz"))
    if force:
        force.append(("|f|", seen, np.sqrt(sum(values**2 for _, _, values in force))))
    if "force" in truth:
        force.append(("true |f|", after, truth.pop("force")))
    panels = [
        ("force [N]", force),
        ("torque [Nm]", lines(("tx", "ty", "tz"))),
        ("position [mm]", lines("xyz", 1000)),
        ("turned [deg]", lines(("rx", "ry", "rz"), math.degrees(1))),
        *((f"true {name} [SI]", [(name, after, values)]) for name, values in truth.items()),
    ]
    yield from ((label, shown) for label, shown in panels if shown)
    others = lines(name for name in named if name not in _OWN)
    if not named:  # numbers without names
        others = [(f"observation[{k}]", seen, values) for k, values in enumerate(_first_vector(episode).T)]
    fine = [line for line in others if np.nanmax(np.abs(line[2]), initial=0.0) < _FINE]
    for group in (fine, [line for line in others if np.nanmax(np.abs(line[2]), initial=0.0) >= _FINE]):
        if group:
            yield "observed [SI]", group[:_PER_PANEL]
    if "stage" in episode.columns and episode.meta.get("stages"):
        yield "stage", [("stage", after, np.asarray(episode["stage"]))]
    actions = np.asarray(episode["action"]).reshape(len(given), -1)
    names = episode.meta.get("names", {}).get("action") or [f"action[{k}]" for k in range(actions.shape[1])]
    yield "action", [(str(name), given, column) for name, column in zip(names, actions.T, strict=False)][:_PER_PANEL]


#: Names that have panels of their own.
_OWN = ("x", "y", "z", "fx", "fy", "fz", "tx", "ty", "tz", "rx", "ry", "rz")
_FINE = 0.3  # what stays below it would be a flat line beside what does not


def _named(episode: Episode) -> Iterator[tuple[str, np.ndarray]]:
    """The observation's numbers (steps + 1,) that have names."""
    for column, names in episode.meta.get("names", {}).items():
        if column.startswith("observation") and column in episode.columns:
            values = np.asarray(episode[column], float).reshape(len(episode) + 1, -1)
            yield from ((str(name), values[:, k]) for k, name in enumerate(names) if k < values.shape[1])


def _first_vector(episode: Episode) -> np.ndarray:
    """(steps + 1, n) of the first observation that is a vector; n = 0 without one."""
    for name, column in episode.columns.items():
        if name.startswith("observation") and isinstance(column, np.ndarray) and column.ndim == 2:
            return np.asarray(column, float)[:, :_PER_PANEL]
    return np.zeros((len(episode) + 1, 0))


def _stage_changes(episode: Episode) -> list[tuple[float, int]]:
    """When a stage was reached [s], and which."""
    if "stage" not in episode.columns:
        return []
    stage, times = np.asarray(episode["stage"]), np.asarray(episode["time"])
    return [(float(times[k]), int(stage[k])) for k in range(1, len(stage)) if stage[k] != stage[k - 1]]


# -- a sheet ------------------------------------------------------------------------------------------------------------
def sheet(path: Path, into: Path) -> Path:
    """The pictures that an episode's file holds, from its first moment on; the last one large. Returns the PNG's path.

    Raises UserError where the file has none.
    """
    episode = _read(path)
    if "evidence.frames" not in episode.columns:
        seed = episode.meta.get("seed")
        again = f"type: aeb practice -n 1 --seed {seed}" if seed is not None else "practise again"
        raise UserError(
            f"{path.stem} has no pictures: the first failures of a practice do, where a run shows any. To look at this start, {again}"
        )
    frames, steps = episode["evidence.frames"], list(episode.meta.get("frames", []))
    last = episode["evidence.view"][0] if "evidence.view" in episode.columns else frames[len(frames) - 1]
    small = [_square(frames[k], _SMALL, _caption(episode, steps, k)) for k in range(len(frames) - 1)]
    rows = max(-(-len(small) // 4), 1)
    blank = np.full((_SMALL + _CAPTION, _SMALL, 3), 255, np.uint8)
    small += [blank] * (4 * rows - len(small))
    grid = np.concatenate([np.concatenate(small[4 * r : 4 * r + 4], axis=1) for r in range(rows)], axis=0)
    large = _square(last, _LARGE, _caption(episode, steps, len(frames) - 1))
    height = max(len(grid), len(large))
    page = np.concatenate([_padded(grid, height), _padded(large, height)], axis=1)
    title = np.full((_CAPTION + 6, page.shape[1], 3), 255, np.uint8)
    cv2.putText(title, f"{path.stem}: {_words(episode)}"[:160], (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)  # fmt: skip
    made = into / f"{path.stem}.sheet.png"
    into.mkdir(exist_ok=True)
    cv2.imwrite(str(made), np.concatenate([title, page], axis=0)[..., ::-1])
    return made


def _square(picture: np.ndarray, side: int, words: str) -> np.ndarray:
    """A picture in a square, with words below it."""
    scale = side / max(picture.shape[:2])
    fitted = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)  # fmt: skip
    page = np.full((side + _CAPTION, side, 3), 255, np.uint8)
    page[: fitted.shape[0], : fitted.shape[1]] = fitted[:side, :side]
    cv2.putText(page, words, (4, side + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return page


def _caption(episode: Episode, steps: Sequence[int], k: int) -> str:
    step = int(steps[k]) if k < len(steps) else 0
    words = f"step {step}"
    if hz := episode.meta.get("control_hz"):
        words += f", {step / hz:.1f} s"
    if "stage" in episode.columns and len(episode):
        stages, reached = episode.meta.get("stages", []), int(episode["stage"][max(step - 1, 0)]) if step else 0
        words += f", {stages[reached]}" if 0 <= reached < len(stages) else ""
    return words


def _padded(page: np.ndarray, height: int) -> np.ndarray:
    return cv2.copyMakeBorder(page, 0, height - len(page), 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))


# -- both ---------------------------------------------------------------------------------------------------------------
def _read(path: Path) -> Episode:
    try:
        return read_episode(path)
    except (EpisodeError, OSError) as error:
        raise UserError(f"{path.name} cannot be read: {error}") from None


def _words(episode: Episode) -> str:
    verdict: dict[str, Any] = episode.meta.get("verdict", {})
    ended = "success" if verdict.get("success") else f"failed: {verdict.get('reason')}"
    commit = str(episode.meta.get("provenance", {}).get("commit", ""))[:8]
    seconds = len(episode) / float(episode.meta.get("control_hz") or 1)
    return (
        f"{ended}, stage {verdict.get('stage') or '-'}, score {verdict.get('score', 0):.2f}, {len(episode)} steps "
        f"({seconds:.1f} s), start {episode.meta.get('seed')}, commit {commit}"
    )
