"""`claude-code`: Anthropic's Claude Code CLI, headless, permissions off because it runs inside our cage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoenvbench.agents.base import CliAgent, Launch, find_tool, json_lines
from autoenvbench.record.run_config import RunConfig

#: What it asks for summaries and for its quick subagents.
SMALL_MODEL = "claude-haiku-4-5"
_A_DAY_MS = "86400000"  # the gateway waits for the provider, and knows when it is dead


class ClaudeCode(CliAgent):
    """Speaks the Messages protocol and keeps its sessions below ~/.claude."""

    name = "claude-code"
    api_key = "ANTHROPIC_API_KEY"
    provider = "https://api.anthropic.com"
    install = "npm install --prefix .tools @anthropic-ai/claude-code"
    needs = ("--output-format", "--dangerously-skip-permissions")
    default_model = "claude-opus-4-7"

    def command(self) -> list[str] | None:
        """The native binary of its npm package."""
        patterns = ("node_modules/@anthropic-ai/claude-code/bin/claude.exe", "claude.exe", "claude")
        binary = find_tool("AUTOENVBENCH_CLAUDE", patterns, "claude")
        return [str(binary)] if binary else None

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """`claude -p`, with --resume for a session, and every model alias set to the run's model."""
        command = self.command()
        assert command
        flags = ["--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
        flags += [
            "--model",
            config.model or self.default_model,
            *(["--effort", config.effort] if config.effort else []),
        ]
        model = config.model or self.default_model
        resume = ["--resume", session] if session else []
        hosted = [] if config.allow_hosted_tools else ["--disallowedTools", "WebSearch"]  # the provider's, not its own
        aliases = {f"ANTHROPIC_DEFAULT_{size}_MODEL": model for size in ("OPUS", "SONNET")}
        switches = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY",
                    "DISABLE_ERROR_REPORTING", "IS_SANDBOX")  # fmt: skip
        return Launch(
            argv=[*command, "-p", prompt, *flags, *hosted, *resume, *config.agent_args],
            env={"ANTHROPIC_BASE_URL": "{gateway}", "ANTHROPIC_API_KEY": "dummy", "CLAUDE_CONFIG_DIR": "{home}/.claude",
                 "ANTHROPIC_DEFAULT_HAIKU_MODEL": SMALL_MODEL, **aliases,
                 "CLAUDE_CODE_MAX_RETRIES": "3",  # what passes by waiting, the gateway waits for
                 "API_TIMEOUT_MS": _A_DAY_MS, "CLAUDE_STREAM_IDLE_TIMEOUT_MS": _A_DAY_MS,
                 **dict.fromkeys(switches, "1")},
            read_only=[Path(command[0]).parent],
        )  # fmt: skip

    def session(self, event: Mapping[str, Any]) -> str | None:
        """From its first system event."""
        return str(event["session_id"]) if event.get("type") == "system" and "session_id" in event else None

    def error(self, event: Mapping[str, Any]) -> str | None:
        """What its closing result says, if that is an error."""
        if event.get("type") != "result" or not event.get("is_error"):
            return None
        return str(event.get("result") or event.get("errors") or event.get("subtype") or "") or None

    def models(self, config: RunConfig) -> tuple[str, ...]:
        """The run's, and the small one that it asks for summaries."""
        return (config.model or self.default_model).removesuffix("[1m]"), SMALL_MODEL  # it asks for 1 M in a header

    def dialect(self, config: RunConfig) -> str:
        """The only protocol that it speaks."""
        return "messages"

    def reported_usage(self, home: Path) -> dict[str, int] | None:
        """The last usage of each message: earlier pieces of one carry the first token only."""
        last = {}
        for row in json_lines(sorted(home.glob(".claude/projects/**/*.jsonl"))):
            message = row.get("message")
            if row.get("type") == "assistant" and isinstance(message, dict) and message.get("model") != "<synthetic>":
                last[message.get("id")] = message.get("usage") or {}
        read, write = "cache_read_input_tokens", "cache_creation_input_tokens"
        names = {"input": ("input_tokens", read, write), "cached_input": (read,), "output": ("output_tokens",)}
        return {ours: sum(int(u.get(t) or 0) for u in last.values() for t in theirs) for ours, theirs in names.items()}
