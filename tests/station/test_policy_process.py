"""A policy that misbehaves costs its own episode and nothing else, and the reason says what it did."""

import time
from pathlib import Path

import enpire_envs
import numpy as np
import pytest
from conftest import ZERO_POLICY

from autoenvbench.station.policy_process import PolicyFault, PolicyLimits, PolicyProcess
from autoenvbench.station.rollout import run_episode

LIMITS = PolicyLimits(act_cpu_s=0.3, act_wall_s=2.0, load_cpu_s=5.0, load_wall_s=60.0, memory_mb=1024)
SANDBOXES = [pytest.param("bwrap", marks=pytest.mark.cage), "none"]


def acting(body):
    return ZERO_POLICY.replace("return np.zeros(self.shape)", body)


@pytest.fixture(params=SANDBOXES)
def start(request, env, policy_dir):
    made = []

    def make(source):
        process = PolicyProcess(
            policy_dir(source), env.observation_space, env.action_space, LIMITS, request.param, "open"
        )
        made.append(process)
        return process

    yield make
    for process in made:
        process.__exit__()


FAULTS = {
    "raises": (acting("raise ValueError('my bug')"), "policy_error", "my bug"),
    "wrong shape": (acting("return np.zeros(3)"), "bad_action_shape", "expected (2,)"),
    "scalar": (acting("return 0.0"), "bad_action_shape", "shape ()"),
    "nan": (acting("return np.array([np.nan, 0])"), "bad_action_nonfinite", "finite"),
    "inf": (acting("return [float('inf'), 0]"), "bad_action_nonfinite", "finite"),
    "sum overflows": (acting("return np.array([1.5e308, 1.5e308])"), "bad_action_range", "1.5e+308"),
    "text": (acting("return 'left'"), "policy_error", "could not convert"),
    "none": (acting("return None"), "bad_action", ""),
    "exits": (acting("import os; os._exit(7)"), "policy_exited", "7"),
    "kills itself": (acting("import os, signal; os.kill(os.getpid(), signal.SIGKILL) or os.abort()"), "policy_exited", ""),
    "spins": (acting("\n        while True: pass"), "act_cpu_limit", "300 ms"),
    "sleeps": (acting("import time; time.sleep(60)"), "act_wall_limit", "2 s"),
    "eats memory": (acting("x = bytearray(3 << 30); return x"), "policy_error", "MemoryError"),
    "huge action": (acting("return np.zeros((1000, 1000))"), "protocol_error", "bytes"),
    "syntax": ("class Policy(:", "policy_load_error", "SyntaxError"),
    "no class": ("x = 1", "policy_load_error", "Policy"),
    "exits on import": ("import sys; sys.exit(0)", "policy_load_error", "SystemExit"),
    "spins on import": ("while True: pass", "load_cpu_limit", "5000 ms"),
    "writes to the pipe": (acting("import os, sys; os.write(int(sys.argv[2]), b'\\x03\\0\\0\\0axy' * 3); return np.zeros(2)"),
                           "", ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_have_reasons_and_the_next_episode_starts_afresh(env, start, fault):
    source, reason, detail = FAULTS[fault]
    process = start(source)
    for _ in range(1 if "spins" in fault or "sleeps" in fault else 2):
        outcome = run_episode(env, process, 0)
        assert not outcome.success
        assert (outcome.reason or "").startswith(reason)
        assert outcome.reason != "time_limit"
        assert detail in (outcome.detail or "")
        assert not outcome.infrastructure  # sleeping, too, is the policy's own doing


def test_garbage_on_stdout_is_harmless_and_kept(env, start):
    process = start(acting("print('garbage ' * 1000, flush=True); return np.zeros(2)"))
    outcome = run_episode(env, process, 0)
    assert outcome.reason == "time_limit"
    assert outcome.steps == 300
    assert "garbage" in process.output()
    assert len(process.output()) <= 64 << 10


def test_a_well_behaved_policy_keeps_its_state_and_is_timed(env, start):
    process = start(acting("self.n = getattr(self, 'n', 0) + 1; print(self.n); return np.zeros(2)"))
    for seed in range(2):
        assert run_episode(env, process, seed).steps == 300
    assert "600" in process.output()
    assert process.acts == 300
    assert 0 < process.act_cpu_s < 3


def test_observations_arrive_as_they_were_sent(env, start):
    process = start(acting("return observation[:2] * 3.0"))
    observation, _ = env.reset(seed=1)
    process.reset(observation)
    assert process.act(observation) == pytest.approx(np.asarray(observation[:2] * np.float32(3), dtype=np.float64))


@pytest.mark.cage
def test_what_a_caged_policy_can_see(env, policy_dir):
    probe = acting("return np.zeros(2)") + (
        "\nimport os, socket, pathlib, subprocess\n"
        "def tried(f):\n"
        "    try: return repr(f())\n"
        "    except BaseException as e: return 'no: ' + type(e).__name__\n"
        "import enpire_envs\n"
        "folders = sorted(pathlib.Path(enpire_envs.__file__).parent.glob('*/reference'))\n"
        "print('reference', len(folders), [os.listdir(folder) for folder in folders])\n"
        "print('home', tried(lambda: os.listdir('/root')), tried(lambda: os.listdir('/home')))\n"
        "print('net', tried(lambda: socket.create_connection(('127.0.0.1', int(open('port').read())), 1)))\n"
        "print('write', tried(lambda: open('policy.py', 'a')), tried(lambda: open('/usr/x', 'w')))\n"
        "print('pids', len([p for p in os.listdir('/proc') if p.isdigit()]))\n"
        "print('env', sorted(os.environ))\n"
        "print('fds', sorted(os.listdir('/proc/self/fd')))\n"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        folder = policy_dir(probe)
        (folder / "port").write_text(str(listener.getsockname()[1]))
        with PolicyProcess(folder, env.observation_space, env.action_space, LIMITS, "bwrap", "open") as process:
            process.reset(env.reset(seed=0)[0])
            seen = dict(line.split(" ", 1) for line in process.output().splitlines())
    folders = list(Path(enpire_envs.__file__).parent.glob("*/reference"))
    assert seen["reference"] == f"{len(folders)} {[[]] * len(folders)}"
    assert all(list(folder.iterdir()) for folder in folders)  # which are not empty outside
    assert "policy" not in seen["home"].replace("PolicyError", "")
    assert "no:" in seen["net"]
    assert seen["write"].count("no:") == 2
    assert int(seen["pids"]) == 1
    assert "TOKEN" not in seen["env"]
    assert "KEY" not in seen["env"]
    assert len(eval(seen["fds"])) <= 8


@pytest.mark.cage
def test_on_the_station_track_there_is_no_simulator(env, policy_dir):
    source = "import mujoco\nmujoco.MjModel\n" + ZERO_POLICY
    with (
        PolicyProcess(
            policy_dir(source), env.observation_space, env.action_space, LIMITS, "bwrap", "station"
        ) as process,
        pytest.raises(PolicyFault, match="MjModel"),
    ):
        process.reset(env.reset(seed=0)[0])


def test_closing_ends_the_process_whatever_it_does(env, start):
    process = start(acting("import time; time.sleep(100)"))
    observation, _ = env.reset(seed=0)
    process.reset(observation)
    began = time.monotonic()
    process.close()
    assert time.monotonic() - began < 5
