"""The bus driver against simulated motors: start-up checks, losses, faults, recovery."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import can
import numpy as np
import pytest
from conftest import station_file
from enpire_real import damiao
from enpire_real.bus import BusDown, BusLock, BusTaken, Frame, open_bus
from enpire_real.clock import VirtualClock
from enpire_real.damiao import SCALES, Mit, Scale, State
from enpire_real.motors import Motor, MotorBus, MotorFault, ScaleMismatch
from enpire_real.twin.station import Twin
from enpire_real.yam import GRIPPER, JOINTS

MOTORS = [Motor(j.name, j.motor_id, j.reply_id, SCALES[j.motor], 0.1) for j in (*JOINTS, GRIPPER)]
STILL = [Mit(0.0, 0.0, 5.0, 1.0, 0.0)] * 7


class Rig:
    """A twin's left arm on an in-process bus, and a driver."""

    def __init__(self, channel: str) -> None:
        self.twin = Twin(station_file(cameras=(), scene="empty"))
        self.clock = VirtualClock()
        self.far = open_bus("virtual", channel)
        self.twin.attach("left", self.far)
        self.clock.attach(self.twin)
        self.driver = MotorBus(partial(open_bus, "virtual", channel), MOTORS, self.clock)

    @property
    def motors(self):
        return self.twin.motors["left"]

    def hold(self, cycles: int) -> None:
        for _ in range(cycles):
            told = self.driver.exchange(STILL)
            assert len(told) == 7
            self.clock.sleep(0.01)


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = Rig(request.node.name)
    yield made
    made.driver.close()
    made.far.shutdown()


def test_connecting_moves_nothing_and_sets_the_watchdog(rig: Rig) -> None:
    before = rig.twin.truth()["joints"]["left"].copy()
    told = rig.driver.connect()
    rig.clock.sleep(0.5)
    assert [f.state for f in told] == [State.DISABLED] * 7
    assert np.allclose(
        before, rig.twin.truth()["joints"]["left"], atol=2e-3
    )  # they sink a little further onto their stops
    assert rig.driver.read_register(MOTORS[0], damiao.Register.TIMEOUT) == 2000


def test_a_motor_of_another_scale_is_refused(rig: Rig) -> None:
    wrong = [Motor(m.name, m.id, m.reply_id, Scale(12.5, 8.0, 28.0) if m.id == 2 else m.scale) for m in MOTORS]
    driver = MotorBus(rig.driver._open, wrong, rig.clock)
    with pytest.raises(ScaleMismatch, match="joint2 has v_max 10, expected 8"):
        driver.connect()
    driver.close()


