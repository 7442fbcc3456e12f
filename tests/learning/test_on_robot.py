"""A learner beside a working station: what it sends explores as its actor does, it knows every episode once, and either may die."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from autoenvbench.errors import PolicyFailed, UserError
from autoenvbench.learning.at_station import station_of, train_at_station
from autoenvbench.learning.buffer import Buffer
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.episodes import load
from autoenvbench.learning.export import pack
from autoenvbench.learning.network_file import declared_network
from autoenvbench.learning.networks import SquashedGaussian
from autoenvbench.learning.on_robot import Arrivals
from autoenvbench.learning.task_file import SpacesOnly, space_of
from autoenvbench.record.ledger import Ledger
from autoenvbench.station.networks import NetworkPolicy
from autoenvbench.study.score import score
from autoenvbench.workspace.learner import Learner

VECTOR = spaces.Box(-3, 3, (4,), np.float32)
ACTIONS = spaces.Box(np.float32([-1, 0]), np.float32([1, 10]))
QUICK = ["hidden=16", "critics=2", "batch=32", "clone=5", "bc_weight=1", "record_every=1"]


@pytest.mark.parametrize("hold", [1, 3])
def test_what_explores_at_the_station_draws_as_the_actor_does(tmp_path, hold):
    torch.manual_seed(0)
    actor = SquashedGaussian([4, 16], 2)
    features = Features.of([VECTOR.sample()[None]], 2)
    packed = pack(features, {"actor": actor.net}, ACTIONS.low, ACTIONS.high, head="tanh", hold=hold)
    network = NetworkPolicy(declared_network(*packed, VECTOR, explore=True), VECTOR, ACTIONS)
    for seed in (3, 4):
        noise = np.random.default_rng(seed)
        network.reset(None, seed)
        for step in range(7):
            drawn = torch.from_numpy(noise.standard_normal((1, 2), np.float32))
            seen = VECTOR.sample()
            if step % hold == 0:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(torch, "randn_like", lambda mean, drawn=drawn: drawn)
                    action, _ = actor(torch.from_numpy(features.numbers(seen))[None])
                held = action[0].detach().numpy() * [1, 5] + [0, 5]
            assert network.act(seen) == pytest.approx(held, abs=1e-4)


def test_an_episode_is_learnt_from_once_in_its_order(shown, tmp_path):
    demos = load([shown])
    station = SpacesOnly(demos.env, space_of(demos.observation_space), space_of(demos.action_space))
    buffer = Buffer(Features.of([demos[0].observation], 2), 5000, station.action_space.low, station.action_space.high)
    files = sorted(shown.glob("*.episode"))[:5]
    good = Buffer(buffer.features, 5000, *_bounds(station))
    arrivals = Arrivals(tmp_path / "learn", buffer, demos, good)
    arrivals.take()
    assert arrivals.episodes == 0
    (tmp_path / "learn").mkdir()
    for file, name in zip(files, ("E2-10", "E2-9", "E10-0", ".E1-0", "E1-3"), strict=True):
        os.link(file, tmp_path / "learn" / f"{name}.episode")
    arrivals.take()
    arrivals.take()
    taken = ["E1-3.episode", "E2-9.episode", "E2-10.episode", "E10-0.episode"]
    assert (arrivals.state_dict()["taken"], arrivals.episodes) == (taken, 4)  # not the one that is still being written
    assert (len(buffer), len(good)) == (arrivals.steps, arrivals.steps)  # the script solved them all
    again = Arrivals(tmp_path / "learn", Buffer(buffer.features, 5000, *_bounds(station)), demos)
    os.link(files[3], tmp_path / "learn" / "E11-0.episode")
    again.load_state_dict(arrivals.state_dict())
    again.take()
    assert again.state_dict()["taken"] == [*taken, "E11-0.episode"]
    assert (again.episodes, again.steps - arrivals.steps) == (5, len(load([files[3]])[0]))
    other = load([shown])
    object.__setattr__(other, "fingerprint", "another")
    with pytest.raises(UserError, match="does not go with the demonstrations: its fingerprint is"):
        Arrivals(tmp_path / "learn", buffer, other).take()


def _bounds(station):
    return station.action_space.low, station.action_space.high


def records(out):
    ledger = Ledger(out / "ledger.sqlite")
    found = [e.payload for e in ledger.events("episode")]
    ledger.close()
    return found


def learners():
    """Processes of learners, of this one's."""
    tasks = Path("/proc/self/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in children if b"on_robot" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_session_at_a_station_goes_on_after_its_learner_was_killed(reach, shown, tmp_path):
    """Learner and session are two processes; what was recorded before the kill is learnt from after it, once."""
    out = tmp_path / "run"
    judged = []

    def kill(event):
        judged.append(event)
        if len(judged) == 3:
            (pid,) = learners()
            os.kill(pid, signal.SIGKILL)

    asked = {"demos": [shown], "settings": QUICK, "sandbox": "none", "minutes": 2}
    ended = train_at_station("rlpd", reach, out, episodes=5000, on_episode=kill, **asked)
    assert (ended.ended, ended.failed) == ("the learner ended by SIGKILL", True)
    first = records(out)
    assert first == judged
    assert len({e.weights for e in first}) >= 1
    assert all(e.purpose == "learn" and e.weights for e in first)
    again = train_at_station("rlpd", reach, out, episodes=4, resume=True, **asked)
    assert (again.ended, again.episodes, again.failed) == ("its 4 episodes are run", 4, False)
    both = records(out)
    assert [e.index for e in both] == list(range(len(first) + 4))  # no start twice, none left out
    assert {f"{e.evaluation}-{e.index}" for e in both} == {file.stem for file in (out / "episodes").iterdir()}
    state = torch.load(out / "live/checkpoint.pt", weights_only=True)
    taken = state["parts"]["arrivals"]["taken"]
    assert len(taken) == len(set(taken)) >= len(first)
    assert score(reach, str(again.policy), 1, sandbox="none")["failure_details"] == {}
    with pytest.raises(UserError, match="go on with it by --resume"):
        train_at_station("rlpd", reach, out, **asked)
    with pytest.raises(UserError, match="was begun with seed 0, not 1"):
        train_at_station("rlpd", reach, out, resume=True, seed=1, **asked)


def test_what_does_not_learn_at_a_station_says_what_does(reach, shown, tmp_path):
    with pytest.raises(UserError, match="sac does not learn at a station; choose one of rlpd"):
        train_at_station("sac", reach, tmp_path / "run", demos=[shown])
    with pytest.raises(UserError, match="begins with demonstrations"):
        train_at_station("rlpd", reach, tmp_path / "run")
    with pytest.raises(UserError, match="hidden=x is not a whole number"):
        train_at_station("rlpd", reach, tmp_path / "run", demos=[shown], settings=["hidden=x"])
    assert not (tmp_path / "run").exists()
    assert station_of("ENPIRE/PushT-v0", None, {}) == ("ENPIRE/PushT-v0", {})
    (tmp_path / "station.yaml").write_text("")
    file = str(tmp_path / "station.yaml")
    with pytest.raises(UserError, match=r"say what is done at .*station\.yaml, by --env: ENPIRE/PushT-real-v0"):
        station_of(file, None, {})
    named = station_of(file, "ENPIRE/PushT-real-v0", {"record": "x"})
    assert named == ("ENPIRE/PushT-real-v0", {"record": "x", "station": file})
    with pytest.raises(UserError, match=r"unknown environment .station\.yml"):
        train_at_station("rlpd", station_of("station.yml", None, {})[0], tmp_path / "run", demos=[shown])


# -- any learner ---------------------------------------------------------------------------------------------------------
def test_a_learner_that_ends_before_it_knows_anything_says_how(tmp_path):
    learner = Learner(["sh", "-c", "exit 3"], tmp_path, tmp_path / "network.onnx")
    with pytest.raises(
        PolicyFailed, match=r"the learner ended with exit code 3, and had written no .*network.onnx; nothing was run"
    ):
        learner.wait_for_first()
    learner.stop()
    assert learner.failed
    with pytest.raises(UserError, match="cannot start 'no-such-program'"):
        Learner(["no-such-program"], tmp_path, tmp_path / "network.onnx")


def test_a_network_is_new_once_and_one_that_was_there_before_is_not(tmp_path):
    file = tmp_path / "network.onnx"
    file.write_text("of before")
    learner = Learner(["sleep", "60"], tmp_path, file)
    assert learner.newest() is None
    for text in ("first", "second"):
        (tmp_path / "part").write_text(text)
        (tmp_path / "part").replace(file)
        assert learner.newest() == text.encode()
        assert learner.newest() is None
    learner.stop(0.0)
    assert learner.ended() in ("the learner ended by SIGTERM", "the learner ended by SIGKILL")
