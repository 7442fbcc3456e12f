"""OpenAI's Responses protocol, as far as a meter and a replay need it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from autoenvbench.events import TokensEvent


def usage_fields(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Token counts of one response. Its `input_tokens` includes cached ones, `output_tokens` includes reasoning."""
    inputs = usage.get("input_tokens_details") or {}
    outputs = usage.get("output_tokens_details") or {}
    return {
        "input": int(usage.get("input_tokens") or 0),
        "cached_input": int(inputs.get("cached_tokens") or 0),
        "cache_write": int(inputs.get("cache_write_tokens") or 0),
        "output": int(usage.get("output_tokens") or 0),
        "reasoning": int(outputs.get("reasoning_tokens") or 0),
    }


class Meter:
    """Reads a response as it streams past and knows its usage at the end."""

    _ENDS = ("response.completed", "response.incomplete", "response.failed")

    def __init__(self, request: Mapping[str, Any], size: int) -> None:
        self._model = str(request.get("model", "unknown"))
        self._size = size
        self._buffer = b""
        self._usage: dict[str, Any] | None = None
        self._error: str | None = None

    def feed(self, chunk: bytes) -> None:
        self._buffer += chunk
        if self._buffer[:1] == b"{":  # an answer or an error that is not streamed: read whole, in result()
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and any(end.encode() in line for end in self._ENDS):
                self._read(line[5:])

    def _read(self, data: bytes) -> None:
        try:
            event = json.loads(data)
        except ValueError:
            return
        if event.get("type") in self._ENDS:
            response = event.get("response") or {}
            self._usage = usage_fields(response.get("usage") or {})
            self._model = str(response.get("model") or self._model)
            if error := response.get("error"):
                self._error = str(error.get("message", error))[:300]

    def result(self, status: int, wait_s: float) -> TokensEvent:
        """What to write into the ledger. Without a usage the call was cut off: its input is estimated at 4 bytes a
        token, its output unknown."""
        if self._usage is None and self._buffer[:1] == b"{":
            try:
                body = json.loads(self._buffer)
                self._usage = usage_fields(body.get("usage") or {})
                if error := body.get("error"):
                    self._error = str(error.get("message", error) if isinstance(error, dict) else error)[:300]
            except ValueError:
                pass
        if self._usage is not None or status != 200:
            error = self._error or (f"HTTP {status}" if status != 200 else None)
            return TokensEvent(model=self._model, status=status, wait_s=wait_s, error=error, **(self._usage or {}))
        return TokensEvent(model=self._model, status=status, wait_s=wait_s, input=self._size // 4, in_flight=True)


def tool_results(request: Mapping[str, Any]) -> int:
    """How many tool calls the conversation already holds answers to: where a replayed script stands. It depends on the
    request alone, so retries, resumptions and restarts find the same step."""
    items = request.get("input")
    if not isinstance(items, list):
        return 0
    return sum(1 for item in items if isinstance(item, dict) and str(item.get("type", "")).endswith("_call_output"))


def scripted_reply(request: Mapping[str, Any], step: Mapping[str, Any], number: int) -> Iterator[bytes]:
    """Server-sent events of one scripted step: a shell command (`shell`) or a final message (`text`)."""
    response_id = f"resp_{number}"
    tools = {tool.get("name") for tool in request.get("tools") or [] if isinstance(tool, dict)}
    if "shell" in step and tools:
        name = "exec_command" if "exec_command" in tools else "shell"
        command = step["shell"]
        arguments: dict[str, Any] = (
            {"cmd": command, "yield_time_ms": 30_000}
            if name == "exec_command"
            else {"command": ["bash", "-lc", command]}
        )
        item: dict[str, Any] = {
            "type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name,
            "arguments": json.dumps(arguments),
        }  # fmt: skip
    else:
        text = step.get("text", "done")
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}  # fmt: skip
    given = step.get("usage", {})
    fresh, out = int(given.get("input", 1000)), int(given.get("output", 50))
    usage = {
        "input_tokens": fresh,
        "input_tokens_details": {"cached_tokens": int(given.get("cached_input", 0))},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": int(given.get("reasoning", 0))},
        "total_tokens": fresh + out,
    }
    model = request.get("model", "replay")
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": response_id, "model": model}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": response_id, "model": model, "usage": usage}},
    ]
    for sequence, event in enumerate(events):
        event["sequence_number"] = sequence
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
