"""Batches: recorded one by one, repeatable to the bit, and unmoved by a busy machine."""

import multiprocessing
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import ZERO_POLICY, judge
from enpire_envs.cell import CellFault
from enpire_envs.episode_file import Source, read_episode
from enpire_envs.episodes import Episodes
from enpire_envs.fingerprint import fingerprint
from enpire_real.motors import MotorFault

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.record import metrics
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.record.summary import summarise
from autoenvbench.sandbox.cage import Bind, Cage, python_path
from autoenvbench.station.batch import Film, Keep
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import close_evaluations, settle

STUMBLING = ZERO_POLICY.replace(
    "return np.zeros(self.shape)",
    "d = observation[2:4] - observation[:2]; return np.clip(d / 0.03 + np.random.normal(size=2), -1, 1)",
)


def burn(until):
    while time.monotonic() < until:
        pass


@pytest.fixture
def cell(env):
    return LocalCell(env, sandbox="none", track="open")


def outcomes(tally):
    return [(e.index, e.seed, e.success, e.score, e.stage, e.reason, e.steps) for e in tally.episodes]


def test_equal_bundles_on_equal_starts_give_equal_episodes_idle_or_loaded(cell, ledger, policy_dir):
    bundle = Bundle("c", "d", "", policy_dir(STUMBLING))
    idle = outcomes(judge(cell, ledger, bundle, "heldout", 6))
    load = [multiprocessing.get_context("spawn").Process(target=burn, args=(time.monotonic() + 20,)) for _ in range(4)]
    for p in load:
        p.start()
    try:
        loaded = outcomes(judge(cell, ledger, bundle, "heldout", 6))
    finally:
        for p in load:
            p.terminate()
            p.join()
    assert idle == loaded
    assert len({o[6] for o in idle} | {o[3] for o in idle}) > 1  # the episodes do differ from one another


def test_every_episode_is_in_the_ledger_before_it_is_told(cell, ledger, policy_dir):
    told = []

    def on_episode(event):
        assert sum(1 for _ in ledger.events("episode")) == len(told) + 1
        told.append(event)

    tally = judge(cell, ledger, Bundle("c", "d", "", policy_dir(ZERO_POLICY)), "evaluate", 3, 10, on_episode=on_episode)
    assert [e.payload for e in ledger.events("episode")] == tally.episodes == told
    assert [e.index for e in told] == [10, 11, 12]
    phases = [e.payload.phase for e in ledger.events("evaluation")]
    assert phases == ["started", "finished"]


def after(calls, why="the client hung up"):
    """A `stop` that answers from a given call on."""
    counted = iter(range(10**6))
    return lambda: why if next(counted) > calls else None


def test_an_episode_that_is_stopped_counts_as_it_stands(cell, ledger, policy_dir):
    bundle = Bundle("c", "d", "", policy_dir(ZERO_POLICY))
    tally = judge(cell, ledger, bundle, "evaluate", 5, 0, stop=after(450))
    assert tally.aborted
    assert [e.reason for e in tally.episodes] == ["time_limit", "interrupted"]
    assert tally.episodes[1].steps > 100
    assert tally.episodes[1].detail == "the client hung up"
    assert [e.payload.phase for e in ledger.events("evaluation")] == ["started", "aborted"]
    assert len(list(ledger.events("start"))) == 2
    tally = judge(cell, ledger, bundle, "evaluate", 5, 2, stop=after(0))  # before anything was shown to the policy
    assert tally.aborted
    assert tally.episodes == []
    practice = judge(cell, ledger, bundle, "practice", 2, 0, stop=after(450))
    assert [e.reason for e in practice.episodes] == ["time_limit"]  # practice judges nothing


