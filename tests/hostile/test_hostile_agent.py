"""A hostile agent in its cage: every attempt of attempts/ in one run, then two bombs in runs of their own."""

import hashlib
import http.server
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import enpire_envs
import pytest

import autoenvbench
from autoenvbench.agents.base import Launch
from autoenvbench.agents.process import AgentProcess
from autoenvbench.errors import RUN_VOID
from autoenvbench.publish.leaderboard import check_run
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.sandbox.limits import Limits

pytestmark = pytest.mark.cage
SANDBOX = os.environ.get("AUTOENVBENCH_TEST_SANDBOX", "bwrap")  # or docker
#: In the order in which they are tried: `kit` has what all need, `run` begins.
PARTS = ("kit", "find_secrets", "change_the_judge", "plant_code", "forge", "reach_out", "use_up", "run")
BUDGET = 120  # s, which all attempts are tried in also where the machine is busy
PACKAGES = [Path(m.__file__).parent for m in (autoenvbench, enpire_envs)]


def program():
    """The files of attempts/ as one program: what they import of each other is in it already."""
    parts = (Path(__file__).with_name("attempts") / f"{part}.py" for part in PARTS)
    return "\n".join(re.sub(r"^from kit import .*$", "", part.read_text(), flags=re.MULTILINE) for part in parts)


def _load():
    namespace = {"__name__": "attempts"}
    exec(compile(program(), "attempts", "exec"), namespace)
    return namespace["ATTEMPTS"]


ATTEMPTS = _load()


def start(agent, out, budget, *more, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", f"command:{agent}", "--budget", budget, "--held-out", "3",
         "--out", str(out), "--sandbox", SANDBOX, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env},
    )  # fmt: skip


def digest():
    sha = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                sha.update(str(path).encode() + path.read_bytes())
    return sha.hexdigest()


def inside(run):
    """Processes of this machine that work below the run's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(run) in os.readlink(entry / "cwd"):
                found.append(entry.name)
        except OSError:
            continue
    return found


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a secret of the host")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run with all attempts; yields (folder, evidence, output, what was before)."""
    out = tmp_path_factory.mktemp("hostile")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bystander = subprocess.Popen(["sleep", "300"])
    marker = f"{tempfile.gettempdir()}/hostile-{uuid.uuid4().hex}"
    secret = secrets.token_bytes(32)
    key = f"sk-planted-{uuid.uuid4().hex}"
    host = {"port": server.server_address[1], "marker": marker, "pid": bystander.pid, "planted_key": key,
            "run_dir": str(out), "secret_sha256": hashlib.sha256(secret).hexdigest()}  # fmt: skip
    before = digest()
    agent = shlex.join([sys.executable, "-c", program(), json.dumps(host)])
    process = start(agent, out, f"{BUDGET}s", "--held-out-secret", secret.hex(), OPENAI_API_KEY=key)
    try:
        said, _ = process.communicate(timeout=310)
        (folder,) = out.iterdir()
        evidence = json.loads((folder / "agents/command-1/home/evidence.json").read_text())
        yield {"folder": folder, "evidence": evidence, "said": said, "before": before, "marker": marker,
               "bystander": bystander, "code": process.returncode}  # fmt: skip
    finally:
        if process.poll() is None:
            process.kill()
        bystander.kill()
        bystander.wait()
        server.shutdown()
        server.server_close()


@pytest.mark.timeout(340)
@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_fails(run, name):
    assert name in run["evidence"], f"not tried within the budget; it said: {run['said'][-2000:]}"
    assert run["evidence"][name] is None


def test_every_attempt_was_really_made(run):
    """An attempt that broke down before it tried anything proves nothing."""
    assert {key: text for key, text in run["evidence"].items() if key.endswith("/error")} == {}


def test_nothing_of_the_host_changed(run):
    assert digest() == run["before"]
    assert run["bystander"].poll() is None
    marker = Path(run["marker"])
    assert [p.name for p in marker.parent.glob(marker.name + "*")] == []


def test_nothing_outlives_the_deadline(run):
    assert run["code"] == 0, run["said"][-2000:]
    beat = run["folder"] / "agents/command-1/workspace/beat"
    assert beat.exists()
    events = list(Ledger(run["folder"] / "ledger.sqlite").events("run"))
    stopped = next(e for e in events if e.payload.phase == "agents_stopped")
    assert beat.stat().st_mtime <= stopped.t_wall
    assert stopped.t_run <= BUDGET + 15
    assert inside(run["folder"]) == []


