"""The workflow that looks at pull requests: a stranger's files are data to it, and it has nothing that they could take."""

import os
import re
import subprocess
from pathlib import Path

import pytest
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


BROUGHT = {
    "a row and its archive": ("touch submissions/b.json archives/b.tar", True),
    "a row less": ("git rm -q submissions/a.json", False),
    "a row under another name": ("git mv submissions/a.json submissions/b.json", False),
    "a copy in its place": ("git mv submissions/a.json archives/a.tar", False),
    "another row in its place": ("echo edited >> submissions/a.json", False),
    "a link in its place": ("ln -sf ../x submissions/a.json", False),
    "a record": ("mkdir verifications; touch verifications/a.json", False),
    "a file beside": ("touch submissions/b.json ../code.py", False),
    "a name of two lines": ("touch $'submissions/b.json\\nA\\tx.json'", False),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_a_pull_request_adds_rows_and_archives_and_nothing_else(tmp_path, name):
    """The guard itself, on a repository with one row."""
    change, passes = BROUGHT[name]
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    guard, _, rest = job["steps"][-1]["run"].partition("mkdir -p board")
    assert "changed.txt" in rest
    git = "git -c user.name=t -c user.email=t@t.invalid"
    script = f"""set -eu
    git init -q submitted; cd submitted; mkdir -p leaderboards/submissions leaderboards/archives; cd leaderboards
    seq 100 > submissions/a.json; git add -A ..; {git} commit -qm base; git rev-parse HEAD > ../../base
    {change}
    git add -A ..; {git} commit -qm change
    """
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True)
    env = {**os.environ, "BASE": (tmp_path / "base").read_text().strip()}
    done = subprocess.run(["bash", "-c", guard], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode == 0) == passes, done
    if passes:
        changed = (tmp_path / "changed.txt").read_text().split()
        assert changed == ["leaderboards/archives/b.tar", "leaderboards/submissions/b.json"]
