"""The site: `autoenvbench publish site` writes static pages that need nothing else, from a board and from runs' folders.

What others wrote is text everywhere: Jinja escapes all of it, what cannot be seen is written out, and each page's policy names its one
style and its one script by their digests, so that no other is run, wherever it should have come from.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard, site_chart
from autoenvbench.publish.board_pages import published, reported
from autoenvbench.publish.ledger_audit import audited_events
from autoenvbench.publish.report import write_report
from autoenvbench.publish.run_curves import RunCurve
from autoenvbench.publish.site_data import Site, index_of, site_of
from autoenvbench.record.clock import format_duration
from autoenvbench.record.results import Result
from autoenvbench.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

PAGES = "site_pages"  # beside this file: templates, style and script
_MARK = "autoenvbench-site.txt"  # in a folder that a site was written to


def write_site(board: Path, out: Path, runs: Sequence[Path] = ()) -> tuple[list[Path], dict[str, str]]:
    """Write a site to the folder `out`; returns its files, and submissions that were left out with what is wrong.

    Args:
        board: a leaderboard's folder.
        runs: folders of finished runs, filed or not: each gets its report, and its curve is drawn from its ledger.

    Raises:
        UserError: nothing to show, a run that is not finished or whose ledger contradicts itself, a run that stands on the board with
            another result, or a folder that holds something else or cannot be written.
    """
    found = leaderboard.read(board)
    if not board.is_dir() and not runs:
        raise UserError(
            f"there is no leaderboard in {board}, and no run was given; name one: autoenvbench publish site RUN --dir BOARD"
        )
    results, curves, folders = _read_runs(runs, {r.run_id: r for r in found.results.values()})
    site = site_of(found, results, curves)
    _begin(out)
    try:
        written = _write_pages(site, out)
        for run_id, folder in folders.items():
            written.append(write_report(folder, out / "reports" / f"{run_id}.html"))
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}; choose another folder with --out") from None
    return written, site.broken


def _read_runs(
    runs: Sequence[Path], filed: dict[str, Result]
) -> tuple[dict[str, Result], dict[str, RunCurve], dict[str, Path]]:
    results: dict[str, Result] = {}
    curves: dict[str, RunCurve] = {}
    folders: dict[str, Path] = {}
    for folder in runs:
        events = audited_events(folder / "ledger.sqlite")
        if not any(e.kind == "run" and e.payload.phase == "finished" for e in events):
            raise UserError(f"{folder} is not finished; leave it out, or finish it first: autoenvbench resume {folder}")
        result = Result.from_events(events)
        if result.run_id in folders:
            raise UserError(f"{folder} and {folders[result.run_id]} are the same run; give each run once")
        if result.run_id in filed and filed[result.run_id].ledger_sha256 != result.ledger_sha256:
            raise UserError(
                f"{folder} is not the run {result.run_id} that stands on the board: their ledgers differ; leave one out"
            )
        results[result.run_id], curves[result.run_id] = result, RunCurve.of(events)
        folders[result.run_id] = folder
    return results, curves, folders


def _begin(out: Path) -> None:
    """Make the folder, and take away the pages of an earlier site. Raises UserError for one that holds anything else."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()) and not (out / _MARK).is_file():
            raise UserError(f"{out} holds something that is no site; give an empty or new folder with --out")
        for name in ("boards", "agents", "runs", "reports"):
            (out / name).mkdir(exist_ok=True)
            for page in (out / name).glob("*.html"):
                page.unlink()
        (out / _MARK).write_text("Written by autoenvbench publish site; its pages are replaced when that runs again.\n")
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}; choose another folder with --out") from None


def _write_pages(site: Site, out: Path) -> list[Path]:
    env = _environment()
    facts = published()
    index = json.dumps(index_of(site, facts), indent=1, allow_nan=False) + "\n"
    shared = {"site": site, "published": facts}
    pages: list[tuple[str, str, dict[str, Any]]] = [
        ("index.html", "index.html", {}),
        ("compare.html", "compare.html", {}),
        ("published.html", "published.html", {"charts": site_chart.charts(facts, list(site.runs.values())), "reported": reported()}),
    ]  # fmt: skip
    pages += [(f"boards/{board.id}.html", "board.html", {"board": board}) for board in site.boards]
    pages += [
        (f"agents/{id}.html", "agent.html", {"agent": words, "agent_id": id}) for id, words in site.agents.items()
    ]
    pages += [(f"runs/{run.id}.html", "run.html", {"run": run}) for run in site.runs.values()]
    written = [out / "index.json"]
    _replace(out / "index.json", index)
    for name, template, about in pages:
        root = "../" if "/" in name else ""
        _replace(out / name, env.get_template(template).render(shared, **about, root=root, here=name))
        written.append(out / name)
    return written


def _replace(path: Path, text: str) -> None:
    """Whoever reads the page meanwhile sees the old one or the new one; a link in its place is not followed."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.unlink(missing_ok=True)
    with scratch.open("x", encoding="utf-8") as file:
        file.write(text)
    os.replace(scratch, path)


def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined

    files = {file.name: file.read_text("utf-8") for file in resources.files(__package__).joinpath(PAGES).iterdir()}
    style, script = files["site.css"], files["site.js"]

    def shown(value: Any) -> Any:
        """Of whatever a template puts out: what is text of others is made visible before it is escaped."""
        return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    env = Environment(loader=DictLoader(files), autoescape=True, undefined=StrictUndefined, finalize=shown, trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    env.filters |= {
        "percent": lambda rate: f"{100 * rate:.1f} %",
        "duration": lambda seconds: "-" if seconds is None else format_duration(seconds),
        "json": lambda value: json.dumps(value, sort_keys=True),
    }
    env.globals |= {
        "style": style, "script": script, "policy": _policy(style, script), "chart_y": site_chart.y_of,
        "chart": {"width": site_chart.WIDTH, "height": site_chart.HEIGHT, "left": site_chart.LEFT},
    }  # fmt: skip
    return env


def _policy(style: str, script: str) -> str:
    """A page's content security policy: nothing is loaded from anywhere, and only these two run."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none'; form-action 'none'"
