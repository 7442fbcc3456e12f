"""Anthropic's Messages protocol (Claude Code)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from autoenvbench.gateway.dialect import Step, UsageUpdate, error_text, positive_int, sse


class Messages:
    """See `dialect.Dialect`. `input_tokens` excludes cache reads and writes; both are added here, so that `input` means the
    same everywhere."""

    name = "messages"
    path = "/v1/messages"
    conversation = "messages"
    keep_alive = sse({"type": "ping"}, "ping")

    def auth(self, key: str) -> dict[str, str]:
        """An `x-api-key` header."""
        return {"x-api-key": key}

    def prepare(self, request: dict[str, Any]) -> bool:
        """Nothing to do: every answer says its usage."""
        return False

    def read(self, event: Mapping[str, Any]) -> UsageUpdate:
        """Input comes with `message_start`, output with `message_delta`, the end with `message_stop`."""
        kind = event.get("type")
        if kind == "message_start":
            message = event.get("message") or {}
            return UsageUpdate(_usage(message.get("usage") or {}), str(message.get("model") or "") or None)
        if kind == "message_delta":
            return UsageUpdate(_usage(event.get("usage") or {}))
        if kind == "content_block_delta":
            delta = event.get("delta") or {}
            words = (delta.get(key) for key in ("text", "partial_json", "thinking"))
            return UsageUpdate(text_bytes=sum(len(w.encode()) for w in words if isinstance(w, str)))
        if kind == "message_stop":
            return UsageUpdate(done=True)
        if kind == "message":  # not streamed
            return UsageUpdate(_usage(event.get("usage") or {}), str(event.get("model") or "") or None, done=True)
        if kind == "error" or (kind is None and event.get("error")):
            return UsageUpdate(error=error_text(event.get("error")))
        return UsageUpdate()

    def tool_results(self, request: Mapping[str, Any]) -> int:
        """Content blocks of the type `tool_result`."""
        blocks = (
            block
            for message in request.get("messages") or []
            if isinstance(message, dict) and isinstance(message.get("content"), list)
            for block in message["content"]
        )
        return sum(1 for block in blocks if isinstance(block, dict) and block.get("type") == "tool_result")

    def tools(self, request: Mapping[str, Any]) -> set[str]:
        """Names of the tools."""
        return {str(tool.get("name")) for tool in request.get("tools") or [] if isinstance(tool, dict)}

    def max_output(self, request: Mapping[str, Any]) -> int | None:
        """`max_tokens`, which every request must have."""
        return positive_int(request.get("max_tokens"))

    def stream_error(self, message: str) -> bytes:
        """An `error` event, of the type of wrong requests."""
        return sse({"type": "error", "error": {"type": "invalid_request_error", "message": message}}, "error")

    def probe(self, model: str) -> dict[str, Any]:
        """One question, 16 tokens for its answer."""
        question = {"role": "user", "content": "Reply with the word ready."}
        return {"model": model, "max_tokens": 16, "messages": [question]}

    def reply(self, request: Mapping[str, Any], step: Step, call: str) -> Iterator[bytes]:
        """A message with one content block, or the six events that stream it."""
        u = step.usage
        usage = {
            "input_tokens": u.input - u.cached_input - u.cache_write,
            "cache_creation_input_tokens": u.cache_write,
            "cache_read_input_tokens": u.cached_input,
            "output_tokens": u.output,
        }
        stop = "tool_use" if step.tool else "end_turn"
        head: dict[str, Any] = {
            "id": f"msg_{call}", "type": "message", "role": "assistant", "model": request.get("model", "replay"),
        }  # fmt: skip
        block: dict[str, Any] = {"type": "text", "text": step.text}
        if step.tool:
            block = {"type": "tool_use", "id": f"toolu_{call}", "name": step.tool, "input": step.arguments}
        if not request.get("stream"):
            yield json.dumps({**head, "content": [block], "stop_reason": stop, "usage": usage}).encode()
            return
        opened = {**block, "input": {}} if step.tool else {**block, "text": ""}
        delta = (
            {"type": "input_json_delta", "partial_json": json.dumps(step.arguments)}
            if step.tool
            else {"type": "text_delta", "text": step.text}
        )
        start = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": opened},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None},
             "usage": {"output_tokens": u.output}},
            {"type": "message_stop"},
        ]  # fmt: skip
        for event in events:
            yield sse(event, event["type"])


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """The counts that are given: a later event that repeats only the output changes only that."""
    counts: dict[str, int] = {}
    if usage.get("output_tokens") is not None:
        counts["output"] = int(usage["output_tokens"])
    if usage.get("input_tokens") is not None:
        read, write = (int(usage.get(f"cache_{k}_input_tokens") or 0) for k in ("read", "creation"))
        counts |= {"input": int(usage["input_tokens"]) + read + write, "cached_input": read, "cache_write": write}
    return counts
