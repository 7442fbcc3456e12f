"""What of an agent's request may reach its provider: the run's model, tools that the agent runs itself, and nothing that
reaches beyond the conversation. Everything else is refused, or dropped where the answer does not depend on it.

Why: a provider does whatever comes with the user's key. Hosted tools (web search, code execution, remote MCP, file
stores) and addresses that the provider fetches are ways out of the cage; stored answers and files are ways from one run
to the next; other models, organisations, service tiers and background calls are spent on the user's account.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoenvbench.gateway.dialect import Dialect

ALLOWED_HEADERS = {"accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta", "originator",
           "session-id", "session_id", "thread-id", "conversation_id"}  # fmt: skip
#: Betas of Anthropic's that change how a model answers, not what it can reach.
ALLOWED_BETAS = ("claude-code-*", "interleaved-thinking-*", "thinking-token-count-*", "redact-thinking-*", "context-management-*",
         "prompt-caching-*", "extended-cache-ttl-*", "context-1m-*", "effort-*", "fine-grained-tool-streaming-*",
         "token-efficient-tools-*", "structured-outputs-*", "output-128k-*", "adaptive-thinking-*", "advanced-tool-use-*",
         "tool-examples-*", "model-context-window-exceeded-*", "compact-*")  # fmt: skip

_SAMPLING = {"model", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "temperature", "top_p",
             "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty", "top_logprobs",
             "reasoning", "prompt_cache_key", "prompt_cache_retention", "context_management"}  # fmt: skip
#: Fields of a request that are forwarded, by dialect. Fields that are neither here nor in REFUSED_FIELDS are dropped.
ALLOWED_FIELDS = {
    "responses": _SAMPLING | {"input", "instructions", "include", "text", "max_output_tokens", "max_tool_calls", "truncation"},
    "chat": _SAMPLING | {"messages", "functions", "function_call", "max_tokens", "max_completion_tokens", "n", "stop",
                         "logit_bias", "logprobs", "response_format", "reasoning_effort", "thinking", "enable_thinking",
                         "thinking_budget", "chat_template_kwargs", "verbosity", "prediction", "modalities"},
    "messages": _SAMPLING | {"messages", "system", "max_tokens", "stop_sequences", "thinking", "output_config",
                             "output_format", "cache_control"},
}  # fmt: skip
#: Fields on which the answer depends and that reach beyond the conversation: the call is refused.
REFUSED_FIELDS = {"previous_response_id", "conversation", "prompt", "background", "web_search_options", "search_parameters",
             "enable_search", "plugins", "models", "fallbacks", "mcp_servers", "container"}  # fmt: skip

#: Types of tools that the agent itself runs, by dialect; "" is a tool without a type.
CLIENT_TOOLS = {
    "responses": ("function", "custom", "local_shell", "apply_patch"),
    "chat": ("function", "custom"),
    "messages": ("", "custom", "bash_*", "text_editor_*", "memory_*"),
}
_URL_FIELDS = {"image_url", "video_url", "audio_url", "file_url"}
_STORED_TYPES = {"item_reference", "container_upload"}


class Refused(Exception):
    """A call that is not forwarded; the text names what in it is not allowed."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What is forwarded of a request, and the names of the headers, fields and queries that were dropped."""

    body: dict[str, Any]
    headers: dict[str, str]
    query: str
    dropped: list[str]


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of one run.

    Attributes:
        models: the only models that may be asked, or None for any (a script's).
        hosted_tools: whether the provider's own tools are open (--allow-hosted-tools).
    """

    models: Collection[str] | None = None
    hosted_tools: bool = False

    def admit(self, dialect: Dialect, body: Mapping[str, Any], headers: Mapping[str, str], query: str) -> Admitted:
        """What to forward of a request. Raises Refused."""
        if self.models is not None and body.get("model") not in list(self.models):  # it may be anything
            raise Refused(f"model {str(body.get('model'))[:80]!r}; this run's are {', '.join(sorted(self.models))}")
        sent, dropped = dict(body), []
        if not self.hosted_tools:
            for name in sorted(REFUSED_FIELDS & {key for key, value in body.items() if value not in (None, False)}):
                raise Refused(f"field {name!r}")
            if tool := next(_hosted_tools(dialect.name, body.get("tools")), None):
                raise Refused(f"provider-hosted tool {tool[:80]!r}")
            if found := _outside_reference(dialect.name, [body.get("input"), body.get("messages"), body.get("system")]):
                raise Refused(found)
            dropped += [key for key in sent if key not in ALLOWED_FIELDS[dialect.name] and key != "store"]
            for key in dropped:
                del sent[key]
            if dialect.name == "responses" or "store" in body:
                sent["store"] = False
        forwarded: dict[str, str] = {}
        for name, value in headers.items():
            if name.lower() not in ALLOWED_HEADERS:
                dropped.append(name)
            elif name.lower() == "anthropic-beta" and not self.hosted_tools:
                betas = [beta.strip() for beta in value.split(",")]
                allowed = [beta for beta in betas if any(fnmatch.fnmatchcase(beta, known) for known in ALLOWED_BETAS)]
                dropped += [beta for beta in betas if beta not in allowed]
                if allowed:
                    forwarded[name.lower()] = ",".join(allowed)
            else:
                forwarded[name.lower()] = value
        if query not in ("", "beta=true"):
            dropped.append(f"?{query}")
        return Admitted(sent, forwarded, "beta=true" if query == "beta=true" else "", [name[:80] for name in dropped])


def _hosted_tools(dialect: str, tools: Any) -> Iterator[str]:
    """Tools that are not the agent's own, by type (or by what they are instead of a tool)."""
    if tools is None:
        return
    for tool in tools if isinstance(tools, list) else [tools]:
        if not isinstance(tool, dict):
            yield str(tool)
            continue
        kind = str(tool.get("type") or "")
        if kind == "namespace":
            yield from _hosted_tools(dialect, tool.get("tools"))
        elif kind == "tool_search" and dialect == "responses":
            if tool.get("execution") != "client":
                yield kind
        elif not any(fnmatch.fnmatchcase(kind, known) for known in CLIENT_TOOLS[dialect]):
            yield kind or "without a type"


def _outside_reference(dialect: str, conversation: Any) -> str | None:
    """What in a conversation the provider would fetch, or take from a store of its own, or run."""
    pending = [conversation]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            kind = str(node.get("type") or "")
            if kind in _STORED_TYPES:
                return f"{kind!r} in the conversation"
            if kind == "tool_use" or kind.endswith("_call"):
                continue  # arguments that the model chose for a tool of the agent's
            if "tools" in node and (tool := next(_hosted_tools(dialect, node["tools"]), None)):
                return f"provider-hosted tool {tool[:80]!r} in the conversation"
            if node.get("file_id"):
                return "a file of the provider's in the conversation"
            for key in _URL_FIELDS & node.keys():
                address = node[key].get("url") if isinstance(node[key], dict) else node[key]
                if address is not None and not str(address).startswith("data:"):
                    return f"an address that the provider would fetch ({key})"
            source = node.get("source")
            if isinstance(source, dict) and source.get("type") in ("url", "file"):
                return f"an address that the provider would fetch (source of type {source['type']})"
            pending += [value for value in node.values() if isinstance(value, dict | list)]
    return None
