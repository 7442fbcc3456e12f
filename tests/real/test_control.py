"""The control loop on the twin: tracking, trajectories, parking, and the loop's own death."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MakeStation, station_file
from enpire_envs.pusht.scene import STATION
from enpire_real.build import build_station
from enpire_real.clock import VirtualClock
from enpire_real.control import Stopped
from enpire_real.motion import JointFollow, JointMove, ToolServo
from enpire_real.motors import MotorFault
from enpire_real.pusht.scene import PushTScene
from enpire_real.yam import HOME, REST


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_joints_settle_within_5_mrad(make_station: MakeStation, seed: int) -> None:
    station = make_station(seed=seed)
    for pose in (HOME, np.array([0.5, 1.6, 1.5, -0.6, 0.3, -0.4]), np.array([-0.4, 1.3, 1.0, 0.3, -0.5, 0.9])):
        station.control.move("left", JointMove([pose], 1.5, 8.0))
        station.control.wait("left", 10)
        station.clock.sleep(1.0)
        off = station.twin.truth()["joints"]["left"][:6] - pose
        assert np.abs(off).max() < 0.005


def test_the_tool_follows_within_2_mm_at_a_tenth_of_a_metre_per_second(make_station: MakeStation) -> None:
    station = make_station(station_file(cameras=("top",)), block=(0.0, 0.19, 0.0))
    scene = PushTScene(station, STATION, 10.0)
    scene.arm.hover((-0.2, -0.1))
    servo, model = scene.arm.servo, station.control.arms["left"].model
    assert isinstance(servo, ToolServo)
    servo._speed = 0.1
    far = servo.target + np.array([0.0, 0.4, 0.0])  # along the station's y
    servo.target = far
    worst, samples = 0.0, 0
    while np.abs(servo.at - far).max() > 0.02:
        station.clock.sleep(0.01)
        if np.abs(servo._velocity).max() > 0.099:
            tool = model.forward(station.twin.truth()["joints"]["left"][:6]).position
            # Where it was commanded to be: the present tick's command is carried out during the next one.
            along, across = (servo.at - tool)[1], np.delete(servo.at - tool, 1)
            worst = max(worst, abs(along - 0.1 * 0.01), float(np.abs(across).max()))
            samples += 1
    assert samples > 200
    assert worst < 0.002


def test_trajectories_stay_within_the_monitors_limits(make_station: MakeStation, rng: np.random.Generator) -> None:
    station = make_station()
    follow = JointFollow(HOME, np.full(6, 2.0), np.full(6, 12.0), np.full(6, -3.0), np.full(6, 3.0))
    station.control.move("left", follow)
    for _ in range(60):
        follow.aim(HOME + rng.uniform(-0.35, 0.35, 6))
        station.clock.sleep(0.15)
        station.control.check()
    with pytest.raises(ValueError, match="finite"):
        follow.aim(np.full(6, np.nan))


def test_a_stop_brakes_along_the_path(make_station: MakeStation) -> None:
    station = make_station()
    control = station.control
    control.move("left", JointMove([HOME + 0.8 * np.eye(6)[0]], 1.5, 8.0))
    station.clock.sleep(0.45)
    before = control.commanded("left")[0]
    control.stop("test", "now")
    steps = []
    for _ in range(10):
        station.clock.sleep(0.01)
        steps.append(control.commanded("left")[0] - before)
        before = control.commanded("left")[0]
    assert steps == sorted(steps, reverse=True)  # slower and slower, never back
    assert steps[-1] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(Stopped, match="test: now"):
        control.wait("left", 1.0)


def test_a_pose_that_is_old_is_not_gone_on_from(make_station: MakeStation) -> None:
    """An arm that answers no more after a fault must not be sent to where it once was."""
    station = make_station()
    arm = station.control.arms["left"]
    arm.recover = lambda: None  # type: ignore[method-assign]  (as if it had worked)
    station.twin.motors["left"].faults.cut = True
    station.clock.sleep(0.1)
    with pytest.raises(MotorFault, match="no answer"):
        station.control.acknowledge()
    assert station.control.monitor.stop is not None
    assert station.clock.now() - station.control._reading.time > 0.1


def test_one_arm_that_fails_to_switch_off_leaves_no_other_on(make_station: MakeStation) -> None:
    station = make_station()
    station.control.arms["left"].disable = lambda: 1 / 0  # type: ignore[method-assign]
    station.control.close()
    assert 1 not in station.twin.motors["right"].state


def test_fingers_stay_where_they_are_when_power_comes_on(make_station: MakeStation) -> None:
    file = station_file(cameras=())
    arms = {name: arm.model_copy(update={"tool": "none"}) for name, arm in file.arms.items()}
    station = build_station(file.model_copy(update={"arms": arms}))
    joint = station.twin.model.joint("right_joint7").qposadr[0]
    station.twin.data.qpos[joint : joint + 2] = 0.02
    station.clock.sleep(0.2)
    station.start()
    station.clock.sleep(1.0)
    assert station.control.reading("right").gripper == pytest.approx(0.02 / 0.0475, abs=0.05)
    station.close()


def test_an_observer_that_fails_stops_the_arms_and_not_the_loop(make_station: MakeStation) -> None:
    station = make_station()

    def broken(snapshot: object) -> None:
        raise ZeroDivisionError("oops")

    station.control.observers.append(broken)
    station.clock.sleep(0.05)
    assert station.control.monitor.stop.reason == "observer_failed"
    station.control.observers.clear()
    station.control.acknowledge()
    station.clock.sleep(0.05)
    station.control.check()


def test_a_loop_that_cannot_send_lets_the_arms_give_way(make_station: MakeStation) -> None:
    station = make_station()
    arm = station.control.arms["left"]
    command = arm.command
    arm.command = lambda *a: 1 / 0  # type: ignore[method-assign]
    station.clock.sleep(0.05)
    assert station.control.monitor.stop.reason == "loop_error"
    arm.command = command  # type: ignore[method-assign]
    station.control.acknowledge()
    station.control.check()


def test_the_gripper_opens_and_closes_with_limited_force(make_station: MakeStation) -> None:
    file = station_file(cameras=())
    arms = {name: arm.model_copy(update={"tool": "none"}) for name, arm in file.arms.items()}
    station = make_station(file.model_copy(update={"arms": arms}))
    arm = station.control.arms["right"]
    for opening in (1.0, 0.3, 0.0):
        arm.opening = opening
        hardest = 0.0
        for _ in range(400):
            station.clock.sleep(0.01)
            hardest = max(hardest, abs(station.control.reading("right").gripper_torque))
        assert station.control.reading("right").gripper == pytest.approx(opening, abs=0.03)
        assert hardest <= 0.5 + 0.05  # gripper_torque_nm, and the damping of the motor's own loop
    station.control.check()


@pytest.mark.parametrize("rate", [100, 250])
def test_the_loop_runs_at_the_stations_rate(make_station: MakeStation, rate: float) -> None:
    station = make_station(station_file(cameras=()).model_copy(update={"rate_hz": rate}))
    ticks = []
    station.control.observers.append(lambda snapshot: ticks.append(snapshot.time))
    station.control.move("left", JointMove([HOME + 0.3 * np.eye(6)[0]], 1.0, 5.0))
    station.control.wait("left", 10)
    station.clock.sleep(1.0)
    assert np.diff(ticks) == pytest.approx(1 / rate, abs=1e-6)
    station.control.check()


def test_switching_off_parks_first(make_station: MakeStation) -> None:
    station = make_station()
    station.close()
    for side in ("left", "right"):
        assert station.twin.truth()["joints"][side][:3] == pytest.approx(REST[:3], abs=0.02)
    station.close()  # twice is fine


def test_a_loop_that_died_is_noticed(make_station: MakeStation) -> None:
    station = make_station()
    station.control.ticker.cancel()
    station.clock.sleep(0.6)
    with pytest.raises(Stopped, match="does not tick"):
        station.control.check()


def test_a_failed_start_leaves_nothing_on() -> None:
    station = build_station(station_file(cameras=()))
    station.twin.motors["right"].faults.dead = {3}
    with pytest.raises(Exception, match="joint3"):
        station.start()
    station.clock.sleep(0.1)
    assert not station.control.running
    assert 1 not in station.twin.motors["left"].state


def test_events_of_virtual_time_happen_in_order() -> None:
    clock, seen = VirtualClock(), []
    clock.every(0.010, lambda: seen.append(("a", round(clock.now(), 6))), "a")
    ticker = clock.every(0.025, lambda: seen.append(("b", round(clock.now(), 6))), "b")
    clock.sleep(0.05)
    assert [t for _, t in seen] == sorted(t for _, t in seen)
    assert [t for n, t in seen if n == "b"] == [0.0, 0.025, 0.05]
    ticker.cancel()
    clock.sleep(0.1)
    assert sum(n == "b" for n, _ in seen) == 3
