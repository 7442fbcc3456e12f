"""The seam between door and cell worker: its messages, what is recorded before what, and who may hold its ends."""

import itertools
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import get_args

import pytest
from conftest import ZERO_POLICY, judge
from enpire_envs.remote.wire import Malformed

from autoenvbench.errors import UserError
from autoenvbench.gateway import gateway
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import (
    KINDS,
    CanaryEvent,
    EpisodeEvent,
    EvaluationEvent,
    IdeaEvent,
    InterventionEvent,
    NoteEvent,
    ResetEvent,
    StartEvent,
    VerifierEvent,
)
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.station import canary, cell_worker, messages, verifiers
from autoenvbench.station import cell as local_cell
from autoenvbench.station.allocator import Allocator
from autoenvbench.station.batch import Batch, CellResult, Film, Keep, Start, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.config import StationConfig
from autoenvbench.station.evaluation import evaluate
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.jobs import Caller
from autoenvbench.station.remote_cell import CellLost, RemoteCell
from autoenvbench.station.station import Station

STUMBLING = ZERO_POLICY.replace(
    "return np.zeros(self.shape)",
    "d = observation[2:4] - observation[:2]; return np.clip(d / 0.03 + np.random.normal(size=2), -1, 1)",
)


def opened(folder, name="station-1", **more):
    fields = {
        "name": name, "env": "ENPIRE/PushT-v0", "env_kwargs": {}, "run_dir": str(folder), "sandbox": "none", "track": "open",
        "pace": 0.0, "answer": "policy", "tools": {}, "tools_replay": None, "base_url": None, "stop_socket": None, "tokens": {},
        "clock_epoch": time.monotonic(), "clock_budget": 600.0, "clock_stopped_at": None,
    }  # fmt: skip
    return messages.Open(**{**fields, **more})


@pytest.fixture
def make_cell(tmp_path, ledger):
    made = []

    def make(name="station-1", lost=None, **more):
        cell = RemoteCell(opened(tmp_path, name, **more), ledger, (lambda why: None) if lost is None else lost.append)
        made.append(cell)
        return cell

    yield make
    for cell in made:
        cell.close(20)


def start_event(**more):
    fields = {"evaluation": "E1", "purpose": "evaluate", "index": 0, "commit": "c", "digest": "d", "seed": 5}
    return StartEvent(**{**fields, **more})


def episode_event(**more):
    return EpisodeEvent(
        **start_event().model_dump()
        | {"success": True, "score": 1.0, "stage": "", "steps": 3, "sim_s": 1.0, "robot_s": 1.0}
        | more
    )


# -- messages -----------------------------------------------------------------------------------------------------------
def test_every_message_comes_out_as_it_went_in(tmp_path):
    batch = Batch("E1", "practice", Bundle("c", "d", "", tmp_path, "e"), 3, (), agent="a", interactive=True,
                  keep=Keep(tmp_path / "t", secret=True, source=3, pictures=False), film=Film(tmp_path, "E1-", strip=True), by_clock=True)  # fmt: skip
    to_cell = [
        opened(tmp_path), messages.Run.of(1, batch), messages.Given.of(Start(4, 1, 2**47, {"x": [1.0]})), messages.Given.of(None),
        messages.Recorded(number=1), messages.Stop(number=1, why="x"), messages.Pause(stopped_at=1.0),
        messages.Resume(epoch=None), messages.Take(number=2, camera="top"), messages.Move(number=3, where="home"),
        messages.Acknowledge(number=4, client="admin"),
    ]  # fmt: skip
    to_door = [
        messages.Ready(kind="sim", arms=False), messages.Next(), messages.Report.of(1, start_event(), None),
        messages.Report.of(2, episode_event(), None), messages.RunEnded(number=1, through=True, shown={}, full=None),
        messages.Picture(number=2, png=b"x" * 10**6), messages.Moved(number=3),
        messages.Acknowledged(number=4, ended=["x"]), messages.Failed(number=0, error="x", exit_code=2),
    ]  # fmt: skip
    for decode, sent in ((messages.decode_to_cell, to_cell), (messages.decode_to_door, to_door)):
        assert [decode(messages.encode(message)) for message in sent] == sent
    assert {type(m) for m in to_cell} == set(messages.ToCell.__args__)
    assert {type(m) for m in to_door} == set(messages.ToDoor.__args__)
    assert messages.decode_to_cell(messages.encode(to_cell[1])).batch(()) == batch
    assert to_cell[2].start() == Start(4, 1, 2**47, {"x": [1.0]})
    assert to_door[3].event() == episode_event()
    words = messages.decode_to_door(messages.encode(messages.Failed(number=1, error="half \udc80", exit_code=1))).error
    assert words == "half \\udc80"


