"""The station server over a cell of arms and cameras (the twin)."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from autoenvbench.config import RunConfig, StationConfig
from autoenvbench.errors import RobotBusy, UserError
from autoenvbench.station.client import StationClient
from autoenvbench.station.process import StationProcess


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
            yield StationClient(str(station.socket), "t")


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
        assert client.post("/stop", {}) == {"stopped": True}
        thread.join(60)
        if failed:
            break
    assert "stopped_by_hand" in failed[0]
    for _ in range(50):
        try:
            assert client.post("/home", {}) == {"at": "home"}
            break
        except RobotBusy:
            time.sleep(0.1)


def test_a_simulated_station_has_nothing_to_move(tmp_path: Path) -> None:
    from autoenvbench.station.station import Station

    config = StationConfig(
        run_dir=tmp_path, socket=tmp_path / "s", sandbox="none", secret_hex="00" * 32,
        config=RunConfig(agent="cem", env="ENPIRE/PushT-v0", budget_s=60), clock_epoch=time.time(), tokens={},
    )  # fmt: skip
    station = Station(config)
    for act in (lambda: station.move("agent", "home"), lambda: station.stop("agent")):
        with pytest.raises(UserError, match="simulated"):
            act()
    with pytest.raises(UserError, match="one camera, top"):
        station.frame("wrist")
