"""`autoenvbench station ...` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from enpire_real.station_file import load_station

from autoenvbench.cli.main import main


def run(capsys: pytest.CaptureFixture, *args: str) -> tuple[int, str, str]:
    code = main(["station", *args])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_doctor_finds_the_twin_healthy(capsys) -> None:
    code, out, _ = run(capsys, "doctor", "--confirm-motion")
    assert code == 0
    assert "fail" not in out
    assert "all joints follow" in out
    assert "30.0 of 30 frames/s" in out


def test_doctor_names_what_a_physical_station_lacks(capsys, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert run(capsys, "init", str(path))[0] == 0
    code, out, _ = run(capsys, "doctor", str(path), "--json")
    assert code == 1
    failed = {f["what"]: f["detail"] for f in json.loads(out)["findings"] if f["grade"] == "fail"}
    assert "ip link set can_left" in failed["arm left"]
    assert "/dev/video0" in failed["camera top"]


def test_dry_runs_open_and_move_nothing(capsys, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    run(capsys, "init", str(path))
    before = path.read_bytes()
    for args in (["doctor"], ["home"], ["validate"], ["calibrate", "--camera", "top"]):
        code, out, _ = run(capsys, args[0], str(path), *args[1:], "--dry-run", "--confirm-motion")
        assert code == 0
        assert out
    assert path.read_bytes() == before


def test_physical_arms_do_not_move_without_a_yes(capsys, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    run(capsys, "init", str(path))
    for args in (["home"], ["calibrate", "--camera", "top"]):
        code, _, err = run(capsys, args[0], str(path), *args[1:])
        assert code == 2
        assert "--confirm-motion" in err


def test_home_validate_and_calibrate_on_a_twins_own_file(capsys, tmp_path: Path) -> None:
    path = tmp_path / "twin.yaml"
    assert run(capsys, "init", str(path), "--like", "twin")[0] == 0
    assert run(capsys, "home", str(path))[0] == 0
    code, out, _ = run(capsys, "calibrate", str(path), "--camera", "top", "--samples", "20", "--lens")
    assert code == 0
    assert load_station(path).cameras["top"].intrinsics.fx_px == pytest.approx(393.5, rel=0.02)
    assert "residual" in out
    assert load_station(path).cameras["top"].calibrated
    assert list(tmp_path.glob("twin.before-*.yaml"))
    code, out, _ = run(capsys, "validate", str(path))
    assert code == 0, out
    assert out.count("met the table") == 3
    assert "ok    mat" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["calibrate", "--camera", "nose"], "no camera 'nose'"),
        (["calibrate", "--camera", "top", "--samples", "3"], "from 12 to"),
        (["calibrate", "--camera", "top", "--arm", "third"], "no YAM arm"),
        (["doctor", "/nowhere.yaml"], "cannot read the station file"),
        (["dataset", "nowhere", "out"], "no recorded episodes"),
        (["init", "/proc/nope.yaml"], "cannot write"),
    ],
)
def test_wrong_use_says_what_to_do(capsys, args: list[str], words: str) -> None:
    code, _, err = run(capsys, *args)
    assert code == 2
    assert words in err


def test_what_is_to_be_printed_can_be_printed(capsys, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "print", str(tmp_path))
    assert code == 0
    for name in out.split():
        assert min(cv2.imread(name).shape[:2]) > 900


def test_the_view_opens_and_ends(tmp_path: Path) -> None:
    """In a process of its own: the server's threads end with it."""
    code = (
        "import sys, urllib.request\n"
        "from enpire_real.station_file import load_station\n"
        "from enpire_real.viewer import watch\n"
        "def ready(url):\n"
        "    page = urllib.request.urlopen(url, timeout=10).read()\n"
        "    print(url, len(page), flush=True)\n"
        "watch(load_station(), 0, 1.0, on_ready=ready)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    _, size = next(line for line in done.stdout.splitlines() if line.startswith("http://127.0.0.1:")).split()
    assert int(size) > 500