def test_one_frame_in_twenty_lost_is_made_good(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.motors.faults.lost = 0.05
    rig.hold(500)
    assert rig.driver.stats.resent > 100
    assert rig.driver.stats.bad == 0
    assert [State(s) for s in rig.motors.state] == [State.ENABLED] * 7


def test_connecting_and_enabling_survive_losses(rig: Rig) -> None:
    rig.motors.faults.lost = 0.2
    rig.driver.connect()
    rig.driver.enable()
    rig.hold(50)


def test_a_dead_motor_is_named(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.motors.faults.dead = {4}
    with pytest.raises(MotorFault, match="no answer from joint4"):
        rig.hold(2)


def test_a_motor_that_reboots_is_noticed_and_comes_back(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.hold(5)
    rig.motors.reboot(3)
    with pytest.raises(MotorFault, match="joint3: disabled"):
        rig.hold(1)
    rig.driver.recover()
    rig.driver.enable()
    rig.hold(5)


def test_a_silent_driver_lets_the_motors_fall_to_damping(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.hold(5)
    rig.clock.sleep(0.085)  # 10 ms were slept after the last command already
    assert [State(s) for s in rig.motors.state] == [State.ENABLED] * 7
    rig.clock.sleep(0.010)
    assert [State(s) for s in rig.motors.state] == [State.LOST_COMMUNICATION] * 7
    feed, kp, kd = rig.motors.drives()
    assert not kp.any()
    assert not feed.any()
    assert (kd > 0).all()
    with pytest.raises(MotorFault, match="lost communication"):
        rig.hold(1)


def test_an_overheated_motor_stops_and_stays_off_until_it_is_cool(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.motors.rotor_c[1] = 120.0
    rig.clock.sleep(0.004)
    with pytest.raises(MotorFault, match="joint2: rotor over temperature"):
        rig.hold(1)
    rig.driver.connect()  # clears errors, but this one is still there
    with pytest.raises(MotorFault, match="joint2"):
        rig.driver.enable()
    rig.motors.rotor_c[1] = 40.0
    rig.driver.connect()
    rig.driver.enable()
    rig.hold(3)


def test_bus_off_is_reported_and_recovered_from(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    bus = rig.driver._bus
    assert bus is not None

    def off(message: can.Message, timeout: float | None = None) -> None:
        raise can.CanOperationError("bus-off")

    bus.send = off  # type: ignore[method-assign]
    with pytest.raises(BusDown, match="bus-off"):
        rig.hold(1)
    rig.driver.recover()
    rig.driver.enable()
    rig.hold(3)


def test_noise_on_the_bus_is_never_taken_for_an_answer(rig: Rig, rng: np.random.Generator) -> None:
    """Frames of other ids, lengths and kinds, and late answers about registers, between all real answers."""
    rig.driver.connect()
    rig.driver.enable()
    for _ in range(200):
        for _ in range(3):
            data = rng.integers(0, 256, int(rng.integers(0, 9)), dtype=np.uint8).tobytes()
            rig.far.send(can.Message(arbitration_id=int(rng.integers(0x20, 0x7FF)), data=data, is_extended_id=False))
            rig.far.send(can.Message(arbitration_id=0x11, data=data[:7], is_extended_id=False))
            rig.far.send(can.Message(arbitration_id=0x11, data=bytes(8), is_extended_id=True))
        rig.far.send(Frame(0x12, damiao.pack_register_reply(2, 0x33, damiao.Register.T_MAX, 28.0)))
        told = rig.driver.exchange(STILL)
        truth = rig.twin.truth()["joints"]["left"][:6]
        assert [f.q for f in told[:6]] == pytest.approx(truth.tolist(), abs=0.002)
        rig.clock.sleep(0.01)


def test_a_nan_reaches_no_motor(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.hold(1)
    before = list(rig.motors._command)
    with pytest.raises(ValueError, match="NaN"):
        rig.driver.exchange([*STILL[:6], Mit(float("nan"))])
    rig.clock.poll()
    assert rig.motors._command == before


def test_a_cut_cable_is_a_fault_of_all_motors(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.motors.faults.cut = True
    with pytest.raises(MotorFault, match="joint1, joint2, joint3, joint4, joint5, joint6, gripper"):
        rig.hold(1)


def test_a_zero_can_be_set(rig: Rig) -> None:
    before = rig.driver.connect()[3].q
    assert abs(before) > 0.1  # the hand has sunk to its rest
    assert rig.driver.set_zero("joint4").q == pytest.approx(0.0, abs=1e-3)
    assert rig.driver.refresh()[3].q == pytest.approx(0.0, abs=1e-3)


def test_a_closed_bus_says_so(rig: Rig) -> None:
    with pytest.raises(BusDown, match="connect"):
        rig.driver.exchange(STILL)


def test_an_adapter_that_is_not_there_says_what_to_check() -> None:
    with pytest.raises(BusDown, match="group dialout"):
        open_bus("slcan", "/dev/does-not-exist")
    with pytest.raises(BusDown, match="ip link set"):
        open_bus("socketcan", "nocan0")
    with pytest.raises(ValueError, match="choose one of"):
        open_bus("udp_multicast", "239.0.0.1")


def test_two_programs_cannot_hold_one_bus(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    first, second = BusLock("slcan", "/dev/x"), BusLock("slcan", "/dev/x")
    first.acquire()
    with pytest.raises(BusTaken, match="in use by process"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
