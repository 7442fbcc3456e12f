"""Audits of a verifier, made up line by line."""

from __future__ import annotations

import hashlib
from typing import Any

from autoenvbench.record.certificate import Audit, Case

CODE, STATION = hashlib.sha256(b"code").hexdigest(), hashlib.sha256(b"station").hexdigest()
ENV = "ENPIRE/PushT-real-v0"
AT = {"env": ENV, "verifier": CODE, "station": "lab", "station_sha256": STATION}


def rows(
    right: int = 299,
    *,
    wrong: int = 0,
    abstained: int = 0,
    margin: float = 5.0,
    planned: int | None = None,
    **of_audit: Any,
) -> list[str]:
    """An audit's lines: so many true successes and as many true failures, the same errors among both."""
    cases = []
    for truth in (True, False):
        for verdict, n in ((truth, right), (not truth, wrong), (None, abstained)):
            cases += [(truth, verdict)] * n
    first = {
        "env": ENV, "verifier": CODE, "station": "lab", "station_sha256": STATION, "kind": "twin", "truth": "twin", "seed": 7,
        "planned": len(cases) if planned is None else planned, "tolerance_mm": 20.0, "guard_mm": 2.0, "date": "2026-12-01",
    }  # fmt: skip
    return [Audit(**{**first, **of_audit}).model_dump_json()] + [
        Case(
            case=k, perturbation="none", truth=truth, verdict=verdict, margin_mm=margin if truth else -margin, frame_ms=[1.0 + k % 20]
        ).model_dump_json()
        for k, (truth, verdict) in enumerate(cases)
    ]  # fmt: skip
