"""Fixed sets of starts by name, so that every method sees the same scenes in the same order."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from autoenvbench.errors import UserError

ROBOCASA_40 = "robocasa-40"


def starts(name: str, n: int) -> list[dict[str, Any]]:
    """The first `n` starts of a protocol: a smaller study is a prefix of a larger one. Raises UserError.

    robocasa-40: the 40 (seed, layout, style) triplets of ENPIRE's RoboCasa ablations (arXiv 2606.19980).
    """
    if name != ROBOCASA_40:
        raise UserError(f"unknown protocol {name!r}; known: {ROBOCASA_40}")
    published = json.loads((resources.files("autoenvbench") / "data" / "published_results.json").read_text())
    rows = published["robocasa_40_triplets"]["rows"]
    if not 1 <= n <= len(rows):
        raise UserError(f"-n {n}: {name} has {len(rows)} starts, of which the first n are taken")
    return [{"seed": seed, "layout": layout, "style": style} for seed, layout, style in rows[:n]]
