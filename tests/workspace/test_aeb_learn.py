"""`aeb learn`: the learner is a program of the agent's; whatever becomes of it, the robot is free again and every episode is there."""

import json

import numpy as np
import pytest
from enpire_envs.episodes import Episodes
from onnx import TensorProto, helper, numpy_helper

NETWORK = "first.onnx"
STARTS = f"import os, pathlib, sys, time\nlive = pathlib.Path('live')\nlive.mkdir(exist_ok=True)\nos.link('{NETWORK}', live / 'network.onnx')\n"
COUNT = "count = lambda: len(list(pathlib.Path('data/learn').glob('*.episode')))\nwhile count() < 2: time.sleep(0.02)\n"


@pytest.fixture
def learner(bench):
    """Makes the learner of a workspace: it hands in a network that stands still, then does as it is told."""
    (bench.repo / "data").symlink_to(bench.run_dir / "data")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "zero"], ["action"])], "still",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, (1, 8))],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, (1, 2))],
        [numpy_helper.from_array(np.zeros((8, 2), np.float32), "zero")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (bench.repo / NETWORK).write_bytes(model.SerializeToString())
    return lambda then: (bench.repo / "learn.py").write_text(STARTS + then)


def test_a_learner_that_crashes_ends_the_session_in_words_and_loses_nothing(bench, learner):
    learner(COUNT + "sys.exit('my own bug')")
    code, out, err = bench.aeb("learn")
    assert code == 5
    assert "ended         the learner ended with exit code 1" in out
    assert "type aeb learn again" in out
    assert "my own bug" in err
    recorded = [e.payload for e in bench.ledger.events("episode")]
    assert len(recorded) == len(Episodes(bench.run_dir / "data/learn")) >= 2
    status = json.loads(bench.aeb("status", "--json")[1])
    assert (status["robot"], status["finished"]["learn"], status["best"]) == ("free", 1, None)


def test_a_session_that_is_over_tells_its_learner_to_end(bench, learner):
    learner(
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('known').write_text('all'), sys.exit(0)))\ntime.sleep(600)"
    )
    code, out, err = bench.aeb("learn", "-n", "2", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["ended"], result["learner"], result["weights"]) == (
        "its 2 episodes are run",
        "the learner was told to end",
        1,
    )
    assert (bench.repo / "known").read_text() == "all"


def test_without_a_network_nothing_is_run(bench, learner):
    (bench.repo / "other.py").write_text("raise SystemExit(4)")
    code, _, err = bench.aeb("learn", "--", "python", "other.py")
    assert (code, err.count("\n")) == (5, 1)
    assert "the learner ended with exit code 4, and had written no" in err
    assert not list(bench.ledger.events("evaluation"))
    assert bench.aeb("learn", "-n", "0", "--", "python", "other.py")[0] == 5
