"""Shared fixtures. Everything a test starts lives on loopback, Unix sockets and pipes, and is stopped by the test."""

from __future__ import annotations

import fcntl
import importlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="aeb-state-")  # stops and lists of stations are no others' here
for key in (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_API_KEY",
    "MOONSHOT_API_KEY",
    "VISION_API_KEY",
):  # tests never use a real key
    os.environ.pop(key, None)

import gymnasium as gym
import hypothesis
import numpy as np
import pytest
from bench import Bench
from enpire_envs import registry
from enpire_real.build import build_station
from enpire_real.motion import JointMove
from enpire_real.station import Station
from enpire_real.station_file import StationFile, load_station
from enpire_real.yam import HOME
from headless import PROGRAM, WITHOUT, Chromium

import autoenvbench  # noqa: F401  (registers the environments)
from autoenvbench.agents.codex import Codex
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import Purpose
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.starts import StartStreams
from autoenvbench.sandbox.cage import bwrap_problem
from autoenvbench.station.batch import Batch, Cell, Film, Keep, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.evaluation import Tally, evaluate
from autoenvbench.study.demos import record_demos

hypothesis.settings.register_profile("no deadline", deadline=None)  # a busy machine makes no example wrong
hypothesis.settings.load_profile("no deadline")

pytest.register_assert_rewrite("team_bench")  # which tests name as a plugin, and import
ZERO_POLICY = """
import numpy as np

class Policy:
    def __init__(self, observation_space, action_space):
        self.shape = action_space.shape
    def reset(self, observation):
        pass
    def act(self, observation):
        return np.zeros(self.shape)
"""
#: Parameters of the workspace's Push-T template that solve about four starts of five.
TUNED = {"characteristic_length": 0.05, "rotation_weight": 0.06, "push_gain": 0.8, "push_max": 0.08, "standoff": 0.004,
          "margin": 0.006, "travel_weight": 0.02, "fine_error": 0.03, "fine_speed": 0.3}  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--env ID`: hold a task of somebody's own to the contract of the suite (tests/envs/test_contract.py)."""
    parser.addoption("--env", action="append", metavar="ID", help="check this environment's contract, not the suite's")


def judge(
    cells: Cell | list[Cell], ledger: Ledger, bundle: Bundle, purpose: Purpose, n: int, first: int = 0, *,
    attempts: int = 1, skip: frozenset[tuple[int, int]] = frozenset(), agent: str | None = None,
    named: Sequence[dict[str, Any]] = (), keep: Keep | None = None, film: Film | None = None, sheets: int = 0, **more: Any,
) -> Tally:  # fmt: skip
    """An evaluation of its own, on starts of the secret of 32 zeros; `more` as in `evaluate`."""
    evaluation = f"E{1 + sum(e.payload.phase == 'started' for e in ledger.events('evaluation'))}"
    starts = draw_starts(StartStreams(bytes(32)), purpose, first, n, attempts=attempts, skip=skip, named=named)
    batch = Batch(
        evaluation, purpose, bundle, n * attempts, starts, attempts=attempts, agent=agent, keep=keep, film=film,
        sheets=sheets,
    )  # fmt: skip
    return evaluate(cells if isinstance(cells, list) else [cells], batch, ledger, **more)


def _alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("real_time") is not None


_machine: IO[str] | None = None  # the lock on it, while this process has it


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Tests run three at a time (`-n 3`: two cores are enough, since many tests wait for a clock).

    But one that keeps time with motors and cameras has the machine to itself, and hands it on to the next of its kind: to become alone
    takes as long as the longest test that others have begun.
    """
    global _machine
    if _machine is None:
        stem = Path(tempfile.gettempdir()) / f"autoenvbench-tests-{os.getuid()}"
        _machine = stem.with_suffix(".lock").open("w")
        with stem.with_suffix(".gate").open("w") as gate:  # who waits to be alone lets nobody else begin
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(_machine, fcntl.LOCK_EX if _alone(item) else fcntl.LOCK_SH)
    try:
        return (yield)
    finally:
        if not (_alone(item) and _alone(nextitem)):
            _machine.close()
            _machine = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker(
            "real_time"
        ):  # a virtual machine may stall for 30 ms, and the arms rightly stop then
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=["no answer from .* tries in"]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cage") and (problem := bwrap_problem()):
        pytest.skip(problem)
    if item.get_closest_marker("codex") and Codex().command() is None:
        pytest.skip("the Codex CLI is not installed: npm install --prefix .tools @openai/codex")


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip(WITHOUT)
    made = Chromium(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def browser(_chromium: Chromium) -> Chromium:
    """A browser that all tests of this process share, to which no page has said anything yet."""
    _chromium.open("about:blank")
    _chromium.said.clear()
    return _chromium


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", RunClock.start(3600))


@pytest.fixture
def policy_dir(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with the given policy.py."""

    def make(source: str) -> Path:
        folder = tmp_path / f"policy{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "policy.py").write_text(source)
        return folder

    return make


@pytest.fixture(scope="module")
def env() -> gym.Env:
    made = gym.make("ENPIRE/PushT-v0", render_mode="rgb_array", disable_env_checker=True)
    yield made
    made.close()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A workspace-like Git repository with a policy."""
    path = tmp_path / "repo"
    path.mkdir()
    (path / "policy.py").write_text(ZERO_POLICY)
    for args in (["init", "-q", "-b", "main"], ["config", "user.name", "t"], ["config", "user.email", "t@t.invalid"],
                 ["add", "."], ["commit", "-qm", "zero policy"]):  # fmt: skip
        subprocess.run(["git", "-C", str(path), *args], check=True)
    return path


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path, repo: Path) -> Iterator[Bench]:
    """A station of `ENPIRE/PushT-v0` with ten minutes of budget and one cell; an indirect parameter says what is otherwise (`Bench`)."""
    socket_dir = Path("/tmp") / f"aeb-test-{secrets.token_hex(4)}"  # pytest's own paths are too long for a Unix socket
    socket_dir.mkdir()
    made = Bench(tmp_path, repo, socket_dir, budget=600, **getattr(request, "param", {}))
    with made.station:
        yield made
    made.socket.unlink(missing_ok=True)
    socket_dir.rmdir()


# -- stations of simulated parts, in virtual time unless a test says otherwise ---------------------------------------------
gym.logger.min_level = gym.logger.ERROR  # the notice that a twin is a twin has a test of its own


@pytest.fixture
def gymnasium_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gymnasium's warnings are not held back."""
    monkeypatch.setattr(gym.logger, "min_level", gym.logger.WARN)


MakeStation = Callable[..., Station]


def station_file(*, cameras: tuple[str, ...] = ("top",), **twin: Any) -> StationFile:
    """The twin that ships, with fewer cameras and other `twin` settings."""
    file = load_station()
    assert file.twin is not None
    return file.model_copy(
        update={
            "cameras": {name: file.cameras[name] for name in cameras},
            "twin": file.twin.model_copy(update=({} if "top" in cameras else {"scene": "empty"}) | twin),
            "tasks": file.tasks if "top" in cameras else {},
        }
    )


@pytest.fixture
def make_station() -> Iterator[MakeStation]:
    """Starts stations and closes them after the test."""
    made: list[Station] = []

    def make(file: StationFile | None = None, *, home: bool = True, block: Any = None, **twin: Any) -> Station:
        file = file or station_file(cameras=(), **twin)
        assert file.twin is not None
        args = {"placement": block} if block is not None else {}
        station = build_station(file, twin_args=args if file.twin.link is None else None)
        made.append(station)
        station.start()
        if home:
            for name in station.control.arms:
                station.control.move(name, JointMove([HOME], 1.5, 8.0))
            for name in station.control.arms:
                station.control.wait(name, 20)
            station.clock.sleep(0.5)
        return station

    yield make
    for station in made:
        station.close()


@pytest.fixture
def twin_env() -> Iterator[gym.Env]:
    """Push-T with arms, on a twin in virtual time."""
    made = gym.make("ENPIRE/PushT-real-v0", disable_env_checker=True)
    yield made
    made.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# -- the example task, which is learnt in seconds --------------------------------------------------------------------------
NEW_TASK = Path(__file__).parents[1] / "examples/new_task"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the example task in it, for the PYTHONPATH of other processes."""
    return lay_out(NEW_TASK, tmp_path_factory.mktemp("site"))


def lay_out(project: Path, site: Path) -> Path:
    """Leave in `site` what `pip install` leaves of the one package of a project."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    shutil.copytree(project / about["name"], site / about["name"], ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{about['name']}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    points = about["entry-points"][registry.ENTRY_POINTS]
    (info / "entry_points.txt").write_text(
        f"[{registry.ENTRY_POINTS}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    )
    return site


@pytest.fixture(scope="module")
def reach() -> Iterator[str]:
    """The id of the example task; it is known while the module's tests run."""
    folder = str(NEW_TASK)
    known, before = dict(registry._by_id), set(gym.registry)
    sys.path.insert(0, folder)
    try:
        registry.register(importlib.import_module("reach").TASK)
        yield "Example/Reach-v0"
    finally:
        sys.path.remove(folder)
        registry._by_id.clear()
        registry._by_id.update(known)
        for env_id in set(gym.registry) - before:
            del gym.registry[env_id]
        for name in [name for name in sys.modules if name.partition(".")[0] == "reach"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def shown(reach: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a hundred episodes of the script."""
    out = tmp_path_factory.mktemp("demos") / "scripted"
    record_demos(reach, "scripted", 100, out, sandbox="none")
    return out
