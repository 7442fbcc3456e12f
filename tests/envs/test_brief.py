"""What agents are told of a task is what is run: every number comes from the code, and the controller does what its row says."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import enpire_envs
import gymnasium as gym
import mujoco
import numpy as np
import pytest
from enpire_envs.contract import ContractError, brief_of
from enpire_envs.registry import entries

PACKAGE = Path(enpire_envs.__file__).parent
BRIEFS = sorted(PACKAGE.glob("*/brief.py"))
#: (package, id, level) of every level that there is.
LEVELS = [
    (entry.package, next(iter(entry.envs)), level)
    for entry in entries()
    if entry.package.startswith("enpire_envs.") and (PACKAGE / entry.package.partition(".")[2] / "levels.py").exists()
    for level in importlib.import_module(f"{entry.package}.levels").LEVELS
]


def brief(env_id, **arguments):
    env = gym.make(env_id, disable_env_checker=True, **arguments)
    text = brief_of(env)
    env.close()
    return text


@pytest.mark.parametrize("env_id", enpire_envs.ENV_IDS)
def test_every_task_says_how_it_moves_what_it_senses_and_what_it_looks_like(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    told = brief_of(env)
    for heading in ("Controller, limits and contact", "What is sensed, and how well", "Tool and target"):
        assert f"### {heading}\n" in told
    assert "(std, drawn per episode)" in told or "drawn per episode and axis" in told
    assert "delay of actions" in told
    for seed in range(3):  # what an episode or a station has drawn is not told
        env.reset(seed=seed)
        env.step(env.action_space.sample())
        assert brief_of(env) == told
    differ = "station" in env.unwrapped.reset_options
    env.close()
    if differ:
        assert brief(env_id, station_seed=7) == told


def test_a_brief_types_no_number():
    assert len(BRIEFS) == 7
    for file in BRIEFS:
        tree = ast.parse(file.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        in_words = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
                continue
            if id(node) in in_words or " " in node.value:
                assert not re.search(r"\d", node.value), f"{file.parent.name}/brief.py:{node.lineno}: {node.value!r}"


def leaves(value, path=()):
    """Paths to every number of a level."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, tuple):
        for k, part in enumerate(value):
            yield from leaves(part, (*path, k))
    elif isinstance(value, int | float):
        yield path


def changed(value, path):
    """The same with the number at `path` a little larger, or a little smaller where it is the lower end of a range."""
    if not path:
        return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 1.01 or 4e-4
    if isinstance(value, tuple) and path == (0,) and len(value) == 2 and isinstance(value[0], float) and value[0] > 0:
        return (value[0] * 0.8, value[1])
    first, rest = path[0], path[1:]
    if isinstance(value, tuple):
        return tuple(changed(part, rest) if k == first else part for k, part in enumerate(value))
    return dataclasses.replace(value, **{first: changed(getattr(value, first), rest)})


@pytest.mark.parametrize(("package", "env_id", "level"), LEVELS)
def test_every_number_of_a_level_is_told(package, env_id, level, monkeypatch):
    known = importlib.import_module(f"{package}.levels").LEVELS
    numbers, options = known[level], {"tilt": "hard"} if "pin" in package else {}  # with the sensing of rotations
    told = brief(env_id, level=level, **options)
    for path in leaves(numbers):
        monkeypatch.setitem(known, level, changed(numbers, path))
        assert brief(env_id, level=level, **options) != told, (
            f"{package}/brief.py says nothing of {'.'.join(map(str, path))} at {level!r}: add a row (see enpire_envs.brief)"
        )
        monkeypatch.setitem(known, level, numbers)


def test_there_are_levels_to_hold():
    assert ("enpire_envs.pin_insertion", "ENPIRE/PinInsertion-v0", "state") in LEVELS


