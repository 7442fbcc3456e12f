"""A new real task is one folder and one registration; station file, twin, cell, calibration and command line name none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import enpire_real
import gymnasium as gym
import numpy as np
import pytest
import yaml
from enpire_envs import registry
from enpire_envs.registry import TaskEntry
from enpire_real import tasks
from enpire_real.bringup.file import print_patterns
from enpire_real.bringup.procedures import validate
from enpire_real.build import build_station
from enpire_real.kinematics import ArmModel
from enpire_real.station_file import TWIN_FILE, StationError, load_station, parse_station, with_scene
from enpire_real.tasks import find_task, find_tool, known_tasks, register_task

CRATE = '''
"""A crate that stands on the table until an arm touches it."""
from enpire_envs.pusht.scene import STATION
from enpire_real.bringup.doctor import Finding
from enpire_real.hand_tools import Tool
from enpire_real.pusht.task import RealPushT
from enpire_real.env import RealEnv
from enpire_real.station_file import TaskSection, Vector
from enpire_real.tasks import TaskKit
import mujoco, numpy as np

class Section(TaskSection):
    arm: str
    centre_m: Vector
    def check_references(self, file):
        if self.arm not in file.arms:
            raise ValueError(f"arm must name an arm of this station: {', '.join(file.arms)}")

class Props:
    def __init__(self, section):
        self.centre = section.centre_m
    def build(self, spec, friction):
        body = spec.worldbody.add_body(name="crate", pos=self.centre)
        body.add_geom(name="crate", type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.05, 0.05, 0.05), rgba=(0, 0, 1, 1))
    def place(self, model, data, rng, placement):
        self.body = model.body("crate").id
    def truth(self, data):
        return {"crate": data.xpos[self.body].copy()}

class Scene:
    frame, camera_name = "the station's", "top"
    def __init__(self, station, control_hz):
        self.station, self.control_hz = station, control_hz
    def home(self): pass
    def camera_pose(self, camera): return None

HOOK = Tool("hook", tip=(0.25, 0.0, 0.02), tip_radius=0.004, clamped=True, shapes={
    "hook": {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "size": [0.004, 0, 0], "fromto": (0.14, 0, 0, 0.25, 0, 0.02)}})

def check(file):
    yield Finding("crate", "ok", f"with {file.twin.scene} on the table")

KIT = TaskKit("crate", Section, Scene, Props, (HOOK,), validate="enpire_crate:check",
              patterns=lambda: {"crate.png": np.zeros((24, 24), np.uint8)})

class CrateEnv(RealEnv):
    def __init__(self, *, station=None, confirm_motion=False, record=None, **options):
        task = RealPushT(STATION, "pose", "delta", "full")
        super().__init__(task, KIT, station=station, confirm_motion=confirm_motion, record=record, **options)
'''


@pytest.fixture
def crate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The twin's file with a section of a task that this package does not have."""
    (tmp_path / "enpire_crate").mkdir()
    (tmp_path / "enpire_crate" / "__init__.py").write_text(CRATE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tasks, "_kits", dict(tasks._kits))
    monkeypatch.setattr(registry, "_by_id", dict(registry._by_id))
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    entry = TaskEntry(
        package="enpire_crate", entry_point="enpire_crate:CrateEnv", envs={"Test/Crate-real-v0": {}}, real=True, nondeterministic=True
    )  # fmt: skip
    register_task("crate", "enpire_crate:KIT", entry)
    data: dict[str, Any] = yaml.safe_load(TWIN_FILE.read_text())
    data["tasks"]["crate"] = {"arm": "right", "centre_m": [0.4, -0.2, 0.05]}
    return data


