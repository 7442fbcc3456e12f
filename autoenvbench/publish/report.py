"""A run's report: one self-contained HTML file, computed from the ledger alone."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoenvbench.errors import UserError
from autoenvbench.evolution.activity import ACTIVITIES, time_by_activity
from autoenvbench.evolution.team import TeamClimb
from autoenvbench.evolution.tree import IdeaTree
from autoenvbench.publish import climb_page, figures, idea_page
from autoenvbench.publish.climb_page import Batches, climb_section
from autoenvbench.publish.idea_files import diffs, strips
from autoenvbench.publish.idea_page import Extras, idea_section
from autoenvbench.publish.ranking import unranked_because
from autoenvbench.record import metrics
from autoenvbench.record.clock import format_duration
from autoenvbench.record.first_use import FirstUses
from autoenvbench.record.ledger import Event, read_events
from autoenvbench.record.milestones import milestones
from autoenvbench.record.results import Result, research_seconds, started
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.state import RunState
from autoenvbench.record.statistics import percent
from autoenvbench.record.summary import Summary, summarise
from autoenvbench.text import html_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the report of a run, finished or not, to `out` or report.html in its folder; returns the path. Raises UserError
    where there is no ledger, or where it cannot be written."""
    events = read_events(run_dir / "ledger.sqlite")
    _, config = started(events)
    path = out or run_dir / "report.html"
    try:
        path.write_text(_page(run_dir, config, events))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another with --out") from None
    return path


def _page(run_dir: Path, config: RunConfig, events: list[Event]) -> str:
    research_s = research_seconds(events)
    held = metrics.heldout_episodes(events)
    summary = summarise(held)
    state = RunState.of(events, config.min_episodes)
    confirmed = state.curves.confirmed
    tokens = metrics.token_totals(events, research_s)
    use = metrics.robot_use(events, research_s, config.cells, config.pace)
    finished = any(e.kind == "run" and e.payload.phase == "finished" for e in events)
    result = Result.from_events(events) if finished else None
    batches = Batches(events, run_dir.resolve().name)
    best = batches.of_commit(confirmed[-1].commit) if confirmed else None

    tiles = [
        ("held-out success", batches.link(batches.held_out, percent(summary.success_rate)) if held else "not scored yet",
         f"95 % interval {percent(summary.wilson95[0])} to {percent(summary.wilson95[1])}, {len(held)} episodes" if held else ""),
        *([("corrected success", percent(result.corrected.success_rate),
            f"for its verifier's errors; 95 % interval {percent(result.corrected.interval95[0])} to {percent(result.corrected.interval95[1])}")]
          if result is not None and result.corrected is not None else []),
        ("confirmed best", batches.link(best, percent(confirmed[-1].value)) if confirmed else "none",
         f"{confirmed[-1].episodes_behind} fresh episodes" if confirmed else ""),
        ("streak", batches.link(batches.held_out, str(summary.streak)) if held else "-", "consecutive held-out successes"),
        ("research time", format_duration(research_s), f"budget {format_duration(config.budget_s)}"),
        ("tokens", f"{tokens.headline:,}" if tokens.calls else "none",
         f"{tokens.all:,} with cache reads; {tokens.per_minute:,.0f} per minute (MTU)" if tokens.calls else "no language model"),
        ("robot time", format_duration(state.robot_s), "no budget" if config.robot_budget_s is None
         else f"budget {format_duration(config.robot_budget_s)}"),
        ("robot utilisation", percent(use.mru) if use else "-", _use(use) if use else "free-running simulation"),
    ]  # fmt: skip
    body = [
        f"<h1>{html_text(config.agent)} on {html_text(config.env)}</h1>",
        f"<p class=lead>{html_text(run_dir.resolve().name)} &middot; track {config.track} &middot; {_stations(events)}"
        f"sandbox {config.sandbox} &middot; {'finished' if finished else 'unfinished'}</p>",
        "<div class=tiles>" + "".join(
            f"<div><span>{name}</span><b>{value}</b><small>{note}</small></div>" for name, value, note in tiles
        ) + "</div>",
        _caveats(result),
        "<h2>Hill climb</h2>",
        climb_section(batches, events, research_s, config.min_episodes),
        "<p class=note>Bars: 95 % Wilson intervals. The confirmed best rests on fresh episodes only; the raw best of many "
        "noisy evaluations flatters itself.</p>",
        _thresholds(confirmed), _milestones(events),
        _members(result),
        "<h2>Ideas</h2>", _ideas(run_dir, config, events, research_s, batches),
        "<h2>Stages reached</h2>", _figure(figures.stages(events)),
        _failures(summary, batches),
        "<h2>Utilisation</h2>", _figure(figures.utilisation(events, research_s)),
        _activity(events, research_s), _tokens(tokens), _vision(result), _waits(events, research_s), _refusals(events),
        _pictures(run_dir),
        "<h2>Notes</h2>", _notes(events),
    ]  # fmt: skip
    title = html_text(f"{config.agent} on {config.env}")
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>" \
           f"<meta http-equiv=Content-Security-Policy content=\"{POLICY}\"><meta name=viewport content='width=device-width,initial-scale=1'><style>{STYLE}{idea_page.STYLE}{climb_page.STYLE}</style><main>{''.join(body)}</main></html>\n"  # fmt: skip


