"""`codex`: OpenAI's Codex CLI, headless.

Its own sandbox and approvals are switched off because it runs inside ours; it reaches its model only through the run's
gateway and holds a dummy key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoenvbench.agents.base import CliAgent, Launch, find_tool, json_lines
from autoenvbench.record.run_config import RunConfig


class Codex(CliAgent):
    """Speaks the Responses protocol and keeps its sessions below ~/.codex."""

    name = "codex"
    api_key = "OPENAI_API_KEY"
    provider = "https://api.openai.com/v1"
    install = "npm install --prefix .tools @openai/codex"
    needs = ("--json",)
    help_command = ("exec", "--help")
    default_model = "gpt-5.5"

    def command(self) -> list[str] | None:
        """The native binary behind the npm package's script: it needs no Node."""
        packages = (
            "node_modules/@openai/codex-linux-*",
            "node_modules/@openai/codex/node_modules/@openai/codex-linux-*",
        )
        binary = find_tool("AUTOENVBENCH_CODEX", [f"{p}/vendor/*/bin/codex" for p in packages], "codex")
        return [str(binary)] if binary else None

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """`codex exec`, or `codex exec resume SESSION`, with a provider that is our gateway."""
        command = self.command()
        assert command
        flags = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", *config.agent_args]
        resume = ["resume", session] if session else []
        settings = _CONFIG.replace("{model}", config.model or self.default_model)
        settings = settings.replace("{search}", "live" if config.allow_hosted_tools else "disabled")
        effort = f'model_reasoning_effort = "{config.effort}"\n' if config.effort else ""
        return Launch(
            argv=[*command, "exec", *resume, *flags, prompt],
            env={"AUTOENVBENCH_MODEL_KEY": "dummy"},
            read_only=[Path(command[0]).parents[1]],  # the platform package: its bundled rg is beside it
            home_files={".codex/config.toml": effort + settings},
        )

    def session(self, event: Mapping[str, Any]) -> str | None:
        """The thread's id, from its first event."""
        return str(event["thread_id"]) if event.get("type") == "thread.started" and "thread_id" in event else None

    def error(self, event: Mapping[str, Any]) -> str | None:
        """The message of a failed turn, or of an error of the CLI itself."""
        error = event.get("error") if event.get("type") == "turn.failed" else event
        if event.get("type") not in ("turn.failed", "error") or not isinstance(error, dict):
            return None
        return str(error.get("message") or "") or None

    def dialect(self, config: RunConfig) -> str:
        """The only protocol that it speaks."""
        return "responses"

    def reported_usage(self, home: Path) -> dict[str, int] | None:
        """Per response, once each: turn totals leave out what was killed, and repeat on resumption."""
        calls = {}
        for row in json_lines(sorted(home.glob(".codex/sessions/**/*.jsonl"))):
            record = row.get("payload", row)
            if "token_usage_record" in (row.get("type"), record.get("type")):
                calls[record["response_id"]] = record["usage"]
        names = {"input": "input_tokens", "cached_input": "cached_input_tokens", "output": "output_tokens"}
        return {ours: sum(int(u.get(theirs) or 0) for u in calls.values()) for ours, theirs in names.items()}


_CONFIG = """\
model = "{model}"
model_provider = "gateway"
check_for_update_on_startup = false
web_search = "{search}"

[model_providers.gateway]
name = "gateway"
base_url = "{gateway}/v1"
env_key = "AUTOENVBENCH_MODEL_KEY"
wire_api = "responses"
request_max_retries = 4
stream_max_retries = 5
stream_idle_timeout_ms = 86400000  # the gateway knows when a provider is dead

[analytics]
enabled = false

[shell_environment_policy]
inherit = "all"
exclude = ["AUTOENVBENCH_MODEL_KEY"]
"""
