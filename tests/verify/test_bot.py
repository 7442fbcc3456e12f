"""The workflow that looks at pull requests: a stranger's files are data to it, and it has nothing that they could take."""

import re
from pathlib import Path

import yaml

WORKFLOW = Path(__file__).parents[2] / ".github/workflows/submission.yml"


def test_a_pull_request_meets_no_secret_and_no_code_of_its_own():
    text = WORKFLOW.read_text()
    flow = yaml.safe_load(text)
    assert set(flow[True]) == {"pull_request"}  # never pull_request_target; (YAML reads `on` as true)
    assert flow["permissions"] == {"contents": "read"}
    assert "secrets" not in re.sub(r"#.*", "", text)
    (job,) = flow["jobs"].values()
    assert "permissions" not in job
    uses = [step for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]) for step in uses)
    checkouts = [step["with"] for step in uses if "checkout" in step["uses"]]
    assert all(with_["persist-credentials"] is False for with_ in checkouts)
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    # What is installed and run is the base; what a title, branch or file is called never becomes a command.
    assert "pip install ./base" in scripts[0]
    assert not any("${{" in script for script in scripts)
    assert not re.search(r"(pip|python|bash|sh|source) [^\n]*submitted", "\n".join(scripts))
