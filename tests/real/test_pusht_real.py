"""`ENPIRE/PushT-real-v0` on the twin: the contract, resets by pushing, verdicts by looking, faults."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import yaml
from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.pusht.geometry import in_frame
from enpire_envs.reference import make_reference
from enpire_real.cameras import CameraLost
from enpire_real.env import MotionNotConfirmed
from enpire_real.pusht.task import START_ANGLE, START_DISTANCE
from enpire_real.station_file import StationError

REAL = "ENPIRE/PushT-real-v0"


@pytest.fixture(scope="module")
def env() -> Iterator[gym.Env]:
    made = gym.make(REAL, render_mode="rgb_array", disable_env_checker=True)
    yield made
    made.close()


def station_of(env: gym.Env):
    return env.unwrapped.cell.station


def push(env: gym.Env, steps: int) -> None:
    for _ in range(steps):
        env.step(np.array([0.6, 0.0]))


def test_a_policy_for_the_simulation_fits_the_robot(env: gym.Env) -> None:
    simulated = gym.make("ENPIRE/PushT-v0")
    assert env.observation_space == simulated.observation_space
    assert env.action_space == simulated.action_space
    assert env.metadata["render_fps"] == simulated.metadata["render_fps"]
    simulated.close()


@pytest.mark.parametrize("seed", [0, 1])
def test_reset_brings_the_t_to_its_start_by_pushing(env: gym.Env, seed: int) -> None:
    observation, info = env.reset(seed=seed)
    assert info["cell"] == "twin"
    assert info["reset_verified"]
    assert 1 <= info["reset_attempts"] <= 3
    assert env.observation_space.contains(observation)
    truth = station_of(env).twin.truth()["block"]
    dx, dy, turn = in_frame(truth, info["start"]["block"])
    assert math.hypot(dx, dy) < START_DISTANCE + 0.003
    assert abs(turn) < START_ANGLE + math.radians(1)
    same = gym.make("ENPIRE/PushT-v0")
    assert same.reset(seed=seed)[1]["start"] == info["start"]  # one distribution of starts for both cells
    same.close()


def test_the_tip_goes_where_actions_say(env: gym.Env) -> None:
    observation, _ = env.reset(options={"start": {"block": [0.12, 0.08, 0.3], "tip": [-0.2, -0.15]}})
    assert observation[:2] == pytest.approx([-0.2, -0.15], abs=0.004)
    for _ in range(5):
        observation, *_ = env.step(np.array([1.0, 0.0]))
    for _ in range(4):
        observation, reward, terminated, truncated, info = env.step(np.zeros(2))
    assert observation[:2] == pytest.approx([-0.05, -0.15], abs=0.004)
    assert not terminated
    assert not truncated
    assert reward == 0.0
    assert info["time"] == pytest.approx(0.9)
    for _ in range(30):  # out of the arena: the target stays inside
        observation, *_ = env.step(np.array([-1.0, -1.0]))
    assert observation[:2] == pytest.approx([-0.30, -0.235], abs=0.005)
    assert station_of(env).control.monitor.stop is None


def test_the_reference_solves_it_and_each_verdict_is_the_truth() -> None:
    """The verifier looks; what the simulator knows is asked afterwards, for this audit only."""
    made = gym.make(REAL, disable_env_checker=True)
    expert = make_reference(made)
    verdicts = []
    for seed in range(30, 36):
        observation, _ = made.reset(seed=seed)
        expert.reset(observation)
        ended = False
        while not ended:
            observation, reward, terminated, truncated, info = made.step(expert.act(observation))
            ended = terminated or truncated
        lies_right = made.unwrapped.task._solved(station_of(made).twin.truth()["block"])
        verdicts.append((info["success"], bool(lies_right)))
        assert reward == float(info["success"])
    made.close()
    assert all(said == true for said, true in verdicts), verdicts
    assert sum(said for said, _ in verdicts) >= 5


def test_a_t_that_is_short_of_the_target_is_not_called_solved() -> None:
    """As a cheating policy would leave it: close to the goal box, and outside."""
    made = gym.make(REAL, disable_env_checker=True)
    made.reset(options={"start": {"block": [0.045, 0.0, 0.0], "tip": [-0.2, -0.15]}})
    truth = station_of(made).twin.truth()["block"]
    assert not made.unwrapped.task._solved(truth)
    verdict = made.unwrapped.task.verify(made.unwrapped.cell)
    assert not verdict.success
    made.close()


def test_a_fingerprint_is_of_the_code_and_a_certificate_of_the_station(tmp_path) -> None:
    """Two labs meet on one board whatever their calibration; what was certified is the calibrated station."""
    from enpire_envs.fingerprint import fingerprint
    from enpire_real.station_file import TWIN_FILE
    from enpire_real.verifier.digest import station_digest, verifier_digest

    def marks_of(text: str, **kwargs: Any) -> tuple[str, str, str]:
        path = tmp_path / "station.yaml"
        path.write_text(text)
        made = gym.make(REAL, station=str(path), **kwargs)
        found = fingerprint(made), verifier_digest(made), station_digest(station_of(made).file)
        made.close()
        return found

    text = TWIN_FILE.read_text()
    usual = marks_of(text)
    assert marks_of(text.replace("twin_left", "another_cable")) == usual
    data = yaml.safe_load(text)
    data["cameras"]["top"]["source"] = "/dev/video7"
    assert marks_of(yaml.safe_dump(data)) == usual
    assert marks_of(text, record=str(tmp_path / "recorded"), render_mode="rgb_array") == usual
    for change in (
        lambda file: file["twin"].update(seed=1),
        lambda file: file["cameras"]["top"].update(fps_hz=15.0),
        lambda file: file["cameras"]["top"].update(position_m=[0.910, 0.305, 0.954], calibrated="today"),
        lambda file: file["tasks"]["pusht"].update(origin_m=[0.361, 0.305]),
        lambda file: file.update(name="another-lab"),
    ):
        data = yaml.safe_load(text)
        change(data)
        made = marks_of(yaml.safe_dump(data))
        assert made[:2] == usual[:2]
        assert made[2] != usual[2]
    assert marks_of(text.replace("seed: 0", "ideal: true"))[0] != usual[0]  # an easier twin is another environment
    strict = marks_of(text, criterion="coverage")
    assert strict[0] != usual[0]
    assert strict[1] != usual[1]
    assert marks_of(text, obs_type="pixels", max_episode_steps=5)[1] == usual[1]  # no part of the verdict


def test_a_policy_that_does_nothing_fails() -> None:
    made = gym.make(REAL, disable_env_checker=True, max_episode_steps=5)
    made.reset(seed=4)
    for _ in range(5):
        *_, truncated, info = made.step(np.zeros(2))
    assert truncated
    assert not info["success"]
    assert info["reason"] == "time_limit"
    made.close()


def test_a_station_is_neither_copied_nor_pickled(env: gym.Env) -> None:
    for duplicate in (copy.deepcopy, pickle.dumps, cloudpickle.dumps):
        with pytest.raises(TypeError, match=r"a station has one owner; make another one with gymnasium\.make"):
            duplicate(env)


def test_what_a_real_environment_says_of_itself(env: gym.Env) -> None:
    assert env.spec.nondeterministic
    with pytest.raises(ValueError, match="unknown render_mode 'ascii'; choose one of: rgb_array, human"):
        gym.make(REAL, render_mode="ascii")


def test_pictures_and_pixels(env: gym.Env) -> None:
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (640, 640, 3)
    assert picture.std() > 20
    seen = gym.make(REAL, obs_type="pixels_agent_pos", disable_env_checker=True)
    observation, _ = seen.reset(options={"start": {"block": [0.0, 0.1, math.pi], "tip": [-0.25, -0.2]}})
    assert seen.observation_space.contains(observation)
    # Rectified as in simulation: a red T lies where its pose says, x to the right and y up.
    x, y, _ = seen.unwrapped.cell.station.twin.truth()["block"]
    row, column = (0.33 - y) / 0.66 * 96, (x + 0.33) / 0.66 * 96
    patch = observation["pixels"][int(row) - 3 : int(row) + 4, int(column) - 3 : int(column) + 4].mean(axis=(0, 1))
    assert patch[0] > 120
    assert patch[0] > 2 * patch[1]
    seen.close()


def test_a_fault_is_the_cells_and_the_next_reset_goes_on(env: gym.Env) -> None:
    env.reset(seed=5)
    station_of(env).twin.faults.frozen_cameras.add("top")
    with pytest.raises(CellFault, match="camera top has sent nothing"):
        push(env, 5)
    with pytest.raises(ResetFailed, match="camera top"):
        env.reset(seed=5)
    station_of(env).twin.faults.frozen_cameras.clear()
    _, info = env.reset(seed=5)
    assert info["reset_verified"]


def test_the_emergency_stop_ends_the_episode_and_power_comes_back(env: gym.Env) -> None:
    env.reset(seed=6)
    twin = station_of(env).twin
    twin.faults.emergency_stop = True
    with pytest.raises(CellFault, match=r"emergency stop|no answer"):
        push(env, 3)
    station_of(env).clock.sleep(1.0)
    twin.faults.emergency_stop = False
    for side in twin.motors.values():
        for motor in side.ids:
            side.reboot(motor)  # power was off
    with pytest.raises(ResetFailed, match="autoenvbench station acknowledge"):  # released is not acknowledged
        env.reset(seed=6)
    env.unwrapped.real_cell.acknowledge("a person")
    _, info = env.reset(seed=6)
    assert info["reset_verified"]


def test_attempts_at_a_start_are_counted_and_bounded_whether_they_fail_by_a_fault_or_by_a_look(
    env: gym.Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tried = env.unwrapped, []
    push_there = base.real_cell.scene.reset

    def reset(start: dict[str, Any], rng: np.random.Generator) -> None:
        tried.append(start["block"])
        if len(tried) == 1:
            raise CameraLost("camera top has sent nothing")
        if len(tried) == 2:
            push_there(start, rng)

    monkeypatch.setattr(base.real_cell.scene, "reset", reset)
    monkeypatch.setattr(base.task, "ready", lambda readings, start: None)
    _, info = env.reset(seed=8)
    assert info["reset_attempts"] == len(tried) == 2
    tried.clear()
    push_there = lambda start, rng: None  # noqa: E731  (it lies anywhere)
    monkeypatch.setattr(base.task, "ready", lambda readings, start: "the T is elsewhere")
    monkeypatch.setattr(base.real_cell, "park", lambda: None)
    with pytest.raises(ResetFailed, match="3 attempts") as failed:
        env.reset(seed=8)
    assert failed.value.attempts == len(tried) == 3
    assert tried == tried[:1] * 3


def test_a_covered_mat_fails_the_reset_with_a_hint(env: gym.Env) -> None:
    twin = station_of(env).twin
    paint = [k for k in range(twin.model.ngeom) if twin.model.geom(k).name.startswith("marker")]
    kept = twin.model.geom_rgba[paint].copy()
    twin.model.geom_rgba[paint] = (0.5, 0.5, 0.5, 1)
    materials = twin.model.geom_matid[paint].copy()
    twin.model.geom_matid[paint] = -1
    try:
        with pytest.raises(ResetFailed, match="mat's 4 markers"):
            env.reset(seed=7)
    finally:
        twin.model.geom_rgba[paint], twin.model.geom_matid[paint] = kept, materials
    env.reset(seed=7)


def test_an_arm_that_nobody_commands_stands_still_at_once_and_loses_its_lease(env: gym.Env) -> None:
    """As when the policy is killed, or the station's client goes away, in the middle of a push."""
    env.reset(options={"start": {"block": [0.12, 0.08, 0.3], "tip": [-0.2, -0.15]}})
    push(env, 6)
    station = station_of(env)
    tool = station.control.arms["left"].model
    station.clock.sleep(0.1)
    before = tool.forward(station.control.reading("left").q).position
    station.clock.sleep(0.1)
    after = tool.forward(station.control.reading("left").q).position
    assert np.linalg.norm(after - before) < 0.002
    station.clock.sleep(41)
    assert station.control.monitor.stop.reason == "lease"
    env.reset(seed=9)


