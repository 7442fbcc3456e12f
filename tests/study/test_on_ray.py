"""Studies and robots on a Ray cluster: real nodes on loopback, of which some die by kill -9, and the same on this machine."""

import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
import yaml
from conftest import ZERO_POLICY, judge
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.config import StationConfig
from autoenvbench.station.far_place import Places
from autoenvbench.station.fleet import Fleet
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


#: Names of no other test's.
LEFT, RIGHT = (f"station:{name}-{os.getpid()}" for name in ("left", "right"))


def _cluster():
    """A head without cores, and nodes: two with a core each, the second a robot's, and one that is a robot's alone. Ray gives each half a
    minute to start, which a busy machine may not have."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20, "include_dashboard": False}
    for tries_left in (2, 1, 0):
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, **small)
            parts = [(1, {}), (1, {RIGHT: 1}), (0, {LEFT: 1})]
            return cluster, [cluster.add_node(num_cpus=cpus, resources=robots, **small) for cpus, robots in parts]
        except Exception:
            cluster.shutdown()
            if not tries_left:
                raise
    raise AssertionError


@pytest.fixture(scope="module")
def cluster():
    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: sockets are in there
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        made, nodes = _cluster()
        yield made, nodes
        made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(600)
def test_a_study_on_a_cluster_loses_a_node_and_no_result(tmp_path, cluster):
    cluster, nodes = cluster
    gate = tmp_path / "gate"
    steps = [f"while [ ! -e {gate} ]; do sleep 0.1; done", f"aeb evaluate -n {EPISODES}", "aeb submit"]
    (tmp_path / "script.json").write_text(json.dumps({"steps": [{"shell": step} for step in steps]}))
    study = {"name": "cluster", "episodes": EPISODES, "seeds": list(range(3)),
             "base": {"env": "ENPIRE/PushT-v0", "agent": f"replay:{tmp_path / 'script.json'}", "budget": "10m"},
             "grid": {"regime": ["heuristic"]}}  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))

    there = make_plan(path, tmp_path / "there", sandbox="none", episodes=None)
    try:
        from autoenvbench.study.on_ray import RayRunner

        runner = RayRunner(cluster.address, copy_every_s=0.5)
        assert runner.at_a_time == 2
        observer = _KillsANode(nodes, gate, there.runs)
        run_study(there, runner, observer)
    finally:
        ray.shutdown()
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


# -- robots of a cluster --------------------------------------------------------------------------------------------------
def _holders(robot):
    """The processes of a robot's machine that hold the robot: its node and its worker."""
    import psutil

    name, found = f"station-{robot.removeprefix('station:')}.lock", []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path.endswith(name) for file in process.open_files()):
                found.append(process.pid)
    return found


@pytest.mark.timeout(600)
def test_a_run_has_robots_on_two_machines_and_one_of_them_dies(tmp_path, cluster, env, policy_dir):
    cluster, nodes = cluster
    slow = "d = observation[2:4] - observation[:2]; __import__('time').sleep(0.004); return np.clip(d / 0.03, -1, 1)"
    bundle = Bundle("c", "d", "", policy_dir(ZERO_POLICY.replace("return np.zeros(self.shape)", slow)))
    clock = RunClock.start(600)
    ledger = Ledger(tmp_path / "ledger.sqlite", clock)
    run = RunConfig(
        agent="cem", env="ENPIRE/PushT-v0", budget_s=600, cells=2, robots=[LEFT, RIGHT], ray=cluster.address
    )
    config = StationConfig(run_dir=tmp_path, socket=tmp_path / "s", sandbox="none", secret_hex="00" * 32, config=run,
                           clock_epoch=clock.epoch, tokens={}, cells=2, fingerprint=fingerprint(env))  # fmt: skip
    short = {"socket": Path("/tmp") / f"aeb-{os.getpid()}.sock"}  # pytest's own paths are too long for a socket
    fleet, told = Fleet(config.model_copy(update=short), ledger, print), []
    left = LEFT.removeprefix("station:")
    try:
        fleet.open()
        places = Places(cluster.address)
        for robot, words in ((RIGHT, f"is at work for {tmp_path} .* name another with --stations"),
                             ("station:third", r"no machine .* it has .* type: .* --resources='{\"station:third\": 1}'")):  # fmt: skip
            with pytest.raises(UserError, match=words):
                places.check([robot], 0.0)
        cells = list(fleet.pool.cells.values())
        work = threading.Thread(target=lambda: told.append(judge(cells, ledger, bundle, "evaluate", 6)))
        work.start()
        while len({e.station for e in ledger.events("start")}) < 2:
            time.sleep(0.02)
        held = _holders(LEFT)
        assert len(held) == 2
        for process in [*_processes(nodes[2]), *held]:
            os.kill(process, signal.SIGKILL)
        work.join(120)
        notes = [e.payload.text for e in ledger.events("note")]
        assert [n for n in notes if n.startswith(f"{left}'s worker ended") and "go on, and it is started again" in n]
        assert list(fleet.pool.cells) == [1]
    finally:
        fleet.close()
        ray.shutdown()
        own = Path(tempfile.gettempdir()) / f"autoenvbench-{os.getuid()}"  # a machine that died keeps what it had
        shutil.rmtree(own / f"cell-{left}", ignore_errors=True)
    assert not _holders(RIGHT)  # it is free again
    begun = [e.payload.index for e in ledger.events("start")]
    judged = {e.payload.index: (e.station, e.payload) for e in ledger.events("episode")}
    assert sorted(begun) == sorted(judged) == list(range(6))  # what was begun is judged, once
    assert [station for station, e in judged.values() if e.reason == "interrupted"] == [left]
    assert len(told[0].episodes) == 6
    here = judge(LocalCell(env, sandbox="none", track="open"), ledger, bundle, "evaluate", 6)
    for mine, (_, theirs) in zip(here.episodes, (judged[index] for index in range(6)), strict=True):
        same = ("seed", "success", "score", "steps", "reason", "scene")
        assert theirs.reason == "interrupted" or [getattr(theirs, n) for n in same] == [getattr(mine, n) for n in same]


def test_an_address_where_nobody_listens_is_refused_at_once():
    from autoenvbench.study.on_ray import RayRunner

    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"127.0.0.1:{server.getsockname()[1]}"
    for address in (nobody, "nowhere"):
        with pytest.raises(UserError, match=f"there is no Ray cluster at {address} "):
            RayRunner(address)
