"""`codex`: OpenAI's Codex CLI, headless.

Its own sandbox and approvals are switched off because it runs inside ours; it reaches its model only through the run's
gateway and holds a dummy key.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from autoenvbench.agents.base import Launch
from autoenvbench.config import RunConfig

DEFAULT_MODEL = "gpt-5.5"
_NATIVE = "node_modules/@openai/codex-linux-*/vendor/*/bin/codex"


@functools.cache
def find_codex() -> Path | None:
    """The native binary behind `codex`: from AUTOENVBENCH_CODEX, ./.tools, or beside the npm package on the PATH."""
    if given := os.environ.get("AUTOENVBENCH_CODEX"):
        return Path(given) if Path(given).is_file() else None
    roots = [Path.cwd() / ".tools", Path(__file__).parents[2] / ".tools"]
    if on_path := shutil.which("codex"):
        script = Path(on_path).resolve()
        if script.suffix != ".js":
            return script
        # .../node_modules/@openai/codex/bin/codex.js; npm nests the platform package inside or puts it beside
        roots += [script.parents[1], script.parents[4]]
    for root in roots:
        for binary in sorted(root.glob(_NATIVE)):
            return binary.resolve()
    return None


class Codex:
    name = "codex"
    needs_model = True
    trusted = False
    api_key = "OPENAI_API_KEY"
    provider = "https://api.openai.com/v1"

    def problem(self) -> str | None:
        binary = find_codex()
        if binary is None:
            return "the Codex CLI is not installed; type: npm install --prefix .tools @openai/codex"
        # A CLI can answer --version and do nothing, so ask for the command and flag that a run needs.
        done = subprocess.run([binary, "exec", "--help"], capture_output=True, text=True, timeout=30)
        if "--json" not in done.stdout:
            return f"{binary} has no `exec --json`; type: npm install --prefix .tools @openai/codex@latest"
        return None

    def version(self) -> str:
        binary = find_codex()
        assert binary is not None
        return subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30).stdout.strip()

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        binary = find_codex()
        assert binary is not None
        flags = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        resume = ["resume", session] if session else []
        return Launch(
            argv=[str(binary), "exec", *resume, *flags, prompt],
            env={"AUTOENVBENCH_MODEL_KEY": "dummy"},
            read_only=[binary.parents[1]],  # the platform package: its bundled rg is beside it
            home_files={".codex/config.toml": _CONFIG.format(model=config.model or DEFAULT_MODEL, gateway="{gateway}")},
        )

    def session(self, event: Mapping[str, object]) -> str | None:
        return str(event["thread_id"]) if event.get("type") == "thread.started" else None


_CONFIG = """\
model = "{model}"
model_provider = "gateway"
check_for_update_on_startup = false
web_search = "disabled"

[model_providers.gateway]
name = "gateway"
base_url = "{gateway}/v1"
env_key = "AUTOENVBENCH_MODEL_KEY"
wire_api = "responses"
request_max_retries = 4
stream_max_retries = 5
stream_idle_timeout_ms = 900000

[analytics]
enabled = false

[shell_environment_policy]
inherit = "all"
exclude = ["AUTOENVBENCH_MODEL_KEY"]
"""
