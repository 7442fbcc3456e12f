"""A study on a Ray cluster: three real nodes on loopback, one of which dies by kill -9, and the same study on this machine."""

import json
import os
import shutil
import signal
import tempfile

import pytest
import yaml

from autoenvbench.record.ledger import Ledger
from autoenvbench.study.local import LocalRunner, StudyObserver
from autoenvbench.study.outcomes import RunOutcome
from autoenvbench.study.plan import make_plan
from autoenvbench.study.study import run_study

#: Before Ray is imported: nothing is sent home, all is on loopback and in a folder of the test's own, and a busy machine is waited for.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_gcs_server_request_timeout_seconds": "240",
    "RAY_prestart_worker_first_driver": "0",
}
ray = pytest.importorskip("ray")
EPISODES = 2


class _KillsANode(StudyObserver):
    """Kills the first node, with all that runs there, as soon as a copy of a run that is certainly at work there is at home."""

    def __init__(self, nodes, gate, runs):
        self.nodes, self.gate, self.runs = nodes, gate, runs
        self.said, self.killed = [], False

    def log(self, text):
        self.said.append(text)

    def refresh(self, active):
        waiting = {run.key for run in active if any(run.folder.glob("*/ledger.sqlite"))}
        if self.killed or len(waiting) < 2:
            return
        self.killed = True
        for process in _processes(self.nodes[0]):
            os.kill(process, signal.SIGKILL)
        self.gate.touch()


def _processes(node):
    """The node's daemon and the workers that it started."""
    import psutil

    daemon = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [process.pid for process in (daemon, *daemon.children(recursive=False))]


def _episodes(run):
    outcome = RunOutcome.of(run)
    ledger = Ledger(outcome.run_dir / "ledger.sqlite")
    told = [(e.payload.purpose, e.payload.index, e.payload.seed, e.payload.success, e.payload.score, e.payload.steps) for e in ledger.events("episode")]  # fmt: skip
    resumed = sum(e.payload.phase == "resumed" for e in ledger.events("run"))
    ledger.close()
    return sorted(told), resumed


def _cluster():
    """A head without cores and two nodes with one each. Ray gives each half a minute to start, which a busy machine may not have."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20, "include_dashboard": False}
    for tries_left in (2, 1, 0):
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, **small)
            return cluster, [cluster.add_node(num_cpus=1, **small) for _ in range(2)]
        except Exception:
            cluster.shutdown()
            if not tries_left:
                raise
    raise AssertionError


@pytest.mark.timeout(600)
def test_a_study_on_a_cluster_loses_a_node_and_no_result(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", folder := tempfile.mkdtemp(prefix="ray-"))  # a short path: sockets are in there
    gate = tmp_path / "gate"
    steps = [f"while [ ! -e {gate} ]; do sleep 0.1; done", f"aeb evaluate -n {EPISODES}", "aeb submit"]
    (tmp_path / "script.json").write_text(json.dumps({"steps": [{"shell": step} for step in steps]}))
    study = {"name": "cluster", "episodes": EPISODES, "seeds": list(range(3)),
             "base": {"env": "ENPIRE/PushT-v0", "agent": f"replay:{tmp_path / 'script.json'}", "budget": "10m"},
             "grid": {"regime": ["heuristic"]}}  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))

    there = make_plan(path, tmp_path / "there", sandbox="none", episodes=None)
    cluster, nodes = _cluster()
    try:
        from autoenvbench.study.on_ray import RayRunner

        runner = RayRunner(cluster.address, copy_every_s=0.5)
        assert runner.at_a_time == 2
        observer = _KillsANode(nodes, gate, there.runs)
        run_study(there, runner, observer)
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    assert observer.killed
    assert [said for said in observer.said if "is lost; the run goes on from its last copy" in said]

    # The same here: of the run that was interrupted, and of one that was not.
    there_by_key = {run.key: _episodes(run) for run in there.runs}
    interrupted = [run.config.seed for run in there.runs if there_by_key[run.key][1]]
    assert 1 <= len(interrupted) <= 2
    whole = next(seed for seed in study["seeds"] if seed not in interrupted)
    path.write_text(yaml.safe_dump(study | {"seeds": [interrupted[0], whole]}))
    here = make_plan(path, tmp_path / "here", sandbox="none", episodes=None)
    run_study(here, LocalRunner(2), StudyObserver())
    for run in here.runs:
        episodes, resumed = _episodes(run)
        assert resumed == 0
        assert len(episodes) == 2 * EPISODES
        assert episodes == there_by_key[run.key][0]
