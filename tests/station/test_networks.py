"""Declared networks: what runs, what is refused, and that nobody's code runs beside one."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from gymnasium import spaces
from onnx import TensorProto, helper, numpy_helper

from autoenvbench.record.regimes import NETWORK
from autoenvbench.station.networks import NetworkError, NetworkPolicy
from autoenvbench.station.policy_process import PolicyFault, PolicyLimits, PolicyProcess
from autoenvbench.study.compare import compare
from autoenvbench.study.score import score
from autoenvbench.workspace import make_workspace

SEEN, ACTED = 8, 2  # of Push-T
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(SEEN + 3, ACTED)).astype(np.float32)


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def tensor(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def network(*more, weights=WEIGHTS, seen=SEEN, inputs=(), outputs=(), **model):
    """action = tanh([observation, memory] W), where the memory is the sum of all observations' first three numbers."""
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["observation", "zero", "three", "one"], ["first"]),
            helper.make_node("Add", ["total", "first"], ["total.next"]),
            helper.make_node("Concat", ["observation", "total.next"], ["all"], axis=1),
            helper.make_node("MatMul", ["all", "weights"], ["raw"]),
            helper.make_node("Tanh", ["raw"], ["action"]),
            *more,
        ],
        "policy",
        [floats("observation", 1, seen), floats("total", 1, 3), *inputs],
        [floats("action", 1, ACTED), floats("total.next", 1, 3), *outputs],
        [tensor("weights", weights), *(tensor(n, np.array([k])) for n, k in (("zero", 0), ("three", 3), ("one", 1)))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, **model)


def saved(folder, model=None, policy=None):
    (folder / NETWORK).parent.mkdir(parents=True, exist_ok=True)
    if model is not None:
        onnx.save(model, folder / NETWORK)
    if policy is not None:
        (folder / "policy.py").write_text(policy)
    return folder


@pytest.fixture
def push(env):
    return env.observation_space, env.action_space


def expected(observations):
    total, actions = np.zeros(3, np.float32), []
    for seen in observations.astype(np.float32):
        total = total + seen[:3]
        actions.append(np.tanh(np.concatenate([seen, total]) @ WEIGHTS))
    return np.array(actions)


@pytest.mark.parametrize("sandbox", [pytest.param("bwrap", marks=pytest.mark.cage), "none"])
def test_it_acts_by_its_weights_and_memory_and_forgets_between_episodes(tmp_path, push, sandbox):
    folder = saved(tmp_path, network(), policy="raise SystemExit('nobody runs this')")
    observations = RNG.uniform(-0.1, 0.1, (5, SEEN)).astype(push[0].dtype)
    with PolicyProcess(folder, *push, PolicyLimits(0.5), sandbox, "station", "network") as process:
        for _ in range(2):
            process.reset(observations[0])
            got = np.array([process.act(seen) for seen in observations])
            assert got == pytest.approx(expected(observations), abs=1e-5)


def node(op, inputs, **attributes):
    return helper.make_node(op, inputs, ["extra"], **attributes)


def branch():
    then, other = (helper.make_graph([helper.make_node("Neg", ["raw"], [n])], n, [], [floats(n, 1, 2)]) for n in "ab")
    return node("If", ["yes"], then_branch=then, else_branch=other)


REFUSED = {
    "a branch": ([branch()], "'If'"),
    "a comparison": ([node("Greater", ["raw", "raw"])], "'Greater'"),
    "a choice": ([node("Where", ["yes", "raw", "raw"])], "'Where'"),
    "rounding": ([node("Floor", ["raw"])], "'Floor'"),
    "rounding by a cast": ([node("Cast", ["raw"], to=TensorProto.INT64)], "casts to another type"),
    "drawing": ([node("RandomNormalLike", ["raw"])], "'RandomNormalLike'"),
    "the largest": ([node("ArgMax", ["raw"])], "'ArgMax'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_script_would_need_is_refused(tmp_path, push, what):
    nodes, why = REFUSED[what]
    yes = [helper.make_tensor_value_info("yes", TensorProto.BOOL, ())] if "yes" in nodes[0].input else []
    with pytest.raises(NetworkError, match=why):
        NetworkPolicy(saved(tmp_path, network(*nodes, inputs=yes)) / NETWORK, *push)


def test_operators_of_somebodys_own_and_functions_are_refused(tmp_path, push):
    own = helper.make_node("Tanh", ["raw"], ["extra"], domain="mine")
    model = network(own)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    with pytest.raises(NetworkError):
        NetworkPolicy(saved(tmp_path, model) / NETWORK, *push)
    function = helper.make_function(
        "mine", "F", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], [helper.make_opsetid("", 18)]
    )
    model = network(functions=[function])
    with pytest.raises(NetworkError, match="functions"):
        NetworkPolicy(saved(tmp_path, model) / NETWORK, *push)


def test_weights_in_another_file_are_refused_and_that_file_is_not_read(tmp_path, push):
    model = network()
    onnx.save(model, saved(tmp_path) / NETWORK, save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(NetworkError, match=r"other files|no ONNX model"):
        NetworkPolicy(tmp_path / NETWORK, *push)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (network(weights=np.zeros((SEEN + 2, ACTED), np.float32), seen=SEEN - 1), r"shape \(1, 7\); expected \(1, 8\)"),
        (network(inputs=[floats("clue", 1, 3)]), "'clue' .* is neither an observation"),
        (network(inputs=[helper.make_tensor_value_info("open", TensorProto.FLOAT, ["n"])]), "'open'"),
    ],
)
def test_one_that_does_not_fit_its_spaces_says_why(tmp_path, push, model, why):
    with pytest.raises(NetworkError, match=why):
        NetworkPolicy(saved(tmp_path, model) / NETWORK, *push)


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"not a network", bytes(range(256)) * 50])
def test_any_bytes_are_refused_in_a_line(tmp_path, push, data):
    (saved(tmp_path) / NETWORK).write_bytes(data)
    with pytest.raises(NetworkError) as refused:
        NetworkPolicy(tmp_path / NETWORK, *push)
    assert "\n" not in str(refused.value)


