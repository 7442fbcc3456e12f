"""Whatever a policy's process writes to the station is a message or the policy's `protocol_error`: a slice of `benchmarks/fuzz_wires.py`."""

import importlib.util
import struct
from pathlib import Path

import msgpack
import pytest
from conftest import ZERO_POLICY

from autoenvbench.station import codec
from autoenvbench.station.policy_process import PolicyFault, PolicyLimits, PolicyProcess

LIMITS = PolicyLimits(act_cpu_s=0.3, act_wall_s=5.0, memory_mb=1024)


def test_no_message_raises_anything_but_malformed():
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz_wires.py"
    spec = importlib.util.spec_from_file_location("fuzz_wires", path)
    fuzz_wires = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz_wires)
    counts, wrong = fuzz_wires.fuzz(20_000, seed=7)
    assert wrong == []
    assert all(min(told.values()) > 0 and len(told) == 2 for told in counts.values())  # some taken, some refused


def array(dtype, shape=(1,), data=b"12345678"):
    return {"__ndarray__": dtype, "shape": list(shape), "data": data}


def call(argument):
    return msgpack.packb({"tool": "look", "args": [argument], "kwargs": {}})


BODIES = {
    "a type that is Python": call(array("(,)f8")),
    "a type of objects": call(array("|O")),
    "a type of text": call(array("<U2")),
    "a shape that overflows": call(array("<f8", [2**62, 4])),
    "an extension": call(msgpack.ExtType(5, b"x")),
    "lists in lists": b"\xdd\xff\xff\xff\xff" * 2000,
    "a surrogate": b"\x83\xa4tool\xa3\xed\xa0\x80\xa4args\x90\xa6kwargs\x80",
    "no call": msgpack.packb([1, 2]),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_malformed_tool_call_is_a_protocol_error(env, policy_dir, what):
    frame = struct.pack("<I", 1 + len(BODIES[what])) + codec.TOOL + BODIES[what]
    source = f"import os, sys\ndef run(tools):\n    os.write(int(sys.argv[2]), {frame!r})\n    tools.look()\n"
    with (
        PolicyProcess(policy_dir(source), env.observation_space, env.action_space, LIMITS, "none", "open") as process,
        pytest.raises(PolicyFault) as fault,
    ):
        process.run(["look"], lambda name, args, kwargs: None)
    assert fault.value.reason == "protocol_error"
    assert not fault.value.infrastructure


@pytest.mark.parametrize("tag", [codec.ERROR, codec.ACTION, b"?"])
def test_a_malformed_answer_to_act_is_a_protocol_error(env, policy_dir, tag):
    frame = struct.pack("<I", 5) + tag + b"\xffabc"
    act = f"import os, sys; os.write(int(sys.argv[2]), {frame!r}); import time; time.sleep(9)"
    source = ZERO_POLICY.replace("return np.zeros(self.shape)", act)
    with PolicyProcess(policy_dir(source), env.observation_space, env.action_space, LIMITS, "none", "open") as process:
        observation, _ = env.reset(seed=0)
        process.reset(observation)
        with pytest.raises(PolicyFault) as fault:
            process.act(observation)
    assert fault.value.reason == "protocol_error"
