"""Learning at a station: which weights act is the station's word, and no learner moves, holds, floods or flatters more than it may."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ZERO_POLICY
from enpire_envs.episodes import Episodes
from onnx import TensorProto, helper, numpy_helper

from autoenvbench.errors import UserError
from autoenvbench.record.metrics import disturbances
from autoenvbench.record.starts import StartStreams, stream_of
from autoenvbench.record.state import RunState
from autoenvbench.station.batch import Start
from autoenvbench.station.learning import EVERY_S, KEPT, MAX_EPISODES, MAX_WEIGHTS, STRIKES, Inbox, Learning, Session
from autoenvbench.station.networks import NetworkError, NetworkPolicy
from autoenvbench.station.policy_process import PolicyFault, PolicyLimits, PolicyProcess
from autoenvbench.workspace.bundling import send_head

SEEN, ACTED = 8, 2  # of Push-T


def constant(*action, noise=0.0, op=None):
    """An ONNX file whose network always does the same, but for `noise` times what the host draws."""
    tensors = {
        "zero": np.zeros((SEEN, ACTED), np.float32),
        "what": np.float32([action]),
        "scale": np.float32([[noise]]),
    }
    inputs = [helper.make_tensor_value_info("observation", TensorProto.FLOAT, (1, SEEN))]
    nodes = [
        helper.make_node("MatMul", ["observation", "zero"], ["none"]),
        helper.make_node("Add", ["none", "what"], ["mean"]),
    ]
    if noise:
        inputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, (1, ACTED)))
        nodes += [
            helper.make_node("Mul", ["noise", "scale"], ["by"]),
            helper.make_node("Add", ["mean", "by"], ["action"]),
        ]
    else:
        nodes.append(helper.make_node(op or "Identity", ["mean"], ["action"]))
    graph = helper.make_graph(
        nodes, "constant", inputs, [helper.make_tensor_value_info("action", TensorProto.FLOAT, (1, ACTED))],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def sent(bench, data, path):
    """Send weights as a learner does, when the station takes them; returns their digest as the station says it."""
    path.write_bytes(data)
    for _ in range(100):
        try:
            return bench.client().upload("/learn/weights", path)["weights"]
        except UserError as error:
            if "weights are taken every" not in str(error):
                raise
            time.sleep(EVERY_S / 2)
    raise AssertionError("the station took no weights")


def learn(bench, on_episode=lambda episode: None, **asked):
    digest = send_head(bench.client(), bench.repo).digest
    return bench.client().job("/learn", {"digest": digest, **asked}, on_episode)


# -- which weights act -----------------------------------------------------------------------------------------------------
def test_an_episode_is_by_the_weights_that_its_record_names_from_its_first_step_to_its_last(bench, tmp_path):
    files = [constant(0.1 * k, -0.1 * k) for k in range(1, 4)]
    known = {hashlib.sha256(data).hexdigest(): 0.1 * (k + 1) for k, data in enumerate(files)}
    assert sent(bench, files[0], tmp_path / "w") in known
    acted, done = [], threading.Event()

    def swap():  # in the middle of whatever episode is under way
        for data in files[1:]:
            sent(bench, data, tmp_path / "v")
        done.wait(600)
        bench.client().post("/learn/end", {"why": "seen enough"})

    def on_episode(episode):
        acted.append(episode["weights"])
        name = f"{episode['evaluation']}-{episode['index']}.episode"
        assert (bench.run_dir / "data/learn" / name).is_file()  # before anybody hears of the episode
        if acted[-1] == list(known)[-1]:
            done.set()

    swapping = threading.Thread(target=swap)
    swapping.start()
    result = learn(bench, on_episode, n=500)
    swapping.join()
    assert result["ended"] == "seen enough"
    assert not result["aborted"]
    assert result["weights"] == len(set(acted)) > 1
    events = {e.payload.index: e.payload for e in bench.ledger.events("episode")}
    episodes = Episodes(bench.run_dir / "data/learn")
    assert [events[k].weights for k in sorted(events)] == acted  # nothing is lost, and nothing is told twice
    assert len(episodes) == len(events)
    for episode in episodes:
        by = episode.meta["provenance"]
        assert by["weights"] == events[by["index"]].weights
        assert episode["action"] == pytest.approx(
            np.tile([[1, -1]], (len(episode), 1)) * known[by["weights"]], abs=1e-6
        )


def test_the_hash_is_the_stations_own(bench, tmp_path):
    """A learner has no field to lie in, and a file that was changed under its name does not act."""
    data = constant(0.2, 0.2)
    (tmp_path / "w").write_bytes(data)
    told = bench.client().upload(f"/learn/weights?weights={'0' * 64}", tmp_path / "w")["weights"]
    assert told == hashlib.sha256(data).hexdigest()
    (kept,) = (bench.run_dir / "weights").glob("*.onnx")
    kept.write_bytes(constant(-0.9, 0.9))
    result = learn(bench, n=10)
    assert f"the weights {told[:12]} are not what their name says" in result["ended"]
    assert {e.payload.steps for e in bench.ledger.events("episode")} == {0}


def test_noise_differs_between_episodes_and_is_the_same_from_the_same_start(bench, tmp_path):
    """It comes from the host and the episode's own seed; nothing that is allowed in a network draws."""
    sent(bench, constant(0.0, 0.0, noise=0.3), tmp_path / "w")
    learn(bench, n=2)
    first, second = (episode["action"] for episode in Episodes(bench.run_dir / "data/learn"))
    assert 0.2 < first.std() < 0.4
    assert not np.array_equal(first[:20], second[:20])
    noise = np.random.default_rng(StartStreams(bytes(32)).policy_seed("learn", 0)).standard_normal(
        (1, ACTED), np.float32
    )
    assert first[0] == pytest.approx(0.3 * noise[0], abs=1e-6)
    bench.commit(ZERO_POLICY.replace("return np.zeros(self.shape)", "return np.random.uniform(-0.1, 0.1, self.shape)"))
    for _ in range(2):
        assert bench.aeb("practice", "-n", "2", "--seed", "5")[0] == 0
    a, b, c, d = (episode["action"][:20] for episode in Episodes(bench.run_dir / "data/practice"))
    assert np.array_equal(a, c)
    assert np.array_equal(b, d)
    assert not np.array_equal(a, b)


