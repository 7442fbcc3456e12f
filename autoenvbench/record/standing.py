"""What a run's result may claim: whether it measures its agent at all, and whether it may be ranked. Reasons, in words."""

from __future__ import annotations

from collections.abc import Sequence

from autoenvbench.record import metrics
from autoenvbench.record.events import NOT_AGENTS, RunEvent
from autoenvbench.record.ledger import Event
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.stations import ARGUMENT

RANKED_EPISODES = 200
FAILING_SHARE = 0.5  # of model calls or research time: above it a run says more about a provider than about an agent


def void_reasons(events: Sequence[Event], research_s: float, stalled_s: float) -> list[str]:
    """Why this run is no measurement of its agent, if it is none.

    Args:
        research_s: research time [s].
        stalled_s: of it, in which the agent could only wait for its model's provider [s].
    """
    worked = any(e.kind in ("idea", "commit", "evaluation") and e.agent not in (None, "admin") for e in events)
    calls = [e.payload for e in events if e.kind == "tokens" and e.agent not in NOT_AGENTS]
    answered = any(call.error is None and not call.in_flight for call in calls)
    failed = sum(map(metrics.failed_by_provider, calls))
    failing, waiting = calls and failed / len(calls), research_s and stalled_s / research_s
    found = []
    if any(e.kind == "run" and e.payload.detail == "provider_error" for e in events):
        found.append("it ended because its model's provider refused to answer (provider_error)")
    if not worked and not answered:
        found.append("the agent never worked: no idea, no commit, no evaluation, no answered model call")
    if failing and failing > FAILING_SHARE:
        found.append(f"{failed} of its {len(calls)} model calls failed")
    if waiting > FAILING_SHARE:
        found.append(f"{waiting:.0%} of its research time went into waiting for its model's provider")
    return found


def unranked_reasons(
    config: RunConfig, start: RunEvent, milestones: Sequence[RunEvent], held_out: int, kind: str | None
) -> list[str]:
    """Why this run may not be ranked, if it may not.

    Args:
        start: the run's first event, of its `milestones`.
        held_out: episodes that count.
        kind: of the cell in which they happened.
    """
    asked = config.held_out * config.attempts
    unrecorded = [
        f for f in ("run_id", "hardware", "compute_class", "known_starts", "prices") if getattr(start, f) is None
    ]
    before = (start.fingerprint, start.versions, start.hardware, start.compute_class)
    crowded = crowding(config, start.compute_class)
    elsewhere = [m for m in milestones if m.phase == "resumed" and m.hardware is not None
                 and (m.fingerprint, m.versions, m.hardware, m.compute_class) != before]  # fmt: skip
    reasons = {
        f"its ledger does not record {', '.join(unrecorded)}": bool(unrecorded),
        "no cage (--sandbox none)": config.sandbox in (None, "none"),
        "ideal sensing": config.env_kwargs.get("sensing") == "ideal",
        "starts known beforehand (--held-out-secret)": bool(start.known_starts),
        f"its station is known beforehand (--env-arg {ARGUMENT})": start.stations == "public",
        "scripted model (--replay)": config.replay is not None or config.tools_replay is not None,
        "the provider's own tools (--allow-hosted-tools)": config.allow_hosted_tools,
        "stand-in scene: not a score of the simulator itself": kind == "stand-in",
        "tools beyond the canonical ones": config.tools.get("mode", "canonical") != "canonical",
        "resumed on another machine, or under other versions or another environment": bool(elsewhere),
        crowded or "": crowded is not None,
        "somebody joined it late": any(m.phase == "joined" for m in milestones),
        f"only {held_out} of {asked} held-out episodes count": held_out < asked,
        f"fewer than {RANKED_EPISODES} held-out episodes": held_out < RANKED_EPISODES,
    }
    return [reason for reason, holds in reasons.items() if holds]


def crowding(config: RunConfig, compute_class: str | None) -> str | None:
    """Why a team does not fit a computer of this class, if it does not: each member and each cell wants a core, or what is measured is how
    they wait for one another."""
    if config.team == 1:
        return None
    what = f"{config.team} members and {config.cells} {'cell' if config.cells == 1 else 'cells'}"
    return crowded(what, config.team + config.cells, compute_class)


def crowded(what: str, wanted: float, compute_class: str | None) -> str | None:
    """In words, that something wants more cores than a computer of this class has; None where it does not."""
    count = (compute_class or "").partition("c-")[0]
    if not count.isdecimal() or int(count) >= wanted:
        return None
    return f"{what} want {wanted} cores, and there are {count}"
