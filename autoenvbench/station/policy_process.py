"""The station's side of a policy: start it in its cage, ask it for actions, and bound what it may cost.

CPU time is read from the kernel's per-process clock, which the policy cannot touch, so a busy machine changes no
verdict; all of it counts, also what is used between two answers. Wall-clock bounds are only a backstop for a policy that sleeps.
A policy is one process (`confine`), whose memory is watched from outside (`watch`).
"""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed
from enpire_envs.tools.log import EpisodeOver, ToolError
from gymnasium import spaces

from autoenvbench.record.regimes import AnswerKind
from autoenvbench.sandbox.cage import PIPES, Bind, Cage, Caged, Sandbox, Track, python_path
from autoenvbench.station import codec, policy_host
from autoenvbench.station.scripts import is_script
from autoenvbench.station.starvation import Wait
from autoenvbench.station.watch import Output, Watch

_NAP_S = 0.02  # between two looks at a silent policy
_LOG_LIMIT = 64 << 10  # bytes of a policy's output that are kept
_SCRATCH = 256 << 20  # bytes that /tmp and /dev/shm may hold each
_HOST = Path(policy_host.__file__).resolve()
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
    """What a policy may use. CPU limits decide verdicts; wall limits are backstops.

    `episode_wall_s` is what the station waits for a policy in one episode, all answers together; the environment's own time,
    pauses and sleeping at pace 1 are not in it.
    """

    act_cpu_s: float
    reset_cpu_s: float = 5.0
    load_cpu_s: float = 60.0
    script_cpu_s: float = 120.0  # of a whole `run(tools)`
    act_wall_s: float = 30.0
    load_wall_s: float = 120.0
    episode_wall_s: float = 600.0
    memory_mb: int = 4096

    @classmethod
    def of(cls, steps: int, act_cpu_s: float) -> PolicyLimits:
        """For a task of so many control steps: in an episode the station waits four times what a policy may compute in it."""
        limits = cls(act_cpu_s)
        return replace(limits, episode_wall_s=4 * max(steps * act_cpu_s, limits.script_cpu_s))


Serve = Callable[[str, list[Any], dict[str, Any]], Any]  # a tool by name, with its arguments


