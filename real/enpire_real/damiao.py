"""Damiao motors on the wire: MIT-mode commands, state replies, special frames and registers. Pure functions.

A command is 8 bytes to the motor's id: position 16 bit, velocity, kp, kd and torque 12 bit each, most significant
first. The motor answers on its master id with its state, position, velocity, torque and two temperatures. The numbers'
ranges (`Scale`) are set in the motor; both sides must agree on them, so a driver reads them back before it moves.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

KP_MAX, KD_MAX = 500.0, 5.0
BROADCAST = 0x7FF  # registers and refresh, of any motor


class State(IntEnum):
    """The high nibble of a reply's first byte. Anything but ENABLED means that the motor does not follow commands."""

    DISABLED = 0x0
    ENABLED = 0x1
    OVER_VOLTAGE = 0x8
    UNDER_VOLTAGE = 0x9
    OVER_CURRENT = 0xA
    MOS_OVER_TEMPERATURE = 0xB
    ROTOR_OVER_TEMPERATURE = 0xC
    LOST_COMMUNICATION = 0xD
    OVERLOAD = 0xE

    @property
    def description(self) -> str:
        """For people: "rotor over temperature"."""
        return self.name.lower().replace("_", " ")


class Register(IntEnum):
    """The registers that a driver needs."""

    MASTER_ID = 7
    MOTOR_ID = 8
    TIMEOUT = 9  # in 50 us; the motor falls to damping when no command comes for so long; 0: never
    CONTROL_MODE = 10  # 1: MIT
    GEAR_RATIO = 20
    P_MAX = 21
    V_MAX = 22
    T_MAX = 23


MIT_MODE = 1
TIMEOUT_UNIT_S = 50e-6
_FLOAT_REGISTERS = frozenset((Register.GEAR_RATIO, Register.P_MAX, Register.V_MAX, Register.T_MAX))

CLEAR_ERROR = b"\xff" * 7 + b"\xfb"
ENABLE = b"\xff" * 7 + b"\xfc"
DISABLE = b"\xff" * 7 + b"\xfd"
SET_ZERO = b"\xff" * 7 + b"\xfe"
SPECIALS = frozenset((CLEAR_ERROR, ENABLE, DISABLE, SET_ZERO))


class BadFrame(ValueError):
    """Bytes that no healthy motor sends."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What full scale means: positions in +-p_max [rad], velocities +-v_max [rad/s], torques +-t_max [Nm]."""

    p_max: float
    v_max: float
    t_max: float


#: Factory scales by motor type, as I2RT sets them on the YAM. LeRobot has V_MAX 8 for the DM4340: read the registers.
SCALES = {
    "DM3507": Scale(12.5, 50.0, 5.0),
    "DM4310": Scale(12.5, 30.0, 10.0),
    "DM4340": Scale(12.5, 10.0, 28.0),
    "DM6248": Scale(12.5, 20.0, 120.0),
    "DM8009": Scale(12.5, 45.0, 54.0),
}


class Mit(NamedTuple):
    """One MIT command: the motor's torque is kp (q - position) + kd (dq - velocity) + tau."""

    q: float = 0.0  # [rad]
    dq: float = 0.0  # [rad/s]
    kp: float = 0.0  # [Nm/rad]
    kd: float = 0.0  # [Nm s/rad]
    tau: float = 0.0  # [Nm]


class Feedback(NamedTuple):
    """One state reply."""

    state: int
    q: float  # [rad]
    dq: float  # [rad/s]
    tau: float  # [Nm]
    mos_c: int  # temperatures [deg C]
    rotor_c: int


def pack_command(scale: Scale, command: Mit) -> bytes:
    """The 8 bytes of a command. Values beyond full scale saturate; raises ValueError for NaN."""
    q, dq, kp, kd, tau = command
    if math.isnan(q + dq + kp + kd + tau):
        raise ValueError(f"a motor command holds a NaN: {command}")
    a = _encode(q, -scale.p_max, scale.p_max, 65535)
    b = _encode(dq, -scale.v_max, scale.v_max, 4095)
    c = _encode(kp, 0.0, KP_MAX, 4095)
    d = _encode(kd, 0.0, KD_MAX, 4095)
    e = _encode(tau, -scale.t_max, scale.t_max, 4095)
    return (a << 48 | b << 36 | c << 24 | d << 12 | e).to_bytes(8, "big")


