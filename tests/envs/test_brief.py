"""What agents are told of a task is what is run: every number comes from the code, and the controller does what its row says."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import enpire_envs
import gymnasium as gym
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