def test_a_start_without_an_outcome_is_judged_when_the_station_comes_back(cell, ledger, policy_dir):
    """What kill -9 leaves behind: the batch is cut off by an exception that nobody may catch."""

    class Killed(BaseException):
        pass

    def stop():
        if sum(1 for _ in ledger.events("start")) == 2:
            raise Killed
        return None

    kept = []
    append = ledger.append
    ledger.append = lambda payload, **more: kept.append(payload) or append(payload, **more) if alive else 0
    alive = True

    def dying():
        nonlocal alive
        try:
            return stop()
        except Killed:
            alive = False  # a dead process writes nothing any more
            raise

    with pytest.raises(Killed):
        judge(cell, ledger, Bundle("c", "d", "", policy_dir(ZERO_POLICY)), "heldout", 5, 0, agent="a", stop=dying)
    del ledger.append
    assert len(list(ledger.events("start"))) == 2
    assert len(list(ledger.events("episode"))) == 1
    (settled,) = settle(Follower(ledger), "killed")
    assert (settled.index, settled.success, settled.reason, settled.detail) == (1, False, "interrupted", "killed")
    assert settle(Follower(ledger), "killed") == []
    close_evaluations(Follower(ledger))
    close_evaluations(Follower(ledger))
    ended = [e.payload for e in ledger.events("evaluation")]
    assert [(p.phase, p.episodes, p.successes) for p in ended] == [("started", 0, 0), ("aborted", 2, 0)]
    assert {e.agent for e in ledger.events("episode", "evaluation")} == {"a"}
    assert metrics.disturbances(ledger.events()) == metrics.Disturbances(0, 1, 1, 0, 0)


class Brittle(gym.Wrapper):
    """An environment with a mistake of its own that a policy can bring about."""

    def step(self, action):
        if action[0] > 0.5:
            raise ZeroDivisionError("nobody thought of that")
        return super().step(action)


def test_whatever_a_step_raises_is_the_outcome_of_the_action(env, ledger, policy_dir):
    brittle = LocalCell(Brittle(env), sandbox="none", track="open")
    source = ZERO_POLICY.replace("np.zeros(self.shape)", "np.ones(self.shape)")
    tally = judge(brittle, ledger, Bundle("c", "d", "", policy_dir(source)), "evaluate", 2, 0)
    assert [(e.reason, e.success, e.reruns, e.infrastructure) for e in tally.episodes] == [
        ("env_error", False, 0, False)
    ] * 2
    assert "nobody thought of that" in tally.episodes[0].detail
    assert not tally.aborted


class Loose(gym.Wrapper):
    """A cell with a loose cable: the first `faults` episodes lose a motor at step 3; after that it holds."""

    def __init__(self, env, faults):
        super().__init__(env)
        self.faults, self.steps = faults, 0

    def reset(self, **more):
        self.steps = 0
        return super().reset(**more)

    def step(self, action):
        self.steps += 1
        if self.steps == 3 and self.faults:
            self.faults -= 1
            try:
                raise MotorFault("no answer from motor 2")
            except MotorFault as cause:
                raise CellFault(str(cause)) from cause
        return super().step(action)


def test_a_second_fault_of_the_machine_is_no_failure_and_no_success(env, ledger, policy_dir):
    """The first one is run again, by a policy that is started afresh; the second is on record and counts nowhere."""
    source = ZERO_POLICY.replace(
        "        pass", "        self.resets = getattr(self, 'resets', 0) + 1; assert self.resets == 1"
    )
    bundle = Bundle("c", "d", "", policy_dir(source))
    cell = LocalCell(Loose(env, 3), sandbox="none", track="open")
    tally = judge(cell, ledger, bundle, "evaluate", 1, 0, agent="a")
    (void,) = tally.episodes
    assert (void.reason, void.infrastructure, void.reruns, void.success) == ("cell_fault", True, 1, False)
    assert "no answer from motor 2" in void.rerun_because
    (once,) = judge(cell, ledger, bundle, "evaluate", 1, 1, agent="a").episodes
    assert (once.reason, once.infrastructure, once.reruns) == ("time_limit", False, 1)
    assert once.robot_s > once.sim_s  # the robot worked for both tries
    (ended, _) = [e.payload for e in ledger.events("evaluation") if e.payload.phase == "finished"]
    assert (ended.planned, ended.episodes, ended.void) == (1, 0, 1)
    summary = summarise([void, once])
    assert (summary.episodes, summary.successes, summary.void, summary.reruns) == (1, 0, 1, 2)
    assert len(list(ledger.events("start"))) == 2
    assert metrics.disturbances(ledger.events()) == metrics.Disturbances(0, 0, 0, 2, 1)