def _use(use: metrics.RobotUse) -> str:
    """What the share of all cells leaves out."""
    each = ", ".join(percent(share) for share in use.of_cells.values()) if len(use.of_cells) > 1 else ""
    slow = f"{use.real_time:.2f} simulated seconds a second" if use.real_time is not None else ""
    return "; ".join(filter(None, (each, slow)))


def _stations(events: list[Event]) -> str:
    """Where the numbers of the run's stations come from, where stations differ."""
    source = next((e.payload.stations for e in events if e.kind == "run" and e.payload.phase == "started"), None)
    return f"stations {html_text(source)} &middot; " if source else ""


def _caveats(result: Result | None) -> str:
    """Why the numbers do not measure the agent, or are not ranked."""
    if result is None:
        return ""
    lines = [("This run is no measurement of its agent", result.void_because), ("Not ranked", [
        reason for reason in unranked_because(result) if reason not in result.void_because])]  # fmt: skip
    return "".join(f"<p class=note><b>{what}:</b> {html_text('; '.join(why))}</p>" for what, why in lines if why)


def _figure(figure: Figure) -> str:
    return f"<figure>{figures.svg_of(figure)}</figure>"


def html_table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table of plain text: whatever is in a cell is shown as it is."""

    def cells(tag: str, values: Iterable[Any]) -> str:
        return "".join(f"<{tag}>{html_text(str(v), lines=True)}</{tag}>" for v in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"


def _members(result: Result | None) -> str:
    """What each member of a team came to."""
    if result is None or len(result.members) < 2:
        return ""
    rows = [
        (m.id, m.agent, m.model or "-", "none" if m.best_confirmed is None else percent(m.best_confirmed), m.ideas, m.evaluations,
         format_duration(m.robot_s), f"{m.tokens:,}", ", ".join(m.exits))
        for m in result.members
    ]  # fmt: skip
    head = ("member", "agent", "model", "own confirmed best", "ideas", "evaluations", "robot time", "tokens", "ended")
    average = "none" if result.team_average is None else percent(result.team_average)
    return f"<h2>Members</h2><p class=note>Team average, over all members: {average}.</p>" + html_table(head, rows)


def _vision(result: Result | None) -> str:
    """Who asked the model that sees pictures, and how much."""
    if result is None or result.vision is None:
        return ""
    rows = [(name, asked.questions, f"{asked.tokens:,}") for name, asked in result.vision.members.items()]
    note = "<p class=note>Not in the agents' own tokens.</p>"
    return f"<h3>Questions to {html_text(result.vision.model)}, which sees pictures</h3>{html_table(('member', 'questions', 'tokens'), rows)}{note}"  # fmt: skip


def _thresholds(confirmed: list[metrics.Point]) -> str:
    rows = []
    for x in (*metrics.THRESHOLDS, *metrics.STRICT_THRESHOLDS):
        spent = metrics.resources_to(confirmed, x)
        rows.append(
            (f"{x:.0%}", *(("not reached", "", "", "") if spent is None else (
                format_duration(spent["time_s"]), f"{spent['tokens']:,.0f}", f"{spent['episodes']:,.0f}",
                format_duration(spent["robot_s"]))))
        )  # fmt: skip
    return html_table(("confirmed success", "time", "tokens", "episodes", "robot time"), rows)


def _failures(summary: Summary, batches: Batches) -> str:
    if not summary.failures:
        return ""
    which = batches.link(batches.held_out, "Which episodes these are, and how to see them")
    table = html_table(("reason", "episodes"), summary.failures.items())
    return f"<h3>Why held-out episodes failed</h3>{table}<p class=note>{which}</p>"


def _milestones(events: list[Event]) -> str:
    """When the run's policies first got so far."""
    rows = [(stage, format_duration(spent["time_s"]), f"{spent['tokens']:,.0f}", format_duration(spent["robot_s"]))
            for stage, spent in milestones(events).items()]  # fmt: skip
    return (
        html_table(("stage first reached, by one counted episode", "time", "tokens", "robot time"), rows)
        if rows
        else ""
    )


