"""Where an episode's seeds come from: a public stream of starts for practice, two secret ones for judging, and what policies draw by.

A run's secret is 32 random bytes that only the station holds. Its SHA-256 stands in the first ledger event and the
secret itself in the result, so that anyone can replay the run's starts afterwards and nobody can know them before.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from autoenvbench.errors import UserError
from autoenvbench.record.events import TRIED, Purpose

_BITS = 48


def stream_of(purpose: Purpose) -> str:
    """The name of the stream that a purpose draws from: evaluations, confirmations and comparisons share one, so that no candidate
    ever sees a start twice; learning goes on where practice ends."""
    return (
        "evaluation" if purpose in ("evaluate", "confirm", "compare") else "practice" if purpose in TRIED else purpose
    )


class StartStreams:
    """Seeds by purpose and index. The same secret, 32 bytes, gives the same seeds."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @staticmethod
    def new_secret() -> bytes:
        """32 random bytes, from the system's source for secrets."""
        return secrets.token_bytes(32)

    @staticmethod
    def parse_secret(text: str) -> bytes:
        """The secret in hexadecimal, as a result reveals it. Raises UserError."""
        if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
            raise UserError("a held-out secret is 64 hexadecimal digits, as `held_out_secret` in a result.json")
        return bytes.fromhex(text)

    @property
    def commitment(self) -> str:
        """SHA-256 of the secret, in hexadecimal: what the ledger's first event says of it."""
        return hashlib.sha256(self._secret).hexdigest()

    def seed(self, purpose: Purpose, index: int) -> int:
        """The seed of one start, below 2^48. Practice starts are public: their seed is their index."""
        if purpose in TRIED:
            return index
        return self._draw(f"{stream_of(purpose)}/{index}") >> (64 - _BITS)

    def policy_seed(self, purpose: Purpose, index: int, attempt: int = 0) -> int:
        """What the policy's own random numbers follow from in an episode, below 2^32. It says nothing of the start: a policy is told it."""
        return self._draw(f"policy/{stream_of(purpose)}/{index}/{attempt}") >> 32

    def _draw(self, what: str) -> int:
        """64 bits that nobody can compute without the secret."""
        mac = hmac.new(self._secret, f"autoenvbench/1/{what}".encode(), hashlib.sha256)
        return int.from_bytes(mac.digest()[:8], "big")
