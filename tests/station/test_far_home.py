"""A far cell's end at home: what comes home stays within a member's part, and a person's stop is on the disk before the process ends."""

import asyncio
import contextlib
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest
from conftest import ZERO_POLICY, judge
from enpire_envs.remote import wire
from enpire_real import person_stop
from enpire_real.station_file import TWIN_FILE

from autoenvbench.errors import StationFault, UserError
from autoenvbench.station import far_stop, far_wire, messages
from autoenvbench.station.batch import Batch, Film, Keep
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.client import StationClient
from autoenvbench.station.far_cell import FarCell
from autoenvbench.station.far_wire import Keys, Place, Wire
from autoenvbench.station.remote_cell import RemoteCell


def opened(run_dir, **more):
    fields = {
        "name": "far", "env": "ENPIRE/PushT-real-v0", "env_kwargs": {}, "run_dir": str(run_dir), "sandbox": "none", "track": "station",
        "pace": 0.0, "answer": "policy", "tools": {}, "tools_replay": None, "base_url": None, "stop_socket": None, "tokens": {},
        "clock_epoch": time.monotonic(), "clock_budget": 600.0, "clock_stopped_at": None, "shared_stops": True,
    }  # fmt: skip
    return messages.Open(**{**fields, **more})


def test_what_comes_home_stays_in_a_members_part_and_pictures_go_where_they_belong(tmp_path):
    out, apart, bundle = tmp_path / "practice", tmp_path / "pictures", tmp_path / "bundle"
    for folder in (out, apart, bundle):
        folder.mkdir()
    for name in ("E1-0.episode", "E1-1.episode", "E2-0.episode"):
        (out / name).write_bytes(bytes(100))

    async def go():
        ours, theirs = socket.socketpair()
        far = FarCell("station:far", ours, opened(tmp_path), Place("127.0.0.1", 9, "", Keys("", "")))
        far._there = Path("/there")
        keep = Keep(out, secret=False, own=("E1", "E3"), most=250, pictures=False, apart=apart)
        batch = Batch("E3", "practice", Bundle("c", "d", "", bundle), 1, (), agent="ada", keep=keep, film=Film(apart, "E3-"))  # fmt: skip
        run = await far._there_is(None, messages.Run.of(1, batch))
        assert run.keep.most == 250  # of hers, which is less than that: no peer's files count
        assert run.film.folder == run.keep.apart
        assert [Path(folder).name for folder in (run.keep.folder, run.keep.apart)] == ["practice", "pictures"]
        for folder, name in ((run.keep.folder, "E3-0.episode"), (run.keep.apart, "E3-0~00-end.jpg")):
            name = str(Path(folder, name).relative_to("/there"))
            await far._begin_file(wire.pack({"name": name, "size": 100, "mode": 0o644}))
            far._incoming.take(bytes(100))
        ours.close()
        theirs.close()

    asyncio.run(go())
    assert sorted(path.name for path in out.iterdir()) == ["E2-0.episode", "E3-0.episode"]
    assert [path.name for path in apart.iterdir()] == ["E3-0~00-end.jpg"]


def test_where_there_is_no_room_nothing_is_kept(env, ledger, policy_dir, tmp_path):
    cell, bundle = LocalCell(env, sandbox="none", track="open"), Bundle("c", "d", "", policy_dir(ZERO_POLICY))
    for own in (None, ("E1", "E2")):
        judge(cell, ledger, bundle, "practice", 1, keep=Keep(tmp_path / "out", secret=False, own=own, most=0))
    assert not list((tmp_path / "out").iterdir())
    assert ["there is no room" in e.payload.text for e in ledger.events("note")] == [True, True]


def test_a_persons_stop_is_on_the_disk_before_the_process_of_a_dead_wire_ends(tmp_path, monkeypatch):
    """The robot's machine takes the stop and says nothing; the disk here is slow."""
    short = Path(tempfile.mkdtemp(prefix="aeb-", dir="/tmp"))
    write = person_stop._write_file
    monkeypatch.setattr(person_stop, "_write_file", lambda *args: (time.sleep(0.6), write(*args)))
    monkeypatch.setattr(far_stop, "STOP_S", 0.1)
    ours, node = Keys.draw(), Keys.draw()

    async def go():
        async def accept(reader, writer):
            there = Wire(reader, writer)
            with contextlib.suppress(messages.Closed):
                kind, _ = await there.receive()
                if kind == far_wire.CELL:
                    told = {"folder": "/there", "monotonic": time.monotonic(), "host": "there"}
                    await there.send(far_wire.HELLO, wire.pack(told))
                    await there.beat()
                await asyncio.sleep(60)  # of a stop's line nothing is heard

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=node.context(ours.certificate, server=True))
        place = Place("127.0.0.1", server.sockets[0].getsockname()[1], node.certificate, ours)
        seam, door = socket.socketpair()
        far = FarCell("station:far", seam, opened(tmp_path, stop_socket=str(short / "s"), tokens={"a": "admin"}), place)
        serving = asyncio.create_task(far.serve())
        while not (short / "s").exists():
            assert not serving.done()
            await asyncio.sleep(0.02)
        with pytest.raises(StationFault):
            await asyncio.to_thread(StationClient("", "a", str(short / "s")).stop)
        with pytest.raises(messages.Closed):
            await serving
        assert list((tmp_path / "stops").glob("stop-*"))  # now the process ends
        door.close()
        server.close()

    try:
        asyncio.run(go())
    finally:
        shutil.rmtree(short)


def test_robots_of_other_code_are_refused_and_a_station_file_of_ones_own_is_none(ledger, tmp_path, monkeypatch):
    own = tmp_path / "own.yaml"
    own.write_text(TWIN_FILE.read_text().replace("rate_hz: 100", "rate_hz: 125"))
    said = []
    for station in (TWIN_FILE, own):
        monkeypatch.setenv("AUTOENVBENCH_STATION", str(station))
        cell = RemoteCell(opened(tmp_path, fingerprint="0" * 16), ledger, lambda why: None)
        try:
            with pytest.raises(
                UserError, match=r"without its station file, is not 0{16}.*install autoenvbench"
            ) as refused:
                cell.wait_ready(120)
        finally:
            cell.close(30)
        said.append(str(refused.value))
    assert said[0] == said[1]
