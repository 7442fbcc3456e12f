"""The manual's pictures, each made by this script.

    python docs/pictures.py run                              # a run as data: docs/pictures/run.svg
    python docs/pictures.py climb RUN EPISODE EPISODE        # README's film from a run: docs/pictures/climb.webp

The film shows two episodes of a run, simulated again from their recorded actions (`autoenvbench replay`), over the run's hill climb. Today's is of

    autoenvbench eval --agent evolve --env ENPIRE/PushT-v0 --env-arg criterion=pose --track station --starter parametric \\
        --budget 5m --robot-budget 4h --goal 'success>=0.9' --held-out 50 --seed 2

and shows E3-2 and held-out-27.
"""

from __future__ import annotations

import argparse
import tempfile
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"
INK, SOFT, PAPER = "#1c2733", "#5d6873", "#ffffff"
BLUE, GREEN, WARM, GREY = "#dceaf6", "#dff0e4", "#f8e3dc", "#eef1f4"
WIDTH, HEIGHT = 560, 640  # narrow, so that a phone can show it


# -- a run as data ----------------------------------------------------------------------------------------------------
def box(x: float, y: float, w: float, h: float, fill: str, title: str, *lines: str) -> str:
    """A rounded box with a title and smaller lines in its middle."""
    middle, top = x + w / 2, y + h / 2 - 9 * len(lines) + 5
    text = [f'<text x="{middle}" y="{top}" class="t">{escape(title)}</text>']
    text += [
        f'<text x="{middle}" y="{top + 18 * k}" class="s">{escape(line)}</text>' for k, line in enumerate(lines, 1)
    ]
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{fill}" stroke="{SOFT}"/>' + "".join(text)


def arrow(x: float, y0: float, y1: float, words: str = "", side: str = "start") -> str:
    """A vertical arrow, with words beside it."""
    at = x + (8 if side == "start" else -8)
    label = f'<text x="{at}" y="{(y0 + y1) / 2 + 5}" class="s" style="text-anchor:{side}">{escape(words)}</text>'
    return f'<line x1="{x}" y1="{y0}" x2="{x}" y2="{y1}" class="a"/>' + (label if words else "")


def run_svg() -> str:
    """Members over the door over cells, all over the ledger, and what follows from it."""
    parts = [
        *(box(16 + 116 * k, 16, 106, 66, BLUE, name, "workspace,", "branch, cage") for k, name in enumerate(("codex-1", "codex-2", "cem-1"))),
        box(404, 16, 140, 66, WARM, "gateway", "keys, tokens,", "language models"),
        '<line x1="354" y1="49" x2="402" y2="49" class="a"/>',
        arrow(110, 84, 130, "commits, ideas", "start"),
        arrow(270, 128, 86, "outcomes, peers' ideas", "start"),
        box(16, 132, 528, 60, GREY, "door", "hands out ids and leases; draws starts from a secret; takes in commits"),
        arrow(110, 194, 240, "policy, starts", "start"),
        arrow(270, 238, 196, "verified outcomes", "start"),
        *(box(16 + 180 * k, 242, 168, 82, GREEN, f"cell {k + 1}", "reset, verify, judge;", "the policy runs", "in its own cage") for k in range(3)),
        arrow(280, 326, 372, "every event, in order"),
        f'<rect x="16" y="374" width="528" height="92" rx="8" fill="{PAPER}" stroke="{INK}" stroke-width="2"/>',
        '<text x="30" y="397" class="t" style="text-anchor:start">ledger</text>',
        '<text x="530" y="397" class="s" style="text-anchor:end">ledger.sqlite: nobody edits it</text>',
    ]  # fmt: skip
    x = 26.0
    events = ("secret's hash", "idea", "evaluation", "episode", "tokens", "confirmed", "secret")
    for name in events:
        width = 14 + 6.9 * len(name)
        parts.append(
            f'<rect x="{x:g}" y="412" width="{width:g}" height="40" rx="5" fill="{GREY}" stroke="{SOFT}"/>'
            f'<text x="{x + width / 2:g}" y="437" class="s">{escape(name)}</text>'
        )
        x += width + 4
    parts.append(arrow(280, 468, 514, "a pure function of the ledger"))
    results = (
        ("result.json", "one object"),
        ("report.html", "hill climb, ideas"),
        ("boards", "verified rows"),
        ("live page", "as it goes"),
    )
    parts += [box(16 + 134 * k, 516, 126, 58, BLUE, *named) for k, named in enumerate(results)]
    parts.append(
        '<text x="280" y="606" class="s">Held-out starts follow from the secret, which is told at the end:</text>'
        '<text x="280" y="625" class="s">nobody can choose them, and everybody can draw them again.</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        "<title>A run as data</title><defs><marker id='h' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' markerHeight='8' orient='auto'>"
        f"<path d='M0 0 L8 4 L0 8 z' fill='{INK}'/></marker></defs><style>text{{font-family:system-ui,sans-serif;text-anchor:middle;fill:{INK}}}"
        f".t{{font-size:16px;font-weight:600}}.s{{font-size:13.5px}}.a{{stroke:{INK};stroke-width:1.5;marker-end:url(#h)}}</style>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="{PAPER}"/>' + "".join(parts) + "</svg>\n"
    )


