"""The figures of one run or of several, as SVG and PDF: `autoenvbench figures`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoenvbench.errors import UserError
from autoenvbench.evolution.activity import time_by_activity
from autoenvbench.evolution.team import TeamClimb
from autoenvbench.evolution.tree import IdeaTree
from autoenvbench.publish import figures, idea_figure, team_figures
from autoenvbench.publish.team_runs import TeamRun
from autoenvbench.record import metrics
from autoenvbench.record.ledger import Event, read_events
from autoenvbench.record.results import research_seconds, started
from autoenvbench.record.summary import summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[], "Figure"]


def write_figures(runs: Sequence[Path], out: Path, threshold: float = 0.8) -> list[Path]:
    """Write every figure of every run to `out`/RUN/, and those over several runs to `out` itself; returns the files.

    Args:
        threshold: the confirmed success rate to which tokens and time are counted, 0 to 1.

    Raises:
        UserError: a folder without a ledger, runs of several environments or of one name, or a folder that cannot be written.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"a success rate is above 0 and at most 1, not {threshold:g}; such as --to 0.8")
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise UserError("two of these runs have the same name; give each run once")
    several = (
        compared([TeamRun.of(read_events(run / "ledger.sqlite")) for run in runs], threshold) if len(runs) > 1 else []
    )
    written = []
    for run, name in zip(runs, names, strict=True):
        for what, draw in of_run(read_events(run / "ledger.sqlite")):
            written += save(draw(), out / name / what)
    for what, draw in several:
        written += save(draw(), out / what)
    return written


def of_run(events: Sequence[Event]) -> Iterator[tuple[str, Draw]]:
    """A run's figures: each one's name, and what draws it. Raises UserError for a ledger that holds no started run."""
    _, config = started(events)
    research_s = research_seconds(events)
    held = metrics.heldout_episodes(events)
    rate = summarise(held).success_rate if held else None
    yield (
        "idea_tree",
        lambda: idea_figure.idea_tree(IdeaTree.of(events), TeamClimb.of(events, config.min_episodes), research_s),
    )
    yield "hill_climb", lambda: figures.hill_climb(events, research_s, rate, config.min_episodes)
    yield "utilisation", lambda: figures.utilisation(events, research_s)
    yield "activity", lambda: team_figures.activity(time_by_activity(events, research_s))


def compared(runs: Sequence[TeamRun], threshold: float = 0.8) -> list[tuple[str, Draw]]:
    """Figures over several runs. Raises UserError for runs that cannot be compared."""
    envs = sorted({run.env for run in runs})
    if len(envs) > 1:
        raise UserError(
            f"these runs are of {len(envs)} environments ({', '.join(envs)}); give runs of one, to compare teams"
        )
    return [
        ("scaling", lambda: team_figures.scaling(runs)),
        ("utilisation", lambda: team_figures.utilisation_by_team(runs, threshold)),
        ("milestones", lambda: team_figures.milestones(runs)),
        ("activity", lambda: team_figures.activity_by_team(runs)),
    ]


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as SVG and PDF, the same files whenever they are made from the same numbers. Raises UserError."""
    import matplotlib

    paths = [stem.with_suffix(".svg"), stem.with_suffix(".pdf")]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"svg.hashsalt": "autoenvbench"}):
            figure.savefig(paths[0], metadata={"Date": None})
            figure.savefig(paths[1], metadata={"CreationDate": None})
    except OSError as error:
        raise UserError(f"cannot write {stem}: {error.strerror or error}; choose another folder with --out") from None
    return paths