def test_the_result_is_borne_out_and_worth_nothing(run):
    """No attempt bought a success; what it did is on record."""
    folder = run["folder"]
    result = Result.model_validate_json((folder / "result.json").read_text())
    assert check_run(folder)[0] == result
    assert result.held_out.successes == 0
    ledger = Ledger(folder / "ledger.sqlite")
    assert not any(e.payload.success for e in ledger.events("episode"))
    subjects = {e.payload.subject for e in ledger.events("commit")}
    assert {"hooks", "config", "submodule", "links", "start-up"} <= subjects
    assert [e.payload.title for e in ledger.events("idea")] == []


def bomb(tmp_path, program, budget, *more):
    """Why the agent ended, and its workspace."""
    agent = shlex.join([sys.executable, "-c", program])
    process = start(agent, tmp_path / "runs", budget, *more)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == RUN_VOID, said  # an agent that only throws bombs never worked
    (folder,) = (tmp_path / "runs").iterdir()
    ended = [e.payload.reason for e in Ledger(folder / "ledger.sqlite").events("agent") if e.payload.phase == "exited"]
    assert inside(folder) == []
    return ended[0], folder / "agents/command-1/workspace"


def test_a_fork_bomb_is_ended(tmp_path):
    """By the watch from outside, or (for users that RLIMIT_NPROC binds) by the kernel at the same number."""
    program = (
        "import os, time\n"
        "born = 0\n"
        "for _ in range(1600):\n"
        "    try:\n"
        "        if os.fork() == 0: time.sleep(100); os._exit(0)\n"
        "        born += 1\n"
        "    except OSError: time.sleep(0.01)\n"
        "open('born', 'w').write(str(born))\n"
        "time.sleep(100)\n"
    )
    reason, workspace = bomb(tmp_path, program, "30s")
    if not reason.startswith("process_limit"):
        assert reason == "deadline"
        assert int((workspace / "born").read_text()) <= 1024


def test_a_memory_bomb_is_ended(tmp_path):
    program = "import time\nhold = []\nfor _ in range(200): hold.append(bytearray(8 << 20)); time.sleep(0.01)\ntime.sleep(100)\n"
    reason, _ = bomb(tmp_path, program, "40s", "--agent-memory", "0.5")
    assert reason.startswith("memory_limit")


def test_a_disk_bomb_is_ended(tmp_path):
    """In a real cage: one file cannot pass the limit at all, and many files together are noticed."""
    for name in ("agent/workspace/data", "agent/home", "data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "station.sock").touch()
    (tmp_path / "station.stop").touch()
    program = (
        "import time\n"
        "try:\n"
        "    with open('big', 'wb') as file:\n"
        "        for _ in range(10): file.write(bytes(1 << 20)); file.flush()\n"
        "except OSError as error: open('refused', 'w').write(str(error))\n"
        "for k in range(2): open(f'more{k}', 'wb').write(bytes(2 << 20))\n"
        "open('written', 'w').close()\n"
        "time.sleep(60)\n"
    )
    limits = Limits(memory=1 << 30, processes=100, disk=4 << 20)
    launch = Launch([sys.executable, "-I", "-c", program])
    process = AgentProcess(
        launch, tmp_path / "agent", tmp_path / "data", SANDBOX, "open", tmp_path / "station.sock", "token", None, limits
    )
    process.start()
    try:
        workspace = tmp_path / "agent/workspace"
        for _ in range(200):
            if (workspace / "written").exists():
                break
            time.sleep(0.1)
        assert "too large" in (workspace / "refused").read_text()
        assert (workspace / "big").stat().st_size <= limits.disk
        assert (process.overfull() or "").startswith("disk_limit")
        assert process.broken_limit() is None
    finally:
        process.stop(grace=0.0)
    (workspace / "big").unlink()
    (workspace / "more0").unlink()
    assert limits.overfull([workspace, tmp_path / "agent/home"]) is None


def test_the_table_in_the_readme_lists_every_attempt():
    table = (Path(__file__).parent / "README.md").read_text()
    for function in ATTEMPTS.values():
        what, how = (line.strip() for line in function.__doc__.strip().splitlines()[:2])
        assert f"| {what} | {how} |" in table, function.__name__