def test_every_kind_of_event_that_a_cell_emits_can_be_reported():
    named = (each for module in (canary, local_cell, cell_worker, gateway, verifiers) for each in vars(module).values())
    emitted = {each for each in named if isinstance(each, type) and each in KINDS.values()}
    assert emitted >= {StartEvent, EpisodeEvent, ResetEvent, NoteEvent, InterventionEvent, CanaryEvent, VerifierEvent}
    kinds = {kind for kind, model in KINDS.items() if model in emitted}
    assert kinds <= set(get_args(messages.Report.model_fields["kind"].annotation))
    for event in (
        start_event(), episode_event(), ResetEvent(attempts=1, detail="x"), NoteEvent(text="x"),
        InterventionEvent(station="a", asked="a new pin", purpose="evaluate"), CanaryEvent(probe="reference", seed=1, success=None),
        VerifierEvent(name="lab", station_sha256="0" * 64, verifier="1" * 64),
    ):  # fmt: skip
        assert messages.decode_to_door(messages.encode(messages.Report.of(1, event, None))).event() == event


def test_no_message_that_a_cell_may_not_send_is_one():
    """Nor does any message name a secret: a cell is told one seed at a time."""
    for event in (IdeaEvent(id="I1", title="x"), EvaluationEvent(phase="finished", id="E1", purpose="evaluate", commit="c", digest="d", planned=1)):  # fmt: skip
        with pytest.raises(ValueError, match="kind"):
            messages.Report.of(1, event, None)
    good = messages.Report.of(1, start_event(), None).model_dump()
    wrong = [
        {**good, "kind": "evaluation"}, {**good, "payload": {}}, {**good, "payload": {**good["payload"], "index": "0"}},
        {**good, "number": -1}, {**good, "number": 2**63}, {**good, "extra": 1}, {"type": "open"}, {"type": ["next"]}, {}, [],
        messages.Recorded(number=1).model_dump(),
    ]  # fmt: skip
    for fields in wrong:
        with pytest.raises(Malformed):
            messages.decode_to_door(messages.wire.pack(fields))
    assert not [name for model in messages.ToCell.__args__ for name in model.model_fields if "secret" in name]


@pytest.mark.parametrize("junk", [struct.pack("<I", 2**31), struct.pack("<I", 0), struct.pack("<I", 4) + b"\xff\xffab"])
def test_a_message_that_is_none_ends_the_link_on_either_side(junk, tmp_path):
    ours, theirs = socket.socketpair()
    link = messages.Link(ours, messages.MAX_TO_DOOR)
    theirs.sendall(junk)
    with pytest.raises(Malformed):
        messages.decode_to_door(link.receive())
    theirs.close()
    with pytest.raises(messages.Closed):
        link.receive()
    # A worker that is sent junk says so in one line and ends.
    ours, theirs = socket.socketpair()
    worker = subprocess.Popen([sys.executable, "-m", "autoenvbench.station.cell_worker", str(theirs.fileno())],
                              pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE, text=True)  # fmt: skip
    theirs.close()
    link = messages.Link(ours, messages.MAX_TO_DOOR)
    link.send(opened(tmp_path))
    assert messages.decode_to_door(link.receive()) == messages.Ready(kind="sim", arms=False)
    ours.sendall(junk)
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert "the door sent what is no message" in said
    ours.close()


