"""OpenAI's Responses protocol (Codex)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from autoenvbench.gateway.dialect import Step, UsageUpdate, error_text, positive_int, sse

_ENDS = ("response.completed", "response.incomplete", "response.failed")


class Responses:
    """See `dialect.Dialect`. `input_tokens` includes cached ones, `output_tokens` includes reasoning."""

    name = "responses"
    path = "/v1/responses"
    conversation = "input"
    keep_alive = sse({"type": "response.in_progress", "response": {}}, "response.in_progress")

    def auth(self, key: str) -> dict[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {key}"}

    def prepare(self, request: dict[str, Any]) -> bool:
        """Nothing to do: every answer says its usage."""
        return False

    def read(self, event: Mapping[str, Any]) -> UsageUpdate:
        """Usage comes with the last event (`_ENDS`), inside its `response`; deltas before it hold text."""
        if event.get("type") in _ENDS:
            event = event.get("response") or {}
        elif str(event.get("type", "")).startswith("response."):
            delta = event.get("delta")
            return UsageUpdate(text_bytes=len(delta.encode()) if isinstance(delta, str) else 0)
        elif event.get("type") == "error":  # an event of its own, with the error inside or spread out
            return UsageUpdate(error=error_text(event.get("error") or event), done=True)
        usage = event.get("usage")
        return UsageUpdate(
            _usage(usage) if usage else None,
            str(event["model"]) if event.get("model") else None,
            error_text(event["error"]) if event.get("error") else None,
            done=True,
        )

    def tool_results(self, request: Mapping[str, Any]) -> int:
        """Input items whose type ends in `_call_output`."""
        items = request.get("input")
        if not isinstance(items, list):
            return 0
        return sum(1 for item in items if isinstance(item, dict) and str(item.get("type", "")).endswith("_call_output"))

    def tools(self, request: Mapping[str, Any]) -> set[str]:
        """Names of the tools."""
        return {str(tool.get("name")) for tool in request.get("tools") or [] if isinstance(tool, dict)}

    def max_output(self, request: Mapping[str, Any]) -> int | None:
        """`max_output_tokens`."""
        return positive_int(request.get("max_output_tokens"))

    def stream_error(self, message: str) -> bytes:
        """A `response.failed` event."""
        error = {"code": "provider_error", "message": message}
        return sse({"type": "response.failed", "response": {"id": "resp_failed", "error": error}}, "response.failed")

    def probe(self, model: str) -> dict[str, Any]:
        """One question, 16 tokens for its answer, nothing stored."""
        return {"model": model, "input": "Reply with the word ready.", "max_output_tokens": 16, "store": False}

    def reply(self, request: Mapping[str, Any], step: Step, call: str) -> Iterator[bytes]:
        """A response with one output item, or the four events that stream it."""
        if step.tool:
            item: dict[str, Any] = {
                "type": "function_call", "id": f"fc_{call}", "call_id": f"call_{call}", "name": step.tool,
                "arguments": json.dumps(step.arguments),
            }  # fmt: skip
        else:
            item = {"type": "message", "id": f"msg_{call}", "role": "assistant",
                    "content": [{"type": "output_text", "text": step.text, "annotations": []}]}  # fmt: skip
        u = step.usage
        usage = {
            "input_tokens": u.input,
            "input_tokens_details": {"cached_tokens": u.cached_input, "cache_write_tokens": u.cache_write},
            "output_tokens": u.output,
            "output_tokens_details": {"reasoning_tokens": u.reasoning},
            "total_tokens": u.input + u.output,
        }
        head = {"id": f"resp_{call}", "object": "response", "model": request.get("model", "replay")}
        whole = {**head, "output": [item], "usage": usage}
        if not request.get("stream"):
            yield json.dumps(whole).encode()
            return
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": head},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {**head, "usage": usage}},
        ]
        for sequence, event in enumerate(events):
            yield sse({**event, "sequence_number": sequence}, event["type"])


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    inputs = usage.get("input_tokens_details") or {}
    outputs = usage.get("output_tokens_details") or {}
    return {
        "input": int(usage.get("input_tokens") or 0),
        "cached_input": int(inputs.get("cached_tokens") or 0),
        "cache_write": int(inputs.get("cache_write_tokens") or 0),
        "output": int(usage.get("output_tokens") or 0),
        "reasoning": int(outputs.get("reasoning_tokens") or 0),
    }