def test_images_and_parts_of_a_dictionary_are_inputs_of_their_own(tmp_path):
    space = spaces.Dict(
        {"pixels": spaces.Box(0, 255, (4, 4, 3), np.uint8), "agent_pos": spaces.Box(-1, 1, (2,), np.float32)}
    )
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["observation.pixels"], ["light"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["light", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["action"]),
        ],
        "looks", [helper.make_tensor_value_info("observation.pixels", TensorProto.UINT8, (1, 4, 4, 3))], [floats("action", 1, 2)],
        [tensor("axes", np.array([1, 2])), tensor("weights", np.array([[1, 0], [0, 1], [0, 0]], np.float32))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    policy = NetworkPolicy(saved(tmp_path, model) / NETWORK, space, spaces.Box(-1, 1, (2,), np.float32))
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0], image[..., 1] = 7, 9
    assert policy.act({"pixels": image, "agent_pos": np.zeros(2)}) == pytest.approx([7, 9])


@pytest.mark.parametrize("bench", [{"regime": "bc"}], indirect=True)
def test_in_a_gradient_run_the_station_runs_the_network_and_no_code(bench):
    """The same commit has a policy.py that would say otherwise."""
    bench.commit("raise RuntimeError('this is a script')")
    (bench.repo / ".gitignore").write_text("checkpoints/\n")
    code, out, _ = bench.aeb("practice", "-n", "1")
    assert code == 5
    assert f"there is no {NETWORK}; in this regime the answer is a network in that file" in out
    code, _, err = bench.aeb("submit")
    assert (code, f"the answer's bundle holds no {NETWORK}" in err) == (2, True)
    saved(bench.repo, network())
    code, out, err = bench.aeb("practice", "-n", "1", "--json")
    assert (code, json.loads(out)["failures"]) == (0, {"time_limit": 1}), err
    assert bench.aeb("submit")[0] == 0
    digest = next(e.payload.digest for e in bench.ledger.events("commit") if e.payload.phase == "submitted")
    scored = bench.client(bench.admin_token).job("/held-out", {"digest": digest})
    assert set(scored["failures"]) <= {"time_limit", "out_of_bounds", "force_limit"}
    (held,) = [e.payload.contents for e in bench.ledger.events("contents")]
    assert held.network


def test_a_network_in_a_folder_is_scored_as_any_policy(tmp_path):
    folder = str(saved(tmp_path, network()))
    told = score("ENPIRE/PushT-v0", folder, 1, sandbox="none")
    assert (told["episodes"], told["failure_details"]) == (1, {})
    compared = compare("ENPIRE/PushT-v0", (folder, folder), 2, sandbox="none")
    assert (compared["starts"] > 0, compared["void"], compared["difference"]) == (True, 0, 0)


def test_one_that_wants_too_much_memory_ends_its_episode(tmp_path, push):
    big = helper.make_node("Tile", ["weights", "many"], ["extra"])
    model = network(big, outputs=[floats("extra", "rows", "columns")])
    model.graph.initializer.append(tensor("many", np.array([1 << 15, 1 << 15])))
    observation = np.zeros(SEEN, push[0].dtype)
    with PolicyProcess(saved(tmp_path, model), *push, PolicyLimits(0.5), "none", "station", "network") as process:
        process.reset(observation)
        with pytest.raises(PolicyFault):
            process.act(observation)


@pytest.mark.parametrize("env_id", ["ENPIRE/PushT-v0", "ENPIRE/GPUInsertion-Standard-v0"])
def test_the_starter_of_a_gradient_regime_trains_and_writes_a_network_that_runs(tmp_path, env_id):
    from autoenvbench.make_env import make_env
    from autoenvbench.record.run_config import RunConfig

    env = make_env(env_id)
    made = tmp_path / "workspace"
    make_workspace.make_workspace(made, "a", RunConfig(agent="cem", env=env_id, budget_s=60, regime="bc"), env)
    assert not (made / "policy.py").exists()
    assert "Your policy is a network" in (made / "TASK.md").read_text()
    if "PushT" in env_id:
        score(env_id, "reference", 2, trajectories=made / "data/demos")
    program = (made / "train.py").read_text().replace("STEPS = 3000", "STEPS = 20")
    (made / "train.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "train.py"], cwd=made, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert ("loss" in done.stdout) == ("PushT" in env_id)
    policy = NetworkPolicy(made / NETWORK, env.observation_space, env.action_space)
    observation, _ = env.reset(seed=0)
    policy.reset(observation)
    first, second = policy.act(observation), policy.act(observation)
    assert env.action_space.contains(first.astype(env.action_space.dtype))
    assert not np.array_equal(first, second)  # it remembers
    env.close()