def test_who_does_not_read_is_not_waited_for_for_ever():
    ours, theirs = socket.socketpair()
    link = messages.Link(ours, messages.MAX_TO_DOOR, send_s=0.2)
    began = time.monotonic()
    with pytest.raises(messages.Closed):
        link.send(messages.Picture(number=1, png=bytes(8 << 20)))
    assert time.monotonic() - began < 5
    with pytest.raises(messages.Closed):
        link.receive()
    theirs.close()


# -- what is recorded before what ---------------------------------------------------------------------------------------
class SlowLedger:
    """Lets a start be recorded when it is told to."""

    def __init__(self, ledger):
        self._ledger, self.asked, self.go_on = ledger, threading.Event(), threading.Event()

    def append(self, payload, **more):
        if isinstance(payload, StartEvent):
            self.asked.set()
            assert self.go_on.wait(20)
        return self._ledger.append(payload, **more)


def batch_of(folder, n=1, purpose="evaluate", **more):
    starts = draw_starts(StartStreams(bytes(32)), purpose, 0, n)
    return Batch("E1", purpose, Bundle("c", "d", "", folder), n, starts, **more)


def test_a_policy_sees_nothing_before_its_start_is_in_the_ledger(make_cell, ledger, policy_dir):
    seen = ZERO_POLICY.replace("        pass", "        import pathlib; pathlib.Path('seen').touch()")
    folder = policy_dir(seen)
    cell, slow = make_cell(), SlowLedger(ledger)
    cell.wait_ready(60)
    tallies = []
    running = threading.Thread(target=lambda: tallies.append(evaluate([cell], batch_of(folder), slow)))
    running.start()
    assert slow.asked.wait(30)
    time.sleep(0.5)
    assert not (folder / "seen").exists()
    assert list(ledger.events("start")) == []
    slow.go_on.set()
    running.join(30)
    assert (folder / "seen").exists()
    assert [e.reason for e in tallies[0].episodes] == ["time_limit"]


def test_a_start_that_cannot_be_recorded_begins_nothing(make_cell, ledger, policy_dir):
    folder, lost = policy_dir(ZERO_POLICY.replace("        pass", "        open('seen', 'w')")), []
    cell = make_cell(lost=lost)
    cell.wait_ready(60)

    class Full:
        def append(self, payload, **more):
            if isinstance(payload, StartEvent):
                raise OSError("no space left on the device")
            return ledger.append(payload, **more)

    with pytest.raises(CellLost, match="no space left"):
        evaluate([cell], batch_of(folder), Full())
    cell._process.wait(30)
    assert not (folder / "seen").exists()
    assert len(lost) == 1
    assert [e.payload.phase for e in ledger.events("evaluation")] == ["started", "aborted"]


@pytest.mark.parametrize("forged", [
    {"index": 1}, {"seed": 6}, {"digest": "another"}, {"evaluation": "E2"}, {"purpose": "heldout"}, {"attempt": 1},
])  # fmt: skip
def test_a_cell_reports_on_the_starts_that_it_was_given_and_on_nothing_else(ledger, tmp_path, forged):
    class Forger:
        name = "forger"

        def run(self, batch, sink, stop):
            (start,) = batch.starts
            event = start_event(seed=start.seed)
            sink.append(event)
            with pytest.raises(ValueError, match="not given"):
                sink.append(event.model_copy(update=forged))
            with pytest.raises(ValueError, match="second time"):
                sink.append(event)
            judged = episode_event(seed=start.seed, success=False)
            with pytest.raises(ValueError, match="not given"):
                sink.append(judged.model_copy(update=forged))
            sink.append(judged)
            with pytest.raises(ValueError, match="not given"):  # no second verdict
                sink.append(judged.model_copy(update={"success": True}))
            return CellResult(through=True)

    tally = evaluate([Forger()], batch_of(tmp_path), ledger)
    assert [e.success for e in tally.episodes] == [False]
    assert len(list(ledger.events("start", "episode"))) == 2