def test_a_pause_is_nobodys_robot_time(env, ledger, policy_dir):
    def stop(paused=[False]):  # noqa: B006
        if not paused[0] and time.monotonic() > began + 0.5:
            paused[0] = True
            time.sleep(2)

    slow = ZERO_POLICY.replace("return np.zeros", "import time; time.sleep(0.004); return np.zeros")
    cell = LocalCell(env, sandbox="none", track="open", pace=100)  # by the machine's clock, and the policy is slower
    began = time.monotonic()
    tally = judge(cell, ledger, Bundle("c", "d", "", policy_dir(slow)), "evaluate", 1, 0, stop=stop)
    lasted = time.monotonic() - began
    assert lasted > 3.2
    assert tally.episodes[0].steps == 300
    assert 1.2 < tally.episodes[0].robot_s < lasted - 1.9


def test_resuming_skips_what_is_done(cell, ledger, policy_dir):
    bundle = Bundle("c", "d", "", policy_dir(STUMBLING))
    whole = outcomes(judge(cell, ledger, bundle, "heldout", 4, 0))
    rest = outcomes(judge(cell, ledger, bundle, "heldout", 4, 0, skip=frozenset({(0, 0), (2, 0)})))
    assert rest == [whole[1], whole[3]]


def test_a_policy_that_never_answers_is_given_up_on(cell, ledger, policy_dir, monkeypatch):
    from autoenvbench.station.policy_process import PolicyLimits

    cell.limits = PolicyLimits(act_cpu_s=1, act_wall_s=0.3)
    sleeper = ZERO_POLICY.replace("return np.zeros(self.shape)", "import time; time.sleep(60)")
    began = time.monotonic()
    tally = judge(cell, ledger, Bundle("c", "d", "", policy_dir(sleeper)), "evaluate", 30, 0)
    assert time.monotonic() - began < 20
    assert [e.reason for e in tally.episodes] == ["act_wall_limit"] * 3 + ["policy_unresponsive"] * 27
    assert [e.reruns for e in tally.episodes] == [0] * 30  # silence is an outcome; no second try
    assert {e.cell for e in tally.episodes} == {"sim"}


def test_practice_leaves_trajectories(cell, ledger, policy_dir, tmp_path):
    keep = Keep(tmp_path / "out", secret=False)
    bundle = Bundle("c", "d", "", policy_dir(STUMBLING), "tree")
    film = Film(tmp_path / "shown", "E1-")
    tally = judge(cell, ledger, bundle, "practice", 2, keep=keep, agent="codex-1", film=film)
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["E1-0.episode", "E1-1.episode"]
    episode, judged = read_episode(files[0], check=True), tally.episodes[0]
    steps = judged.steps
    assert episode["observation"].shape == (steps + 1, 8)
    assert episode["action"].shape == (steps, 2)
    assert episode["reward"].shape == (steps,)
    assert episode["time"].tolist() == [k / 10 for k in range(steps)]
    out_of_time = judged.reason == "time_limit"
    assert (episode["terminated"][-1], episode["truncated"][-1]) == (not out_of_time, out_of_time)
    assert not episode["terminated"][:-1].any()
    assert not episode["late"].any()
    assert set(episode["source"]) == {Source.POLICY}
    assert episode["evidence.view"][0].std() > 10
    meta = episode.meta
    assert (meta["seed"], meta["attempt"], meta["env"], meta["control_hz"]) == (0, 0, "ENPIRE/PushT-v0", 10)
    assert meta["fingerprint"] == fingerprint(cell.env)
    assert set(meta["start"]) == {"block", "tip"}
    assert meta["verdict"]["score"] == judged.score
    assert meta["verdict"]["reason"] == judged.reason
    assert meta["observation_space"]["shape"] == [8]
    expected = {"agent": "codex-1", "purpose": "practice", "index": 0, "commit": "c", "content": "tree", "kind": "sim"}
    assert expected.items() <= meta["provenance"].items()
    both = Episodes(tmp_path / "out")
    assert both.steps == sum(e.steps for e in tally.episodes)


