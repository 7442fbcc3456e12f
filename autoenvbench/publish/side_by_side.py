"""Rollouts side by side: each answer's film from the same starts, as a page that needs nothing else and as a picture."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.publish import figures
from autoenvbench.record.statistics import percent
from autoenvbench.record.summary import Summary
from autoenvbench.text import figure_text, html_text, short

Kind = Literal["id", "ood"]
KINDS: dict[Kind, str] = {"id": "In distribution", "ood": "Out of distribution"}
PAGE, PICTURE = "compare.html", "compare.png"
_COLORS = (figures.ACCENT, figures.WARM, figures.GREEN, "#7a5ea8", "#8a6100", "#1d7f7f", "#b04a8f", figures.SOFT)
_ACROSS = 8  # pictures in a row of a film's sheet
_LEFT, _WIDTH, _HEIGHT = 70, 640, 130  # of a chart


@dataclass(frozen=True, slots=True)
class Side:
    """A run, and its answer's held-out rate, if it was scored."""

    run: str
    agent: str
    commit: str
    held_out: Summary | None


@dataclass(frozen=True, slots=True)
class Rollout:
    """One episode of one answer.

    Attributes:
        side: whose, as an index; `index`: of the start in its distribution `kind`.
        seconds: of the environment's time.
        values: the task's measure after each step.
        frames: JPEGs, evenly from start to end.
    """

    side: int
    kind: Kind
    index: int
    success: bool
    reason: str | None
    score: float
    steps: int
    seconds: float
    values: Sequence[float]
    frames: Sequence[bytes]


@dataclass(slots=True)
class SideBySide:
    """All of them. `measure`: what `values` are called."""

    env: str
    env_kwargs: dict[str, Any]
    seed: int
    sides: list[Side]
    rollouts: list[Rollout] = field(default_factory=list)
    measure: str = "stage"
    notes: list[str] = field(default_factory=list)

    def starts(self) -> list[list[Rollout]]:
        """By start, those in distribution first, in the order of the sides."""
        keys = sorted({(list(KINDS).index(r.kind), r.index) for r in self.rollouts})
        kinds = list(KINDS)
        return [
            sorted((r for r in self.rollouts if (kinds.index(r.kind), r.index) == key), key=lambda r: r.side)
            for key in keys
        ]

    def won(self, side: int, kind: Kind) -> tuple[int, int]:
        """Successes and episodes of a side."""
        of = [r.success for r in self.rollouts if (r.side, r.kind) == (side, kind)]
        return sum(of), len(of)


