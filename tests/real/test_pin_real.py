"""`ENPIRE/PinInsertion-real-v0` on the twin: contact as simulated, resets by moving, verdicts by looking, and what bad policies leave."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import yaml
from enpire_envs import end_effector
from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.pin_insertion.levels import INTRO
from enpire_envs.pin_insertion.scene import HOLE_RADIUS, PIN_LENGTH, PinScene
from enpire_envs.pin_insertion.task import DEEP_ENOUGH
from enpire_envs.reference import make_reference
from enpire_envs.wrench import Wrench
from enpire_real.pin_insertion.eyes import Seen
from enpire_real.pin_insertion.kit import TWIN
from enpire_real.pin_insertion.scene import PinRealScene
from enpire_real.pin_insertion.section import PinSection
from enpire_real.pin_insertion.task import RealPinInsertion, RealPinReadings
from enpire_real.pin_insertion.twin.near_misses import draw_near_miss
from enpire_real.pin_insertion.twin.props import PinProps
from enpire_real.twin.station import TIMESTEP
from enpire_real.yam import add_arm

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.batch import Batch, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.study.policies import RandomPolicy

REAL = "ENPIRE/PinInsertion-real-v0"


# -- contact ------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def twins_model() -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    add_arm(spec, "right_")
    PinProps(PinSection(arm="right", wrist_camera="w", side_camera="s", origin_m=[0.36, 0.0])).build(spec, 1.0)
    return spec.compile()


def test_the_twins_pin_and_holes_are_the_simulated_ones(twins_model: mujoco.MjModel) -> None:
    simulated = PinScene(INTRO).build()
    simulated.geom_friction[:, 0] = INTRO.friction[0]
    for name in ("pin", "pin_tip", *(f"ring{k}" for k in range(12)), "floor"):
        theirs = simulated.geom(name)
        for ours in [name] if name.startswith("pin") else [f"00_{name}", f"21_{name}"]:
            mine = twins_model.geom(ours)
            for what in ("size", "pos", "quat", "type", "condim", "solref", "solimp", "contype", "conaffinity"):
                wanted = getattr(theirs, what)
                assert getattr(mine, what) == pytest.approx(wanted, abs=1e-9), (ours, what)
            assert mine.friction[0] == pytest.approx(INTRO.friction[0])


@pytest.mark.parametrize(("offset", "tilt"), [(0.0, 0.0), (0.0006, 0.0), (0.0, 6.0)])
def test_a_straight_push_ends_the_same_with_the_twins_physics(
    twins_model: mujoco.MjModel, offset: float, tilt: float
) -> None:
    """Seated, blocked by the rim, jammed: as deep and with as much force, whatever step, cone and iterations."""

    def push(model: mujoco.MjModel, scene: PinScene) -> tuple[float, float]:
        model.geom_friction[model.geom_contype != 0, 0] = INTRO.friction[0]
        data = mujoco.MjData(model)
        pose = end_effector.pose_over((offset, 0, 0.001), (math.radians(tilt), 0), (0, 0, PIN_LENGTH))
        end_effector.place(data, pose)
        for _ in range(round(2.5 / model.opt.timestep)):
            data.ctrl[2] = -0.018 if data.act[2] > pose[2] - 0.030 else 0.0
            mujoco.mj_step(model, data)
        now = scene.read(model, data)
        return -float(now.tip[2]), float(now.wrench.force[2])

    scene, other = PinScene(INTRO), PinScene(INTRO)
    usual, as_twin = scene.build(), other.build()
    as_twin.opt.impratio = twins_model.opt.impratio
    as_twin.opt.timestep, as_twin.opt.iterations = TIMESTEP, 30
    depth, force = push(usual, scene)
    twins_depth, twins_force = push(as_twin, other)
    assert twins_depth == pytest.approx(depth, abs=0.0015 if tilt else 0.0002)
    assert twins_force == pytest.approx(force, rel=0.1, abs=0.5)
    assert (depth > 0.0195) == (offset == 0 and tilt == 0)


# -- the environment ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gym.Env]:
    """On a station that nothing here was tuned on."""
    data = yaml.safe_load(TWIN.read_text())
    data["twin"]["seed"] = 5
    path = tmp_path_factory.mktemp("station") / "twin.yaml"
    path.write_text(yaml.safe_dump(data))
    made = gym.make(REAL, station=str(path), disable_env_checker=True)
    yield made
    made.close()


def scene_of(env: gym.Env) -> PinRealScene:
    return env.unwrapped.real_cell.scene


def true_tip(env: gym.Env) -> np.ndarray:
    """Of the pin, from the target hole."""
    return np.asarray(scene_of(env).station.twin.truth()["pin_tip"] - scene_of(env).target)


def is_in(env: gym.Env) -> bool:
    tip = true_tip(env)
    return bool(tip[2] <= -DEEP_ENOUGH and math.hypot(*tip[:2]) < HOLE_RADIUS)


def check_start(env: gym.Env, info: dict[str, Any]) -> None:
    assert info["cell"] == "twin"
    assert info["reset_verified"]
    off = true_tip(env) - info["start"]["tip"]
    assert math.hypot(*off[:2]) < 0.0012
    assert abs(off[2]) < 0.0017


def test_policies_for_the_simulation_fit(env: gym.Env) -> None:
    simulated = gym.make("ENPIRE/PinInsertion-v0")
    assert env.observation_space == simulated.observation_space
    assert env.action_space == simulated.action_space
    assert env.unwrapped.stages == simulated.unwrapped.stages
    simulated.close()


def test_a_life_of_resets_and_verdicts(env: gym.Env) -> None:
    """From the nest to a start; the script's verdict is the truth; from a hole in which the pin was let go of; and a person's stop holds."""
    observation, info = env.reset(seed=1)
    check_start(env, info)
    assert env.observation_space.contains(observation)
    assert set(scene_of(env).frames) >= {"pin", "touch", "start"}
    script = make_reference(env)
    script.reset(observation)
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(script.act(observation))
        ended = terminated or truncated
    assert info["success"]
    assert is_in(env)
    assert reward == 1.0
    # Whoever is in another hole than the one that was asked for is not called solved.
    scene, task = scene_of(env), env.unwrapped.task
    here = scene.target.copy()
    scene.target = here + np.array([0.015, 0.0, 0.0])
    assert not task.verify(env.unwrapped.cell).success
    scene.target = here
    # The pin is let go of where it is.
    scene.hand.open()
    _, info = env.reset(seed=2)
    check_start(env, info)
    # A camera that sends its last picture again and again tells nothing of a pin.
    scene.station.twin.faults.stuck_cameras.add(scene.eyes.side)
    scene.station.clock.sleep(0.1)
    with pytest.raises(CellFault, match="camera side sends the same picture again and again"):
        env.unwrapped.task.verify(env.unwrapped.cell)
    scene.station.twin.faults.clear()
    scene.station.clock.sleep(0.1)  # until its next picture is there
    assert not env.unwrapped.task.verify(env.unwrapped.cell).success
    # What was seen of the reset and of the verdict goes with the episode.
    assert set(env.unwrapped.real_cell.evidence()) >= {"side", "right_wrist", "reset_touch", "reset_start", "verdict"}
    # A person stops the arms: nothing moves until it is acknowledged.
    cell = env.unwrapped.real_cell
    cell.stop("a test", person=True)
    with pytest.raises(CellFault, match="stopped_by_person"):
        env.step(np.zeros(3))
    before = scene.hand.tip()
    with pytest.raises(ResetFailed, match="stopped_by_person"):
        env.reset(seed=4)
    assert np.linalg.norm(scene.hand.tip() - before) < 0.003
    cell.acknowledge("a test")


def test_what_is_not_seen_is_no_success() -> None:
    """The verdict fails closed: no looks, a blind camera, a camera that disagrees."""
    good = Seen(0.0195, 0.0)
    readings = RealPinReadings(
        time=1.0, pose=np.zeros(6), target=np.zeros(6), wrench=Wrench(np.zeros(6), "end effector"), force=0.0, depth=0.0,
        tip=np.array([0, 0, -0.0195]), axis=np.array([0.0, 0.0, 1.0]), insertion=0.0195, grip_offset=np.zeros(2), held=(0.0194, 1.0),
        late=0, holds=True, seen_tip=None, views=((good, good),) * 3, supplied=0,
    )  # fmt: skip

    class Probed:
        def __init__(self, **changed: Any) -> None:
            self._readings = dataclasses.replace(readings, **changed)

        def probe(self, name: str) -> RealPinReadings:
            return self._readings

    verify = RealPinInsertion().verify
    assert verify(Probed()).success
    for changed, reason in (
        ({"views": ()}, "not_seen"),
        ({"views": ((good, good), (good, None))}, "not_seen"),
        ({"views": ((None, good),)}, "not_seen"),
        ({"views": ((good, Seen(0.0170, 0.0)),)}, "views_disagree"),
        ({"views": ((Seen(0.0195, 0.003), good),)}, "views_disagree"),
        ({"views": ((good, Seen(math.nan, 0.0)),)}, "views_disagree"),
        ({"held": (0.0179, 1.0)}, "not_held"),
        ({"held": (math.nan, 1.0)}, "not_held"),
        ({"held": (0.0195, 10.0)}, "forced"),
        ({"holds": False}, "not_held"),
    ):
        verdict = verify(Probed(**changed))
        assert (verdict.success, verdict.reason) == (False, reason)


def test_where_nobody_brings_pins_a_person_is_asked_once_and_that_is_on_record(tmp_path) -> None:
    data = yaml.safe_load(TWIN.read_text())
    data["tasks"]["pin_insertion"]["supply"] = "none"
    path = tmp_path / "twin.yaml"
    path.write_text(yaml.safe_dump(data))
    made = gym.make(REAL, station=str(path), disable_env_checker=True)
    scene = scene_of(made)
    scene.reset = lambda start, rng: scene.supply.bring()  # as where no pin stands: looking for one takes long
    ledger = Ledger(tmp_path / "ledger.sqlite", RunClock.start(60))
    cell = LocalCell(made, sandbox="none", track="open", policy=RandomPolicy(made.action_space, 0))
    bundle = Bundle("c" * 40, "d" * 64, "e" * 64, tmp_path)
    with pytest.raises(UserError, match="the station needs a person"):
        cell.run(
            Batch("E1", "evaluate", bundle, 1, draw_starts(StartStreams(bytes(32)), "evaluate", 0, 1)),
            ledger,
            lambda: None,
        )
    (reset,) = ledger.events("reset")
    assert re.search(r"stand one in the nest.*1 attempt; the arms are folded down", reset.payload.detail)
    (asked,) = ledger.events("intervention")
    assert asked.payload.asked.startswith("no pin stands in a hole or in the nest")
    ledger.close()
    made.close()


def test_scenes_near_the_threshold_lie_on_both_sides_of_it() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_near_miss(rng) for _ in range(500)]
    near = [miss for miss in drawn if miss.near]
    assert len(near) >= 0.5 * len(drawn)
    assert 0.4 < np.mean([miss.depth > DEEP_ENOUGH for miss in near]) < 0.6
    assert {miss.kind for miss in drawn} == {"near", "over", "beside"}
