"""A new agent is one class and one call of `register`: this file adds one, and takes it through a whole run."""

import json
import sys

import pytest

from autoenvbench.agents.base import CliAgent, Launch, json_lines
from autoenvbench.agents.registry import AGENTS, make_agent, register
from autoenvbench.cli.printing import print_agents
from autoenvbench.publish.leaderboard import check_run
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.run import research

#: The new agent's program: a model call, and at the first launch an idea, an evaluation and a submission.
PROGRAM = """
import json, os, pathlib, subprocess, sys, urllib.request
prompt, session = sys.argv[1:]
with open("prompts", "a") as file:
    print(json.dumps({"prompt": prompt, "session": session}), file=file)
print(json.dumps({"type": "hello", "conversation": session or "c-7"}), flush=True)
body = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": prompt}]}).encode()
url = os.environ["MY_URL"] + "/v1/chat/completions"
answer = json.loads(urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read())
with (pathlib.Path.home() / "usage.jsonl").open("a") as file:
    print(json.dumps(answer["usage"]), file=file)
if not session:
    subprocess.run(["aeb", "idea", "Leave the starter as it is"], check=True)
    subprocess.run(["aeb", "evaluate", "-n", "2"], check=True)
    subprocess.run(["aeb", "submit"], check=True)
"""


class MyCli(CliAgent):
    """An agent of nobody's yet."""

    name = "my-cli"
    api_key, provider = "MY_API_KEY", "https://api.example.invalid/v1"
    install = "pip install my-cli"
    needs = ("-c cmd",)
    default_model = "m-1"

    def command(self):
        return [sys.executable]

    def launch(self, config, prompt, session):
        return Launch([*self.command(), "-c", PROGRAM, prompt, session or ""], env={"MY_URL": "{gateway}"})

    def session(self, event):
        return event.get("conversation") if event.get("type") == "hello" else None

    def reported_usage(self, home):
        rows = list(json_lines([home / "usage.jsonl"]))
        return {"input": sum(r["prompt_tokens"] for r in rows), "output": sum(r["completion_tokens"] for r in rows)}


@pytest.fixture
def registered():
    register("my-cli", MyCli)
    yield
    del AGENTS["my-cli"]


@pytest.mark.cage
def test_a_new_agent_needs_no_other_file(tmp_path, registered, capsys):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"steps": [{"text": "done", "usage": {"input": 40, "output": 2}}]}))
    config = RunConfig(agent="my-cli", env="ENPIRE/PushT-v0", budget_s=60, held_out=1, nudges=2, gateway="replay",
                       replay=str(script))  # fmt: skip
    result = Result.model_validate(research(config, tmp_path / "runs"))
    (run,) = (tmp_path / "runs").iterdir()
    assert (result.agent.name, result.agent.model, result.stopped_by) == ("my-cli", "m-1", "gave_up")
    assert result.agent.version.startswith("Python 3")
    assert (result.answer.how, result.ideas) == ("submitted", 1)
    assert check_run(run)[0] == result

    folder, ledger = run / "agents/my-cli-1", Ledger(run / "ledger.sqlite")
    launches = [json.loads(line) for line in (folder / "workspace/prompts").read_text().splitlines()]
    assert [line["session"] for line in launches] == ["", "c-7", "c-7"]  # sent back to work until two came to nothing
    assert launches[1]["prompt"].startswith("You stopped, but the run goes on")
    assert result.tokens.calls == 3
    assert not any(
        "own count of tokens" in e.payload.text for e in ledger.events("note")
    )  # it agrees with the gateway's
    assert {e.agent for e in ledger.events("tokens", "idea", "agent")} == {"my-cli-1"}

    print_agents(as_json=True)
    assert "my-cli" in {row["name"] for row in json.loads(capsys.readouterr().out)}


def test_a_name_is_given_once_and_names_a_folder():
    with pytest.raises(ValueError, match="there is an agent 'codex' already"):
        register("codex", MyCli)
    with pytest.raises(ValueError, match="letters, digits and dashes"):
        register("../up", MyCli)
    assert make_agent("codex").name == "codex"
