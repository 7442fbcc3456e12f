"""Model protocols as the gateway sees them: where an answer says its usage, and how a script answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from autoenvbench.record.events import TokensEvent

BYTES_PER_TOKEN = 4
#: Tool names under which agents offer a shell, and how each wants a command.
_SHELLS = ("exec_command", "shell", "Bash", "bash", "Shell")


@dataclass(slots=True)
class UsageUpdate:
    """What one event of an answer says about the call.

    Attributes:
        usage: token counts by the fields of `TokensEvent`; they replace earlier ones.
        model: the model that answers, as its provider names it.
        error: the provider's explanation.
        done: this is the answer's last event.
        text_bytes: of text, reasoning and tool arguments in this event: output that is not counted yet.
    """

    usage: dict[str, int] | None = None
    model: str | None = None
    error: str | None = None
    done: bool = False
    text_bytes: int = 0


class Dialect(Protocol):
    """One model protocol: an HTTP path, a request and a stream of server-sent events.

    Attributes:
        name: by which agents choose it.
        path: below the provider's base URL.
        conversation: the request's field that holds the conversation, a list.
        keep_alive: an event without content; it keeps an agent's connection from timing out.
    """

    name: str
    path: str
    conversation: str
    keep_alive: bytes

    def auth(self, key: str) -> dict[str, str]:
        """Headers that carry the provider's key."""

    def prepare(self, request: dict[str, Any]) -> bool:
        """Change a live request so that its usage can be read; whether anything was changed."""

    def read(self, event: Mapping[str, Any]) -> UsageUpdate:
        """Read one streamed event, or a complete answer that was not streamed. Accepts any JSON object."""

    def tool_results(self, request: Mapping[str, Any]) -> int:
        """How many tool calls the conversation already holds answers to: where a replayed script stands. It depends on
        the request alone, so retries, resumptions and restarts find the same step."""

    def tools(self, request: Mapping[str, Any]) -> set[str]:
        """Names of the tools on offer."""

    def max_output(self, request: Mapping[str, Any]) -> int | None:
        """Output tokens that the request allows, or None where it does not say."""

    def stream_error(self, message: str) -> bytes:
        """An error event for a stream that has begun: status 200 was sent already."""

    def probe(self, model: str) -> dict[str, Any]:
        """The smallest request that shows whether a model answers."""

    def reply(self, request: Mapping[str, Any], step: Step, call: str) -> Iterator[bytes]:
        """One scripted step, streamed or not as the request wants it. `call` makes its ids unique: agents take equal ids
        for one answer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script, resolved against the tools on offer: a call of a shell, or a final text."""

    usage: Usage
    text: str
    tool: str | None = None
    arguments: dict[str, Any] | None = None

    @classmethod
    def resolve(cls, given: Mapping[str, Any], tools: set[str]) -> Step:
        """A script's step (`shell` or `text`, and `usage`) as a call of the first shell among `tools`; as a text where there
        is none."""
        usage = Usage.of(given.get("usage", {}))
        tool = next((name for name in _SHELLS if name in tools), None)
        if "shell" not in given or tool is None:
            return cls(usage, str(given.get("text", "done")))
        command = given["shell"]
        arguments: dict[str, Any] = {"command": command}
        if tool == "exec_command":
            arguments = {"cmd": command, "yield_time_ms": 30_000}
        elif tool == "shell":
            arguments = {"command": ["bash", "-lc", command]}
        return cls(usage, "", tool, arguments)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a scripted step, as a `TokensEvent` counts them: `input` includes cached reads and cache writes."""

    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Usage:
        """The counts that a script gives, and 1000 in and 50 out where it gives none."""
        values = {"input": 1000, "cached_input": 0, "cache_write": 0, "output": 50, "reasoning": 0, **given}
        return cls(**{name: int(values[name]) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Estimate:
    """Input tokens of a request before its provider counts them: 4 bytes per token; the part of the conversation that was
    sent before counts as cached."""

    input: int
    cached_input: int = 0


class Meter:
    """Reads the usage out of an answer while it is relayed.

    Args:
        request: the request's body, for the model's name.
        estimate: the input tokens to count if the provider never says them.
    """

    def __init__(self, dialect: Dialect, request: Mapping[str, Any], estimate: Estimate) -> None:
        self._dialect = dialect
        self._model = str(request.get("model", "unknown"))
        self._estimate = estimate
        self._buffer = b""
        self._usage: dict[str, Any] = {}
        self._error: str | None = None
        self._done = False
        self._text_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the answer, wherever they are cut."""
        self._buffer += chunk
        if self._buffer.lstrip()[:1] == b"{":  # an answer or an error that is not streamed: read whole, in result()
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._read(line[5:])

    def _read(self, data: bytes) -> None:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        found = self._dialect.read(event)
        self._usage.update(found.usage or {})
        self._model = found.model or self._model
        self._error = found.error or self._error
        self._done |= found.done
        self._text_bytes += found.text_bytes

    def result(self, status: int, wait_s: float, call: str | None = None, lost: str | None = None) -> TokensEvent:
        """The call's event. Of a call that was cut off it holds what the provider had said by then, and estimates for the rest.

        Args:
            status: the HTTP status of the answer.
            wait_s: from the request to the answer's end [s].
            call: the id of the call's `CallEvent`.
            lost: why the provider's answer ended early, if it did.
        """
        if self._buffer.lstrip()[:1] == b"{":
            self._read(self._buffer)
            self._done |= bool(self._usage)
        if self._done or status != 200:
            error = self._error or (f"HTTP {status}" if status != 200 else None)
            return TokensEvent(model=self._model, status=status, wait_s=wait_s, error=error, call=call, **self._usage)
        counts = {"input": self._estimate.input, "cached_input": self._estimate.cached_input} | self._usage
        counts["output"] = max(counts.get("output", 0), self._text_bytes // BYTES_PER_TOKEN)
        return TokensEvent(
            model=self._model,
            status=status,
            wait_s=wait_s,
            error=self._error or lost,
            in_flight=True,
            call=call,
            **counts,
        )


def sse(event: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(event)}\n\n".encode()


def error_text(error: Any) -> str:
    """What a provider's error says, at most 300 characters."""
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def positive_int(value: Any) -> int | None:
    """A count in a request, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
