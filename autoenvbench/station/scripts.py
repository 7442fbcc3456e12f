"""What makes a policy a script: `def run(tools)` at the top of policy.py, and no class Policy."""

from __future__ import annotations

import ast
from pathlib import Path


def is_script(policy: Path) -> bool:
    """Read, not run. A file that cannot be parsed is no script: loading it says what is wrong."""
    try:
        body = ast.parse(policy.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return "run" in names and "Policy" not in names
