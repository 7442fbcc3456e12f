"""Requests and answers in a file of bounded size, and how much of a request its provider was sent before."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoenvbench.gateway.dialect import BYTES_PER_TOKEN, Dialect, Estimate

MAX_TEXT_BYTES = 1 << 20  # bytes of text of one request, and of one answer
MAX_REFUSED_BYTES = 2 << 10
MAX_FILE_BYTES = 256 << 20  # bytes of the file
_MAX_HASHES = 1_000_000


@dataclass
class Conversations:
    """The beginnings of conversations that a provider has been sent, as chains of hashes of their items."""

    _seen: set[bytes] = field(default_factory=set)

    def known_items(self, dialect: Dialect, body: Mapping[str, Any]) -> tuple[int, Estimate]:
        """How many leading items of the request's conversation were sent before, after the same model, tools and
        instructions; and an estimate of the input [tokens]. Remembers the request."""
        items = body.get(dialect.conversation)
        items = items if isinstance(items, list) else [items]
        head = {key: body.get(key) for key in ("model", "tools", "instructions", "system")}
        total = cached = 0
        known, chain, unbroken = -1, b"", True
        for item in (head, *items):
            text = json.dumps(item).encode()
            chain = hashlib.sha256(chain + text).digest()
            total += len(text)
            unbroken = unbroken and chain in self._seen
            if unbroken:
                known, cached = known + 1, total
            elif len(self._seen) < _MAX_HASHES:
                self._seen.add(chain)
        return max(known, 0), Estimate(total // BYTES_PER_TOKEN, cached // BYTES_PER_TOKEN)


class Transcript:
    """Gzip, one JSON object per line: of each request what was not in an earlier one, and the answer. Keys are left out.

    A line is bounded, and so is the file: when it is full, its last line says so. Nothing is raised for a full disk.

    Args:
        path: the file, or None to write nothing.
        max_bytes: after which the compressed file is full.
    """

    def __init__(self, path: Path | None, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path, self._max_bytes, self._full = path, max_bytes, False

    def write_call(
        self, dialect: Dialect, body: Mapping[str, Any], headers: Mapping[str, str], known: int, status: int, answer: bytes,
    ) -> None:  # fmt: skip
        """Append a call's line. `known` leading items of the conversation are left out: an earlier line has them."""
        if self._path is None or self._full:
            return
        items = body.get(dialect.conversation)
        new = {**body, dialect.conversation: items[known:]} if isinstance(items, list) else dict(body)
        if known:
            new.pop("tools", None)
            new.pop("system", None)
            new.pop("instructions", None)
        self._write(
            {"time": time.time(), "path": dialect.path, "headers": dict(headers), "status": status, "items_before": known,
             "request": _bounded(new, MAX_TEXT_BYTES), "answer": answer[:MAX_TEXT_BYTES].decode(errors="replace")}
        )  # fmt: skip

    def write_refused(self, dialect: Dialect, raw: bytes, why: str) -> None:
        """Append the beginning of a request that was not forwarded."""
        beginning = raw[:MAX_REFUSED_BYTES].decode(errors="replace")
        self._write({"time": time.time(), "path": dialect.path, "refused": why[:300], "request": beginning})

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is None or self._full:
            return
        with contextlib.suppress(OSError):  # a full disk ends no call
            if self._path.exists() and self._path.stat().st_size > self._max_bytes:
                self._full, line = (
                    True,
                    {"time": time.time(), "full": f"no more than {self._max_bytes >> 20} MB are kept"},
                )
            with gzip.open(self._path, "at", compresslevel=6) as file:
                file.write(json.dumps(line) + "\n")


def _bounded(request: Mapping[str, Any], max_bytes: int) -> Any:
    text = json.dumps(request)
    return (
        request
        if len(text) <= max_bytes
        else {"cut_to_bytes": max_bytes, "of_bytes": len(text), "text": text[:max_bytes]}
    )