def _tokens(t: metrics.TokenTotals) -> str:
    if not t.calls:
        return ""
    rows = [
        ("fresh input", f"{t.input - t.cached_input:,}"), ("cached input", f"{t.cached_input:,}"),
        ("cache writes", f"{t.cache_write:,}"), ("output", f"{t.output:,}"), ("of which reasoning", f"{t.reasoning:,}"),
        ("headline: fresh input + output", f"{t.headline:,}"), ("calls", t.calls),
        ("calls cut off (counted apart)", t.in_flight_calls), ("fresh input + output of these, estimated", t.cut_headline), ("calls that failed", t.errors),
        ("time of all calls together", format_duration(t.wait_s)),
    ]  # fmt: skip
    return "<h3>Tokens</h3>" + html_table(("category", "tokens"), rows)


def _waits(events: list[Event], research_s: float) -> str:
    """Waits for the model's provider, by its explanations."""
    waits = [e.payload for e in events if e.kind == "wait" and e.payload.phase == "started"]
    if not waits:
        return ""
    times = Counter(w.reason for w in waits)
    asked = {reason: sum(w.planned_s for w in waits if w.reason == reason) for reason in times}
    rows = [(reason, count, format_duration(asked[reason])) for reason, count in times.most_common(20)]
    stalled = format_duration(metrics.stalled_seconds(events, research_s))
    return (
        f"<h3>Waiting for the model's provider: {stalled}, which is research time and no working time</h3>"
        + html_table(("its answer", "times", "waits after it"), rows)
    )  # fmt: skip


def _refusals(events: list[Event]) -> str:
    """Requests of the agent that were not forwarded to its provider, and headers and fields that were dropped."""
    refused = Counter(
        n for e in events if e.kind == "refusal" and e.payload.phase == "refused" for n in e.payload.names
    )
    dropped = [n for e in events if e.kind == "refusal" and e.payload.phase == "dropped" for n in e.payload.names]
    rows = [(f"refused: {name}", f"{count} on record") for name, count in refused.most_common(20)]
    if dropped:
        rows.append(("left out of its requests", ", ".join(dropped)))
    return "<h3>Not forwarded to the provider</h3>" + html_table(("what", ""), rows) if rows else ""