def test_a_new_task_is_one_folder_and_one_registration(crate: dict[str, Any], tmp_path: Path) -> None:
    crate["arms"]["right"]["tool"] = "hook"
    file = parse_station(yaml.safe_dump(crate))
    assert parse_station(file.model_dump_json()) == file  # nothing of a section is lost on the way
    station = build_station(with_scene(file, "crate"))
    with station:
        assert station.twin.truth()["crate"] == pytest.approx([0.4, -0.2, 0.05])
        assert "block" not in station.twin.truth()
        assert station.control.arms["right"].model.forward(np.zeros(6)).position[0] > 0.35  # the hook's tip
        shapes = station.control.monitor.collision.model
        assert shapes.geom("right_hook").size[0] == 0.004
        assert shapes.geom("left_pusher").size[0] == 0.015
    assert [
        f.detail for f in validate(file.model_copy(update={"tasks": {"crate": file.tasks["crate"]}}), motion=True)
    ] == ["with crate on the table"]
    assert tmp_path / "print" / "crate.png" in print_patterns(tmp_path / "print")


def test_an_environment_lays_its_own_things_on_the_twins_table(crate: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(crate))
    for env_id, there, absent in (("Test/Crate-real-v0", "crate", "block"), ("ENPIRE/PushT-real-v0", "block", "crate")):
        made = gym.make(env_id, station=str(path), disable_env_checker=True)
        truth = made.unwrapped.real_cell.station.twin.truth()
        assert there in truth
        assert absent not in truth
        made.close()


def test_what_is_wrong_in_a_tasks_section_is_said_with_its_place(crate: dict[str, Any]) -> None:
    def said() -> str:
        with pytest.raises(StationError) as error:
            parse_station(yaml.safe_dump(crate))
        return str(error.value)

    crate["tasks"]["crate"] = {"arm": "right", "centre_m": [0.4, -0.2], "colour": "red"}
    words = said()
    assert "tasks.crate.centre_m: List should have at least 3 items" in words
    assert "tasks.crate.colour: Extra inputs are not permitted" in words
    crate["tasks"]["crate"] = {"arm": "middle", "centre_m": [0.4, -0.2, 0.05]}
    assert "tasks.crate: arm must name an arm of this station: left, right" in said()
    crate["tasks"] = {"crates": {}}
    assert "tasks: unknown task 'crates'; known: crate, pin_insertion, pusht" in said()
    crate["tasks"] = {}
    assert "twin.scene is 'pusht'; write one of: empty" in said()
    crate["twin"]["scene"], crate["arms"]["left"]["tool"] = "empty", "hammer"
    assert "arms.left.yam.tool: unknown tool 'hammer'; known: hook, none, pin_hand, pusher" in said()


def test_a_station_without_a_tasks_section_says_what_to_add(tmp_path: Path) -> None:
    data = yaml.safe_load(TWIN_FILE.read_text())
    data["tasks"], data["twin"]["scene"] = {}, "empty"
    path = tmp_path / "bare.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(StationError, match=r"no `tasks.pusht` section.*station init"):
        gym.make("ENPIRE/PushT-real-v0", station=str(path))
    assert [f.grade for f in validate(load_station(path), motion=True)] == ["skip"]


def test_the_generic_layer_names_no_task() -> None:
    """Outside the tasks' own folders only the registration knows their names."""
    package = Path(enpire_real.__file__).parent
    own = {package / name for name in (*known_tasks(), "reference")}
    for file in package.rglob("*.py"):
        if file == package / "__init__.py" or own & set(file.parents):
            continue
        for name in known_tasks():
            assert name not in file.read_text().lower(), f"{file.relative_to(package)} names {name}"


def test_registering_imports_nothing_heavy() -> None:
    code = "import sys, enpire_real; print([m for m in ('mujoco', 'cv2', 'can', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tools_are_data() -> None:
    pusher = find_tool("pusher")
    assert find_task("pusht").tools == (pusher,)
    bare, armed, q = ArmModel.yam(), ArmModel.yam(pusher), np.zeros(6)
    assert armed.forward(q).position - bare.forward(q).position == pytest.approx([0.200 - 0.1347, 0, 0], abs=1e-9)
    assert armed.model.geom("pusher").size[0] == pusher.tip_radius
