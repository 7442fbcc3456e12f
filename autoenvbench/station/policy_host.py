"""The program inside a policy's cage: loads `policy.py`, answers observations with actions.

Run as ``python -m autoenvbench.station.policy_host READ_FD WRITE_FD MEMORY_MB`` with the checkout as working
directory. It is untrusted like the policy it hosts: the station believes nothing from here but the bytes of an action.
"""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from autoenvbench.station import codec

_MAX_FILE = 64 << 20  # bytes


def _limit_memory(megabytes: int) -> None:
    size = megabytes << 20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))  # anonymous private memory: what a policy allocates
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))  # its log included


class _Channel:
    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._in, self._out = os.fdopen(read_fd, "rb", buffering=1 << 16), write_fd

    def receive(self) -> tuple[bytes, bytes]:
        header = self._in.read(codec.LENGTH.size)
        if len(header) < codec.LENGTH.size:
            raise EOFError
        body = self._in.read(codec.LENGTH.unpack(header)[0])
        return body[:1], body[1:]

    def send(self, tag: bytes, data: bytes = b"") -> None:
        message = memoryview(codec.LENGTH.pack(1 + len(data)) + tag + data)
        while message:
            message = message[os.write(self._out, message) :]


def _load(observation_space: Any, action_space: Any) -> Any:
    path = Path("policy.py").resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("policy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["policy"] = module
    spec.loader.exec_module(module)
    if not hasattr(module, "Policy"):
        raise AttributeError("policy.py defines no class Policy(observation_space, action_space)")
    return module.Policy(observation_space, action_space)


def _seed() -> None:
    # The same in every episode: a policy that draws numbers is repeatable, and learns nothing about the start.
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def main() -> None:
    read_fd, write_fd, memory_mb = map(int, sys.argv[1:4])
    channel = _Channel(read_fd, write_fd)
    try:
        _limit_memory(memory_mb)
        tag, data = channel.receive()
        assert tag == codec.INIT
        hello = msgpack.unpackb(data)
        observation_space = codec.rebuild(hello["observation_space"])
        observations = codec.ObservationCodec(observation_space)
        _seed()
        policy = _load(observation_space, codec.rebuild(hello["action_space"]))
        channel.send(codec.READY)
        while True:
            tag, data = channel.receive()
            observation = observations.decode(data)
            if tag == codec.RESET:
                _seed()
                policy.reset(observation)
                channel.send(codec.READY)
            else:
                channel.send(codec.ACTION, codec.encode_action(policy.act(observation)))
    except EOFError:
        return
    except BaseException as error:
        summary = f"{type(error).__name__}: {error}"
        text = traceback.format_exc(limit=-6)
        channel.send(codec.ERROR, msgpack.packb({"summary": summary[:500], "traceback": text[-3000:]}))
        os._exit(1)


if __name__ == "__main__":
    main()