def test_what_a_policy_draws_by_says_nothing_of_its_start():
    one, other = StartStreams(bytes(32)), StartStreams(b"\1" * 32)
    seeds = [one.policy_seed("heldout", k, a) for k in range(200) for a in range(3)]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**32
    assert one.policy_seed("practice", 3) != other.policy_seed("practice", 3)  # where the start's seed is the same
    assert one.policy_seed("heldout", 3) not in (one.seed("heldout", 3), one.seed("heldout", 3) & 0xFFFFFFFF)
    assert (stream_of("learn"), one.seed("learn", 9)) == ("practice", 9)


# -- what a learner may not --------------------------------------------------------------------------------------------------
def test_weights_are_few_and_small_and_fill_no_disk(tmp_path):
    now = [0.0]
    inbox = Inbox(tmp_path / "weights", lambda: now[0])
    with pytest.raises(UserError, match="at most 32 MB are taken"):
        inbox.admit("a", MAX_WEIGHTS + 1)
    for k in range(200):
        inbox.admit("a", 10)
        with pytest.raises(UserError, match="and the newest count"):
            inbox.admit("a", 10)
        inbox.admit("b", 10)  # one client's flood does not silence another
        now[0] += EVERY_S
        (tmp_path / "w").write_text(f"weights {k}")
        digest = inbox.receive("a", tmp_path / "w")
        if k % 2:
            assert inbox.give("a").stem == digest
    assert len(list((tmp_path / "weights").iterdir())) <= KEPT + 1
    (tmp_path / "w").write_text("shared")
    inbox.receive("a", tmp_path / "w")
    inbox.receive("b", tmp_path / "w")
    (tmp_path / "w").write_text("other")
    inbox.receive("a", tmp_path / "w")
    assert inbox.give("b").read_text() == "shared"


def test_too_much_at_once_is_refused_at_the_door_and_the_station_goes_on(bench, tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_WEIGHTS + 1)
    with pytest.raises(UserError, match="at most 32 MB are taken"):
        bench.client().upload("/learn/weights", large)
    assert not (bench.run_dir / "weights").exists()
    assert len(sent(bench, constant(0.0, 0.0), tmp_path / "w")) == 64


def test_a_session_ends_by_itself(tmp_path):
    inbox = Inbox(tmp_path / "weights")
    with pytest.raises(UserError, match="no weights to act by"):
        Session("a", Learning(), inbox, lambda: 0.0)
    (tmp_path / "w").write_text("w")
    inbox.receive("a", tmp_path / "w")
    now = [0.0]
    endless = (Start(k, 0, k) for k in range(10**9))
    session = Session("a", Learning(n=3, minutes=1), inbox, lambda: now[0])
    given = session.starts(endless)
    assert next(given).weights == inbox.give("a")
    now[0] = 61.0
    assert list(given) == []
    assert session.why == "its 1 minutes are over"
    session.end("later")
    assert session.why == "its 1 minutes are over"
    session = Session("a", Learning(n=3), inbox, lambda: 0.0)
    assert len(list(session.starts(Start(k, 0, k) for k in range(3)))) == 3
    assert session.why == "its 3 episodes are run"