@pytest.mark.parametrize("env_id", ["ENPIRE/PinInsertion-v0", "ENPIRE/GPUInsertion-v0"])
def test_the_tool_lags_in_free_motion_as_told(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    told = brief_of(env)
    action = np.zeros(env.action_space.shape)
    action[1] = -1.0
    env.reset(seed=0)
    for _ in range(25):
        env.step(action)
    readings = env.unwrapped.cell.read()
    behind, speed = readings.pose[1] - readings.target[1], float(env.unwrapped.task._scale[1])
    (row,) = re.findall(r"^\| x, y \| .* in free motion ([\d.]+) ms", told, re.MULTILINE)
    assert 1000 * behind / speed == pytest.approx(float(row), abs=0.3)
    env.close()


def test_only_what_is_observed_is_said_to_be_sensed():
    for obs_type, carried, missing in (
        ("state", ["hole estimate", "wrench", "end effector's position"], ["`pixels`"]),
        ("pixels", ["`pixels`"], ["hole estimate", "| wrench |", "| end effector's position |"]),
        ("pixels_agent_pos", ["`pixels`", "end effector's position"], ["| hole estimate |", "| wrench |"]),
    ):
        told = brief("ENPIRE/PinInsertion-v0", obs_type=obs_type)
        assert all(name in told for name in carried), obs_type
        assert not any(name in told for name in missing), obs_type


def test_ideal_sensing_is_said_to_be_exact():
    assert "| hole estimate | exact |" in brief("ENPIRE/PinInsertion-State-v0", sensing="ideal")
    assert "| T's pose | exact |" in brief("ENPIRE/PushT-v0", sensing="ideal")
    assert "| slot estimate | exact |" in brief("ENPIRE/GPUInsertion-v0", sensing="ideal")


class Silent(gym.Env):
    """An environment of somebody else's."""

    action_space = observation_space = gym.spaces.Box(-1, 1, (1,))


def test_a_brief_is_for_those_who_have_one():
    assert brief_of(Silent()) == ""
    spoken = Silent()
    for said in (7, lambda: 7):
        spoken.brief = said
        with pytest.raises(ContractError, match="a method that returns Markdown"):
            brief_of(spoken)
    spoken.brief = lambda: "### Wheels\n"
    assert brief_of(spoken) == "### Wheels"


IMAGES = [env_id for env_id in enpire_envs.ENV_IDS if "pixels" in gym.make(env_id).unwrapped.task.obs_types[0]]
_VIEW = re.compile(
    r"^\| `(\w+)` \| .* at \((.*?)\) mm, looking along \((.*?)\), with .* field is ([\d.]+) deg", re.MULTILINE
)


@pytest.mark.parametrize("env_id", IMAGES)
def test_cameras_are_where_they_are_told_to_be_give_or_take_what_is_told(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    told = brief_of(env)
    found = {name: (np.array(eval(at)), np.array(eval(along)), float(field)) for name, at, along, field in _VIEW.findall(told)}  # fmt: skip
    assert set(found) == set(env.unwrapped.task.cameras)
    off, turned = map(float, re.search(r"pixels, of .* off by up to ([\d.]+) mm along each axis and ([\d.]+) deg in all", told).groups())  # fmt: skip
    model, worst = env.unwrapped.cell.model, 0.0
    for station in range(4):
        env.reset(seed=station, options={"station": station})
        for name, (at, along, field) in found.items():
            camera, axes = model.camera(name), np.zeros(9)
            mujoco.mju_quat2Mat(axes, camera.quat)
            away = np.abs(1000 * camera.pos - at).max()
            assert away <= off + 0.05
            assert -axes[2::3] @ along / np.linalg.norm(along) >= np.cos(np.radians(turned + 0.1))
            assert field == pytest.approx(camera.fovy[0], abs=1e-3)
            worst = max(worst, away)
    assert worst > off / 10  # they are off, indeed
    env.close()


def test_a_thing_is_in_the_picture_where_the_told_pixels_put_it():
    env = gym.make("ENPIRE/PushT-v0", obs_type="pixels", disable_env_checker=True)
    column, row, size, pixel = map(float, re.search(r"in column ([\d.]+) and row ([\d.]+) .* of (\d+) x .* of ([\d.]+) mm each", brief_of(env)).groups())  # fmt: skip
    observation, _ = env.reset(seed=0, options={"start": {"block": [0.12, -0.06, 0.0], "tip": [-0.2, 0.1]}})
    assert len(observation) == size
    red, green, blue = np.moveaxis(observation.astype(int), -1, 0)
    rows, columns = np.nonzero((red > 1.8 * green) & (red > 1.8 * blue))
    seen = np.array([columns.mean() - column, row - rows.mean()]) * pixel
    assert seen == pytest.approx([120, -60], abs=4)  # the T is 30 mm high, and nearer to the camera at its top
    env.close()


def test_the_torque_is_about_the_point_that_is_commanded():
    """A sideways force at the pin's tip is felt as its lever to the end effector's origin."""
    env = gym.make("ENPIRE/PinInsertion-v0", sensing="ideal", disable_env_checker=True)
    assert "torques are about its origin" in brief_of(env)
    env.reset(seed=0, options={"start": {"tip": [0, 0, 0.02], "tilt": [0, 0], "hole": [1, 1]}})
    cell = env.unwrapped.cell
    before = cell.read()
    lever = cell.data.site("tip").xpos - before.pose[:3]
    force = np.array([1.0, 0.5, 0.0])
    held = cell.model.body("held").id  # whose centre of mass is where MuJoCo lets an external force attack
    torque = np.cross(lever, force)
    cell.data.xfrc_applied[held] = [*force, *(torque - np.cross(cell.data.xipos[held] - before.pose[:3], force))]
    for _ in range(60):
        cell.apply(np.zeros(6))
    felt = cell.read().wrench.vector - before.wrench.vector
    assert felt[:3] == pytest.approx(force, abs=0.02)
    assert felt[3:] == pytest.approx(torque, abs=0.002)
    env.close()
