"""Simulated Damiao motors of one bus: they answer frames, hold registers, get warm, fall to damping, and fail.

Each motor turns its last command into a torque at every physics step, as the real one does in its own fast loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from enpire_real import damiao
from enpire_real.damiao import Feedback, Mit, Register, Scale, State

DAMPING = 1.0  # of a motor whose watchdog has expired [Nm s/rad]
_AMBIENT_C = 27.0
_HEATING = 0.0008  # [K/s per Nm^2]: 12 Nm held for long end 35 K above the room
_COOLING_S = 300.0  # thermal time constant
MOS_LIMIT_C, ROTOR_LIMIT_C = 90.0, 110.0
_FACTORY_TIMEOUT = 8000  # 400 ms


@dataclass(slots=True)
class MotorFaults:
    """What is wrong with a bus and its motors; tests and drills set it."""

    lost: float = 0.0  # share of frames lost, each way
    cut: bool = False  # the cable is off: nothing arrives, nothing comes back
    dead: set[int] = field(default_factory=set)  # motor ids that neither answer nor turn
    power_off: bool = False  # the emergency stop: no motor answers or turns


class SimMotors:
    """The motors of one bus. Arrays are (n,), in the order of `ids`.

    The motor's own loop runs inside the physics: `drives` gives each motor's law as torque = feed - kp position -
    kd velocity, which the twin writes into MuJoCo's actuators whenever it changes. Positions on the wire are the
    encoder's: the joint's behind the backlash, minus the zero offset.
    """

    def __init__(
        self,
        ids: Sequence[int],
        reply_ids: Sequence[int],
        scales: Sequence[Scale],
        rng: np.random.Generator,
        *,
        torque_gain: np.ndarray,
        backlash: np.ndarray,
    ) -> None:
        n = len(ids)
        self.ids, self._reply_ids, self.scales = tuple(ids), tuple(reply_ids), tuple(scales)
        self.faults = MotorFaults()
        self._rng = rng
        self.torque_gain, self._backlash = torque_gain, backlash
        self._index = {motor_id: k for k, motor_id in enumerate(ids)}
        self.state = [int(State.DISABLED)] * n
        self._command = [Mit()] * n
        self._commanded_at = [0.0] * n
        self._timeout_s = [_FACTORY_TIMEOUT * damiao.TIMEOUT_UNIT_S] * n
        self._zero = [0.0] * n
        self._encoder = np.zeros(n)
        self._speed = np.zeros(n)
        self._torque = np.zeros(n)
        self.mos_c = np.full(n, _AMBIENT_C)
        self.rotor_c = np.full(n, _AMBIENT_C)
        self.changed = True  # the drives differ from what the twin last wrote

    # -- physics -----------------------------------------------------------------------------------------------------
    def drives(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(feed [Nm], kp, kd), each (n,), of the motors' present laws, at nominal torque constants."""
        self.changed = False
        law = np.zeros((3, len(self.ids)))
        for k, (motor_id, state) in enumerate(zip(self.ids, self.state, strict=True)):
            if self.faults.power_off or motor_id in self.faults.dead:
                continue
            if state == State.ENABLED:
                q, dq, kp, kd, tau = self._command[k]
                law[:, k] = kp * (q + self._zero[k]) + kd * dq + tau, kp, kd
            elif state == State.LOST_COMMUNICATION:
                law[2, k] = DAMPING
        return law[0], law[1], law[2]

    def expires(self) -> float:
        """When the first watchdog expires if nothing is commanded until then [s]; infinite if none can."""
        ends = [
            commanded_at + timeout
            for state, commanded_at, timeout in zip(self.state, self._commanded_at, self._timeout_s, strict=True)
            if state == State.ENABLED and timeout > 0
        ]
        return min(ends, default=np.inf)

    def tick(self, now: float, dt: float, q: np.ndarray, dq: np.ndarray, torque: np.ndarray) -> None:
        """Physics went on by `dt` to `now`: true joint positions and velocities, torques delivered [Nm]."""
        slack = self._backlash / 2
        self._encoder = np.minimum(np.maximum(self._encoder, q - slack), q + slack)
        self._speed, self._torque = dq, torque
        self.rotor_c += dt * (_HEATING * torque * torque - (self.rotor_c - _AMBIENT_C) / _COOLING_S)
        self.mos_c += dt * (0.5 * (_AMBIENT_C + self.rotor_c) - self.mos_c) / 20.0
        for k, state in enumerate(self.state):
            if state != State.ENABLED:
                continue
            if self._timeout_s[k] > 0 and now - self._commanded_at[k] > self._timeout_s[k] - 1e-9:
                self._set(k, State.LOST_COMMUNICATION)
            elif self.rotor_c[k] > ROTOR_LIMIT_C:
                self._set(k, State.ROTOR_OVER_TEMPERATURE)
            elif self.mos_c[k] > MOS_LIMIT_C:
                self._set(k, State.MOS_OVER_TEMPERATURE)

    def _set(self, k: int, state: State) -> None:
        self.state[k] = int(state)
        self.changed = True

    def place(self, q: np.ndarray) -> None:
        """Where the joints are when power comes on."""
        self._encoder = q.copy()
        self._speed = np.zeros_like(q)

    def reboot(self, motor_id: int) -> None:
        """Power gone and back: off, nothing commanded, factory watchdog; zero and scale are kept."""
        k = self._index[motor_id]
        self._set(k, State.DISABLED)
        self._command[k] = Mit()
        self._timeout_s[k] = _FACTORY_TIMEOUT * damiao.TIMEOUT_UNIT_S

    # -- frames ------------------------------------------------------------------------------------------------------
    def answer(self, now: float, arbitration_id: int, data: bytes) -> tuple[int, bytes] | None:
        """What comes back for a frame: (arbitration id, data), or nothing."""
        faults = self.faults
        if faults.cut or faults.power_off or (faults.lost and self._rng.random() < faults.lost):
            return None
        reply = (
            self._broadcast(now, data) if arbitration_id == damiao.BROADCAST else self._motor(now, arbitration_id, data)
        )
        if reply is not None and faults.lost and self._rng.random() < faults.lost:
            return None
        return reply

    def _motor(self, now: float, motor_id: int, data: bytes) -> tuple[int, bytes] | None:
        k = self._index.get(motor_id)
        if k is None or motor_id in self.faults.dead or len(data) != 8:
            return None
        if data in damiao.SPECIALS:
            self._special(k, data, now)
        elif self.state[k] == State.ENABLED:
            self._commanded_at[k] = now
            self._command[k] = damiao.unpack_command(self.scales[k], data)
            self.changed = True
        return self._report(k)

    def _special(self, k: int, data: bytes, now: float) -> None:
        hot = self.rotor_c[k] > ROTOR_LIMIT_C or self.mos_c[k] > MOS_LIMIT_C
        if data == damiao.ENABLE and self.state[k] == State.DISABLED:
            self._set(k, State.ENABLED)
            self._command[k] = Mit()
            self._commanded_at[k] = now
        elif data == damiao.DISABLE or (data == damiao.CLEAR_ERROR and self.state[k] != State.ENABLED and not hot):
            self._set(k, State.DISABLED)
        elif data == damiao.SET_ZERO:
            self._zero[k] = float(self._encoder[k])
            self.changed = True

    def _broadcast(self, now: float, data: bytes) -> tuple[int, bytes] | None:
        if len(data) != 8:
            return None
        motor_id = data[0] | data[1] << 8
        k = self._index.get(motor_id)
        if k is None or motor_id in self.faults.dead:
            return None
        if data[2] == 0xCC:
            return self._report(k)
        try:
            register = Register(data[3])
        except ValueError:
            return None
        if data[2] == 0x55 and register is Register.TIMEOUT:
            self._timeout_s[k] = int.from_bytes(data[4:], "little") * damiao.TIMEOUT_UNIT_S
        elif data[2] not in (0x33, 0x55):
            return None
        value = self._register(k, register)
        return self._reply_ids[k], damiao.pack_register_reply(motor_id, data[2], register, value)

    def _register(self, k: int, register: Register) -> float:
        scale = self.scales[k]
        return {
            Register.MASTER_ID: self._reply_ids[k], Register.MOTOR_ID: self.ids[k],
            Register.TIMEOUT: round(self._timeout_s[k] / damiao.TIMEOUT_UNIT_S), Register.CONTROL_MODE: damiao.MIT_MODE, Register.GEAR_RATIO: 10.0,
            Register.P_MAX: scale.p_max, Register.V_MAX: scale.v_max, Register.T_MAX: scale.t_max,
        }[register]  # fmt: skip

    def _report(self, k: int) -> tuple[int, bytes]:
        reply = Feedback(
            int(self.state[k]), self._encoder[k] - self._zero[k], self._speed[k], self._torque[k],
            int(self.mos_c[k]), int(self.rotor_c[k]),
        )  # fmt: skip
        return self._reply_ids[k], damiao.pack_feedback(self.scales[k], self.ids[k], reply)
