"""Which failures of a provider pass by waiting, and how long to wait for each."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import numpy as np

from autoenvbench.gateway.dialect import error_text

FIRST_S = 1.0
LONGEST_S = 60.0  # of our own waits
LEAST_LATER_S = 5.0  # after five failures, however little a provider asks for
LONGEST_ASKED_S = 3600.0  # a provider that asks for more is asked again every hour
#: 4xx that mean "later". All 5xx do but 501 (not implemented) and 505 (HTTP version).
_LATER = {408, 409, 425, 429}
_NEVER = {501, 505}
#: Words for "you have to pay first" in an error's type or code: waiting does not help.
_BILLING = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error",
            "exceeded_current_quota_error", "access_terminated_error", "insufficient_balance"}  # fmt: skip
#: Errors that come with status 200, as a stream's first event.
_LATER_WORDS = {"overloaded_error", "rate_limit_error", "api_error", "timeout_error", "server_error",
                "rate_limit_exceeded", "server_is_overloaded", "slow_down"}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class ProviderLost(Exception):
    """The provider cannot be reached, or ended its answer in the middle."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed. `status` is 0 where there was no answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> Mapping[str, object]:
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return {}
        return error if isinstance(error, dict) else {"message": str(error)}

    @property
    def words(self) -> str:
        """The provider's own, for people."""
        text = error_text(self.error) if self.error else self.body.decode(errors="replace").strip()[:300]
        return f"HTTP {self.status}: {text or 'no explanation'}" if self.status else text

    @property
    def unreachable(self) -> bool:
        return self.status == 0

    @property
    def passes(self) -> bool:
        """Whether asking again later can help."""
        kinds = {str(self.error.get(key)) for key in ("type", "code")}
        if kinds & _BILLING:
            return False
        if self.status == 200:
            return bool(kinds & _LATER_WORDS)
        return self.status == 0 or self.status in _LATER or (self.status >= 500 and self.status not in _NEVER)


class Patience:
    """How long to wait before the next attempt: what the provider asks for, else exponentially longer with jitter."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def delay(self, attempt: int, failure: Failure) -> float:
        """Seconds after the given attempt (0 is the first) failed."""
        own = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt, 10)) * float(self._rng.uniform(0.5, 1.0))
        asked = asked_delay(failure.headers)
        if asked is None:
            return own
        # a provider that always says "at once" is not asked a thousand times
        return max(min(asked, LONGEST_ASKED_S), FIRST_S / 4 if attempt < 5 else min(own, LEAST_LATER_S))


def asked_delay(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a provider asks to wait, by `retry-after-ms`, `retry-after` (seconds or a date), or the reset time of
    a limit of which nothing remains; None if it asks for nothing that can be understood."""
    given = {key.lower(): value.strip() for key, value in headers.items()}
    now = time.time() if now is None else now
    found = [_number(given.get("retry-after-ms", ""), 0.001), _number(given.get("retry-after", ""))]
    found.append(_until(given.get("retry-after", ""), now))
    for key, value in given.items():
        if match := re.fullmatch(r"(x|anthropic)-ratelimit-(?:reset-(\w+)|([\w-]+)-reset)", key):
            left = f"{match[1]}-ratelimit-" + (f"remaining-{match[2]}" if match[2] else f"{match[3]}-remaining")
            if given.get(left) == "0":
                found += [_number(value), _duration(value), _until(value, now)]
    usable = [seconds for seconds in found if seconds is not None]
    return max(usable) if usable else None


def _number(text: str, unit: float = 1.0) -> float | None:
    return float(text) * unit if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else None


def _duration(text: str) -> float | None:
    """Such as "6m0s" or "20ms"."""
    parts = _PART.findall(text)
    return sum(float(n) * _UNIT_S[unit] for n, unit in parts) if parts and not _PART.sub("", text) else None


def _until(text: str, now: float) -> float | None:
    """Seconds until an HTTP or ISO date."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = parse(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            return max(0.0, at.timestamp() - now)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None
