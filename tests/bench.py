"""A station with one agent at it, as its clients meet it: a real door and its cell worker, the real `aeb`, a real repository."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import RunEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.state import Follower
from autoenvbench.station.client import CREDENTIALS, StationClient
from autoenvbench.station.config import StationConfig
from autoenvbench.station.process import StationProcess


class Bench:
    """A station with one agent's home and repository; `members` are further ones, `scope` says whose stations differ, `run` are further fields
    of its run's configuration."""

    def __init__(self, tmp_path, repo, socket_dir, budget, cells=1, scope=None, members=(), **run):
        self.repo, self.home, self.run_dir = repo, tmp_path / "home", tmp_path / "run"
        self.home.mkdir()
        (self.run_dir / "data").mkdir(parents=True)
        self.clock = RunClock.start(budget)
        self.ledger = Ledger(self.run_dir / "ledger.sqlite", self.clock)
        self.token, self.admin_token = secrets.token_hex(8), secrets.token_hex(8)
        self.tokens = {"codex": self.token} | {member: secrets.token_hex(8) for member in members}
        self.socket = socket_dir / "s.sock"
        usual = {
            "agent": "codex",
            "env": "ENPIRE/PushT-v0",
            "min_episodes": 3,
            "confirm_episodes": 4,
            "strict_episodes": 4,
            "held_out": 3,
        }
        config = RunConfig(**{**usual, "budget_s": budget, **run})
        self.ledger.append(RunEvent(phase="started", config=config.model_dump()))
        self.station = StationProcess(
            StationConfig(
                run_dir=self.run_dir, socket=self.socket, sandbox="none", secret_hex="00" * 32, config=config,
                clock_epoch=self.clock.epoch, tokens={token: m for m, token in self.tokens.items()} | {self.admin_token: "admin"}, cells=cells, station_scope=scope,
            )
        )  # fmt: skip
        (self.home / CREDENTIALS).write_text(json.dumps({"socket": str(self.socket), "token": self.token}))

    def client(self, token=None):
        return StationClient(str(self.socket), self.token if token is None else token)

    def follow(self):
        """The run's state, as `Follower.read` gives it."""
        return Follower(self.ledger, 3).read()

    def aeb(self, *args):
        env = {**os.environ, "HOME": str(self.home)}
        done = subprocess.run([sys.executable, "-m", "autoenvbench.workspace.aeb", *args], cwd=self.repo, env=env,
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    @property
    def door_pid(self):
        return self.station._process.pid

    @property
    def cell_pids(self):
        """The door's children that live on: the cell workers, in the order in which they were started."""
        tasks = Path(f"/proc/{self.door_pid}/task").iterdir()
        children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        return sorted(pid for pid in children if b"cell_worker" in Path(f"/proc/{pid}/cmdline").read_bytes())

    @property
    def cell_pid(self):
        """Of the one cell worker."""
        (pid,) = self.cell_pids
        return pid

    def kill(self, victim):
        """`kill -9` of the door or the cell worker; returns when neither is left."""
        pids = {"door": self.door_pid, "cell": self.cell_pid}
        os.kill(pids[victim], signal.SIGKILL)
        assert self.station._process.wait(20) == (-signal.SIGKILL if victim == "door" else 1)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pids['cell']}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.station.__exit__()

    def commit(self, source, message="change"):
        (self.repo / "policy.py").write_text(source)
        subprocess.run(["git", "-C", str(self.repo), "commit", "-qam", message], check=True)