@pytest.mark.parametrize(
    "asked",
    [{"n": 0}, {"n": MAX_EPISODES + 1}, {"n": True}, {"n": "9"}, {"minutes": 0}, {"minutes": 1e9}, {"minutes": float("nan")},
     {"minutes": "x"}, {"minutes": True}],
)  # fmt: skip
def test_nobody_asks_for_an_endless_session(asked):
    with pytest.raises(UserError):
        Learning.of(asked)


@pytest.mark.parametrize("bench", [{"robot_budget_s": 40}], indirect=True)
def test_a_session_is_robot_time_and_ends_with_the_robots_budget(bench, tmp_path):
    sent(bench, constant(0.0, 0.0), tmp_path / "w")
    result = learn(bench)
    assert result["ended"] == "the robot budget of 40s is used up"
    state = RunState.of(bench.ledger.events())
    assert 40 <= state.robot_s <= 70  # one episode of thirty seconds more at most
    assert result["episodes"] == state.episodes


@pytest.mark.parametrize("bench", [{"regime": regime} for regime in ("heuristic", "bc", "tools")], indirect=True)
def test_in_other_regimes_nothing_learns_at_the_robot(bench, tmp_path):
    (tmp_path / "w").write_bytes(constant(0.0, 0.0))
    with pytest.raises(UserError, match="nothing learns at the robot in it"):
        bench.client().upload("/learn/weights", tmp_path / "w")
    with pytest.raises(UserError, match="nothing learns at the robot in it"):
        learn(bench)
    assert not list(bench.ledger.events("evaluation"))


@pytest.mark.parametrize("data", [constant(0.1, 0.1, op="Floor"), constant(0.1, 0.1)[:-40]], ids=["script", "half"])
def test_what_is_no_network_moves_nothing_and_ends_the_session_in_words(bench, tmp_path, data):
    sent(bench, data, tmp_path / "w")
    result = learn(bench)
    why = f"{STRIKES} episodes in a row could not be run by the weights that were sent: policy_load_error: NetworkError"
    assert why in result["ended"]
    assert (result["episodes"], result["weights"]) == (STRIKES, 0)
    assert RunState.of(bench.ledger.events()).robot_s == 0
    sent(bench, constant(0.1, 0.1), tmp_path / "w")
    assert learn(bench, n=1)["ended"] == "its 1 episodes are run"  # the robot works on


def test_learning_is_no_evidence_and_only_its_learner_ends_it(bench, tmp_path):
    sent(bench, constant(0.0, 0.0), tmp_path / "w")
    ended = []

    def on_episode(episode):
        with pytest.raises(UserError, match="no session of yours is under way"):
            bench.client(bench.admin_token).post("/learn/end", {"why": "mine now"})
        if not ended:
            ended.append(bench.client().post("/learn/end", {"why": "x" * 9999}))

    result = learn(bench, on_episode)
    assert result["ended"] == "x" * 200
    state = RunState.of(bench.ledger.events())
    assert (state.candidates.leader, state.curves.raw, dict(state.streaks)) == (None, [], {})
    assert state.batches_finished["learn"] == 1
    assert state.robot_s == pytest.approx(30 * result["episodes"])  # Push-T's limit, and not the learner's time
    assert disturbances(bench.ledger.events()).aborted == 0
    with pytest.raises(UserError, match="no session of yours"):
        bench.client().post("/learn/end", {})
    assert next(bench.ledger.events("episode")).payload.index == 0
    assert bench.aeb("practice", "-n", "1")[0] == 0
    # The same public starts go on.
    assert [e.payload.index for e in bench.ledger.events("episode")][-1] == result["episodes"]


