"""The monitor: three hundred thousand commands, and nothing beyond the limits comes through (a million to the motors: `benchmarks/safety_limits.py`)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import MakeStation, station_file
from enpire_real.build import build_station
from enpire_real.collision import Body, CollisionModel
from enpire_real.control import Stopped
from enpire_real.motion import JointMove
from enpire_real.pusht.equipment import PUSHER
from enpire_real.safety import Command, Limits, Monitor, Reading
from enpire_real.yam import HOME, JOINTS, LOWER, UPPER

N = 12
PERIOD = 0.01
START = np.tile(HOME, 2)
KP, KD = np.tile([j.kp for j in JOINTS], 2), np.tile([j.kd for j in JOINTS], 2)


def make_monitor() -> Monitor:
    limits = Limits(
        lower=np.tile(LOWER, 2), upper=np.tile(UPPER, 2), velocity=np.full(N, 4.0), acceleration=np.full(N, 80.0),
        torque=np.full(N, 20.0), tracking=np.full(N, 0.25),
    )  # fmt: skip
    bases = {"left": Body((0.0, 0.305, 0.0), PUSHER), "right": Body((0.0, -0.305, 0.0))}
    collision = CollisionModel(bases, arm_margin=0.008, table_margin=0.02, tool_table_margin=0.002)
    box = (np.array([-0.7, -1.0, 0.0]), np.array([0.8, 1.0, 0.9]))
    monitor = Monitor(limits, KP, KD, PERIOD, collision, {"left": box, "right": box})
    monitor.acknowledge(START)
    return monitor


def at(q: np.ndarray, time: float = 0.0) -> Reading:
    return Reading(time, q, np.zeros(N), np.zeros(N), 30.0)


def still(q: np.ndarray) -> Command:
    return Command(q, np.zeros(N), np.zeros(N))


def test_holding_still_is_approved() -> None:
    assert make_monitor().review(0.0, still(START), at(START)) is None


def test_random_adversarial_and_nan_commands_pass_no_limit() -> None:
    """Mixtures of honest motion, jumps, rushes, huge torques, NaN and infinities, with readings that lag or lie."""
    monitor, rng = make_monitor(), np.random.default_rng(2)
    limits = monitor.limits
    q, velocity, approved = START.copy(), np.zeros(N), 0
    table = CollisionModel(
        {"left": Body((0.0, 0.305, 0.0), PUSHER), "right": Body((0.0, -0.305, 0.0))}, arm_margin=0.0, table_margin=0.0,
        tool_table_margin=0.0,
    )  # fmt: skip
    kinds = rng.choice(7, 300_000, p=[0.10, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15])
    for k, kind in enumerate(kinds):
        dq, tau, goal = np.zeros(N), np.zeros(N), q
        if kind == 0:  # honest: a little acceleration
            wanted = np.clip(velocity + rng.uniform(-0.3, 0.3, N) - 0.02 * (q - START), -2.5, 2.5)
            goal = q + wanted * PERIOD
            dq = wanted
        elif kind == 1:  # anywhere
            goal = rng.uniform(-4, 4, N)
        elif kind == 2:  # one joint a little too fast
            goal = q.copy()
            goal[k % N] += rng.choice([-1, 1]) * rng.uniform(0.03, 0.2)
        elif kind == 3:  # torque
            tau = rng.normal(0, 30, N)
        elif kind == 4:  # velocity feed-forward that the position does not bear out
            dq = rng.normal(0, 20, N)
        elif kind == 5:  # not numbers
            goal = q.copy()
            goal[k % N] = (math.nan, math.inf, -math.inf)[k % 3]
        else:  # NaN elsewhere
            (dq if k % 2 else tau)[k % N] = math.nan
        command = Command(goal, dq, tau)
        if monitor.review(0.0, command, at(q)) is None:
            approved += 1
            step = (goal - q) / PERIOD
            assert np.isfinite(goal).all()
            assert (goal >= limits.lower).all()
            assert (goal <= limits.upper).all()
            assert (np.abs(step) <= limits.velocity + 1e-9).all()
            assert (np.abs(dq) <= limits.velocity).all()
            assert (np.abs(step - velocity) <= limits.acceleration * PERIOD + 1e-9).all()
            assert (np.abs(KP * (goal - q) + KD * dq + tau) <= limits.torque + 1e-9).all()
            if approved % 50 == 0:
                assert not table.too_close(goal)
            q, velocity = goal, step
        else:
            monitor.stop = None  # as `acknowledge`, which would also look for collisions anew each time
            if rng.random() < 0.001:
                q, velocity = START.copy(), np.zeros(N)
                monitor.acknowledge(q)
    assert approved > 15_000  # it lets honest motion through, or the rest would prove nothing


def objection(monitor: Monitor, command: Command, reading: Reading, now: float = 0.0) -> str:
    stop = monitor.review(now, command, reading)
    assert stop is not None
    return stop.reason


def test_each_limit_has_its_own_reason() -> None:
    nudge = np.eye(N)
    low = START.copy()
    low[2] = 0.0
    cases = {
        "joint_limit": (still(START - nudge[1] * 2), at(START)),
        "velocity_limit": (still(START + nudge[0] * 0.05), at(START)),
        "acceleration_limit": (still(START + nudge[0] * 0.02), at(START)),
        "torque_limit": (Command(START, np.zeros(N), nudge[2] * 21), at(START)),
        "tracking_error": (still(START), at(START + nudge[0] * 0.3)),
        "stale_feedback": (still(START), at(START, -0.06)),
        "temperature": (still(START), Reading(0, START, np.zeros(N), np.zeros(N), 85.0)),
        "not_finite": (still(START * math.nan), at(START)),
        "malformed_command": (still(START[:6]), at(START)),
        "measured_velocity": (still(START), Reading(0, START, nudge[5] * 6.5, np.zeros(N), 30.0)),
    }
    for reason, (command, reading) in cases.items():
        assert objection(make_monitor(), command, reading) == reason


def test_collisions_are_seen_before_they_happen() -> None:
    down = np.array([0.0, 2.3, 1.6, -1.0, 0.0, 0.0])  # the hand through the table
    monitor = make_monitor()
    monitor.acknowledge(np.concatenate([down - 0.001, HOME]))
    q = np.concatenate([down, HOME])
    assert objection(monitor, still(q), at(q)) == "collision_margin"
    # Hands crossing in the middle.
    across = np.concatenate([[-1.2, 1.6, 1.6, 0, 0, 0], [1.2, 1.6, 1.6, 0, 0, 0]])
    assert monitor.collision.too_close(across)


def test_a_stop_fits_into_the_margins() -> None:
    """A hand that rushes at the table is refused while braking still helps."""
    monitor = make_monitor()
    q, refused = np.concatenate([[0.0, 1.6, 1.5, -1.0, 0.0, 0.0], HOME]), None
    monitor.acknowledge(q)
    velocity = np.zeros(N)
    while refused is None:
        velocity = velocity + np.eye(N)[1] * min(0.7, 3.5 - velocity[1])
        reading = Reading(0.0, q, velocity, np.zeros(N), 30.0)  # following well
        refused = monitor.review(0.0, Command(q + velocity * PERIOD, velocity, np.zeros(N)), reading)
        q = q if refused else q + velocity * PERIOD
    assert refused.reason == "collision_margin"
    at_rest = q + velocity * np.abs(velocity) / (2 * monitor.limits.acceleration)
    bare = CollisionModel({"left": Body((0.0, 0.305, 0.0), PUSHER), "right": Body((0.0, -0.305, 0.0))}, arm_margin=0.0,
                          table_margin=0.0, tool_table_margin=0.0)  # fmt: skip
    assert not bare.too_close(at_rest)


def test_what_starts_too_close_may_only_move_apart() -> None:
    monitor = make_monitor()
    rest = np.tile([0.0, 0.0, 0.0, -0.22, 0.0, 0.0], 2)  # a hand lying on its own upper arm
    monitor.acknowledge(rest)
    assert monitor.collision.too_close(rest)
    closer, apart = rest.copy(), rest.copy()
    closer[3] -= 0.004
    apart[3] += 0.004
    assert objection(monitor, still(closer), at(rest)) == "collision_margin"
    monitor.acknowledge(rest)
    assert monitor.review(0.0, still(apart), at(rest)) is None


def test_creeping_closer_by_a_hair_at_a_time_does_not_pass() -> None:
    monitor = make_monitor()
    q = np.tile([0.0, 0.0, 0.0, -0.22, 0.0, 0.0], 2)
    monitor.acknowledge(q)
    for _ in range(1000):
        q = q.copy()
        q[3] -= 0.0002
        if monitor.review(0.0, still(q), at(q)) is not None:
            break
    assert q[3] > -0.25


@pytest.mark.parametrize("broken", ["collision", "workspace", "watches"])
def test_an_exception_in_a_check_stops(broken: str) -> None:
    monitor = make_monitor()
    setattr(monitor, broken, None)
    assert objection(monitor, still(START), at(START)) == "safety_check_error"


def test_the_first_stop_stands_until_it_is_acknowledged() -> None:
    monitor = make_monitor()
    first = monitor.review(0.0, still(START * math.nan), at(START))
    assert monitor.review(1.0, still(START), at(START, 1.0)) is first
    assert monitor.trip(2.0, "other", "later") is first
    monitor.acknowledge(START)
    assert monitor.review(3.0, still(START), at(START, 3.0)) is None


# -- the whole chain, down to the simulated motors ------------------------------------------------------------------------
def speed(station) -> float:
    return float(np.abs(station.control.snapshot.dq).max())


def swing(station) -> None:
    """Set the left arm going."""
    station.control.move("left", JointMove([HOME + 0.8 * np.eye(6)[0]], 1.5, 8.0))
    station.clock.sleep(0.45)
    assert speed(station) > 0.5


def assert_stops_within(station, seconds: float, reason: str) -> None:
    station.clock.sleep(seconds)
    assert station.control.monitor.stop is not None
    assert station.control.monitor.stop.reason == reason
    commanded = station.control.snapshot.commanded
    station.clock.sleep(0.1)
    assert station.control.snapshot.commanded == pytest.approx(commanded)  # nothing is asked of the arms any more
    station.clock.sleep(0.3)
    assert speed(station) < 0.05


def test_the_emergency_stop_stops_the_commands_at_once(make_station: MakeStation) -> None:
    station = make_station()
    swing(station)
    station.twin.faults.emergency_stop = True
    station.clock.sleep(0.02)
    assert station.control.monitor.stop.reason in ("emergency_stop", "motor_fault")
    with pytest.raises(Stopped):
        station.control.move("left", JointMove([HOME], 1.0, 5.0))


def test_a_camera_that_freezes_stops_the_arms_within_100_ms(make_station: MakeStation) -> None:
    station = make_station(station_file(cameras=("top",)))
    swing(station)
    station.twin.faults.frozen_cameras.add("top")
    assert_stops_within(station, 0.1, "camera_top")


def test_an_exception_inside_the_monitor_stops_the_arms(make_station: MakeStation) -> None:
    station = make_station()
    swing(station)
    station.control.monitor.collision = None
    assert_stops_within(station, 0.03, "safety_check_error")


def test_a_motion_that_raises_stops_the_arms(make_station: MakeStation) -> None:
    station = make_station()
    swing(station)

    class Broken:
        done = False

        def step(self, q: np.ndarray, dt: float) -> np.ndarray:
            raise RuntimeError("no idea")

    station.control.move("left", Broken())
    station.clock.sleep(0.5)  # what was under way brakes first
    assert "no idea" in str(station.control.monitor.stop)
    assert station.control.monitor.stop.reason == "motion_failed"


def test_a_dead_motor_lets_all_arms_sink_slowly_and_recovers(make_station: MakeStation) -> None:
    station = make_station()
    station.twin.motors["left"].faults.dead = {2}
    station.clock.sleep(0.1)
    assert station.control.monitor.stop.reason == "motor_fault"
    assert "joint2" in station.control.monitor.stop.detail
    right = station.twin.truth()["joints"]["right"].copy()
    station.clock.sleep(0.5)
    assert np.abs(station.twin.truth()["speeds"]["right"]).max() < 0.5
    assert np.abs(station.twin.truth()["joints"]["right"] - right).max() < 0.3
    station.twin.motors["left"].faults.dead = set()
    station.control.acknowledge()
    station.control.check()


def test_random_commands_move_no_simulated_joint_beyond_its_limits(make_station: MakeStation, rng) -> None:
    """Through loop, monitor, driver and bus: whatever a motion asks for, the physics stays within limits."""
    station = make_station()
    control, limits = station.control, station.control.monitor.limits

    class Adversary:
        done = False

        def step(self, q: np.ndarray, dt: float) -> np.ndarray:
            kind = rng.integers(4)
            if kind == 0:
                return q + rng.normal(0, 0.002, 6)
            if kind == 1:
                return rng.uniform(-10, 10, 6)
            if kind == 2:
                return q * math.nan
            return q + 0.04 * rng.choice([-1.0, 1.0], 6)

    fastest = 0.0
    for _ in range(2000):
        if control.monitor.stop is not None:
            control.acknowledge()
        control.move("left", Adversary())
        station.clock.sleep(0.02)
        truth = station.twin.truth()
        fastest = max(fastest, float(np.abs(truth["speeds"]["left"][:6]).max()))
        assert (truth["joints"]["left"][:6] > limits.lower[:6] - 0.05).all()
        assert (truth["joints"]["left"][:6] < limits.upper[:6] + 0.05).all()
    assert fastest < 4.0


def test_a_physical_stop_file_must_be_connected(tmp_path) -> None:
    file = station_file(cameras=())
    stop = tmp_path / "button" / "stop"
    safety = file.safety.model_copy(
        update={"emergency_stop": file.safety.emergency_stop.model_copy(update={"type": "file", "path": stop})}
    )
    station = build_station(file.model_copy(update={"safety": safety}))
    watch = station.control.monitor.watches["emergency_stop"]
    assert "cannot look" in str(watch(0.0))
    stop.parent.mkdir()
    assert watch(0.0) is None
    stop.touch()
    assert "pressed" in str(watch(0.0))
    station.close()
