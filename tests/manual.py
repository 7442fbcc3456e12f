"""The blocks of the manual's pages, and how a test runs them: as a reader would, from top to bottom."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoenvbench.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)  # fmt: skip
#: The first line of a block that is a file says which: a comment of its language, and nothing but a path.
_FILE = re.compile(r"^(?:#|<!--) ([\w./-]+\.\w+)(?: -->)?$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `why` says why it is not run, where a comment above it does."""

    language: str
    text: str
    why: str | None

    @property
    def file(self) -> str | None:
        """The path of the file that it is, if it is one."""
        named = _FILE.match(self.text.partition("\n")[0])
        return named[1] if named else None


def blocks(page: str) -> list[Block]:
    """Of one page, in order."""
    return [Block(b["language"], b["text"], b["why"]) for b in _BLOCK.finditer((ROOT / page).read_text())]


def commands(text: str) -> Iterator[list[str]]:
    """Every `autoenvbench` command of a terminal's block, split as a shell would; comments, variables and `<id>` are no part of it."""
    for line in text.splitlines():
        for part in re.split(r"\s#\s", line)[0].split(" && "):
            if found := re.match(r"(?:[A-Z_]+=\S+ )*autoenvbench (.*)", part.strip().replace("<id>", "ID")):
                yield shlex.split(found[1])


def write_files(page: str, folder: Path) -> None:
    """Write every block of a page that is a file."""
    for block in blocks(page):
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text.partition("\n")[2])


def run_page(page: str, *, path: str = "") -> dict[str, Any]:
    """Run a page's Python and its `sh` blocks in the working folder, which has its files; returns what Python has defined.

    Commands of `autoenvbench` run in this process, others in one of their own from the checkout, with `path` as PYTHONPATH.
    """
    names: dict[str, Any] = {"__name__": "manual"}
    for block in blocks(page):
        if block.why is not None or block.file is not None:
            continue
        if block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        elif block.language == "sh":
            for line in block.text.splitlines():
                program, *words = shlex.split(line)
                if program == "autoenvbench":
                    assert main(words) == 0, line
                    continue
                assert program == "python", line
                done = subprocess.run(
                    [sys.executable, *words], cwd=ROOT, capture_output=True, text=True,
                    env={**os.environ, "PYTHONPATH": path},
                )  # fmt: skip
                assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return names
