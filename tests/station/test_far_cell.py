"""A cell on another machine, here by a node on loopback that no Ray has found: the wire, who may use it, what it carries, and its end."""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from conftest import ZERO_POLICY, judge
from enpire_real.person_stop import PersonStops, read_record
from enpire_real.station_file import TWIN_FILE

from autoenvbench.cli.parser import make_parser
from autoenvbench.cli.run_arguments import run_config_from_args
from autoenvbench.errors import StationFault, UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station import by_hand, far_node, far_wire, messages
from autoenvbench.station.batch import CellLost, Film, Keep
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.client import StationClient
from autoenvbench.station.config import StationConfig
from autoenvbench.station.far_place import Places
from autoenvbench.station.far_wire import Keys, Place
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.remote_cell import RemoteCell

STUMBLING = ZERO_POLICY.replace(
    "return np.zeros(self.shape)",
    "d = observation[2:4] - observation[:2]; return np.clip(d / 0.03 + np.random.normal(size=2), -1, 1)",
)


class Site:
    """A robot's machine, whose temporary folder is `disk`, and the run's cell at the other end of the wire."""

    def __init__(self, run_dir, ledger, name, **more):
        self.keys, self.lost = Keys.draw(), []
        self.disk = Path(tempfile.mkdtemp(prefix="aeb-", dir="/tmp"))
        self.host = subprocess.Popen(
            [sys.executable, "-m", "autoenvbench.station.far_node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(self.disk)},
        )  # fmt: skip
        self.host.stdin.write(
            json.dumps({"station": name, "certificate": self.keys.certificate, "host": "127.0.0.1"}) + "\n"
        )
        self.host.stdin.flush()
        self.told = self.host.stdout.readline()
        self.place = Place(host="127.0.0.1", keys=self.keys, **json.loads(self.told))
        fields = {
            "name": name, "env": "ENPIRE/PushT-v0", "env_kwargs": {}, "run_dir": str(run_dir), "sandbox": "none", "track": "open",
            "pace": 0.0, "answer": "policy", "tools": {}, "tools_replay": None, "base_url": None, "stop_socket": None, "tokens": {},
            "clock_epoch": time.monotonic(), "clock_budget": 600.0, "clock_stopped_at": None,
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(Path(__file__).parent))
            self.cell = RemoteCell(messages.Open(**{**fields, **more}), ledger, self.lost.append,
                                   ["far_stand", json.dumps(asdict(self.place))])  # fmt: skip
        self.cell.wait_ready(120)

    @property
    def lock(self):
        """What whoever works with the station holds open."""
        return next(self.disk.glob("autoenvbench-*/station-*.lock"))

    @property
    def holders(self):
        """The node and the worker; none when the station is free."""
        mine = [
            p for p in psutil.process_iter(["cmdline"]) if "autoenvbench.station." in " ".join(p.info["cmdline"] or ())
        ]
        return [p for p in mine if str(self.lock) in _open_files(p)]

    @property
    def node(self):
        """The process that listens."""
        return next(p for p in self.holders if "far_node" in " ".join(p.info["cmdline"]))

    def close(self, *, killed=False):
        self.cell.close(30)
        self.host.stdin.close()
        self.host.wait(5)
        wait_until(lambda: not self.holders)
        assert killed or not list(
            self.disk.glob("autoenvbench-*/cell-*")
        )  # nothing of the run stays on a machine that ended in peace
        shutil.rmtree(self.disk)


def _open_files(process):
    try:
        return {file.path for file in process.open_files()}
    except psutil.Error:
        return set()


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Two of them. The last test of them ends them."""
    folder = tmp_path_factory.mktemp("run")
    made = [Site(folder, Ledger(folder / "ledger.sqlite", RunClock.start(3600)), name) for name in ("left", "right")]
    yield made
    for site in made:
        site.close(killed=site is made[1])


def outcomes(tally):
    return [(e.index, e.seed, e.success, e.score, e.stage, e.reason, e.steps, e.scene) for e in tally.episodes]


def test_two_machines_give_the_episodes_of_this_one_and_their_files_come_home(sites, env, ledger, policy_dir, tmp_path):
    bundle = Bundle("c", "d", "", policy_dir(STUMBLING))
    (bundle.path / "checkpoints").mkdir()
    (bundle.path / "checkpoints" / "weights.bin").write_bytes(os.urandom(3 << 20))
    (bundle.path / "checkpoints" / "empty").touch()
    here, there = tmp_path / "here", tmp_path / "there"
    alone = judge(
        LocalCell(env, sandbox="none", track="open"), ledger, bundle, "heldout", 4,
        keep=Keep(here, secret=True), film=Film(here, "f-", strip=True),
    )  # fmt: skip
    both = judge(
        [site.cell for site in sites], ledger, bundle, "heldout", 4, keep=Keep(there, secret=True),
        film=Film(there, "f-", strip=True),
    )  # fmt: skip
    assert outcomes(alone) == outcomes(both)
    assert {e.station for e in ledger.events("episode")} == {"station-1", "left", "right"}
    mine, theirs = (sorted(path.name.partition("-")[2] for path in folder.iterdir()) for folder in (here, there))
    assert mine == theirs
    assert len(mine) == 5
    sent = [path for site in sites for path in site.disk.rglob("*") if path.is_file()]
    assert sum(path.name == "weights.bin" and path.read_bytes() == (bundle.path / "checkpoints" / "weights.bin").read_bytes() for path in sent) == 2  # fmt: skip
    assert not [
        path for path in sent if "kept" in path.parts or "key" in path.name
    ]  # nothing stays there of what came home
    assert sites[0].cell.picture("top")[:4] == b"\x89PNG"


# -- attacks --------------------------------------------------------------------------------------------------------------
CELL, STOP = (
    far_wire.frame(far_wire.CELL),
    far_wire.frame(far_wire.STOP_LINE) + far_wire.frame(far_wire.ASK, b"POST /stop"),
)


def knock(place, context, first):
    """What a node answers to somebody who connects and says something; None where it hangs up or refuses."""
    try:
        with socket.create_connection((place.host, place.port), 10) as raw:
            connection = raw if context is None else context.wrap_socket(raw)
            connection.sendall(first)
            return connection.recv(100) or None
    except OSError:
        return None


def takes_anybody(context):
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_who_has_not_the_key_of_this_connection_is_nobody(sites, ledger, policy_dir):
    """An agent has found the port. It speaks plainly, shows no key, its own, or another connection's, and repeats what it has recorded."""
    left, right = sites
    no_key = takes_anybody(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    own_key, old_key = (
        takes_anybody(keys.context(left.place.certificate, server=False)) for keys in (Keys.draw(), right.keys)
    )
    for context in (None, no_key, own_key, old_key):
        assert [said for first in (CELL, STOP) if (said := knock(left.place, context, first)) and context] == []
    plain = knock(left.place, None, STOP)
    assert plain is None or plain[0] == 21  # an alert of TLS
    assert "PRIVATE" not in left.told  # what Ray carries, others may read
    recorded, there = _record(left)
    assert len(recorded) > 500
    assert there == b""  # a cell has one wire, whoever asks for another
    assert left.keys.key.split()[5].encode() not in recorded
    replayed = knock(left.place, None, recorded)
    assert far_wire.HELLO not in (replayed or b"")[:1]
    (episode,) = judge(left.cell, ledger, Bundle("c", "d", "", policy_dir(ZERO_POLICY)), "evaluate", 1).episodes
    assert (episode.reason, left.lost) == ("time_limit", [])


def _record(site):
    """What somebody on the way sees of one who has the key and asks for a second wire; and what that one is told."""
    seen = bytearray()

    def carry(one, other, keep):
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if keep:
                    seen.extend(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as tap, socket.create_connection((site.place.host, site.place.port)) as beyond:  # fmt: skip
        told = []
        through = Place("127.0.0.1", tap.getsockname()[1], site.place.certificate, site.keys)
        asking = threading.Thread(target=lambda: told.append(knock(through, site.place.context(), CELL) or b""))  # fmt: skip
        asking.start()
        near, _ = tap.accept()
        ways = [threading.Thread(target=carry, args=way) for way in ((near, beyond, True), (beyond, near, False))]
        for way in ways:
            way.start()
        asking.join(20)
        near.close()
    return bytes(seen), told[0]


def test_a_node_writes_where_it_was_asked_to_and_nowhere_else(tmp_path):
    incoming = far_wire.Incoming(lambda name: far_wire.inside(tmp_path, name))
    for name in ("../x", "/etc/x", "a/../../x", "", "a//b", ".", "a/\0"):
        with pytest.raises(messages.Malformed):
            incoming.begin(far_wire.wire.pack({"name": name, "size": 1, "mode": 0o644}))
    incoming.begin(far_wire.wire.pack({"name": "a/b", "size": 2, "mode": 0o4777}))
    with pytest.raises(messages.Malformed):  # one at a time
        incoming.begin(far_wire.wire.pack({"name": "c", "size": 1, "mode": 0o644}))
    with pytest.raises(messages.Malformed):
        incoming.take(b"abc")
    incoming.take(b"a")
    assert not (tmp_path / "a" / "b").exists()  # it is there when it is whole
    incoming.take(b"b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o7777 == 0o755


def test_a_station_is_one_runs_at_a_time_whoever_started_it(sites, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(sites[0].disk))
    monkeypatch.setattr(far_node, "BEFORE_S", 0.2)
    with pytest.raises(UserError, match=r"station left is at work for another run on .*; wait for that run to end"):
        far_node.hold_station("left")


# -- what is lost ---------------------------------------------------------------------------------------------------------
def test_a_silent_wire_ends_the_batch_on_its_side_and_a_dead_node_is_a_lost_cell(sites, ledger, policy_dir):
    """Last: it ends the sites. One node dies, and the other hears no more of the run."""
    left, right = sites
    slow, told = policy_dir(ZERO_POLICY.replace("return np", "__import__('time').sleep(0.02); return np")), []
    cells = [left.cell, right.cell]

    def run_both():
        with pytest.raises(CellLost):  # in the end there is none left
            judge(cells, ledger, Bundle("c", "d", "", slow), "evaluate", 3)
        told.append(True)

    work = threading.Thread(target=run_both)
    work.start()
    wait_until(lambda: len({e.station for e in ledger.events("start")}) == 2)
    assert len(right.holders) == 2
    right.node.kill()
    wait_until(lambda: not right.holders)  # its worker has ended by itself
    wait_until(lambda: right.lost)
    run = left.cell._process.pid
    os.kill(run, signal.SIGSTOP)  # as if the cable were out: nobody hangs up
    wait_until(lambda: not left.holders)
    os.kill(run, signal.SIGCONT)
    work.join(60)
    assert told
    assert right.lost[0].startswith("right's worker ended with exit code")
    assert len(left.lost) == 1
    judged = [(e.station, e.payload.reason) for e in ledger.events("episode")]
    assert ("right", "interrupted") in judged
    assert {station for station, _ in judged} == {"left", "right"}
    assert len(judged) == len(list(ledger.events("start")))  # what was begun is judged, once
    with pytest.raises(CellLost):
        left.cell.picture("top")


# -- arms -----------------------------------------------------------------------------------------------------------------
def test_one_stop_stops_all_arms_of_a_run_here_and_there_and_holds_where_the_wire_is_cut(tmp_path):
    """Two station files of this machine, and a station of another: `aeb stop`, a person's from any side, and the machine dies."""
    files = [tmp_path / "bench.yaml", tmp_path / "rig.yaml"]
    for file in files:
        shutil.copy(TWIN_FILE, file)
    clock, run = RunClock.start(600), tmp_path / "run"
    run.mkdir()
    ledger, short = Ledger(run / "ledger.sqlite", clock), Path(tempfile.mkdtemp(prefix="aeb-", dir="/tmp"))
    arms = {"env": "ENPIRE/PushT-real-v0", "track": "station"}
    tokens = {"t": "agent", "o": "other", "a": "admin"}
    config = StationConfig(
        run_dir=run, socket=short / "s.sock", sandbox="none", secret_hex="00" * 32, clock_epoch=clock.epoch, tokens=tokens, cells=2,
        config=RunConfig(agent="cem", budget_s=600, cells=2, robots=[str(file) for file in files], own_stations=True, **arms),
    )  # fmt: skip
    fleet = Fleet(config, ledger, print)
    far = None
    try:
        fleet.open()
        far = Site(run, ledger, "far", **arms, tokens=tokens, stop_socket=str(short / "s.stop-3"), shared_stops=True)
        assert fleet.names == ["bench", "rig"]
        notes = [e.payload.text for e in ledger.events("note")]
        assert [note.partition(":")[0] for note in notes] == [f"{file.stem} is {file}" for file in files]
        cells = [*fleet.pool.cells.values(), far.cell]
        assert [cell.kind for cell in cells] == ["twin"] * 3
        doors = [*fleet.stop_sockets("admin"), str(short / "s.stop-3")]
        agent, person = StationClient("", "t", [doors[0], doors[2]]), StationClient("", "a", doors)
        assert fleet.stop_sockets("agent") == doors[:1]  # nobody spoils the work on robots of another's own
        with pytest.raises(UserError, match="does not know you"):
            StationClient("", "t", doors[1]).stop()

        def held():
            why = []
            for cell in cells:
                try:
                    cell.move("home")
                except UserError as error:
                    why.append(str(error))
            return len([w for w in why if "autoenvbench station acknowledge" in w])

        assert held() == 0
        assert agent.stop() == {"stopped": True}
        assert held() == 0  # an agent's stop ends what is under way, and the next move goes on
        assert person.stop()["stopped"]
        assert held() == 3
        assert fleet.acknowledge("admin")
        far.cell.acknowledge("admin")
        wait_until(lambda: PersonStops(run / "stops").watch() is None)
        wait_until(lambda: held() == 0)
        by_hand.stop(read_record(run))  # from a terminal of the run's machine
        wait_until(lambda: held() == 3)
        by_hand.acknowledge(read_record(run))
        wait_until(lambda: held() == 0)
        elsewhere = next(far.disk.glob("autoenvbench-*/cell-far/station.json")).parent
        by_hand.stop(read_record(elsewhere))  # and of the robot's
        wait_until(lambda: held() == 3)
        by_hand.acknowledge(read_record(run))
        wait_until(lambda: held() == 0)

        node = far.node
        node.suspend()  # neither the machine nor the way to it answers
        with pytest.raises(UserError) as refused:
            StationClient("", "a", doors[2]).stop()
        wait_until(lambda: far.lost)
        node.resume()
        wait_until(lambda: not far.holders)
        far.close()
        if not isinstance(refused.value, StationFault):  # this machine was so slow that the wire was lost before
            person.stop()
        far = Site(run, ledger, "far", **arms, tokens=tokens, stop_socket=doors[2], shared_stops=True)
        cells[2] = far.cell
        wait_until(lambda: held() == 3)  # it holds all the same, also where the machine comes back
    finally:
        fleet.close()
        if far is not None:
            far.close()
        shutil.rmtree(short)


# -- what is typed --------------------------------------------------------------------------------------------------------
REAL = ["--env", "ENPIRE/PushT-real-v0", "--track", "station"]


@pytest.mark.parametrize(("args", "words"), [
    (["--stations", "0"], "1 to 64 robots"), (["--stations", "65"], "1 to 64 robots"), (["--stations", "-1"], "neither a number"),
    (["--stations", "station:left"], "--ray auto or --ray ADDRESS"), (["--stations", "station:a b", "--ray", "auto"], "is no name"),
    (["--stations", "station:left,station:left", "--ray", "auto"], "left is there twice"), (["--ray", "auto"], "--stations station:NAME"),
    (["--stations", "nowhere.yaml"], "autoenvbench station init"), (["--stations", str(TWIN_FILE)], "has no station file"),
    ([*REAL, "--stations", "2"], "--stations left.yaml,right.yaml"), ([*REAL, "--stations", ",".join([str(TWIN_FILE)] * 2)], "there twice"),
    ([*REAL, "--stations", str(TWIN_FILE), "--env-arg", "station=x.yaml"], "both say which robot"),
])  # fmt: skip
def test_robots_that_cannot_be_had_are_refused_with_what_to_type(args, words):
    with pytest.raises(UserError, match=words):
        run_config_from_args(make_parser().parse_args(["eval", "--agent", "cem", *args]))


def test_where_no_cluster_is_nothing_is_waited_for():
    pytest.importorskip("ray")
    for address, words in (("127.0.0.1:9", "there is no Ray cluster at 127.0.0.1:9 .*Connection refused.*ray start --head"),
                           ("nowhere", "auto or HOST:PORT")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            Places(address)


def test_robots_by_name_are_on_record():
    def config(*args):
        return run_config_from_args(make_parser().parse_args(["eval", "--agent", "cem", *args]))

    far = config(*REAL, "--stations", "station:left,station:right", "--ray", "10.0.0.1:6379")
    assert (far.cells, far.robots, far.ray, far.pace) == (2, ["station:left", "station:right"], "10.0.0.1:6379", 1.0)
    near = config(*REAL, "--stations", str(TWIN_FILE))
    assert (near.cells, near.robots, near.pace) == (1, [str(TWIN_FILE)], 0.0)
    assert (config("--stations", "3").cells, config("--stations", "3").robots) == (3, [])