def test_secret_starts_stay_secret_in_files_and_a_full_folder_costs_no_episode(cell, ledger, policy_dir, tmp_path):
    keep = Keep(tmp_path / "out", secret=True, most=1)
    tally = judge(cell, ledger, Bundle("c", "d", "", policy_dir(ZERO_POLICY)), "evaluate", 3, 0, keep=keep)
    assert len(tally.episodes) == 3
    (file,) = (tmp_path / "out").iterdir()  # the first one filled it
    assert "seed" not in read_episode(file).meta
    assert str(tally.episodes[0].seed) not in file.read_bytes().decode("latin-1")
    (note,) = [e.payload.text for e in ledger.events("note")]  # said once
    assert "no more trajectories are kept" in note
    (tmp_path / "file").touch()
    tally = judge(
        cell,
        ledger,
        Bundle("c", "d", "", policy_dir(ZERO_POLICY)),
        "evaluate",
        1,
        3,
        keep=Keep(tmp_path / "file", secret=True),
    )
    assert len(tally.episodes) == 1
    assert "was not kept" in [e.payload.text for e in ledger.events("note")][-1]
    wanted = Keep(tmp_path / "file", secret=False, required=True)
    with pytest.raises(UserError, match="E3-0 was not kept"):
        judge(cell, ledger, Bundle("c", "d", "", policy_dir(ZERO_POLICY)), "score", 1, keep=wanted)


def test_a_members_oldest_episodes_make_room_for_its_newest_and_no_peers_do(cell, ledger, policy_dir, tmp_path):
    bundle, out = Bundle("c", "d", "", policy_dir(ZERO_POLICY)), tmp_path / "out"

    def practise(agent, *own, most=1 << 30):
        judge(cell, ledger, bundle, "practice", 2, 0, keep=Keep(out, secret=False, own=own, most=most), agent=agent)
        return sorted(path.stem for path in out.iterdir())

    practise("ada", "E1")
    assert practise("bob", "E2") == ["E1-0", "E1-1", "E2-0", "E2-1"]
    size = sum((out / f"E1-{k}.episode").stat().st_size for k in range(2))
    (out / "E1-failure.mp4").write_bytes(bytes(size))  # what lies beside them counts, too
    bound = 2 * size  # with what is there of her, reached but not exceeded
    assert practise("ada", "E1", "E3", most=bound) == ["E1-1", "E1-failure", "E2-0", "E2-1", "E3-0", "E3-1"]
    assert practise("ada", "E1", "E3", "E4", most=1) == ["E2-0", "E2-1", "E4-1"]  # its own batch's, too
    notes = [e.payload.text for e in ledger.events("note")]
    assert [note.partition(" in out")[0] for note in notes] == 2 * ["the oldest files of ada"]  # once a batch


def test_an_episode_whose_policy_never_begins_is_kept_without_a_step(cell, ledger, policy_dir, tmp_path):
    broken = ZERO_POLICY.replace("        pass", "        raise RuntimeError('no')")
    keep = Keep(tmp_path / "out", secret=False)
    judge(cell, ledger, Bundle("c", "d", "", policy_dir(broken)), "practice", 1, 0, keep=keep)
    episode = read_episode(tmp_path / "out" / "E1-0.episode")
    assert (len(episode), episode["action"].shape, episode["observation"].shape) == (0, (0, 2), (1, 8))
    assert episode.meta["verdict"]["reason"] == "policy_error"


