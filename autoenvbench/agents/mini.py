"""`mini`: mini-swe-agent, for any model that LiteLLM knows or any OpenAI-compatible server (vLLM, llama.cpp, ...)."""

from __future__ import annotations

import sys
from pathlib import Path

from autoenvbench.agents.base import CliAgent, Launch, find_tool
from autoenvbench.record.run_config import RunConfig


class Mini(CliAgent):
    """Speaks what LiteLLM speaks to the model's provider; a launch is a session."""

    name = "mini"
    api_key = "OPENAI_API_KEY"
    provider = "https://api.openai.com/v1"
    install = "python3 -m venv .tools/mini && .tools/mini/bin/pip install mini-swe-agent mcp"
    needs = ("--exit-immediately", "--task")
    resumes = False  # it keeps no sessions
    default_model = "openai/gpt-5.5"

    def command(self) -> list[str] | None:
        """Its script in .tools, or beside the interpreter."""
        beside = Path(sys.prefix) / "bin" / "mini"
        script = find_tool("AUTOENVBENCH_MINI", ["mini/bin/mini"]) or (beside if beside.is_file() else None)
        return [str(script)] if script else None

    def version(self) -> str:
        """From the package's metadata: it has no --version."""
        command = self.command()
        found = sorted(Path(command[0]).parents[1].glob("lib/*/site-packages/mini_swe_agent-*")) if command else []
        return f"mini-swe-agent {found[0].name.split('-')[1]}" if found else "not installed"

    def models(self, config: RunConfig) -> tuple[str, ...]:
        """LiteLLM keeps the provider's name ("openai/gpt-5.5") to itself."""
        model = config.model or self.default_model
        return (model.partition("/")[2] or model,)

    def dialect(self, config: RunConfig) -> str:
        """As LiteLLM chooses it by the provider in the model's name."""
        return "messages" if (config.model or self.default_model).startswith("anthropic/") else "chat"

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """`mini --task`; there is never a session to continue."""
        command = self.command()
        assert command
        model = config.model or self.default_model
        flags = ["--yolo", "--exit-immediately", "--cost-limit", "0", "--output", "{home}/trajectory.json"]
        settings = ["-c", "mini.yaml", "-c", "agent.step_limit=0"]
        settings += ["-c", "model.model_kwargs.timeout=86400"]  # its calls are held while the gateway waits
        if config.effort:
            settings += ["-c", f"model.model_kwargs.reasoning_effort={config.effort}"]
        return Launch(
            argv=[*command, "--model", model, "--task", prompt, *flags, *settings, *config.agent_args],
            env={
                "OPENAI_API_KEY": "dummy", "OPENAI_API_BASE": "{gateway}/v1", "OPENAI_BASE_URL": "{gateway}/v1",
                "ANTHROPIC_API_KEY": "dummy", "ANTHROPIC_API_BASE": "{gateway}",
                "MSWEA_CONFIGURED": "true", "MSWEA_SILENT_STARTUP": "1", "MSWEA_COST_TRACKING": "ignore_errors",
                "MSWEA_GLOBAL_CONFIG_DIR": "{home}/.mini", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
            read_only=[Path(command[0]).parents[1]],
        )  # fmt: skip
