"""What makes a policy a script: `def run(tools)` at the top of policy.py, and no class Policy."""

from __future__ import annotations

import ast
from pathlib import Path

_MAX_SOURCE = 1 << 20  # bytes


def is_script(policy: Path) -> bool:
    """Read, not run. A file that cannot be parsed is no script: loading it says what is wrong.

    The station reads it, and Python takes a hundred bytes for each that it parses: a file over 1 MB is no script either.
    """
    try:
        if policy.stat().st_size > _MAX_SOURCE:
            return False
        body = ast.parse(policy.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return "run" in names and "Policy" not in names
