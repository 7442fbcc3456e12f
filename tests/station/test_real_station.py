"""A station over a cell of arms and cameras (the twin)."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ZERO_POLICY

from autoenvbench.errors import RobotBusy, UserError
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.client import StationClient, stop_socket
from autoenvbench.station.config import StationConfig
from autoenvbench.station.process import StationProcess
from autoenvbench.workspace.bundling import send_head


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationClient]:
    folder = tmp_path_factory.mktemp("run")
    with tempfile.TemporaryDirectory(prefix="aeb-", dir="/tmp") as short:
        config = StationConfig(
            run_dir=folder, socket=Path(short) / "s", sandbox="none", secret_hex=secrets.token_hex(32),
            config=RunConfig(agent="cem", env="ENPIRE/PushT-real-v0", budget_s=600, track="station"),
            clock_epoch=time.time(), tokens={"t": "agent", "a": "admin"},
        )  # fmt: skip
        with StationProcess(config) as station:
            yield StationClient(str(station.socket), "t", str(stop_socket(station.socket)))


def test_the_arms_go_home_out_of_the_way_and_back(client: StationClient) -> None:
    for where in ("home", "avoid", "resume"):
        assert client.post(f"/{where}", {}) == {"at": where}
    assert client.get("/status")["robot"] == "free"


def test_every_camera_has_its_frames(client: StationClient) -> None:
    for camera, height in (("top", 480), ("left_wrist", 240)):
        connection = client._connect(timeout=60)
        connection.request("GET", f"/frames/{camera}", headers={"Authorization": "Bearer t"})
        answer = connection.getresponse()
        image = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[0] == height
        connection.close()
    with pytest.raises(UserError, match="it has: top, left_wrist, right_wrist"):
        client.get("/frames/nose")


def test_stop_stops_what_is_under_way_and_the_next_move_goes_on(client: StationClient) -> None:
    failed: list[str] = []

    def move() -> None:
        for _ in range(20):
            try:
                client.post("/avoid", {})
                client.post("/home", {})
            except UserError as error:
                failed.append(str(error))
                return

    for _ in range(20):  # a stop may fall between two moves, and the next one then goes on
        thread = threading.Thread(target=move)
        thread.start()
        time.sleep(0.3)
        assert client.stop() == {"stopped": True}
        thread.join(60)
        if failed:
            break
    assert "stopped_by_agent" in failed[0]
    for _ in range(50):
        try:
            assert client.post("/home", {}) == {"at": "home"}
            break
        except RobotBusy:
            time.sleep(0.1)


def test_a_simulated_station_has_nothing_to_move(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="aeb-", dir="/tmp") as short:
        config = StationConfig(
            run_dir=tmp_path, socket=Path(short) / "s", sandbox="none", secret_hex="00" * 32,
            config=RunConfig(agent="cem", env="ENPIRE/PushT-v0", budget_s=60), clock_epoch=time.monotonic(),
            tokens={"t": "agent", "a": "admin"},
        )  # fmt: skip
        with StationProcess(config) as station:
            agent = StationClient(str(station.socket), "t", str(stop_socket(station.socket)))
            admin = StationClient(str(station.socket), "a", str(stop_socket(station.socket)))
            acts = [
                lambda: agent.post("/home", {}), lambda: admin.post("/acknowledge", {}), agent.stop, admin.stop,
                lambda: agent.post("/stop", {}),
            ]  # fmt: skip
            for act in acts:
                with pytest.raises(UserError, match="simulated"):
                    act()
            with pytest.raises(UserError, match="one camera, top"):
                agent.get("/frames/wrist")


def test_an_agent_acknowledges_nothing_and_a_person_holds_the_arms(client: StationClient) -> None:
    admin = StationClient(client._socket, "a", str(stop_socket(Path(client._socket))))
    assert admin.stop()["stopped"]
    for attempt in range(3):
        with pytest.raises(UserError, match="autoenvbench station acknowledge"):
            client.post(("/home", "/avoid", "/resume")[attempt], {})
    client.stop()  # an agent's stop does not replace a person's
    with pytest.raises(UserError, match="not for agents"):
        client.post("/acknowledge", {})
    assert len(admin.post("/acknowledge", {})["acknowledged"]) == 1
    assert client.post("/home", {}) == {"at": "home"}
    assert client.post("/stop", {}) == {"stopped": True}  # by the door, which passes it on
    assert admin.post("/stop", {})["stopped"]
    with pytest.raises(UserError, match="autoenvbench station acknowledge"):
        client.post("/home", {})
    assert len(admin.post("/acknowledge", {})["acknowledged"]) == 1


def test_a_door_that_hangs_keeps_no_stop_waiting(client: StationClient) -> None:
    """The arms are in the cell worker, and so is their stop; what it has to record waits for the door."""
    door = _door_of(client)
    os.kill(door, signal.SIGSTOP)
    try:
        took = []
        for _ in range(20):
            began = time.monotonic()
            assert client.stop() == {"stopped": True}
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 0.05  # a busy machine is late now and then
    finally:
        os.kill(door, signal.SIGCONT)
    assert client.post("/home", {}) == {"at": "home"}


def _door_of(client: StationClient) -> int:
    """The process that listens on a station's socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(client._socket)
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


