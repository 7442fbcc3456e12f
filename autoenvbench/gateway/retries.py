"""Which failures of a provider are worth another attempt, and after how long."""

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

FIRST_DELAY_S = 1.0
MAX_DELAY_S = 60.0  # of our own waits
MIN_LATE_DELAY_S = 5.0  # after five failures, however little a provider asks for
MAX_ASKED_DELAY_S = 3600.0  # a provider that asks for more is asked again every hour
#: 4xx that mean "try again later". All 5xx do but 501 (not implemented) and 505 (HTTP version).
_RETRIED_4XX = {408, 409, 425, 429}
_PERMANENT_5XX = {501, 505}
#: Types or codes of errors that mean "you have to pay first": waiting does not help.
_BILLING_TYPES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error",
            "exceeded_current_quota_error", "access_terminated_error", "insufficient_balance"}  # fmt: skip
#: Types or codes of errors that pass, where they come with status 200 as a stream's first event.
_TRANSIENT_TYPES = {"overloaded_error", "rate_limit_error", "api_error", "timeout_error", "server_error",
                "rate_limit_exceeded", "server_is_overloaded", "slow_down"}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class ProviderLost(Exception):
    """The provider cannot be reached, or ended its answer in the middle."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt to get an answer failed.

    Attributes:
        status: the answer's HTTP status; 0 where there was no answer.
        body: what was answered, bytes of JSON if the provider keeps to its protocol.
        headers: of the answer.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> Mapping[str, object]:
        """The `error` object of the body; empty where there is none."""
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return {}
        return error if isinstance(error, dict) else {"message": str(error)}

    @property
    def message(self) -> str:
        """What the provider says, for people; at most 300 characters after the status."""
        text = error_text(self.error) if self.error else self.body.decode(errors="replace").strip()[:300]
        return f"HTTP {self.status}: {text or 'no explanation'}" if self.status else text

    @property
    def unreachable(self) -> bool:
        """Whether there was no answer at all."""
        return self.status == 0

    @property
    def transient(self) -> bool:
        """Whether asking again later can help."""
        kinds = {str(self.error.get(key)) for key in ("type", "code")}
        if kinds & _BILLING_TYPES:
            return False
        if self.status == 200:
            return bool(kinds & _TRANSIENT_TYPES)
        return (
            self.status == 0
            or self.status in _RETRIED_4XX
            or (self.status >= 500 and self.status not in _PERMANENT_5XX)
        )


class Backoff:
    """How long to wait before the next attempt: as long as the provider asks for, else exponential backoff with jitter."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def delay(self, attempt: int, failure: Failure) -> float:
        """How long to wait after the given attempt (0 is the first) failed [s]."""
        own = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt, 10)) * float(self._rng.uniform(0.5, 1.0))
        asked = asked_delay(failure.headers)
        if asked is None:
            return own
        # a provider that always asks for no wait is not asked a thousand times
        return max(min(asked, MAX_ASKED_DELAY_S), FIRST_DELAY_S / 4 if attempt < 5 else min(own, MIN_LATE_DELAY_S))


def asked_delay(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """How long a provider asks to wait [s], by `retry-after-ms`, `retry-after` (seconds or a date), or the reset time of a
    limit of which nothing remains; None if it asks for nothing that can be understood. `now` is Unix time [s]."""
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
    """Seconds of a text such as "6m0s" or "20ms"."""
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
