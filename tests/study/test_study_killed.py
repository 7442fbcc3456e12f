"""A study that is killed half-way: finished runs stay as they are, interrupted ones go on, and nothing outlives it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from autoenvbench.cli.main import main
from autoenvbench.record.ledger import Ledger
from autoenvbench.study.plan import make_plan
from autoenvbench.study.runs import standing_of

# The first of the two runs to come here ends; the other waits for a file, so that it is certainly under way at the kill.
AGENT = """
echo begun > {there}/$PPID
mkdir {there}/first 2> /dev/null || while [ ! -e {there}/go ]; do sleep 0.1; done
aeb submit
"""


def _wait(what, seconds=240):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_killed_study_keeps_what_is_finished_and_goes_on_with_the_rest(tmp_path, capsys):
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "agent.sh").write_text(AGENT.format(there=there))
    study = {"name": "killed", "episodes": 1, "seeds": [0, 1],
             "base": {"env": "ENPIRE/PushT-v0", "agent": f"command:bash {tmp_path / 'agent.sh'}", "budget": "10m"},
             "grid": {"regime": ["heuristic"]}}  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    line = ["study", str(path), "--yes", "--jobs", "2", "--sandbox", "none", "--out", str(tmp_path / "out")]
    killed = subprocess.Popen([sys.executable, "-m", "autoenvbench", *line], stderr=subprocess.DEVNULL)
    plan = make_plan(path, tmp_path / "out", sandbox="none", episodes=None)
    states = lambda: sorted(standing_of(run).state for run in plan.runs)  # noqa: E731
    _wait(lambda: states() == ["finished", "interrupted"] and len(list(there.iterdir())) == 3)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = {run.key: _ledger(standing_of(run).run_dir) for run in plan.runs}
    capsys.readouterr()

    (there / "go").touch()
    assert main(line) == 0
    said = capsys.readouterr()
    assert "1 research runs, 2 at a time (1 are finished, 1 go on where they were)" in said.err
    assert states() == ["finished", "finished"]
    for run in plan.runs:
        assert len(list(run.folder.glob("*/ledger.sqlite"))) == 1  # nothing was begun anew
        phases, digest = _ledger(standing_of(run).run_dir)
        done = before[run.key][0][-1] == "finished"
        assert phases.count("resumed") == (0 if done else 1)
        assert phases[: len(before[run.key][0])] == before[run.key][0]
        assert (digest == before[run.key][1]) == done
    rows = (tmp_path / "out/killed/runs.csv").read_text().splitlines()
    assert len(rows) == 3

    # All is there: nothing is asked, nothing is run, the same page is written.
    page = (tmp_path / "out/killed/index.html").read_bytes()
    assert main([*line[:2], "--jobs", "1", *line[5:]]) == 0
    assert (tmp_path / "out/killed/runs.csv").read_text().splitlines() == rows
    assert len((tmp_path / "out/killed/index.html").read_bytes()) == len(page)


def _ledger(run_dir: Path):
    ledger = Ledger(run_dir / "ledger.sqlite")
    try:
        return [e.payload.phase for e in ledger.events("run")], ledger.digest()
    finally:
        ledger.close()