# -- a film of a run --------------------------------------------------------------------------------------------------
SIDE, CURVE, FRAMES, SHOWN_S = 300, 170, 60, 0.12  # pixels, pixels, pictures, seconds of each


def climb_webp(run_dir: Path, episodes: tuple[str, str], out: Path) -> None:
    """Two episodes side by side over the best-so-far curves of their run, as an animated WebP."""
    import cv2
    import numpy as np
    from PIL import Image, ImageDraw

    from autoenvbench.study.replay import replay

    films, words = [], []
    with tempfile.TemporaryDirectory() as folder:
        for k, episode in enumerate(episodes):
            made = replay(run_dir, episode, video=Path(folder, f"{k}.mp4"))
            if made.differences:
                raise SystemExit(f"{episode} did not go the same again: {made.differences}")
            reader, frames = cv2.VideoCapture(str(made.video)), []
            while (frame := reader.read())[0]:
                frames.append(cv2.resize(frame[1][..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
            films.append([frames[round(i * (len(frames) - 1) / (FRAMES - 1))] for i in range(FRAMES)])
            p = made.recorded
            words.append(f"{p.purpose}: {'success' if p.success else p.reason}, {p.steps} steps")
    curve = _curve(run_dir)
    pictures = []
    for left, right in zip(*films, strict=True):
        canvas = Image.fromarray(np.vstack([np.hstack([left, right]), curve]))
        draw = ImageDraw.Draw(canvas)
        for k, text in enumerate(words):
            draw.rectangle((k * SIDE, SIDE - 18, (k + 1) * SIDE, SIDE), fill=(28, 39, 51))
            draw.text((k * SIDE + 6, SIDE - 15), text, fill=(255, 255, 255))
        pictures.append(canvas)
    pictures += [pictures[-1]] * 12
    pictures[0].save(
        out, save_all=True, append_images=pictures[1:], duration=round(1000 * SHOWN_S), loop=0, quality=55, method=4
    )


def _curve(run_dir: Path):
    """How the best that was seen, and the best that was confirmed, rose over the run."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from autoenvbench.record.ledger import read_events
    from autoenvbench.record.metrics import best_curves
    from autoenvbench.record.results import Result

    result = Result.model_validate_json((run_dir / "result.json").read_text())
    raw, confirmed = best_curves(read_events(run_dir / "ledger.sqlite"))
    figure = Figure(figsize=(2 * SIDE / 100, CURVE / 100), dpi=100, layout="constrained")
    canvas, ax = FigureCanvasAgg(figure), figure.subplots()
    minutes = result.research_s / 60
    for points, colour, label in ((raw, "#8a949e", "best seen"), (confirmed, "#1f6fb2", "confirmed on fresh starts")):
        x, y = [0.0, *(p.t_run / 60 for p in points), minutes], [0.0, *(p.value for p in points)]
        ax.step(x, [*y, y[-1]], where="post", color=colour, label=label)
    held = result.held_out
    assert held is not None
    ax.plot(
        [minutes], [held.success_rate], "o", color="#c8553d", label=f"held out: {held.successes} of {held.episodes}"
    )
    ax.set(ylim=(-0.03, 1.03), ylabel="success", xlabel=f"minutes ({result.agent.name} on {result.env.id})")
    ax.legend(fontsize=7, loc="lower right", frameon=False)
    ax.tick_params(labelsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def make_parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_subparsers(dest="which", required=True)
    which.add_parser("run")
    climb = which.add_parser("climb")
    climb.add_argument("run_dir", type=Path, metavar="RUN")
    climb.add_argument("episodes", nargs=2, metavar="EPISODE")
    return parser


def main() -> None:
    """Draw what is asked for."""
    args = make_parser().parse_args()
    FOLDER.mkdir(exist_ok=True)
    if args.which == "run":
        (FOLDER / "run.svg").write_text(run_svg())
    else:
        climb_webp(args.run_dir, tuple(args.episodes), FOLDER / "climb.webp")


if __name__ == "__main__":
    main()
