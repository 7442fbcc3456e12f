"""The program inside a policy's cage: loads `policy.py`, answers observations with actions, or runs a script's `run(tools)`.

Run by path as ``python -s -P policy_host.py READ_FD WRITE_FD MEMORY_MB ANSWER`` with the checkout as working directory, which is not
where Python looks for modules until all that this program needs is imported, and then the last place. From the moment on that the
policy's code is loaded the process is untrusted: the station believes nothing from here but the bytes of an action, and what the
policy may use was set before, for good. Where ANSWER is "network", no code of the policy's is loaded at all: see `networks`. Where it is
"weights", the networks come from the station, between episodes.
"""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from enpire_envs.remote import wire

from autoenvbench.station import codec
from autoenvbench.station.confine import confine
from autoenvbench.station.scripts import is_script

_MAX_FILE = 64 << 20  # bytes
_MAX_OPEN = 256  # files, pipes and sockets, each of which holds memory of the kernel


def _limit_memory(megabytes: int) -> None:
    size = megabytes << 20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))  # anonymous private memory: what a policy allocates
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN, _MAX_OPEN))


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
    sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location("policy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["policy"] = module
    spec.loader.exec_module(module)
    if is_script(path):
        return module.run
    if not hasattr(module, "Policy"):
        raise AttributeError("policy.py defines no class Policy(observation_space, action_space), and no run(tools)")
    return module.Policy(observation_space, action_space)


class ToolError(RuntimeError):
    """A tool could not do what it was asked; the message says why, and the script may go on."""


class EpisodeOver(RuntimeError):
    """The episode has ended; nothing more can be done in it."""


class Tools:
    """What `run(tools)` gets: the tools of this environment as methods. `dir(tools)` lists them, `"name" in tools` asks.

    They live with the environment, in another process: here are only their names.
    """

    ToolError, EpisodeOver = ToolError, EpisodeOver

    def __init__(self, channel: _Channel, names: list[str]) -> None:
        self._channel, self._names = channel, names

    def __dir__(self) -> list[str]:
        return list(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                message = wire.pack({"tool": name, "args": list(args), "kwargs": kwargs})
            except (TypeError, ValueError, OverflowError) as error:
                raise ToolError(f"{name}: {error}") from None
            self._channel.send(codec.TOOL, message)
            tag, data = self._channel.receive()
            if tag == codec.RESULT:
                return wire.unpack(data)
            raise (EpisodeOver if tag == codec.OVER else ToolError)(data.decode(errors="replace"))

        call.__name__ = name
        return call


def _seed(seed: int) -> None:
    # Another one in each episode, from the station: what a policy draws differs and is repeatable, and tells it nothing about the start.
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def main() -> None:
    """Load the policy and answer the station until the pipe closes; arguments: descriptors to read and write, memory [MB],
    "policy", "network" or "weights"."""
    read_fd, write_fd, memory_mb = map(int, sys.argv[1:4])
    channel = _Channel(read_fd, write_fd)
    try:
        _limit_memory(memory_mb)
        tag, data = channel.receive()
        assert tag == codec.INIT
        hello = msgpack.unpackb(data)
        observation_space = codec.rebuild(hello["observation_space"])
        observations = codec.ObservationCodec(observation_space)
        load: Callable[[Any, Any], Any] = _load
        answer = sys.argv[4]
        if answer != "policy":
            import onnx  # noqa: F401  (a second, which others need not wait; and before the door closes)
            import onnxruntime  # noqa: F401

            from autoenvbench.station import networks

            load = networks.load
        action_space: Any = codec.rebuild(hello["action_space"])
        _seed(0)
        confine()
        policy: Any = load(observation_space, action_space) if answer != "weights" else None
        channel.send(codec.READY)
        while True:
            tag, data = channel.receive()
            if tag == codec.WEIGHTS:
                policy = networks.NetworkPolicy(data, observation_space, action_space)
                channel.send(codec.READY)
                continue
            (seed,) = codec.SEED.unpack_from(data) if tag != codec.ACT else (0,)
            if tag == codec.RUN:
                _seed(seed)
                try:
                    policy(Tools(channel, wire.unpack(data[codec.SEED.size :])))
                except EpisodeOver:
                    pass  # that is how most scripts learn of the end
                channel.send(codec.DONE)
                continue
            observation = observations.decode(data[codec.SEED.size :] if tag == codec.RESET else data)
            if tag == codec.RESET:
                _seed(seed)
                policy.reset(observation, *([] if answer == "policy" else [seed]))
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
