"""The driver of one CAN bus of Damiao motors: start-up checks, command cycles with retries, faults, recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import can

from enpire_real import damiao
from enpire_real.bus import BusDown, Frame
from enpire_real.clock import Clock
from enpire_real.damiao import BadFrame, Feedback, Mit, Register, Scale, State

REPLY_S = 0.004  # a motor answers within 0.2 ms; a USB adapter adds one or two
RETRIES = 15  # as I2RT's driver; each resends only what was not answered
_WAIT_S = 0.0005  # how long virtual time passes per look at a silent bus


class MotorFault(RuntimeError):
    """A motor reports a fault, or does not answer."""


class ScaleMismatch(RuntimeError):
    """A motor's own full scale is not what the station file says: its commands would be misread."""


@dataclass(frozen=True, slots=True)
class Motor:
    """One motor of a bus.

    Attributes:
        name: of its joint.
        id, reply_id: arbitration ids of commands to it and of its answers.
        scale: full scale of the numbers on the wire, which the motor must have, too.
        watchdog_s: without a command for so long it falls to damping [s].
    """

    name: str
    id: int
    reply_id: int
    scale: Scale
    watchdog_s: float = 0.4


@dataclass(slots=True)
class BusStats:
    """Counts since the bus was made: of command cycles, and of faults that resending made good.

    Attributes:
        cycles: of commands or refreshes.
        resent: frames sent again.
        bad: received frames that no healthy motor sends.
        stray: well-formed received frames that answer nothing.
    """

    cycles: int = 0
    resent: int = 0
    bad: int = 0
    stray: int = 0