def test_two_twins_of_one_seed_live_the_same_life() -> None:
    def live() -> list[np.ndarray]:
        made = gym.make(REAL, disable_env_checker=True)
        seen = [made.reset(seed=8)[0]]
        seen += [made.step(np.array([0.5, -0.3]))[0] for _ in range(5)]
        made.close()
        return seen

    for first, second in zip(live(), live(), strict=True):
        assert first == pytest.approx(second, abs=0.0)


def test_physical_arms_need_a_yes(tmp_path) -> None:
    from enpire_real.bringup.file import init

    path = tmp_path / "mine.yaml"
    init(path, "yam-pair")
    with pytest.raises(MotionNotConfirmed, match="confirm_motion=True"):
        gym.make(REAL, station=str(path))
    with pytest.raises(MotionNotConfirmed):
        gym.make(REAL, station=str(path), confirm_motion="yes")
    made = gym.make(REAL, station=str(path), confirm_motion=True)
    assert made.unwrapped.cell.kind == "real"
    with pytest.raises(ResetFailed, match="cannot open"):
        made.reset(seed=0)
    made.close()
    with pytest.raises(StationError, match="station init"):
        gym.make(REAL, station=str(tmp_path / "nothing.yaml"))


def test_the_notice_says_that_a_twin_is_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(gym.logger, "warn", lambda text, *args, **kwargs: told.append(text))
    gym.make(REAL, disable_env_checker=True).close()
    assert any("twin" in text and "AUTOENVBENCH_STATION" in text for text in told)
