"""What a run may name that reaches beyond it: whoever made the run chose that, and not whoever runs its answer again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from autoenvbench.text import short

#: Text in an environment's arguments that is no path, address or other thing of this machine.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{0,64}")


def reaching_tools(tools: Mapping[str, Any]) -> str | None:
    """Why scripts with these tools are not run on a stranger's word: they would ask a server, or a model at this user's cost."""
    names = sorted(name for name in tools if name == "vlm" or name.endswith("_url"))
    return (
        f"its tools reach servers ({', '.join(map(short, names))}), which are not asked on a stranger's word"
        if names
        else None
    )


def odd_arguments(kwargs: Mapping[str, Any]) -> str | None:
    """Why an environment is not made by these arguments on a stranger's word: they may name files or addresses of this machine."""
    names = sorted(name for name, value in kwargs.items() if not _plain(value))
    return (
        f"the environment's arguments {', '.join(map(short, names))} are more than numbers and words" if names else None
    )


def _plain(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, (bool, int, float))
        or (isinstance(value, str) and _PLAIN.fullmatch(value) is not None)
    )
