"""Station files: what is accepted, and what is said about what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from enpire_real.bringup.file import examples, init
from enpire_real.station_file import TWIN_FILE, StationError, load_station, parse_station


def changed(**edits) -> str:
    """twin.yaml with dotted keys replaced."""
    data = yaml.safe_load(TWIN_FILE.read_text())
    for key, value in edits.items():
        *path, last = key.split("__")
        place = data
        for part in path:
            place = place[part]
        place[last] = value
    return yaml.safe_dump(data)


@pytest.mark.parametrize("example", sorted(examples()))
def test_the_examples_are_valid(example: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "station.yaml"
    init(path, example)
    assert load_station(path).arms
    with pytest.raises(StationError, match="exists already"):
        init(path, example)


def test_an_example_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(StationError, match="no example 'pin'; --like takes one of: yam-pair, twin, pin-cell"):
        init(tmp_path / "station.yaml", "pin")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"speed": 3}, "speed: Extra inputs"),
        ({"rate_hz": 10}, "rate_hz"),
        ({"kind": "physical"}, "has none"),
        ({"arms__left__bus__interface": "udp_multicast"}, "arms.left.yam.bus.interface"),
        ({"arms__left__base_m": [0, 0]}, "arms.left.yam.base_m"),
        ({"arms__left__tool": "hammer"}, "arms.left.yam.tool"),
        ({"arms__right__bus__channel": "twin_left"}, "two arms are on one bus"),
        ({"safety__workspace": {}}, "safety.workspace has no box for: left, right"),
        ({"safety__velocity_rad_s": [1, 2]}, "safety.velocity_rad_s"),
        ({"safety__emergency_stop": {"type": "file"}}, "needs `path`"),
        ({"tasks__pusht__arm": "middle"}, "pusht.arm and pusht.camera must name"),
        ({"cameras__top__type": "opencv"}, "needs `source`"),
        ({"cameras__top__mount": "ceiling"}, "mounted on 'ceiling'"),
        ({"name": "two words"}, "name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(edits: dict, words: str) -> None:
    with pytest.raises(StationError) as error:
        parse_station(changed(**edits))
    assert words in str(error.value)


def test_text_that_is_no_station(tmp_path: Path) -> None:
    for text, words in (("", "is empty"), ("a: [", "not YAML"), ("- 1", "is empty")):
        with pytest.raises(StationError, match=words):
            parse_station(text)
    with pytest.raises(StationError, match="station init"):
        load_station(tmp_path / "missing.yaml")
    with pytest.raises(StationError, match="cannot read"):
        load_station(tmp_path)


def test_the_environment_variable_names_the_station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from enpire_real.env import open_station

    path = tmp_path / "named.yaml"
    path.write_text(changed(name="named"))
    monkeypatch.setenv("AUTOENVBENCH_STATION", str(path))
    station = open_station(None, confirm_motion=False, env_id="x", task="pusht")
    assert station.file.name == "named"
    station.close()