def unpack_command(scale: Scale, data: bytes) -> Mit:
    """A command's numbers, as the motor understands them."""
    if len(data) != 8:
        raise BadFrame(f"a command has 8 bytes, not {len(data)}")
    bits = int.from_bytes(data, "big")
    return Mit(
        _decode(bits >> 48, -scale.p_max, scale.p_max, 65535),
        _decode(bits >> 36 & 0xFFF, -scale.v_max, scale.v_max, 4095),
        _decode(bits >> 24 & 0xFFF, 0.0, KP_MAX, 4095),
        _decode(bits >> 12 & 0xFFF, 0.0, KD_MAX, 4095),
        _decode(bits & 0xFFF, -scale.t_max, scale.t_max, 4095),
    )


def pack_feedback(scale: Scale, motor_id: int, feedback: Feedback) -> bytes:
    """The 8 bytes of a state reply (what a simulated motor sends)."""
    state, q, dq, tau, mos, rotor = feedback
    bits = (
        _encode(q, -scale.p_max, scale.p_max, 65535) << 24
        | _encode(dq, -scale.v_max, scale.v_max, 4095) << 12
        | _encode(tau, -scale.t_max, scale.t_max, 4095)
    )
    first = (state & 0xF) << 4 | motor_id & 0xF
    return bytes((first,)) + bits.to_bytes(5, "big") + bytes((min(max(mos, 0), 255), min(max(rotor, 0), 255)))


def unpack_feedback(scale: Scale, motor_id: int, data: bytes) -> Feedback:
    """A state reply's numbers. Raises BadFrame unless it can be one of this motor's."""
    if len(data) != 8:
        raise BadFrame(f"a state reply has 8 bytes, not {len(data)}")
    if data[0] & 0xF != motor_id & 0xF:
        raise BadFrame(f"a reply of motor {data[0] & 0xF:#x} came under the master id of motor {motor_id:#x}")
    state = data[0] >> 4
    if state not in _STATES:
        raise BadFrame(f"{state:#x} is no state of a motor")
    bits = int.from_bytes(data[1:6], "big")
    return Feedback(
        state,
        _decode(bits >> 24, -scale.p_max, scale.p_max, 65535),
        _decode(bits >> 12 & 0xFFF, -scale.v_max, scale.v_max, 4095),
        _decode(bits & 0xFFF, -scale.t_max, scale.t_max, 4095),
        data[6],
        data[7],
    )


def pack_refresh(motor_id: int) -> bytes:
    """Asks a motor for a state reply without commanding it; goes to BROADCAST."""
    return bytes((motor_id & 0xFF, motor_id >> 8, 0xCC, 0, 0, 0, 0, 0))


def pack_read(motor_id: int, register: Register) -> bytes:
    """Asks for a register; goes to BROADCAST."""
    return bytes((motor_id & 0xFF, motor_id >> 8, 0x33, register, 0, 0, 0, 0))


def pack_write(motor_id: int, register: Register, value: float) -> bytes:
    """Writes a register (until power is cut); goes to BROADCAST."""
    return bytes((motor_id & 0xFF, motor_id >> 8, 0x55, register)) + _register_bytes(register, value)


def pack_register_reply(motor_id: int, command: int, register: Register, value: float) -> bytes:
    """What a motor answers to a read (0x33) or write (0x55)."""
    return bytes((motor_id & 0xFF, motor_id >> 8, command, register)) + _register_bytes(register, value)


def unpack_register_reply(motor_id: int, register: Register, data: bytes) -> float | None:
    """The register's value, or None if the frame is something else (a state reply, another register)."""
    expected = (motor_id & 0xFF, motor_id >> 8)
    if len(data) != 8 or tuple(data[:2]) != expected or data[2] not in (0x33, 0x55) or data[3] != register:
        return None
    form = "<f" if register in _FLOAT_REGISTERS else "<I"
    return float(struct.unpack(form, data[4:])[0])


def _register_bytes(register: Register, value: float) -> bytes:
    return struct.pack("<f", value) if register in _FLOAT_REGISTERS else struct.pack("<I", int(value))


def _encode(x: float, low: float, high: float, steps: int) -> int:
    # Truncated, not rounded, as the motor's own software does it.
    return int((min(max(x, low), high) - low) / (high - low) * steps)


def _decode(u: int, low: float, high: float, steps: int) -> float:
    return u / steps * (high - low) + low


_STATES = frozenset(int(s) for s in State)