# -- what may die ------------------------------------------------------------------------------------------------------------
def hosts(cell_pid):
    """Processes of policies, beside a cell."""
    tasks = Path(f"/proc/{cell_pid}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in children if b"policy_host" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_policys_process_that_is_killed_costs_its_episode_and_the_same_weights_act_on(bench, tmp_path):
    digest = sent(bench, constant(0.0, 0.0), tmp_path / "w")
    episodes = []

    def on_episode(episode):
        episodes.append(episode)
        if len(episodes) == 1:
            for pid in hosts(bench.cell_pid):
                os.kill(pid, signal.SIGKILL)
        died = [k for k, e in enumerate(episodes) if e["reason"] == "policy_exited"]
        if died and len(episodes) > died[0] + 2:
            bench.client().post("/learn/end", {"why": "seen"})

    assert learn(bench, on_episode, n=400)["ended"] == "seen"
    assert [e["reason"] for e in episodes].count("policy_exited") == 1
    assert {e["weights"] for e in episodes} == {digest}


def test_whoever_hangs_up_frees_the_robot_within_a_step_and_its_time_is_on_record(bench, tmp_path):
    sent(bench, constant(0.0, 0.0), tmp_path / "w")
    digest = send_head(bench.client(), bench.repo).digest
    program = f"""
import os
from autoenvbench.station.client import StationClient
client = StationClient({str(bench.socket)!r}, {bench.token!r})
client.job("/learn", {{"digest": {digest!r}}}, lambda episode: os.kill(os.getpid(), 9))
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while bench.client().get("/status")["robot"] != "free":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    told = RunState.of(bench.ledger.events())
    assert told.episodes >= 1
    assert sum(e.payload.phase == "aborted" for e in bench.ledger.events("evaluation")) == 1
    assert len(list((bench.run_dir / "data/learn").glob("*.episode"))) == told.episodes


@pytest.mark.parametrize("victim", ["door", "cell"])
def test_a_station_that_is_killed_leaves_every_recorded_episode_on_the_disk(bench, tmp_path, victim):
    digest = sent(bench, constant(0.1, 0.0), tmp_path / "w")
    heard = []

    def on_episode(episode):
        heard.append(f"{episode['evaluation']}-{episode['index']}")
        if len(heard) == 3:
            bench.kill(victim)

    with pytest.raises(UserError):
        learn(bench, on_episode)
    recorded = {f"{e.payload.evaluation}-{e.payload.index}": e.payload.weights for e in bench.ledger.events("episode")}
    assert set(heard) <= set(recorded)
    assert set(recorded.values()) == {digest}
    files = {path.stem for path in (bench.run_dir / "data/learn").glob("*.episode")}
    assert set(recorded) <= files
    assert len(files) <= len(recorded) + 1  # at most the one that was not recorded yet
    bench.station.__enter__()
    sent(bench, constant(0.1, 0.0), tmp_path / "w")
    assert learn(bench, n=2)["ended"] == "its 2 episodes are run"
    indices = [e.payload.index for e in bench.ledger.events("episode")]
    assert indices == list(range(len(indices)))  # none twice, none left out
    assert [e.payload.phase for e in bench.ledger.events("evaluation")] == ["started", "aborted", "started", "finished"]


# -- the host ------------------------------------------------------------------------------------------------------------------
def test_a_process_acts_by_what_it_was_brought_last_also_after_it_died(env, tmp_path):
    limits = PolicyLimits(act_cpu_s=0.5)
    observation = np.zeros(SEEN, env.observation_space.dtype)
    files = {}
    for level in (0.1, 0.2):
        data = constant(level, level)
        files[level] = tmp_path / f"{hashlib.sha256(data).hexdigest()}.onnx"
        files[level].write_bytes(data)
    with PolicyProcess(tmp_path, env.observation_space, env.action_space, limits, "none", "open", "weights") as process:
        for level in (0.1, 0.2, 0.2, 0.1):
            process.load(files[level])
            process.reset(observation)
            assert process.act(observation) == pytest.approx([level, level])
        process.close()
        process.reset(observation)  # a second try, in a process of its own
        assert process.act(observation) == pytest.approx([0.1, 0.1])
        with pytest.raises(PolicyFault, match="cannot be read"):
            process.load(tmp_path / f"{'0' * 64}.onnx")


@pytest.mark.parametrize(("shape", "kind"), [((1, 0), 1), ((2, 3), 1), ((1, 2000), 1), ((3,), 1), ((1, 3), 7)])
def test_noise_has_a_shape_and_a_type(env, shape, kind):
    model = onnx.load_model_from_string(constant(0.0, 0.0))
    model.graph.input.append(helper.make_tensor_value_info("noise", kind, shape))
    with pytest.raises(NetworkError, match="'noise'"):
        NetworkPolicy(model.SerializeToString(), env.observation_space, env.action_space)


@pytest.mark.parametrize("bench", [{"regime": "online-rl"}], indirect=True)
def test_a_network_that_explores_can_be_practised_like_any_and_repeats_its_noise(bench):
    (bench.repo / ".gitignore").write_text("checkpoints/\n")
    (bench.repo / "checkpoints").mkdir()
    (bench.repo / "checkpoints/network.onnx").write_bytes(constant(0.0, 0.0, noise=0.1))
    for _ in range(2):
        code, out, err = bench.aeb("practice", "-n", "1", "--seed", "3", "--json")
        assert (code, json.loads(out)["episodes"]) == (0, 1), err
    first, again = (episode["action"] for episode in Episodes(bench.run_dir / "data/practice"))
    assert np.array_equal(first, again)
    assert first.std() > 0.05