@pytest.mark.real_time
def test_stop_is_answered_within_50_ms_whatever_else_is_under_way(client: StationClient) -> None:
    """A hundred requests at once, uploads among them, a pause, and 300 connections to its own door that say nothing."""
    admin = StationClient(client._socket, "a", str(stop_socket(Path(client._socket))))
    over, busy = threading.Event(), threading.Barrier(101)
    junk = os.urandom(3_000_000)

    def ask(k: int) -> None:
        busy.wait()
        while not over.is_set():
            with contextlib.suppress(UserError, OSError, ValueError):
                if k % 25 == 0:
                    client._request("POST", "/bundles?commit=x", junk, {"Content-Length": str(len(junk))})
                else:
                    client.get(("/status", "/episodes", "/health", "/frames/top")[k % 4])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(100)]
    silent = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    for thread in threads:
        thread.start()
    try:
        admin.post("/pause", {"paused": True})
        busy.wait()
        time.sleep(0.5)
        for connection in silent:
            connection.settimeout(1.0)
            with contextlib.suppress(OSError):
                connection.connect(str(stop_socket(Path(client._socket))))
        # Timed by a process of its own: here a hundred threads share an interpreter.
        script = (
            "import contextlib, os, socket, sys, time\n"
            "with contextlib.suppress(OSError, AttributeError):\n"  # the door is timed, not this machine's other work
            "    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))\n"
            "for _ in range(20):\n"
            "    began = time.monotonic()\n"
            "    s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])\n"
            "    s.sendall(b'POST /stop HTTP/1.1\\r\\nAuthorization: Bearer t\\r\\n\\r\\n')\n"
            "    assert b'\"stopped\": true' in s.recv(4096)\n"
            "    print(time.monotonic() - began)\n"
            "    time.sleep(0.02)\n"
        )
        door = str(stop_socket(Path(client._socket)))
        told = subprocess.run(
            [sys.executable, "-c", script, door], capture_output=True, text=True, check=True, timeout=60
        )
    finally:
        over.set()
        admin.post("/pause", {"paused": False})
        for thread in threads:
            thread.join(60)
        for connection in silent:
            connection.close()
    times = list(map(float, told.stdout.split()))
    assert len(times) == 20
    assert max(times) < 0.050, [round(1000 * t) for t in times]


def test_scoring_whose_client_and_run_are_gone_ends_with_the_arms_at_rest(tmp_path: Path, policy_dir) -> None:
    """Held-out scoring under way, then the run's end of the pipe closes, as by Ctrl-C or `kill -9`: the station folds and ends."""
    folder = policy_dir(ZERO_POLICY)
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t.invalid", "commit", "-qm", "zero"]):  # fmt: skip
        subprocess.run(["git", "-C", str(folder), *args], check=True)
    with tempfile.TemporaryDirectory(prefix="aeb-", dir="/tmp", ignore_cleanup_errors=True) as short:
        config = StationConfig(
            run_dir=tmp_path, socket=Path(short) / "s", sandbox="none", secret_hex=secrets.token_hex(32),
            config=RunConfig(agent="cem", env="ENPIRE/PushT-real-v0", budget_s=600, track="station"),
            clock_epoch=time.monotonic(), tokens={"a": "admin"},
        )  # fmt: skip
        station = StationProcess(config).__enter__()
        admin = StationClient(str(station.socket), "a")
        digest = send_head(admin, folder).digest
        first = threading.Event()
        scoring = threading.Thread(target=_score, args=(admin, digest, first))
        scoring.start()
        assert first.wait(120)
        began = time.monotonic()
        station._process.stdin.close()
        station._process.wait(45)
        assert time.monotonic() - began < 40
        scoring.join(10)
        assert not scoring.is_alive()
    assert "could not be" not in (tmp_path / "station-1.log").read_text()
    ends = [e.payload.phase for e in Ledger(tmp_path / "ledger.sqlite").events("evaluation")]
    assert ends == ["started", "aborted"]


def _score(admin: StationClient, digest: str, first: threading.Event) -> None:
    with contextlib.suppress(UserError):
        admin.job("/held-out", {"digest": digest}, lambda episode: first.set())
