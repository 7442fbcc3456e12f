"""A rerun needs proof that the machine stalled. Here it really does: station and policy are stopped by a signal, as a virtual machine
that is not scheduled stops them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ZERO_POLICY

from autoenvbench.station import starvation
from autoenvbench.station.starvation import Wait

STATION = """
import json, sys
from pathlib import Path
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger
from autoenvbench.make_env import make_env
from autoenvbench.station import starvation
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.batch import Batch, draw_starts
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import evaluate
from autoenvbench.station.policy_process import PolicyLimits
from autoenvbench.record.starts import StartStreams

starvation.MIN_WAIT_S = 1.0
env = make_env("ENPIRE/PushT-v0", {"max_episode_steps": 5})
cell = LocalCell(env, sandbox="none", track="open", limits=PolicyLimits(act_cpu_s=1.0, act_wall_s=2.5))
starts = draw_starts(StartStreams(bytes(32)), "heldout", 0, 1)
batch = Batch("E1", "heldout", Bundle("c", "d", "", Path(sys.argv[1])), 1, starts, agent=sys.argv[2] or None)
tally = evaluate([cell], batch, Ledger(Path(":memory:"), RunClock.start(600)))
print(json.dumps([e.model_dump() for e in tally.episodes]))
"""


def family(pid):
    """A process and all its descendants."""
    found = [pid]
    for path in (f"/proc/{pid}/task/{task}/children" for task in os.listdir(f"/proc/{pid}/task")):
        for child in Path(path).read_text().split():
            found += family(int(child))
    return found


def run(policy, agent="", stall=True):
    station = subprocess.Popen([sys.executable, "-c", STATION, str(policy), agent], stdout=subprocess.PIPE, text=True)
    try:
        marker = policy / "acting"
        while stall and not marker.exists():
            time.sleep(0.01)
        if stall:
            stopped = family(station.pid)
            for pid in reversed(stopped):
                os.kill(pid, signal.SIGSTOP)
            time.sleep(4)
            os.kill(stopped[0], signal.SIGCONT)
            time.sleep(0.3)
            for pid in stopped[1:]:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:  # the station has killed it
                    pass
        return json.loads(station.communicate(timeout=60)[0])
    finally:
        station.kill()


def acting(seconds):
    """A policy that leaves a mark when it acts, and takes its time the first time in its life."""
    return ZERO_POLICY.replace(
        "return np.zeros(self.shape)",
        f"import time, pathlib; p = pathlib.Path('acting'); old = p.exists(); p.touch(); time.sleep(0 if old else {seconds}); "
        "return np.zeros(self.shape)",
    )


@pytest.mark.skipif(not os.path.exists("/proc/pressure/memory"), reason="a kernel without pressure stall information")
def test_a_machine_that_stalls_is_at_fault_and_the_proof_is_on_record(policy_dir):
    (episode,) = run(policy_dir(acting(1.0)))
    assert (episode["reruns"], episode["reason"], episode["infrastructure"]) == (1, "time_limit", False)
    assert "act_wall_limit: the machine stalled" in episode["rerun_because"]


def test_beside_a_living_agent_nobody_else_is_at_fault(policy_dir):
    """What loads the machine then may be the agent's own, and it would have its policy's failures run again."""
    (episode,) = run(policy_dir(acting(1.0)), agent="codex")
    assert (episode["reruns"], episode["reason"], episode["success"]) == (0, "act_wall_limit", False)


def test_a_policy_that_sleeps_fails_once(policy_dir):
    (episode,) = run(policy_dir(acting(60)), stall=False)
    assert (episode["reruns"], episode["reason"], episode["infrastructure"]) == (0, "act_wall_limit", False)
    assert "no answer" in episode["detail"]


def test_a_policy_that_took_the_processor_proves_nothing(monkeypatch):
    monkeypatch.setattr(starvation, "MIN_WAIT_S", 0.1)
    wait = Wait(time.monotonic() - 10.0)
    wait.late = 9.0
    assert "9.0 s late" in wait.starved(0.1)
    assert wait.starved(1.0) is None
    wait.late = 2.0
    assert wait.starved(0.1) is None