def write_side_by_side(made: SideBySide, out: Path) -> list[Path]:
    """Write the page and the picture into `out`; returns their paths. Raises UserError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in ((PAGE, page_of(made).encode()), (PICTURE, picture_of(made))):
            scratch = out / f".{name}.tmp"
            scratch.unlink(missing_ok=True)
            with scratch.open("xb") as file:
                file.write(data)
            os.replace(scratch, out / name)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; choose another folder with --out") from None
    return [out / PAGE, out / PICTURE]


# -- the page --------------------------------------------------------------------------------------------------------------
def page_of(made: SideBySide) -> str:
    """The page's HTML. Names are others' text; numbers and ids are ours."""
    files = resources.files(__package__).joinpath("side_by_side_page")
    style, script = (files.joinpath(name).read_text("utf-8").strip() for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; base-uri 'none'; form-action 'none'"
    starts = "".join(_start(made, rollouts) for rollouts in made.starts())
    notes = "".join(f"<p class=note>{html_text(note)}</p>" for note in made.notes)
    title = html_text(f"{', '.join(short(side.agent, 40) for side in made.sides)} on {made.env}")
    return (
        f'<!doctype html><html lang=en><head><meta charset=utf-8><meta http-equiv=Content-Security-Policy content="{policy}">'
        f'<meta name=viewport content="width=device-width,initial-scale=1"><title>{title}</title><style>{style}</style></head><body><main>'
        f"<h1>Rollouts side by side: {html_text(made.env)}</h1>"
        f"<p class=note>Each answer from the same starts (seed {made.seed}), simulated again in a cage. So few episodes show how answers "
        "move, and measure nothing: the held-out rate does. Choose a start; Space plays, left and right step, up and down change the start.</p>"
        f"{notes}{_table(made)}{starts}</main>"
        '<nav id=bar aria-label="Film"><button id=play type=button>Play</button><label>Time <input id=time type=range min=0 max=1 step=0.1 value=0>'
        "</label><output id=now>0.0 s</output><a id=link href=?>Link to this moment</a></nav>"
        f"<script>{script}</script></body></html>\n"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _table(made: SideBySide) -> str:
    head = "".join(f"<th scope=col>{words}</th>" for words in ("Run", "Agent", *KINDS.values(), "Steps", "Held out"))
    rows = []
    for k, side in enumerate(made.sides):
        won = [made.won(k, kind) for kind in KINDS]
        steps = [r.steps for r in made.rollouts if r.side == k]
        rate = side.held_out
        said = "not scored" if rate is None else f"{percent(rate.success_rate)} of {rate.episodes}"
        cells = [html_text(short(side.agent, 60)), *(f"{wins} of {n}" if n else "none" for wins, n in won),
                 f"{np.mean(steps):.0f} on average" if steps else "", said]  # fmt: skip
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope=row><i class="key k{k % 8}"></i>{html_text(short(side.run, 80))}</th>{row}</tr>')
    return (
        f"<div class=wide tabindex=0><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _start(made: SideBySide, rollouts: Sequence[Rollout]) -> str:
    first = rollouts[0]
    name = f"{KINDS[first.kind]}, start {first.index + 1}"
    films = "".join(_film(made, rollout, name) for rollout in rollouts)
    longest = max(rollout.seconds for rollout in rollouts)
    return (
        f'<section id="{first.kind}-{first.index + 1}" tabindex=0 data-seconds="{longest:.2f}" data-wide={_WIDTH - _LEFT}><h2>{name}</h2><div class=films>{films}</div>'
        f"{_chart(made, rollouts)}</section>"
    )


def _film(made: SideBySide, rollout: Rollout, name: str) -> str:
    side = made.sides[rollout.side]
    who, how = html_text(short(side.agent, 40)), _how(rollout)
    data, width, height = _sheet(rollout.frames)
    shown = (
        f'<canvas width={width} height={height} role=img aria-label="{who}: {html_text(name)}" data-frames={len(rollout.frames)} '
        f'data-across={_ACROSS} data-seconds="{rollout.seconds:.2f}"></canvas><img hidden alt="" src="data:image/jpeg;base64,{data}">'
        if rollout.frames
        else "<p class=note>No picture could be made.</p>"
    )
    kind = "won" if rollout.success else "lost"
    return (
        f'<figure>{shown}<figcaption><b><i class="key k{rollout.side % 8}"></i>{who}</b> <span class={kind}>{html_text(how)}</span> '
        f"<span class=steps>{rollout.steps} steps</span></figcaption></figure>"
    )


def _how(rollout: Rollout) -> str:
    return "success" if rollout.success else f"failure ({short(rollout.reason or 'unknown', 40)})"


def _sheet(frames: Sequence[bytes]) -> tuple[str, int, int]:
    """A film as one JPEG in base64, its pictures in rows of `_ACROSS`, and the width and height of one [px]."""
    if not frames:
        return "", 0, 0
    images = [_decoded(frame) for frame in frames]
    height, width = images[0].shape[:2]
    rows = -(-len(images) // _ACROSS)
    sheet = np.zeros((rows * height, min(len(images), _ACROSS) * width, 3), np.uint8)
    for k, image in enumerate(images):
        y, x = k // _ACROSS * height, k % _ACROSS * width
        sheet[y : y + height, x : x + width] = image
    return (
        base64.b64encode(cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 72])[1].tobytes()).decode(),
        width,
        height,
    )


def _decoded(frame: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "a JPEG of our own"
    return image


def _range(rollouts: Sequence[Rollout]) -> tuple[float, float]:
    """Of the values, never empty."""
    values = [value for rollout in rollouts for value in rollout.values if np.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _chart(made: SideBySide, rollouts: Sequence[Rollout]) -> str:
    low, high = _range(made.rollouts)
    last = max(1, *(rollout.steps for rollout in rollouts))

    def place(k: int, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT) * (k + 1) / last
        return f"{x:.1f} {8 + (_HEIGHT - 16) * (high - value) / (high - low):.1f}"

    lines = []
    for rollout in rollouts:
        every = max(1, len(rollout.values) // 300)
        points = [
            (k, v)
            for k, v in enumerate(rollout.values)
            if np.isfinite(v) and (k % every == 0 or k == len(rollout.values) - 1)
        ]
        if points:
            lines.append(f'<path class="k{rollout.side % 8}" d="M{"L".join(place(k, v) for k, v in points)}"/>')
    ticks = "".join(
        f'<path class=grid d="M{_LEFT} {y}H{_WIDTH}"/><text x="{_LEFT - 5}" y="{y + 4}">{value:.3g}</text>'
        for y, value in ((8, high), (_HEIGHT - 8, low))
    )
    name = html_text(short(made.measure, 40))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 22}" role=img aria-label="{name} over control steps">{ticks}{"".join(lines)}'
        f'<path class=now d="M{_LEFT} 8V{_HEIGHT - 8}"/><text class=x x="{_WIDTH}" y="{_HEIGHT + 14}">{name} over {last} steps</text></svg>'
    )


# -- the picture -----------------------------------------------------------------------------------------------------------
def picture_of(made: SideBySide) -> bytes:
    """A PNG: a row a start, three pictures of each answer, and the measure over steps of all."""
    import io

    starts, wide = made.starts(), len(made.sides)
    figure = figures.new_figure(3.3 * wide + 3.2, 1.15 * len(starts) + 0.6)
    axes = figure.subplots(len(starts), wide + 1, squeeze=False, gridspec_kw={"width_ratios": [3.0] * wide + [2.6]})
    low, high = _range(made.rollouts)
    for row, rollouts in zip(axes, starts, strict=True):
        for rollout in rollouts:
            ax, color = row[rollout.side], figures.GREEN if rollout.success else figures.WARM
            if rollout.frames:
                picks = sorted({0, len(rollout.frames) // 2, len(rollout.frames) - 1})
                ax.imshow(np.concatenate([_decoded(rollout.frames[k])[..., ::-1] for k in picks], axis=1))
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(color=color, linewidth=1.6)
            ax.set_xlabel(figure_text(f"{_how(rollout)}, {rollout.steps} steps"), fontsize=7, color=color, labelpad=1)
            row[-1].plot(
                np.arange(1, len(rollout.values) + 1), rollout.values, color=_COLORS[rollout.side % 8], linewidth=1.2
            )
        figures.style_axes(row[-1])
        row[-1].tick_params(labelsize=6)
        row[-1].set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        row[0].set_ylabel(f"{KINDS[rollouts[0].kind].lower()} {rollouts[0].index + 1}", fontsize=6.5)
    for k, side in enumerate(made.sides):
        axes[0][k].set_title(figure_text(f"{side.agent} ({side.run})"), fontsize=8, color=_COLORS[k % 8])
    axes[0][-1].set_title(figure_text(f"{made.measure} over steps"), fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()
