"""A team at a station, as its members meet it: a real door, a real workspace each, and tests that are written into the ledger."""

import asyncio
import json
import secrets
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from aiohttp import web
from conftest import ZERO_POLICY

from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EvaluationEvent, RunEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.client import CREDENTIALS, StationClient
from autoenvbench.station.config import ADMIN, StationConfig
from autoenvbench.station.door import Door
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.station import Station
from autoenvbench.workspace.bundling import send_head

FIRST = {f"GIT_{role}_{key}": "2026-01-01T00:00:00Z" if key == "DATE" else "first@first.invalid"
         for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL", "DATE")}  # fmt: skip


class Mate:
    """A member: its workspace, its home and its way to the station."""

    def __init__(self, name, folder, socket):
        self.name, self.repo, self.home = name, folder / name / "workspace", folder / name / "home"
        self.token = secrets.token_hex(8)
        self.repo.mkdir(parents=True)
        self.home.mkdir()
        (self.home / CREDENTIALS).write_text(json.dumps({"socket": str(socket), "token": self.token}))
        self.client = StationClient(str(socket), self.token)
        (self.repo / "policy.py").write_text(ZERO_POLICY)
        (self.repo / "AGENTS.md").write_text("how to work\n")
        (self.repo / ".gitignore").write_text("checkpoints/\n")
        for args in (["init", "-qb", "main"], ["config", "user.name", name], ["config", "user.email", f"{name}@t.invalid"],
                     ["add", "."], ["commit", "-qm", "Starter"]):  # fmt: skip
            self.git(*args, env=FIRST)

    def git(self, *args, env=None, stdin=None):
        return subprocess.run(["git", "-C", str(self.repo), *args], check=True, capture_output=True, input=stdin,
                              env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), **(env or {})}).stdout.decode().strip()  # fmt: skip

    @property
    def head(self):
        return self.git("rev-parse", "HEAD")

    def write(self, name, text, message="change"):
        path = self.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.git("add", "-f", name)
        self.git("commit", "-qm", message)
        return self.head

    def idea(self, title, **more):
        return self.client.post("/ideas", {"title": title, **more})["id"]

    def send(self):
        return send_head(self.client, self.repo)


class Team:
    """A station without cells, and members ada, bob, ...; leave it with `close`."""

    def __init__(self, folder, names=("ada-1", "bob-1"), **run):
        self.dir = folder / "run"
        (self.dir / "data").mkdir(parents=True)
        self._sockets = Path("/tmp") / f"aeb-test-{secrets.token_hex(4)}"
        self._sockets.mkdir()
        self.socket = self._sockets / "s.sock"
        self.mates = [Mate(name, folder, self.socket) for name in names]
        self.admin = StationClient(str(self.socket), "admin-token")
        clock = RunClock.start(3600)
        self.ledger = Ledger(self.dir / "ledger.sqlite", clock)
        config = RunConfig(agent="codex", env="ENPIRE/PushT-v0", budget_s=3600, min_episodes=3, confirm_episodes=4, strict_episodes=4,
                           team=len(names), **run)  # fmt: skip
        self.ledger.append(
            RunEvent(phase="started", config=config.model_dump(), members={m.name: "codex" for m in self.mates})
        )
        tokens = {"admin-token": ADMIN, **{mate.token: mate.name for mate in self.mates}}
        started = StationConfig(run_dir=self.dir, socket=self.socket, sandbox="none", secret_hex="00" * 32, config=config,
                                clock_epoch=clock.epoch, tokens=tokens)  # fmt: skip
        self.station = Station(started, self.ledger, Fleet(started, self.ledger, print))  # whose cells are not opened
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,))
        self._thread.start()
        assert ready.wait(20)
        send_head(self.admin, self.mates[0].repo, starter=True)

    def _serve(self, ready):
        async def start():
            self._runner = web.AppRunner(
                Door(self.station, self.station.config.tokens).app(), handler_cancellation=True, shutdown_timeout=1.0
            )
            await self._runner.setup()
            await web.UnixSite(self._runner, str(self.socket)).start()
            ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()

    def close(self):
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        shutil.rmtree(self._sockets)

    def upload(self, mate, *refs, claim=None):
        """Send a member's HEAD (and further refs) as any program could; `claim` is what it says that it is. Returns its digest."""
        packed = mate.home / "commit.bundle"
        mate.git("bundle", "create", "-q", str(packed), "HEAD", *refs)
        with tarfile.open(mate.home / "upload.tar", "w") as tar:
            tar.add(packed, "commit.bundle")
        return mate.client.upload(f"/bundles?commit={claim or mate.head}", mate.home / "upload.tar")["digest"]

    def tested(self, mate, idea, *, wins=2, n=3, purpose="evaluate", digest=None):
        """Send a member's HEAD, unless it is sent, and write down that it was tested for an idea."""
        bundle = self.station.bundles.get(digest or mate.send().digest)
        number = 1 + sum(1 for _ in self.ledger.events("evaluation"))
        event = EvaluationEvent(phase="finished", id=f"E{number}", purpose=purpose, commit=bundle.commit, digest=bundle.digest,
                                content=bundle.content, planned=n, idea=idea, episodes=n, successes=wins)  # fmt: skip
        self.ledger.append(event, agent=mate.name)
        return bundle

    def events(self, kind, agent=None):
        return [e.payload for e in self.ledger.events(kind) if agent in (None, e.agent)]

    def sources(self, mate, commit):
        """What the station found that a member's commit has from others: (whose, which commit, idea, how)."""
        (event,) = [p for p in self.events("provenance", mate.name) if p.commit == commit]
        return [(s.agent, s.commit, s.idea, s.how) for s in event.sources]


# -- fixtures of the tests that name this module as a plugin -----------------------------------------------------------
@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """Two members; Ada's I1 is tested, and each test begins with workspaces as they were."""
    made = Team(tmp_path_factory.mktemp("team"))
    ada = made.mates[0]
    made.first = ada.idea("Push with more gain")
    ada.write("policy.py", ZERO_POLICY + "GAIN = 2\n", "more gain")
    made.tested(ada, made.first)
    yield made
    made.close()


@pytest.fixture
def ada(team):
    return team.mates[0]


@pytest.fixture
def bob(team):
    return fresh(team.mates[1])


def fresh(mate):
    mate.git("reset", "-q", "--hard", mate.git("rev-list", "--max-parents=0", "HEAD"))
    mate.git("clean", "-qfdx")
    return mate