def test_an_episode_that_did_not_begin_is_not_judged(ledger, tmp_path):
    class Hasty:
        name = "hasty"

        def run(self, batch, sink, stop):
            (start,) = batch.starts
            sink.append(episode_event(seed=start.seed))
            return CellResult(through=True)

    with pytest.raises(ValueError, match="has not begun"):
        evaluate([Hasty()], batch_of(tmp_path), ledger)
    assert list(ledger.events("start", "episode")) == []


# -- ids and indices ----------------------------------------------------------------------------------------------------
def test_ids_and_starts_are_given_out_once_whoever_asks_at_the_same_time(ledger):
    allocator, ids, ranges = Allocator(Follower(ledger)), [], []
    together = threading.Barrier(8)

    def ask():
        together.wait()
        for _ in range(20):
            ids.append(allocator.evaluation())
            with allocator.starts("evaluate", 5) as first:
                ranges.append(range(first, first + 5))
                for index in ranges[-1]:
                    ledger.append(start_event(index=index, purpose="confirm" if index % 2 else "evaluate"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == len(ids) == 160
    assert len(set(itertools.chain(*ranges))) == 800
    assert Allocator(Follower(ledger)).evaluation() == "E1"  # of those given out, none was begun


def test_starts_that_nobody_used_are_free_again_and_used_ones_never(ledger):
    allocator = Allocator(Follower(ledger))
    with allocator.starts("evaluate", 5) as first, allocator.starts("evaluate", 5) as second:
        assert (first, second) == (0, 5)
        ledger.append(start_event(index=1))
    with allocator.starts("evaluate", 5) as first:
        assert first == 2
    with allocator.starts("practice", 5) as first:
        assert first == 0
    ledger.append(episode_event(index=7, purpose="confirm", evaluation="E3"))
    ledger.append(EvaluationEvent(phase="started", id="E3", purpose="confirm", commit="c", digest="d", planned=1))
    for anew in (allocator, Allocator(Follower(ledger))):
        assert anew.evaluation() == "E4"
        with anew.starts("confirm", 1) as first:
            assert first == 8


# -- several cells ------------------------------------------------------------------------------------------------------
def outcomes(tally):
    return [
        (e.index, e.attempt, e.seed, e.success, e.score, e.stage, e.reason, e.steps, e.scene) for e in tally.episodes
    ]


def test_the_same_starts_give_the_same_episodes_however_many_cells_there_are(make_cell, env, ledger, policy_dir):
    bundle = Bundle("c", "d", "", policy_dir(STUMBLING))
    alone = judge(LocalCell(env, sandbox="none", track="open"), ledger, bundle, "heldout", 5, attempts=2)
    cells = [make_cell("station-1"), make_cell("station-1.2")]
    for cell in cells:
        cell.wait_ready(60)
    one = judge(cells[:1], ledger, bundle, "heldout", 5, attempts=2)
    two = judge(cells, ledger, bundle, "heldout", 5, attempts=2)
    assert outcomes(alone) == outcomes(one) == outcomes(two)
    assert len({o[7] for o in outcomes(two)} | {o[4] for o in outcomes(two)}) > 1
    last = [e for e in ledger.events("episode") if e.payload.evaluation == two.id]
    assert {e.station for e in last} == {"station-1", "station-1.2"}
    assert len(last) == 10


def test_where_one_cell_is_lost_the_others_go_on_without_it(make_cell, ledger, policy_dir):
    slow = policy_dir(ZERO_POLICY.replace("return np", "__import__('time').sleep(0.01); return np"))
    lost = []
    cells = [make_cell("station-1", lost), make_cell("station-1.2", lost)]
    for cell in cells:
        cell.wait_ready(60)
    tallies = []
    running = threading.Thread(
        target=lambda: tallies.append(judge(cells, ledger, Bundle("c", "d", "", slow), "evaluate", 6))
    )
    running.start()
    while len({e.station for e in ledger.events("start")}) < 2:
        time.sleep(0.02)
    os.kill(cells[1]._process.pid, signal.SIGKILL)
    running.join(60)
    assert (tallies[0].aborted, len(tallies[0].episodes)) == (False, 6)  # all that were asked for, none twice
    starts = [e.payload.index for e in ledger.events("start")]
    judged = {e.payload.index: (e.station, e.payload.reason) for e in ledger.events("episode")}
    assert sorted(judged) == sorted(starts) == list(range(6))
    assert [s for s, reason in judged.values() if reason == "interrupted"] == ["station-1.2"]
    with pytest.raises(CellLost, match="SIGKILL"):
        judge(cells[1:], ledger, Bundle("c", "d", "", slow), "evaluate", 1)
    assert lost == ["station-1.2's worker ended by signal SIGKILL"]
    with pytest.raises(CellLost):
        cells[1].picture("top")


# -- who holds what -----------------------------------------------------------------------------------------------------
def sockets_of(pid):
    """Descriptors of a process that are sockets."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.append(int(link.name))
    return found


@pytest.mark.cage
@pytest.mark.parametrize("sandbox", ["none", "bwrap"])
def test_a_policy_holds_no_end_of_the_seam(make_cell, ledger, policy_dir, tmp_path, sandbox):
    look = (
        "import os\n"
        "        held = {n: os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')}\n"
        "        raise RuntimeError('HELD ' + ' '.join(sorted(f'{n}={t}' for n, t in held.items())))"
    )
    cell = make_cell(sandbox=sandbox)
    cell.wait_ready(60)
    (episode,) = judge(cell, ledger, Bundle("c", "d", "", policy_dir(ZERO_POLICY.replace("        pass", f"        {look}"))), "evaluate", 1).episodes  # fmt: skip
    assert "HELD" in episode.detail
    assert "socket" not in episode.detail
    assert len(sockets_of(cell._process.pid)) == 1  # its own end
    (held,) = sockets_of(cell._process.pid)
    assert not os.get_inheritable(cell._link._socket.fileno())
    flags = Path(f"/proc/{cell._process.pid}/fdinfo/{held}").read_text()
    assert int(next(line for line in flags.splitlines() if line.startswith("flags")).split()[1], 8) & os.O_CLOEXEC


def memory_of(pid):
    """What a process holds in its writable memory."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, mode, *_ = line.split()
            if mode.startswith("rw"):
                first, last = (int(word, 16) for word in span.split("-"))
                try:
                    memory.seek(first)
                    yield memory.read(last - first)
                except (OSError, ValueError, OverflowError):
                    continue


def test_the_secret_is_nowhere_in_a_cell(tmp_path, policy_dir):
    secret = secrets.token_bytes(32)
    clock = RunClock.start(600)
    ledger = Ledger(tmp_path / "ledger.sqlite", clock)
    config = StationConfig(
        run_dir=tmp_path, socket=tmp_path / "s", sandbox="none", secret_hex=secret.hex(), clock_epoch=clock.epoch,
        config=RunConfig(agent="cem", env="ENPIRE/PushT-v0", budget_s=600), tokens={},
    )  # fmt: skip
    short = {"socket": Path("/tmp") / f"aeb-{secrets.token_hex(4)}"}  # pytest's own paths are too long for a socket
    fleet = Fleet(config.model_copy(update=short), ledger, print)
    fleet.open()
    try:
        station = Station(config, ledger, fleet)
        bundle = Bundle("c", "d", "", policy_dir(ZERO_POLICY))
        with station.jobs.open(Caller("a"), "evaluation") as job:
            station.judging._judge(job, "evaluate", bundle, 1, None, None, lambda: None)
        held = list(memory_of(fleet.pool.cells[0]._process.pid))
        assert any(
            b"the station's door is gone" in part or b"ENPIRE/PushT-v0" in part for part in held
        )  # it is read, really
        for form in (secret, secret.hex().encode()):
            assert not any(form in part for part in held)
    finally:
        fleet.close()


def test_a_worker_that_cannot_make_its_environment_says_why(make_cell):
    with pytest.raises(UserError, match="did you mean ENPIRE/PushT-v0"):
        make_cell(env="ENPIRE/PushT-v9").wait_ready(60)
