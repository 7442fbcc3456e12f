"""Hostile policies, each run as a station runs them. What a policy got hold of it raises as an exception, which the ledger
keeps; what it must not have is asserted there."""

import os
import re
import tempfile
import uuid
from pathlib import Path

import pytest

from autoenvbench.study.score import score

pytestmark = pytest.mark.cage
SANDBOX = os.environ.get("AUTOENVBENCH_TEST_SANDBOX", "bwrap")  # or docker

HEAD = """
import contextlib, gc, json, os, re, socket, subprocess, sys, threading, time
from pathlib import Path
import numpy as np

class Policy:
    def __init__(self, observation_space, action_space):
        self.shape = action_space.shape
    def reset(self, observation):
        pass
    def act(self, observation):
        found = self.attempt()
        if found is not None:
            raise RuntimeError("GOT " + str(found)[:200])
        return np.zeros(self.shape)
"""
#: name -> (what, what stops it, body of `attempt`, reasons that an episode may end with)
POLICIES = {
    "simulator": ("Find the environment's objects in its own process and set the goal reached",
                  "the policy has a process of its own; the environment lives in the station's", """
        return next((o for o in gc.get_objects() if type(o).__name__ in ("CellEnv", "SimCell", "MjData")), None)""", {"time_limit"}),
    "reference": ("Import or read the reference policy", "its folder is empty in every cage", """
        import enpire_envs, enpire_real
        packages = [Path(package.__file__).parent for package in (enpire_envs, enpire_real)]
        return next((p for package in packages for name in ("reference", "skills") for p in package.glob(f"**/{name}/*.py")), None)""",
        {"time_limit"}),
    "network": ("Reach anything over a network", "a network namespace without devices but loopback", """
        for address in (("127.0.0.1", PORT), ("192.0.2.1", 80)):
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=0.2):
                return address""", {"time_limit"}),
    "sockets": ("Reach the station's or the gateway's socket", "policies get two pipes and no socket", """
        return next((p for p in ("/run/aeb", "/run/aeb/station.sock") if os.path.exists(p)), None)""", {"time_limit"}),
    "writing": ("Write anywhere that lasts", "the checkout and the root are read-only", """
        for path in ("policy.py", "/etc/x", np.__file__, "/usr/x"):
            with contextlib.suppress(OSError):
                open(path, "a").close()
                return path""", {"time_limit"}),
    "processes": ("See or kill other processes", "a PID namespace of its own", """
        others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, 2, os.getpid())]
        with contextlib.suppress(OSError):
            os.kill(HOST_PID, 9)
            return "killed"
        return others[20:] or None""", {"time_limit"}),
    "files": ("Read the run's folder, the user's home or another policy", "an allow-listed root", """
        return next((p for p in (RUN_DIR, SSH, "/home") if os.path.exists(p) and os.listdir(p)), None)""", {"time_limit"}),
    "parent": ("Read the station's memory through /proc", "the station is in another PID namespace", """
        with contextlib.suppress(OSError):
            memory = open(f"/proc/{os.getppid()}/maps").read()
            return memory or None""", {"time_limit"}),
    "protocol": ("Write forged messages into the pipe of actions",
                 "frames are bounded and checked; stdout is not the pipe, and a broken one ends the episode", """
        for number in range(0, 12):
            with contextlib.suppress(OSError):
                os.write(number, b"\\xff" * 4096)
        return None""", None),
    "nonfinite": ("Return NaN and infinity", "refused before they reach the environment", """
        self.shape = ()
        return None
    def act(self, observation):
        return np.full(2, np.nan)""", {"bad_action_nonfinite"}),
    "oversized": ("Return a million numbers", "the shape is checked, and a message bounded", """
        return None
    def act(self, observation):
        return np.zeros(1_000_000)""", {"protocol_error"}),
    "nested": ("Return nested lists and objects that convert themselves", "actions travel as numbers, never as objects", """
        return None
    def act(self, observation):
        class Trick:
            def __array__(self, *a, **k):
                raise SystemExit(0)
            def __reduce__(self):
                return os.system, ("touch MARKER-reduce",)
        return [[Trick()], [1.0]]""", None),
    "slow": ("Use just more CPU time than allowed", "the kernel's CPU clock of the process, read by the station", """
        return None
    def act(self, observation):
        began = time.process_time()
        while time.process_time() - began < 0.30: pass
        return np.zeros(self.shape)""", {"act_cpu_limit"}),
    "threads": ("Compute in threads that the clock might not see", "the clock counts every thread of the process", """
        return None
    def act(self, observation):
        def burn():
            until = time.thread_time() + 0.2
            while time.thread_time() < until: pass
        threads = [threading.Thread(target=burn) for _ in range(3)]
        [t.start() for t in threads]; [t.join() for t in threads]
        return np.zeros(self.shape)""", {"act_cpu_limit"}),
    "memory": ("Take all memory", "private memory is limited to 4 GB (RLIMIT_DATA)", """
        return None
    def act(self, observation):
        self.hold = np.ones((8 << 30) // 8)
        return np.zeros(self.shape)""", {"policy_error"}),
    "exit": ("End the process in the middle of an episode", "its own episodes fail, with a reason", """
        os._exit(0)""", None),
    "spawn": ("Leave processes behind", "a policy can start none, and its PID namespace ends with it", """
        if not hasattr(self, "child"):
            self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(77777)"], start_new_session=True)
        return None""", None),
    "checkpoint": ("A pickle that runs code where it is loaded", "nobody but the policy's own caged process loads it", """
        import pickle
        class Bomb:
            def __reduce__(self):
                return os.system, ("touch MARKER-pickle",)
        pickle.loads(pickle.dumps(Bomb()))
        return None""", {"time_limit"}),
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_fails(name, tmp_path):
    _, _, body, reasons = POLICIES[name]
    marker = Path(tempfile.gettempdir()) / f"hostile-{uuid.uuid4().hex}"
    secret = tmp_path / "run"
    secret.mkdir()
    (secret / "ledger.sqlite").write_text("x")
    words = {
        "PORT": "80",
        "HOST_PID": str(os.getpid()),
        "RUN_DIR": repr(str(secret)),
        "SSH": repr(str(Path.home() / ".ssh")),
        "MARKER": str(marker),
    }
    source = HEAD + "    def attempt(self):" + body + "\n"
    for word, value in words.items():
        source = re.sub(rf"\b{word}\b", value.replace("\\", r"\\"), source)
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "policy.py").write_text(source)
    result = score("ENPIRE/PushT-v0", str(folder), 1, env_kwargs={"max_episode_steps": 6}, sandbox=SANDBOX)
    assert result["successes"] == 0
    assert "GOT" not in str(result["failure_details"]), result["failure_details"]
    if reasons is not None:
        assert set(result["failures"]) <= reasons
    assert list(marker.parent.glob(marker.name + "*")) == []
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"77777" in _read(p)]
    assert left == []


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_policy_cannot_tell_evaluation_from_practice(tmp_path):
    """It sees the same environment, arguments, working folder and files for every purpose: there is nothing to detect."""
    from conftest import judge

    from autoenvbench.make_env import make_env
    from autoenvbench.record.clock import RunClock
    from autoenvbench.record.ledger import Ledger
    from autoenvbench.station.bundles import Bundle
    from autoenvbench.station.cell import LocalCell

    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "policy.py").write_text(
        HEAD
        + """    def attempt(self):
        ignored = ("SHLVL", "_")
        seen = [sorted((k, v) for k, v in os.environ.items() if k not in ignored), sys.argv, os.getcwd(), sorted(os.listdir(".")),
                sorted(os.listdir("/tmp")), sorted(os.listdir("/run")), socket.gethostname()]
        return json.dumps(seen)
"""
    )
    env = make_env("ENPIRE/PushT-v0", {"max_episode_steps": 6})
    cell = LocalCell(env, sandbox=SANDBOX, track="open")
    ledger = Ledger(tmp_path / "l.sqlite", RunClock.start(600))
    bundle = Bundle("c" * 40, "d" * 64, "", folder)
    details = set()
    for purpose in ("practice", "evaluate", "confirm", "heldout"):
        tally = judge(cell, ledger, bundle, purpose, 1)
        details.add(tally.episodes[0].detail)
    env.close()
    assert len(details) == 1
    assert "GOT" in details.pop()


def test_the_table_in_the_readme_lists_every_policy():
    table = (Path(__file__).parent / "README.md").read_text()
    for what, how, _, _ in POLICIES.values():
        assert f"| {what} | {how} |" in table, what
