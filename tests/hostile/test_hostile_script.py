"""Hostile scripts in canonical mode: every gated call, and every way round the gate that we could think of. What a script
gets hold of it raises as GOT, which the ledger keeps; a success that it did not earn fails the test as well."""

import json
import os
import time
from pathlib import Path

import pytest
from enpire_envs.remote.venvs import ROBOCASA, simulators_dir

from autoenvbench.make_env import make_env
from autoenvbench.station.policy_process import PolicyLimits, PolicyProcess
from autoenvbench.station.script_rollout import ScriptSettings, run_script_episode

pytestmark = [pytest.mark.cage, pytest.mark.skipif(not ROBOCASA.installed, reason="autoenvbench setup robocasa")]
SANDBOX = os.environ.get("AUTOENVBENCH_TEST_SANDBOX", "bwrap")  # or docker
LIMITS = PolicyLimits(act_cpu_s=0.3, act_wall_s=10.0, script_cpu_s=10.0, memory_mb=1024)

HEAD = """
import contextlib, gc, glob, importlib, inspect, json, os, sys
import numpy as np
from enpire_envs.remote import wire

def run(tools):
    found = attempt(tools)
    if found:
        raise RuntimeError("GOT " + str(found)[:300])

def attempt(tools):
"""
#: name -> (what, what stops it, body)
SCRIPTS = {
    "gated": ("Call what is gated: task info, resets, the oracle", "the station refuses it, whatever the script's process holds", """
    for name in ("get_task_info", "reset_env", "reset_to_initial", "get_oracle_targets"):
        with contextlib.suppress(tools.ToolError):
            return name, getattr(tools, name)()"""),
    "methods": ("Call the toolbox's, the body's and Python's own methods by name", "only names in the table of tools are looked up", """
    for name in ("call", "targets", "set_posture", "log", "names", "finish", "step", "world", "body", "env", "__init__", "__class__",
                 "__reduce__", "_body", "_world", "_pass_gate", "_restart", "_act", "get_robot_state.__globals__"):
        tools._channel.send(b"t", wire.pack({"tool": name, "args": [], "kwargs": {}}))
        tag, data = tools._channel.receive()
        if tag == b"V":
            return name, data"""),
    "arguments": ("Smuggle arguments into a tool: self, other types, objects", "arguments are bound to the tool's own signature, and carry data alone", """
    for kwargs in ({"self": 1}, {"camera": {"a": 1}}, {"camera": ["agentview"]}, {"camera": None, "__class__": 1}):
        with contextlib.suppress(tools.ToolError):
            return tools.get_camera_image(**kwargs)
    tools._channel.send(b"t", wire.pack({"tool": "get_camera_image", "args": [], "kwargs": {"config": {"mode": "oracle"}}}))
    tag, data = tools._channel.receive()
    return data if tag == b"V" else None"""),
    "import": ("Import the simulator", "its environment is in no policy's cage", """
    for name in ("robosuite", "robocasa", "mujoco", "gym_pusht", "enpire_envs.simulators.robosuite_env"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).__file__"""),
    "files": ("Find the simulator's files, or the standing kitchen's", "the folder is hidden, on either track", """
    found = glob.glob(SIMULATORS + "/*") + glob.glob(sys.prefix + "/simulators/*")
    return found or [p for p in glob.glob(os.path.dirname(wire.__file__) + "/../simulators/*")]"""),
    "gc": ("Walk the garbage collector for an environment, a toolbox or a body", "they live in other processes", """
    names = ("Toolbox", "RobotBody", "RemoteBody", "RobosuiteTask", "ScriptWorld", "RemoteEnv", "MjData", "MjModel")
    return [type(o).__name__ for o in gc.get_objects() if type(o).__name__ in names]"""),
    "frames": ("Climb the stack to the caller's variables", "the stack ends in the policy's host, which holds two pipes", """
    frame, seen = sys._getframe(), []
    while frame:
        seen += [k for k, v in {**frame.f_globals, **frame.f_locals}.items() if k in ("env", "toolbox", "station", "world", "ledger", "secret")]
        frame = frame.f_back
    return seen"""),
    "proc": ("Read the simulator's or the station's memory and descriptors through /proc", "another PID namespace", """
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            with contextlib.suppress(OSError):
                line = open(f"/proc/{pid}/cmdline").read()
                if "remote/host" in line or "station.door" in line or "cell_worker" in line or "pytest" in line:
                    found.append(line)
    return found"""),
    "forged end": ("Tell the station that the episode was a success", "a script's messages are calls and an end; the station judges", """
    for tag in (b"d", b"V", b"a", b"r"):
        os.write(tools._channel._out, (1).to_bytes(4, "little") + tag)
    os.write(tools._channel._out, wire.LENGTH.pack(40) + b"d" + json.dumps({"success": True, "score": 1.0}).encode())"""),
    "forged frames": ("Send broken, endless and object-laden messages", "frames are bounded and checked; arrays of objects are refused", """
    bad = wire.pack({"tool": "move_eef", "args": [], "kwargs": {}}).replace(b"kwargs", b"kwarg!")
    tools._channel.send(b"t", bad)
    return tools._channel.receive()[0] == b"V" """),
    "objects": ("Send an array of Python objects", "its type is refused before anything is made of it", """
    import msgpack
    body = msgpack.packb({"tool": "move_eef", "args": [{"__ndarray__": "|O", "shape": [1], "data": b"\\0" * 8}], "kwargs": {}})
    tools._channel.send(b"t", body)
    return tools._channel.receive()[0] == b"V" """),
    "flood": ("Ask without end, to look for free", "every call takes time of the episode", """
    for _ in range(100_000):
        tools.get_robot_state()
    return "free calls" """),
    "after": ("Go on when the episode is over", "nothing is answered any more, and the process ends", """
    while True:
        try:
            tools.get_robot_state()
        except tools.EpisodeOver:
            break
    for _ in range(20):
        with contextlib.suppress(tools.EpisodeOver, tools.ToolError):
            return tools.open_gripper()"""),
}  # fmt: skip


@pytest.fixture(scope="module")
def lift():
    env = make_env("ENPIRE/Robosuite-Lift-v0", {"max_episode_steps": 60})
    yield env
    env.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_hostile_script(lift, name, tmp_path):
    _, _, body = SCRIPTS[name]
    (tmp_path / "policy.py").write_text(HEAD + body.replace("SIMULATORS", repr(str(simulators_dir()))) + "\n")
    began = time.monotonic()
    with PolicyProcess(tmp_path, lift.observation_space, lift.action_space, LIMITS, SANDBOX, "open") as process:
        outcome = run_script_episode(lift, process, 3, {}, ScriptSettings())
    assert not outcome.success
    assert "GOT" not in (outcome.detail or ""), outcome.detail
    assert outcome.steps <= 60
    assert time.monotonic() - began < 60
    for call in outcome.calls:
        assert json.dumps(call)
        assert not (call["ok"] and call["group"] == "gated")
    # The station goes on as if nothing had been.
    assert lift.reset(seed=1)[1]["success"] is False


def test_the_table_in_the_readme_lists_every_script():
    table = (Path(__file__).parent / "README.md").read_text()
    for what, how, _ in SCRIPTS.values():
        assert f"| {what} | {how} |" in table, what
