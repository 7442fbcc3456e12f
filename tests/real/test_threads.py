"""Planner, control loop and verifier ask the same models at the same time: no answer may depend on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_no_answer_is_another_threads() -> None:
    """A slice of the audit of ten million calls (`benchmarks/safety_threads.py`)."""
    path = Path(__file__).parents[2] / "benchmarks" / "safety_threads.py"
    spec = importlib.util.spec_from_file_location("safety_threads", path)
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    told = audit.audit(60_000, threads=3, seed=11)
    assert sum(told["calls"].values()) == 60_000
    assert told["wrong"] == dict.fromkeys(audit.KINDS, 0)
