"""The station's side of a policy: start it in its cage, ask it for actions, and bound what it may cost.

CPU time is read from the kernel's per-process clock, which the policy cannot touch, so a busy machine changes no
verdict. Wall-clock bounds are only a backstop for a policy that sleeps.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed
from enpire_envs.tools.log import EpisodeOver, ToolError
from gymnasium import spaces

from autoenvbench.station import codec
from autoenvbench.station.scripts import is_script
from autoenvbench.station.starvation import Wait
from autoenvbench.workspace.cage import PIPES, Bind, Cage, Caged, Sandbox, Track, python_path

_NAP_S = 0.02  # between two looks at a silent policy
_LOG_LIMIT = 64 << 10  # bytes of a policy's output that are kept
_LAST_WORDS_S = 2.0  # that a script has to end once its episode is over


class PolicyFault(Exception):
    """The policy failed. `reason` is one of the ledger's reasons, `detail` what its author needs to know.

    `infrastructure`: the machine was at fault, and `detail` is the proof.
    """

    def __init__(self, reason: str, detail: str, *, infrastructure: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.infrastructure = reason, detail, infrastructure


@dataclass(frozen=True, slots=True)
class PolicyLimits:
    """What a policy may use. CPU limits decide verdicts; wall limits are backstops."""

    act_cpu_s: float
    reset_cpu_s: float = 5.0
    load_cpu_s: float = 60.0
    script_cpu_s: float = 120.0  # of a whole `run(tools)`
    act_wall_s: float = 30.0
    load_wall_s: float = 120.0
    memory_mb: int = 4096


Serve = Callable[[str, list[Any], dict[str, Any]], Any]  # a tool by name, with its arguments


class PolicyProcess:
    """One policy process. It is started by the first `reset` and after a fault is started afresh by the next.

    Args:
        checkout: folder with policy.py, read-only to the policy.
        observation_space, action_space: what the policy is told.
    """

    def __init__(
        self,
        checkout: Path,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        limits: PolicyLimits,
        sandbox: Sandbox,
        track: Track,
    ) -> None:
        self._checkout, self._limits = checkout.resolve(), limits
        self._sandbox, self._track = sandbox, track
        self._observations = codec.ObservationCodec(observation_space)
        self._hello = msgpack.packb(
            {"observation_space": codec.describe(observation_space), "action_space": codec.describe(action_space)}
        )
        self._caged: Caged | None = None
        self._in = self._out = -1
        self._log: Any = None
        self._buffer = b""
        self.acts = 0
        self.act_cpu_s = 0.0
        self.is_script = is_script(self._checkout / "policy.py")

    # -- what a rollout does -----------------------------------------------------------------------------------------
    def reset(self, observation: Any) -> None:
        if self._caged is None:
            self._start()
        self.acts, self.act_cpu_s = 0, 0.0
        self._ask(codec.RESET, self._observations.encode(observation), codec.READY, self._limits.reset_cpu_s,
                  self._limits.act_wall_s, "reset")  # fmt: skip

    def act(self, observation: Any) -> np.ndarray:
        """The action, of whatever shape and value: `check_action` is what it must pass. Raises PolicyFault."""
        data = self._ask(codec.ACT, self._observations.encode(observation), codec.ACTION, self._limits.act_cpu_s,
                         self._limits.act_wall_s, "act")  # fmt: skip
        try:
            action = codec.decode_action(data)
        except Malformed as error:
            raise self._fault("protocol_error", str(error)) from None
        return action

    def run(self, names: list[str], serve: Serve) -> None:
        """Execute a script once, answering its tool calls by `serve`, whose EpisodeOver ends it. Raises PolicyFault."""
        if self._caged is None:
            self._start()
        before, limits, over, end_by = self._cpu(), self._limits, False, 0.0
        self._post(codec.RUN, wire.pack(names), before, limits.script_cpu_s, "run")
        while True:
            deadline = end_by if over else time.monotonic() + limits.act_wall_s
            try:
                got, body = self._receive(before, limits.script_cpu_s, deadline, "run")
            except PolicyFault:
                if over:
                    return  # it has had its time, and now it is gone
                raise
            if got == codec.DONE:
                return
            if got == codec.ERROR:
                raise self._reported(body, "run")
            if got != codec.TOOL:
                raise self._fault("protocol_error", f"unexpected message {got!r} from a script")
            if over and time.monotonic() > end_by:
                self.close()  # it does not take no for an answer
                return
            tag, answer = codec.OVER, b"the episode is over"
            if not over:
                try:
                    name, args, kwargs = codec.decode_tool_call(body)
                    tag, answer = codec.RESULT, wire.pack(serve(name, args, kwargs))
                except ToolError as error:
                    tag, answer = codec.REFUSED, str(error).encode(errors="replace")
                except EpisodeOver as end:
                    over, end_by, answer = True, time.monotonic() + _LAST_WORDS_S, str(end).encode(errors="replace")
                except Malformed as error:
                    raise self._fault("protocol_error", f"a malformed tool call: {error}") from None
                except BaseException:  # the cell's fault, in the middle of a call: no half-answered script goes on
                    self.close()
                    raise
            self._post(tag, answer, before, limits.script_cpu_s, "run")

    def output(self) -> str:
        """The tail of what the policy printed."""
        if self._log is None:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        data = os.pread(self._log.fileno(), _LOG_LIMIT, max(0, size - _LOG_LIMIT))
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        caged, self._caged = self._caged, None
        if caged is not None:
            caged.kill()
            os.close(self._in)
            os.close(self._out)
        self._buffer = b""

    def __enter__(self) -> PolicyProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    # -- process -----------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        if not (self._checkout / "policy.py").is_file():
            raise PolicyFault("policy_load_error", "there is no policy.py at the root of the commit")
        if self._log is None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        inside = Path("/policy")
        cage = Cage(
            # A script acts through tools alone: no simulator is within its reach, whatever the track.
            self._sandbox, "station" if self.is_script else self._track, cwd=inside, binds=[Bind(self._checkout, inside)],
            env={
                "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0",
                "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
                # One thread: CPU limits mean the same on any machine, and floating-point sums come out the same.
                "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
            },
        )  # fmt: skip
        argv = [python_path(), "-s", "-m", "autoenvbench.station.policy_host", *PIPES, str(self._limits.memory_mb)]
        self._caged = cage.start(argv, outside=self._checkout, stdout=self._log, stderr=self._log,
                                 pipes=(to_read, to_write), as_pid_1=True)  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._ask(codec.INIT, self._hello, codec.READY, self._limits.load_cpu_s, self._limits.load_wall_s, "load")

    def _cpu(self) -> float:
        """CPU seconds used by all threads of the policy process (Linux: the clock id of another process)."""
        assert self._caged is not None
        try:
            return time.clock_gettime((~self._caged.init << 3) | 2)
        except OSError:
            return 0.0

    def _ask(self, tag: bytes, data: bytes, expected: bytes, cpu_s: float, wall_s: float, doing: str) -> bytes:
        before = self._cpu()
        self._post(tag, data, before, cpu_s, doing, wall_s)
        got, body = self._receive(before, cpu_s, time.monotonic() + wall_s, doing)
        if self._buffer:
            raise self._fault("protocol_error", "the policy wrote to the station's pipe on its own")
        if doing == "act":
            self.acts += 1
            used = self._cpu() - before
            self.act_cpu_s += max(used, 0.0)
            if used > cpu_s:
                raise self._over_cpu(doing, cpu_s)
        if got == codec.ERROR:
            raise self._reported(body, doing)
        if got != expected:
            raise self._fault("protocol_error", f"unexpected reply {got!r} to {doing}")
        return body

    def _post(
        self, tag: bytes, data: bytes, before: float, cpu_s: float, doing: str, wall_s: float | None = None
    ) -> None:
        deadline = time.monotonic() + (wall_s or self._limits.act_wall_s)
        self._send(codec.LENGTH.pack(1 + len(data)) + tag + data, before, cpu_s, deadline, doing)

    def _receive(self, before: float, cpu_s: float, deadline: float, doing: str) -> tuple[bytes, bytes]:
        while (reply := self._take()) is None:
            self._wait(self._in, select.POLLIN, before, cpu_s, deadline, doing)
            try:
                chunk = os.read(self._in, 1 << 16)
            except OSError:
                chunk = b""
            if not chunk:
                raise self._exited(doing)
            self._buffer += chunk
        return reply

    def _take(self) -> tuple[bytes, bytes] | None:
        head = codec.LENGTH.size
        if len(self._buffer) < head:
            return None
        (length,) = codec.LENGTH.unpack_from(self._buffer)
        if not 1 <= length <= codec.MAX_REPLY:
            raise self._fault("protocol_error", f"a reply of {length} bytes")
        if len(self._buffer) < head + length:
            return None
        message, self._buffer = self._buffer[head : head + length], self._buffer[head + length :]
        return message[:1], message[1:]

    def _send(self, message: bytes, before: float, cpu_s: float, deadline: float, doing: str) -> None:
        os.set_blocking(self._out, False)
        view = memoryview(message)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:  # a full pipe: the policy does not read
                self._wait(self._out, select.POLLOUT, before, cpu_s, deadline, doing)
            except BrokenPipeError:
                # It may have left a last word.
                return

    def _wait(self, fd: int, event: int, before: float, cpu_s: float, deadline: float, doing: str) -> None:
        poll = select.poll()
        poll.register(fd, event)
        wait: Wait | None = None
        while True:
            since = time.monotonic()
            if poll.poll(_NAP_S * 1000):
                return
            wait = wait or Wait(since)
            wait.slept(since, _NAP_S)
            if self._cpu() - before > cpu_s:
                raise self._over_cpu(doing, cpu_s)
            if time.monotonic() > deadline:
                starved = wait.starved(self._cpu() - before)
                silent = f"{doing} gave no answer in {self._limits.act_wall_s:.0f} s of wall-clock"
                raise self._fault(f"{doing}_wall_limit", starved or silent, infrastructure=starved is not None)

    # -- faults: each ends the process -------------------------------------------------------------------------------
    def _fault(self, reason: str, detail: str, *, infrastructure: bool = False) -> PolicyFault:
        self.close()
        return PolicyFault(reason, detail, infrastructure=infrastructure)

    def _over_cpu(self, doing: str, cpu_s: float) -> PolicyFault:
        return self._fault(f"{doing}_cpu_limit", f"{doing} used more than {cpu_s * 1000:.0f} ms of CPU time")

    def _exited(self, doing: str) -> PolicyFault:
        assert self._caged is not None
        try:
            code: int | None = self._caged.process.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        return self._fault("policy_exited", f"the policy's process ended during {doing} (exit code {code})")

    def _reported(self, body: bytes, doing: str) -> PolicyFault:
        try:
            detail = codec.decode_error(body)
        except Malformed as error:
            return self._fault("protocol_error", f"a malformed error report: {error}")
        return self._fault("policy_load_error" if doing == "load" else "policy_error", detail)
