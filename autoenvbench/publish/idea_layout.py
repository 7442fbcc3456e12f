"""Where the nodes of an idea tree are drawn: a lane per member on the axis of research time, and rows of a lane where ideas are close."""

from __future__ import annotations

from autoenvbench.evolution.tree import IdeaTree

ROWS = (0, 1, -1, 2, -2)  # of a lane, in the order in which they fill


def rows_of(tree: IdeaTree, gap_s: float) -> dict[str, int]:
    """The row of each idea in its author's lane, 0 in the middle.

    Args:
        gap_s: research time by which two ideas of a row are apart, as far as there are rows enough [s].
    """
    rows: dict[str, int] = {}
    last: dict[tuple[str | None, int], float] = {}
    for idea in tree.ideas.values():
        free = (row for row in ROWS if idea.t_run - last.get((idea.agent, row), -gap_s) >= gap_s)
        row = next(free, None)
        if row is None:
            row = min(ROWS, key=lambda row: last.get((idea.agent, row), -gap_s))
        rows[idea.id], last[idea.agent, row] = row, idea.t_run
    return rows