class MotorBus:
    """Motors that share a bus. Not thread-safe: one control loop owns it.

    Args:
        open_bus: opens the bus; called again to recover from bus-off.
        motors: in the order of commands and feedback. Raises ValueError if two have the same reply id.
        clock: the station's.
        cycle_s: how long a command cycle may take in all, resends included, before it counts as a fault [s].

    Attributes:
        stats: what went wrong so far.
    """

    def __init__(
        self, open_bus: Callable[[], can.BusABC], motors: Sequence[Motor], clock: Clock, cycle_s: float = 0.030
    ) -> None:
        self._open, self.motors, self._clock, self._cycle_s = open_bus, tuple(motors), clock, cycle_s
        self._bus: can.BusABC | None = None
        self._by_reply = {m.reply_id: k for k, m in enumerate(self.motors)}
        if len(self._by_reply) != len(self.motors):
            raise ValueError("two motors of a bus have the same reply id")
        self.stats = BusStats()

    # -- life --------------------------------------------------------------------------------------------------------
    def connect(self) -> list[Feedback]:
        """Open the bus, check every motor's registers, set its watchdog, clear old errors. Nothing moves. Returns all motors' states.

        Raises BusDown, MotorFault (no answer) or ScaleMismatch.
        """
        if self._bus is None:
            self._bus = self._open()
        for motor in self.motors:
            self._check_registers(motor)
            self._write(motor, Register.TIMEOUT, round(motor.watchdog_s / damiao.TIMEOUT_UNIT_S))
            self._special(motor, damiao.CLEAR_ERROR)
        return self.refresh()

    def enable(self) -> list[Feedback]:
        """Switch all motors on. They hold nothing until the first command. Raises MotorFault, BusDown."""
        feedback = [self._special(motor, damiao.ENABLE) for motor in self.motors]
        self._raise_faults(feedback)
        return feedback

    def disable(self) -> None:
        """Switch all motors off, as far as they can be reached: an arm that is not held up falls."""
        for motor in self.motors:
            try:
                self._special(motor, damiao.DISABLE, retries=3)
            except (MotorFault, BusDown):
                continue  # its watchdog ends it

    def set_zero(self, name: str) -> Feedback:
        """Make a motor's present position its zero; only with the arm in its zero pose. Raises MotorFault, BusDown."""
        motor = next(m for m in self.motors if m.name == name)
        return self._special(motor, damiao.SET_ZERO)

    def recover(self) -> list[Feedback]:
        """Open the bus anew after bus-off and check everything again; the motors are off afterwards. Raises as `connect`."""
        self.close()
        return self.connect()

    def close(self) -> None:
        """Close the bus; the motors' watchdogs end what they do. Safe to call twice."""
        if self._bus is not None:
            bus, self._bus = self._bus, None
            try:
                bus.shutdown()
            except (can.CanError, OSError):
                pass  # an adapter that was pulled out cannot be closed

    # -- cycles ------------------------------------------------------------------------------------------------------
    def exchange(self, commands: Sequence[Mit]) -> list[Feedback]:
        """Send one command to each motor and return their states, in order.

        Raises MotorFault if one reports a fault or stays silent through all resends, BusDown if the bus fails,
        ValueError for a NaN (nothing is sent then).
        """
        frames = [damiao.pack_command(m.scale, c) for m, c in zip(self.motors, commands, strict=True)]
        feedback = self._cycle([(m.id, data) for m, data in zip(self.motors, frames, strict=True)])
        self._raise_faults(feedback)
        return feedback

    def refresh(self) -> list[Feedback]:
        """The motors' states, in order, without commanding them. Raises MotorFault for silence, BusDown."""
        return self._cycle([(damiao.BROADCAST, damiao.pack_refresh(m.id)) for m in self.motors])

    def _cycle(self, frames: list[tuple[int, bytes]], retries: int = RETRIES) -> list[Feedback]:
        self._drain()
        self.stats.cycles += 1
        answers: list[Feedback | None] = [None] * len(frames)
        missing = set(range(len(frames)))
        give_up = self._clock.now() + self._cycle_s
        for attempt in range(retries + 1):
            for k in sorted(missing):
                self._send(*frames[k])
            self.stats.resent += len(missing) if attempt else 0
            deadline = min(self._clock.now() + REPLY_S, give_up)
            while missing and (message := self._receive(deadline)) is not None:
                index = self._by_reply.get(message.arbitration_id)
                if index is None or not _is_standard_frame(message) or _is_register_reply(message):
                    self.stats.stray += 1
                    continue
                motor = self.motors[index]
                try:
                    state = damiao.unpack_feedback(motor.scale, motor.id, bytes(message.data))
                except BadFrame:
                    self.stats.bad += 1
                    continue
                if index in missing:
                    answers[index] = state
                    missing.discard(index)
                else:
                    self.stats.stray += 1
            if not missing:
                return answers  # type: ignore[return-value]
            if self._clock.now() >= give_up:
                break
        names = ", ".join(self.motors[k].name for k in sorted(missing))
        raise MotorFault(
            f"no answer from {names} after {attempt + 1} tries in {self._cycle_s * 1000:.0f} ms: check power, the CAN cable and its "
            "termination (`autoenvbench station doctor`)"
        )

    # -- registers and specials --------------------------------------------------------------------------------------
    def read_register(self, motor: Motor, register: Register) -> float:
        """A register's value. Raises MotorFault if the motor does not answer, BusDown."""
        return self._register(motor, register, damiao.pack_read(motor.id, register))

    def _write(self, motor: Motor, register: Register, value: float) -> None:
        self._register(motor, register, damiao.pack_write(motor.id, register, value))

    def _register(self, motor: Motor, register: Register, data: bytes) -> float:
        for _ in range(RETRIES + 1):
            self._drain()
            self._send(damiao.BROADCAST, data)
            deadline = self._clock.now() + REPLY_S
            while (message := self._receive(deadline)) is not None:
                if message.arbitration_id == motor.reply_id and _is_standard_frame(message):
                    value = damiao.unpack_register_reply(motor.id, register, bytes(message.data))
                    if value is not None:
                        return value
        raise MotorFault(f"{motor.name} (id {motor.id:#x}) does not answer: check its power, cable and id")

    def _check_registers(self, motor: Motor) -> None:
        mode = self.read_register(motor, Register.CONTROL_MODE)
        if mode != damiao.MIT_MODE:
            raise ScaleMismatch(
                f"{motor.name} is in control mode {mode:.0f}, not {damiao.MIT_MODE} (MIT): set register "
                f"{Register.CONTROL_MODE} with the vendor's tool"
            )
        own = Scale(*(self.read_register(motor, r) for r in (Register.P_MAX, Register.V_MAX, Register.T_MAX)))
        pairs = zip(("p_max", "v_max", "t_max"), _values(own), _values(motor.scale), strict=True)
        wrong = [f"{name} {has:g}, expected {want:g}" for name, has, want in pairs if abs(has - want) > 1e-3 * want]
        if wrong:
            raise ScaleMismatch(
                f"{motor.name} has {'; '.join(wrong)}: commands would be misread. Is it the motor type that the station "
                "file says? If so, put its own scale there"
            )

    def _special(self, motor: Motor, data: bytes, retries: int = RETRIES) -> Feedback:
        for _ in range(retries + 1):
            self._drain()
            self._send(motor.id, data)
            deadline = self._clock.now() + REPLY_S
            while (message := self._receive(deadline)) is not None:
                if (
                    message.arbitration_id != motor.reply_id
                    or not _is_standard_frame(message)
                    or _is_register_reply(message)
                ):
                    continue
                try:
                    return damiao.unpack_feedback(motor.scale, motor.id, bytes(message.data))
                except BadFrame:
                    self.stats.bad += 1
        raise MotorFault(f"{motor.name} (id {motor.id:#x}) does not answer: check its power, cable and id")

    # -- the bus itself ----------------------------------------------------------------------------------------------
    def _send(self, arbitration_id: int, data: bytes) -> None:
        if self._bus is None:
            raise BusDown("the bus is closed; connect() first")
        try:
            self._bus.send(Frame(arbitration_id, data))
        except (can.CanError, OSError) as error:
            raise BusDown(f"the CAN bus failed: {error}") from None

    def _receive(self, deadline: float) -> can.Message | None:
        """The next frame, or None at the deadline."""
        if self._bus is None:
            raise BusDown("the bus is closed; connect() first")
        clock = self._clock
        try:
            if not clock.virtual:
                return self._bus.recv(max(deadline - clock.now(), 0.0))
            while (message := self._bus.recv(0)) is None:
                clock.poll()
                if (message := self._bus.recv(0)) is not None or clock.now() >= deadline - 1e-9:
                    break
                clock.sleep(_WAIT_S)
            return message
        except (can.CanError, OSError) as error:
            raise BusDown(f"the CAN bus failed: {error}") from None

    def _drain(self) -> None:
        """Drop late answers: they belong to an earlier cycle."""
        if self._bus is None:
            raise BusDown("the bus is closed; connect() first")
        try:
            while self._bus.recv(0) is not None:
                self.stats.stray += 1
        except (can.CanError, OSError) as error:
            raise BusDown(f"the CAN bus failed: {error}") from None

    def _raise_faults(self, feedback: Sequence[Feedback]) -> None:
        faults = [
            f"{m.name}: {State(f.state).description}"
            for m, f in zip(self.motors, feedback, strict=True)
            if f.state != State.ENABLED
        ]
        if faults:
            raise MotorFault("; ".join(faults))


def _is_standard_frame(message: can.Message) -> bool:
    return not (message.is_error_frame or message.is_remote_frame or message.is_extended_id or message.is_fd)


def _is_register_reply(message: can.Message) -> bool:
    """Whether this is a late answer about a register: as a state it would be a position within 50 mrad of -p_max."""
    return len(message.data) == 8 and message.data[1] == 0 and message.data[2] in (0x33, 0x55, 0xAA)


def _values(scale: Scale) -> tuple[float, float, float]:
    return scale.p_max, scale.v_max, scale.t_max
