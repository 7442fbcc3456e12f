"""OpenAI's Chat Completions protocol (Kimi Code, LiteLLM, vLLM, llama.cpp and most local servers)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from autoenvbench.gateway.dialect import Step, UsageUpdate, error_text, positive_int, sse


class Chat:
    """See `dialect.Dialect`. `prompt_tokens` includes cached ones, `completion_tokens` includes reasoning."""

    name = "chat"
    path = "/v1/chat/completions"
    conversation = "messages"
    keep_alive = b": waiting for the provider\n\n"

    def auth(self, key: str) -> dict[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {key}"}

    def prepare(self, request: dict[str, Any]) -> bool:
        """Ask for the usage (`stream_options.include_usage`): a stream has none otherwise."""
        options = request.get("stream_options")
        options = options if isinstance(options, dict) else {}
        if not request.get("stream") or options.get("include_usage"):
            return False
        request["stream_options"] = {**options, "include_usage": True}
        return True

    def read(self, event: Mapping[str, Any]) -> UsageUpdate:
        """The chunk that has usage is the last."""
        usage, error = event.get("usage"), event.get("error")
        return UsageUpdate(
            _usage(usage) if usage else None,
            str(event["model"]) if event.get("model") else None,
            error_text(error) if error else None,
            done=bool(usage),
            text_bytes=_text_bytes(event),
        )

    def tool_results(self, request: Mapping[str, Any]) -> int:
        """Messages of the role `tool`."""
        return sum(1 for m in request.get("messages") or [] if isinstance(m, dict) and m.get("role") == "tool")

    def tools(self, request: Mapping[str, Any]) -> set[str]:
        """Names of the functions."""
        functions = (tool.get("function") or {} for tool in request.get("tools") or [] if isinstance(tool, dict))
        return {str(function.get("name")) for function in functions}

    def max_output(self, request: Mapping[str, Any]) -> int | None:
        """`max_completion_tokens` or `max_tokens`, for each of the `n` choices."""
        most = positive_int(request.get("max_completion_tokens")) or positive_int(request.get("max_tokens"))
        return most and most * max(1, positive_int(request.get("n")) or 1)

    def stream_error(self, message: str) -> bytes:
        """An event with an `error` object."""
        return sse({"error": {"type": "provider_error", "message": message}})

    def probe(self, model: str) -> dict[str, Any]:
        """With no limit on the answer: half of the servers know max_tokens, the others max_completion_tokens."""
        return {"model": model, "messages": [{"role": "user", "content": "Reply with the word ready."}]}

    def reply(self, request: Mapping[str, Any], step: Step, call: str) -> Iterator[bytes]:
        """A chat completion, or chunks and `[DONE]`."""
        u = step.usage
        usage = {
            "prompt_tokens": u.input,
            "completion_tokens": u.output,
            "total_tokens": u.input + u.output,
            "cached_tokens": u.cached_input,  # where Kimi's own service has it
            "prompt_tokens_details": {"cached_tokens": u.cached_input, "cache_write_tokens": u.cache_write},
            "completion_tokens_details": {"reasoning_tokens": u.reasoning},
        }
        head = {"id": f"chatcmpl-{call}", "created": 0, "model": request.get("model", "replay")}
        finish = "tool_calls" if step.tool else "stop"
        message: dict[str, Any] = {"role": "assistant", "content": step.text}
        if step.tool:
            function = {"name": step.tool, "arguments": json.dumps(step.arguments)}
            message["tool_calls"] = [{"index": 0, "id": f"call_{call}", "type": "function", "function": function}]
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            yield json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
            return
        head["object"] = "chat.completion.chunk"
        for delta, reason in ((message, None), ({}, finish)):
            yield sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        yield sse({**head, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _text_bytes(event: Mapping[str, Any]) -> int:
    """Bytes of text and of tool arguments in a chunk."""
    choices = event.get("choices")
    total = 0
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict):
            words = [delta.get("content"), delta.get("reasoning_content")]
            for call in delta.get("tool_calls") or ():
                words.append((call.get("function") or {}).get("arguments"))
            total += sum(len(w.encode()) for w in words if isinstance(w, str))
    return total


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    inputs = usage.get("prompt_tokens_details") or {}
    outputs = usage.get("completion_tokens_details") or {}
    return {
        "input": int(usage.get("prompt_tokens") or 0),
        "cached_input": int(inputs.get("cached_tokens") or usage.get("cached_tokens") or 0),
        "cache_write": int(inputs.get("cache_write_tokens") or 0),
        "output": int(usage.get("completion_tokens") or 0),
        "reasoning": int(outputs.get("reasoning_tokens") or 0),
    }
