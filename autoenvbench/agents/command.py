"""`command:PROGRAM ...`: any program that works in the workspace, and `replay:SCRIPT`: shell commands from a file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from autoenvbench.agents.base import BaseAgent, Launch
from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import python_path


class Command(BaseAgent):
    """Runs in the cage like any agent: `aeb` on the PATH, the brief in TASK.md, the prompt in AEB_PROMPT. With
    --replay there is a model's gateway at AEB_GATEWAY."""

    name = "command"
    needs_model = False
    resumes = False

    def __init__(self, line: str) -> None:
        try:
            self._argv = shlex.split(line)
        except ValueError as error:
            raise UserError(f"cannot read the command {line!r}: {error}") from None
        if not self._argv:
            raise UserError("say what to run, like --agent 'command:python3 research.py'")

    def problem(self) -> str | None:
        """None: whether the program exists is only known inside the cage, and its failure is reported."""
        return None

    def version(self) -> str:
        """The command line itself."""
        return shlex.join(self._argv)[:200]

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """The program with the run's --agent-args."""
        return Launch(argv=[*self._argv, *config.agent_args], env={"AEB_PROMPT": prompt, "AEB_GATEWAY": "{gateway}"})


class Replay(BaseAgent):
    """Runs the `shell` steps of a script one after the other, with no model and no CLI: the shortest repeatable agent."""

    name = "replay"
    needs_model = False
    resumes = False

    def __init__(self, script: str) -> None:
        try:
            steps = json.loads(Path(script).read_text())["steps"]
            self._commands = [str(step["shell"]) for step in steps if "shell" in step]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'cannot read the script {script!r}: {error!r}; expected {{"steps": [{{"shell": "..."}}]}}'
            ) from None
        self._name = Path(script).name

    def problem(self) -> str | None:
        """None: a script that can be read can be run."""
        return None

    def version(self) -> str:
        """The script's file name."""
        return self._name

    def launch(self, config: RunConfig, prompt: str, session: str | None) -> Launch:
        """All commands in one program, each in a shell of its own."""
        runner = "import json, subprocess, sys\nfor c in json.loads(sys.argv[1]): subprocess.run(['bash', '-c', c])"
        return Launch([python_path(), "-I", "-c", runner, json.dumps(self._commands)])