class PolicyProcess:
    """One policy process. It is started by the first `reset` and after a fault is started afresh by the next.

    Args:
        checkout: folder with policy.py, read-only to the policy.
        observation_space, action_space: what the policy is told.
        answer: what is run: policy.py, or the declared network (`networks`), in which case no code of the checkout's is; or the networks
            that `load` brings.

    Attributes:
        seed: what the policy draws by in the next episode, below 2^32.
    """

    def __init__(
        self,
        checkout: Path,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        limits: PolicyLimits,
        sandbox: Sandbox,
        track: Track,
        answer: AnswerKind = "policy",
    ) -> None:
        self._checkout, self._limits = checkout.resolve(), limits
        self._sandbox, self._track = sandbox, track
        self._observations = codec.ObservationCodec(observation_space)
        self._hello = msgpack.packb(
            {"observation_space": codec.describe(observation_space), "action_space": codec.describe(action_space)}
        )
        self._caged: Caged | None = None
        self._in = self._out = -1
        self._output = Output(_LOG_LIMIT)
        self._watch: Watch | None = None
        self._buffer = b""
        self._counted = 0.0  # CPU time of the process that is accounted for
        self._waited = 0.0  # of this episode
        self.acts = 0
        self.act_cpu_s = 0.0
        self._answer = answer
        self._weights: tuple[str, bytes] | None = None  # digest, what the file holds
        self.seed = 0
        self.is_script = answer == "policy" and is_script(self._checkout / "policy.py")

    # -- what a rollout does -----------------------------------------------------------------------------------------
    def load(self, weights: Path) -> None:
        """Act by this declared network from the next episode on; a process is started if there is none. Raises PolicyFault.

        Args:
            weights: named by its SHA-256.
        """
        digest = weights.stem
        if self._weights is None or self._weights[0] != digest:
            try:
                data = weights.read_bytes()
            except OSError as error:
                raise PolicyFault(
                    "policy_load_error", f"the weights {digest[:12]} cannot be read: {error.strerror}"
                ) from None
            if hashlib.sha256(data).hexdigest() != digest:
                raise PolicyFault("policy_load_error", f"the weights {digest[:12]} are not what their name says")
            self._weights, self._waited = (digest, data), 0.0
            if self._caged is not None:
                self._send_weights()
        if self._caged is None:
            self._start()

    def reset(self, observation: Any) -> None:
        """Begin an episode with its first observation, in a process that is started if there is none. Raises PolicyFault."""
        if self._caged is None:
            self._start()
        self.acts, self.act_cpu_s, self._waited = 0, 0.0, 0.0
        data = codec.SEED.pack(self.seed) + self._observations.encode(observation)
        self._ask(codec.RESET, data, codec.READY, self._limits.reset_cpu_s, self._limits.act_wall_s, "reset")

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
        before, limits, over, end_by = self._counted, self._limits, False, 0.0
        self._waited = 0.0
        self._post(codec.RUN, codec.SEED.pack(self.seed) + wire.pack(names), before, limits.script_cpu_s, "run")
        while True:
            began = time.monotonic()
            try:
                got, body = self._receive(before, limits.script_cpu_s, end_by if over else self._deadline(), "run")
            except PolicyFault:
                if over:
                    return  # it has had its time, and now it is gone
                raise
            finally:
                self._waited += time.monotonic() - began
            self._counted = self._cpu()
            if self._counted - before > limits.script_cpu_s and not over:
                raise self._over_cpu("run", limits.script_cpu_s)
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
        """The tail of what the policy printed, in all its lives."""
        if self._watch is not None:
            self._watch.drain()
        return self._output.text()

    def close(self) -> None:
        """Kill the process, if there is one. The next `reset` or `run` starts another."""
        caged, self._caged = self._caged, None
        if caged is not None:
            caged.kill()
            os.close(self._in)
            os.close(self._out)
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        self._buffer = b""

    def __enter__(self) -> PolicyProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- process -----------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        if self._answer == "policy" and not (self._checkout / "policy.py").is_file():
            raise PolicyFault("policy_load_error", "there is no policy.py at the root of the commit")
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        printed, to_print = os.pipe()
        inside = Path("/policy")
        binds = [Bind(self._checkout, inside)]
        if self._sandbox == "bwrap":  # /dev/zero is shared memory to who maps it (in Docker it counts as it is mapped)
            binds.append(Bind(Path("/dev/null"), Path("/dev/zero")))
        cage = Cage(
            # A script acts through tools alone: no simulator is within its reach, whatever the track.
            self._sandbox, "station" if self.is_script else self._track, cwd=inside, binds=binds,
            env={
                "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0",
                "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
                # One thread: CPU limits mean the same on any machine, and floating-point sums come out the same.
                "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
            },
            tmp=_SCRATCH,
        )  # fmt: skip
        # By path, and with no folder of the policy's among those that modules come from (-P): it runs what is installed here.
        # The environment is ours, so that -I, which would ignore the seed of hashes in it, adds nothing.
        argv = [python_path(), "-s", "-P", str(_HOST), *PIPES, str(self._limits.memory_mb), self._answer]
        try:
            with os.fdopen(to_print, "wb", buffering=0) as log:
                self._caged = cage.start(argv, outside=self._checkout, stdout=log, stderr=log,
                                         pipes=(to_read, to_write), as_pid_1=True)  # fmt: skip
        except BaseException:
            for fd in (self._in, self._out, printed):
                os.close(fd)
            raise
        finally:
            os.close(to_read)
            os.close(to_write)
        scratch = _SCRATCH if self._caged.namespace is not None else 0
        self._watch = Watch(self._caged.init, printed, self._output, self._limits.memory_mb << 20, scratch)
        self._buffer, self._counted, self._waited = b"", 0.0, 0.0
        self._ask(codec.INIT, self._hello, codec.READY, self._limits.load_cpu_s, self._limits.load_wall_s, "load")
        if self._weights is not None:
            self._send_weights()

    def _send_weights(self) -> None:
        assert self._weights is not None
        limits = self._limits
        self._ask(codec.WEIGHTS, self._weights[1], codec.READY, limits.load_cpu_s, limits.load_wall_s, "load")

    def _cpu(self) -> float:
        """CPU seconds used by all threads of the policy process (Linux: the clock id of another process)."""
        assert self._caged is not None
        try:
            return time.clock_gettime((~self._caged.init << 3) | 2)
        except OSError:
            return 0.0

    def _ask(self, tag: bytes, data: bytes, expected: bytes, cpu_s: float, wall_s: float, during: str) -> bytes:
        before, began = self._counted, time.monotonic()
        self._post(tag, data, before, cpu_s, during, wall_s)
        got, body = self._receive(before, cpu_s, self._deadline(wall_s), during)
        if self._buffer:
            raise self._fault("protocol_error", "the policy wrote to the station's pipe on its own")
        self._counted = self._cpu()
        if during != "load":
            self._waited += time.monotonic() - began
        if during == "act":
            self.acts += 1
            used = self._counted - before
            self.act_cpu_s += max(used, 0.0)
            if used > cpu_s:
                raise self._over_cpu(during, cpu_s)
        if got == codec.ERROR:
            raise self._reported(body, during)
        if got != expected:
            raise self._fault("protocol_error", f"unexpected reply {got!r} to {during}")
        return body

    def _deadline(self, wall_s: float | None = None) -> float:
        """When the wait that begins now must be over: by the limit of one answer, or of the episode."""
        left = max(self._limits.episode_wall_s - self._waited, 0.0)
        return time.monotonic() + min(wall_s or self._limits.act_wall_s, left)

    def _post(
        self, tag: bytes, data: bytes, before: float, cpu_s: float, during: str, wall_s: float | None = None
    ) -> None:
        message = codec.LENGTH.pack(1 + len(data)) + tag + data
        self._send(message, before, cpu_s, self._deadline(wall_s), during)

    def _receive(self, before: float, cpu_s: float, deadline: float, during: str) -> tuple[bytes, bytes]:
        while (reply := self._take()) is None:
            self._wait(self._in, select.POLLIN, before, cpu_s, deadline, during)
            try:
                chunk = os.read(self._in, 1 << 16)
            except OSError:
                chunk = b""
            if not chunk:
                raise self._exited(during)
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

    def _send(self, message: bytes, before: float, cpu_s: float, deadline: float, during: str) -> None:
        os.set_blocking(self._out, False)
        view = memoryview(message)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:  # a full pipe: the policy does not read
                self._wait(self._out, select.POLLOUT, before, cpu_s, deadline, during)
            except BrokenPipeError:
                # It may have left a last word.
                return

    def _wait(self, fd: int, event: int, before: float, cpu_s: float, deadline: float, during: str) -> None:
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
                raise self._over_cpu(during, cpu_s)
            if time.monotonic() > deadline:
                limits, lasted = self._limits, time.monotonic() - wait.began
                if during != "load" and self._waited + lasted > limits.episode_wall_s:
                    raise self._fault(
                        "episode_wall_limit",
                        f"the station waited {limits.episode_wall_s:.0f} s for the policy in this episode",
                    )
                starved = wait.starved(self._cpu() - before)
                silent = f"{during} gave no answer in {lasted:.0f} s of wall-clock"
                raise self._fault(f"{during}_wall_limit", starved or silent, infrastructure=starved is not None)

    # -- faults: each ends the process -------------------------------------------------------------------------------
    def _fault(self, reason: str, detail: str, *, infrastructure: bool = False) -> PolicyFault:
        self.close()
        return PolicyFault(reason, detail, infrastructure=infrastructure)

    def _over_cpu(self, during: str, cpu_s: float) -> PolicyFault:
        return self._fault(
            f"{during}_cpu_limit",
            f"{during} used more than {cpu_s * 1000:.0f} ms of CPU time, with what was used since the answer before",
        )

    def _exited(self, during: str) -> PolicyFault:
        assert self._caged is not None
        try:
            code: int | None = self._caged.process.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        if self._watch is not None and self._watch.broken is not None:
            return self._fault(*self._watch.broken)
        return self._fault("policy_exited", f"the policy's process ended during {during} (exit code {code})")

    def _reported(self, body: bytes, during: str) -> PolicyFault:
        try:
            detail = codec.decode_error(body)
        except Malformed as error:
            return self._fault("protocol_error", f"a malformed error report: {error}")
        return self._fault("policy_load_error" if during == "load" else "policy_error", detail)