READS = """
import numpy as np
from enpire_envs.episodes import Episodes
episodes = Episodes("data")
print(episodes.action.shape == (episodes.steps, 2), episodes.next_observation.shape, episodes[0].meta.get("start"))
import mujoco
print(hasattr(mujoco, "MjModel"))
"""


@pytest.mark.cage
@pytest.mark.parametrize("track", ["open", "station"])
def test_agents_read_trajectories_in_their_cage(cell, ledger, policy_dir, tmp_path, track):
    """Also where the simulator is hidden: what reads episodes needs nothing of it."""
    keep = Keep(tmp_path / "out", secret=False, starts=track == "open")
    judge(cell, ledger, Bundle("c", "d", "", policy_dir(ZERO_POLICY)), "practice", 1, 0, keep=keep)
    cage = Cage("bwrap", track, Path("/workspace"), [Bind(tmp_path / "out", Path("/workspace/data"))], {"HOME": "/tmp"})
    with (tmp_path / "said").open("w+b") as said:
        caged = cage.start([python_path(), "-c", READS], outside=tmp_path, stdout=said, stderr=said)
        caged.process.wait(60)
    first, last = (tmp_path / "said").read_text().splitlines()
    assert first.startswith("True (300, 8) ")
    assert first.endswith("None") == (track == "station")  # no more than the policy is told
    assert last == str(track == "open")  # its package is an empty folder on the station's track


def test_actions_that_come_late_at_a_pace_are_marked(ledger, policy_dir, tmp_path):
    slow = ZERO_POLICY.replace(
        "return np.zeros(self.shape)",
        "import time; self.n = getattr(self, 'n', 0) + 1; time.sleep(0.25 * (self.n == 3)); return np.zeros(self.shape)",
    )
    env = make_env("ENPIRE/PushT-v0", {"max_episode_steps": 5})
    cell = LocalCell(env, sandbox="none", track="open", pace=1.0)
    keep = Keep(tmp_path / "out", secret=False)
    judge(cell, ledger, Bundle("c", "d", "", policy_dir(slow)), "practice", 1, 0, keep=keep)
    episode = read_episode(tmp_path / "out" / "E1-0.episode")
    late = episode["late"].nonzero()[0].tolist()
    assert 2 in late
    assert len(late) < 5
    assert episode["time"][2] > 0.2 + 0.25
    assert (np.diff(episode["time"]) > 0).all()
    env.close()


def test_seeds_by_purpose():
    a, b = StartStreams(bytes(32)), StartStreams(b"\1" * 32)
    assert [a.seed("practice", k) for k in range(3)] == [0, 1, 2]
    assert a.seed("heldout", 0) != b.seed("heldout", 0)
    assert a.seed("heldout", 0) != a.seed("evaluate", 0)
    assert a.seed("evaluate", 5) == a.seed("confirm", 5)
    assert len({a.seed("heldout", k) for k in range(1000)}) == 1000
    assert a.commitment != b.commitment


def test_a_policy_does_not_remember_an_earlier_attempt_at_the_same_start(cell, ledger, policy_dir):
    """Nor does its process: pass@k is over independent attempts."""
    remembers = ZERO_POLICY.replace("import numpy as np", "import numpy as np\nSEEN = set()").replace(
        "        pass", "        if observation[4:].round(1).tobytes() in SEEN: raise RuntimeError('here again')\n"
        "        SEEN.add(observation[4:].round(1).tobytes())"
    )  # fmt: skip
    tally = judge(cell, ledger, Bundle("c", "d", "", policy_dir(remembers)), "heldout", 2, 0, attempts=3)
    assert len(tally.episodes) == 6
    assert {e.reason for e in tally.episodes} == {"time_limit"}
    assert sorted((e.index, e.attempt) for e in tally.episodes) == [(i, a) for i in range(2) for a in range(3)]