def _ideas(run_dir: Path, config: RunConfig, events: list[Event], research_s: float, batches: Batches) -> str:
    """The tree with a card an idea, and the same as a table."""
    tree, climb, uses = IdeaTree.of(events), TeamClimb.of(events, config.min_episodes), FirstUses()
    for e in events:
        uses.add(e)
    raised_first = sorted(tree.ideas, key=lambda id: -climb.gain(id))
    extras = Extras(diffs(run_dir, tree, raised_first), strips(run_dir, tree, raised_first), batches.anchors)
    rows = [(i.id, format_duration(i.t_run), i.agent or "", i.title, i.regime or "", i.parent or "",
             "{} of {}".format(*i.evaluated) if i.evaluated else "", "{} of {}".format(*i.confirmed) if i.confirmed else "",
             climb.verdict(i.id), uses.words(i.id)) for i in tree.ideas.values()]  # fmt: skip
    head = (
        "idea",
        "at",
        "member",
        "hypothesis",
        "regime",
        "parent",
        "evaluated",
        "confirmed",
        "team average",
        "recorded",
    )
    table = f"<details><summary>all ideas as a table</summary>{html_table(head, rows)}</details>" if rows else ""
    return idea_section(tree, climb, uses, research_s, extras) + table


def _activity(events: list[Event], research_s: float) -> str:
    """Where each member's time went; see `evolution.activity` for what is known and what is inferred."""
    times = time_by_activity(events, research_s)
    rows = [(name, format_duration(t.alive_s), *(percent(t.seconds[a] / t.alive_s) if t.alive_s else "" for a in ACTIVITIES),
             f"{t.peer_tokens:,} of {t.tokens:,}" if t.tokens else "") for name, t in times.items()]  # fmt: skip
    note = "<p class=note>Coding (with training of its own) and reading are inferred from what came next; the rest is on record.</p>"
    return f"<h3>Time by activity</h3>{html_table(('member', 'time', *ACTIVITIES, 'tokens on peers'), rows)}{note}"


def _notes(events: list[Event]) -> str:
    rows = [(format_duration(e.t_run), e.agent or "run", e.payload.text) for e in events if e.kind == "note"]
    for e in events:
        if e.kind == "agent" and e.payload.phase == "exited":
            rows.append(
                (format_duration(e.t_run), e.agent or "", f"exited: {e.payload.reason}, code {e.payload.exit_code}")
            )
        if e.kind == "run" and e.payload.phase == "resumed":
            rows.append((format_duration(e.t_run), "run", "resumed after an interruption"))
    return html_table(("at", "by", "note"), rows) if rows else "<p class=note>None.</p>"


def _pictures(run_dir: Path) -> str:
    parts = []
    for kind, title in (("success", "A held-out success"), ("failure", "A held-out failure")):
        file = run_dir / f"held_out_{kind}.jpg"
        if file.exists():
            data = base64.b64encode(file.read_bytes()).decode()
            parts.append(f"<figure><img src='data:image/jpeg;base64,{data}' alt='{title}'><figcaption>{title}, "
                         "start to end</figcaption></figure>")  # fmt: skip
    return "<h2>Episodes</h2>" + "".join(parts) if parts else ""


#: The page runs nothing and asks nobody for anything.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
STYLE = """
body{margin:0;background:#f6f7f8;color:#1c2733;font:15px/1.5 system-ui,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:26px;margin:0 0 2px} h2{font-size:18px;margin:34px 0 8px} h3{font-size:15px;margin:20px 0 6px}
.lead,.note{color:#5d6873;margin:0 0 14px} .note{font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:10px;margin:18px 0}
.tiles div{background:#fff;border:1px solid #e2e6ea;border-radius:8px;padding:12px 14px}
.tiles span{display:block;color:#5d6873;font-size:12px} .tiles b{display:block;font-size:21px} .tiles small{color:#5d6873}
figure{margin:8px 0;background:#fff;border:1px solid #e2e6ea;border-radius:8px;padding:10px;overflow-x:auto}
figure svg,figure img{max-width:100%;height:auto;display:block} figcaption{color:#5d6873;font-size:13px;padding-top:6px}
table{border-collapse:collapse;background:#fff;border:1px solid #e2e6ea;width:100%;font-size:13.5px;margin:8px 0}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid #eceff1;vertical-align:top} th{color:#5d6873;font-weight:600}
h1,h2,h3,p,td{overflow-wrap:anywhere} td{min-width:8ch}
@media(max-width:700px){table{display:block;overflow-x:auto}}
"""
