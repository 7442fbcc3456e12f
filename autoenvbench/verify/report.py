"""The record of a row's verifications in words: the Markdown file beside it."""

from __future__ import annotations

from collections.abc import Iterator

from autoenvbench.publish.verification import Check, Verification
from autoenvbench.record.results import HeldOut, Result
from autoenvbench.record.statistics import percent
from autoenvbench.text import markdown

_SAID = {
    "verified": "Verified",
    "rejected": "Rejected",
    "re-scored": "Scored again in another version of its environment",
}


def in_words(result: Result, record: Verification) -> str:
    """A page. Whatever the submitter wrote is escaped."""
    lines = [
        f"# {markdown(result.run_id)}",
        "",
        f"{markdown(result.agent.name)} on {markdown(result.env.id)}, {markdown(result.track)} track: it claims {_rate(result.held_out)}. "
        f"Ledger {(result.ledger_sha256 or 'unknown')[:16]}, answer {markdown(result.answer.digest[:16])}.",
    ]
    for check in record.checks:
        lines += ["", f"## {_SAID[check.outcome]}, {check.date}", "", *(f"- {words}" for words in _findings(check))]
    return "\n".join(lines) + "\n"


def _findings(check: Check) -> Iterator[str]:
    for reason in check.because:
        yield ("**Reason.** " if check.outcome == "rejected" else "") + markdown(reason, 1000)
    if check.replay is not None or check.fresh is not None:
        yield "Result: every field follows from the ledger, and the answer's files have the hashes that the ledger names."
    if (replay := check.replay) is not None:
        left = (
            f"; {replay.skipped} cannot be repeated (interrupted, rerun, void or over a limit of the machine)"
            if replay.skipped
            else ""
        )
        how = "outcome by outcome" if replay.by == "outcomes" else "by rate alone"
        low, high = replay.interval or (0, replay.episodes)
        yield (
            f"The run's own starts, compared {how}: {replay.same} of {replay.episodes} the same{left}. {replay.successes} successes; the ledger has "
            f"{replay.recorded_successes}, which predicts {low} to {high}."
        )
        for words in replay.differing:
            yield markdown(words)
    if (fresh := check.fresh) is not None:
        yield f"Fresh starts, drawn at verification: {_rate(fresh.held_out)}. {'' if check.outcome == 'rejected' else 'This number ranks. '}Secret {fresh.secret}."
        if fresh.tries > 1:
            yield (
                f"They were begun {fresh.tries} times; what failed in a try that did not come to its end has failed: "
                f"{len(fresh.failed)} of them."
            )
        if fresh.interval is not None:
            yield (
                f"The claim predicts {fresh.interval[0]} to {fresh.interval[1]} successes (99 % beta-binomial); of honest claims at most "
                f"{100 * (fresh.false_rejection or 0):.1f} % fall out of their interval, whatever their rate."
            )
    yield (
        f"Environment {markdown(check.fingerprint)}, archive {check.archive_sha256[:16]}, cage {markdown(check.sandbox)}, on {markdown(check.hardware)}; "
        + ", ".join(f"{markdown(name)} {markdown(version)}" for name, version in check.versions.items())
    )


def _rate(held_out: HeldOut) -> str:
    return f"{percent(held_out.success_rate, held_out.wilson95)} ({held_out.successes} of {held_out.episodes})"
