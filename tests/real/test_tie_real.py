"""`ENPIRE/TieZipTie-real-v0` on the twin: the simulated ratchet, perception that refuses, resets by moving, verdicts by looking and pulling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import yaml
from enpire_envs.cell import CellFault
from enpire_envs.reference import make_reference
from enpire_envs.tie_zip_tie.levels import LEVELS
from enpire_envs.tie_zip_tie.scene import LINKS, SLOT, TUG, TieScene, past_head
from enpire_envs.tie_zip_tie.task import ENOUGH
from enpire_envs.wrench import Wrench
from enpire_real.build import build_station
from enpire_real.cameras import CameraLost
from enpire_real.station import Station
from enpire_real.station_file import load_station
from enpire_real.tie_zip_tie.eyes import Strap, TieEyes
from enpire_real.tie_zip_tie.kit import TWIN
from enpire_real.tie_zip_tie.reset import in_head
from enpire_real.tie_zip_tie.scene import TieRealScene
from enpire_real.tie_zip_tie.section import TieSection
from enpire_real.tie_zip_tie.task import RealStrapReadings, RealTieZipTie
from enpire_real.tie_zip_tie.twin.props import TieProps
from enpire_real.twin.station import TIMESTEP
from enpire_real.yam import add_arm

REAL = "ENPIRE/TieZipTie-real-v0"


# -- physics ------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def twins() -> tuple[mujoco.MjModel, TieProps]:
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep, spec.option.iterations = TIMESTEP, 30
    spec.option.integrator, spec.option.cone = mujoco.mjtIntegrator.mjINT_IMPLICITFAST, mujoco.mjtCone.mjCONE_ELLIPTIC
    add_arm(spec, "right_")
    props = TieProps(TieSection(arm="right", cameras=["a", "b"], origin_m=[0.31, 0.0]))
    props.build(spec, 1.0)
    return spec.compile(), props


def test_the_twins_strap_and_head_are_the_simulated_ones(twins: tuple[mujoco.MjModel, TieProps]) -> None:
    scene = TieScene(LEVELS["intro"])
    simulated, twin = scene.build(), twins[0]

    def same(kind: str, name: str, *arrays: str) -> None:
        theirs, mine = getattr(simulated, kind)(name), getattr(twin, kind)(name)
        for array in arrays:
            at = "dofadr" if array.startswith("dof") else "id"
            wanted = np.ravel(getattr(simulated, array)[getattr(theirs, at)])
            assert np.ravel(getattr(twin, array)[getattr(mine, at)]) == pytest.approx(wanted, abs=1e-9), (name, array)

    contact = [
        f"geom_{what}" for what in ("type", "size", "condim", "friction", "solref", "solimp", "contype", "conaffinity")
    ]
    for name in ("side-1", "side1", "lid-1", "lid1", *(f"strap{k}" for k in range(LINKS))):
        same("geom", name, "geom_pos", *contact)
    for k in range(LINKS):
        same("body", f"link{k}", "body_mass", "body_inertia", "body_gravcomp", "body_pos")
        tendon = [f"tendon_{what}" for what in ("range", "limited", "solref_lim", "solimp_lim", "frictionloss")]
        same("tendon", f"ratchet{k}", *tendon)
        same("equality", f"grasp{k}", "eq_type", "eq_solref", "eq_solimp")
    for k in range(1, LINKS):
        for joint in (f"bend{k}", f"sway{k}"):
            same("joint", joint, "jnt_type", "jnt_axis", "jnt_stiffness", "dof_damping", "dof_armature")


@pytest.mark.parametrize("force", [10.0, 40.0])
def test_the_twins_ratchet_holds_as_the_simulated_one_does(
    twins: tuple[mujoco.MjModel, TieProps], force: float
) -> None:
    """By a tooth at most, whatever step, iterations and how often it is asked to catch; and pushed on it gives way."""

    def pull(model: mujoco.MjModel, scene: Any, body: int) -> tuple[float, float]:
        data, rng, tip = mujoco.MjData(model), np.random.default_rng(0), SLOT + 0.0134
        if isinstance(scene, TieProps):
            scene.place(model, data, rng, ("through", tip - SLOT))
        else:
            scene.place(model, data, {"tip": [tip, 0, 0], "turn": [0, 0, 0], "grip": 0.05}, rng)
            data.eq_active[:] = 0
            mujoco.mj_forward(model, data)

        def past() -> float:
            return past_head((scene._nodes(data) - scene._head[:3]) @ scene._axes)

        scene.pull_back(model, data, scene._links[body], force, steps=15)
        back = past()
        scene.pull_back(model, data, scene._links[body], -1.0, steps=1)
        return back, past()

    scene = TieScene(LEVELS["intro"])
    theirs = pull(scene.build(), scene, 8)
    mine = pull(*twins, 8)
    assert mine[0] == pytest.approx(theirs[0], abs=0.0002)
    assert 0.0123 < mine[0] <= 0.0135
    assert mine[1] > mine[0] + 0.0005


# -- perception ---------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def looking() -> Iterator[tuple[Station, TieEyes]]:
    """Cameras alone: the arms are off."""
    file = load_station(TWIN)
    station = build_station(file)
    station.twin.model.opt.gravity[:] = 0.0  # what is laid somewhere stays there until it is seen
    for camera in station.cameras.values():
        camera.start()
    station.clock.sleep(0.2)
    eyes = TieEyes(station, file.section("tie_zip_tie", TieSection))
    eyes.locate()
    yield station, eyes
    station.close()


def lie(station: Station, tip: tuple[float, float, float], turn: float = 0.0) -> np.ndarray:
    """A strap somewhere; where its tip is by the time that it is seen."""
    twin = station.twin
    twin.props._lie(twin.model, twin.data, np.array(tip), turn)
    station.clock.sleep(0.04)
    return np.asarray(twin.truth()["strap"][-1])


def test_two_views_tell_where_a_strap_is_or_refuse(looking: tuple[Station, TieEyes]) -> None:
    station, eyes = looking
    for tip, turn in (((-0.006, 0.001, -0.001), 0.04), ((-0.002, -0.001, 0.0005), -0.03)):
        true = lie(station, tip, turn)
        seen = eyes.strap()
        assert seen.past == 0.0
        assert seen.tip == pytest.approx(true, abs=0.0004)
    for past in (0.002, 0.0065, 0.0148, 0.0165):
        lie(station, (SLOT + past, 0.0, 0.0))
        seen = eyes.strap()
        true = station.twin.truth()["past"]
        assert seen.entering == (True, True)
        assert [seen.past, *seen.pasts] == pytest.approx([true] * 3, abs=0.0003)
    # Over the head, not through it: however far its tip is beyond.
    lie(station, (SLOT + 0.0165, 0.0070, 0.0))
    seen = eyes.strap()
    assert seen.past == 0.0
    assert not in_head(seen)
    # One camera is frozen: the views are of different straps.
    station.twin.faults.frozen_cameras.add("across")
    lie(station, (-0.004, -0.004, 0.0))
    assert eyes.strap().tip is None
    station.twin.faults.frozen_cameras.clear()
    # A head that has slipped in its clamp is not worked at.
    head = station.twin.model.body("head")
    head.pos[2] += 0.003
    station.clock.sleep(0.06)
    with pytest.raises(CellFault, match="clamp it"):
        eyes.locate()
    head.pos[2] -= 0.003


@pytest.mark.parametrize("blind", ["side", "across"])
@pytest.mark.parametrize("past", [-0.003, 0.0148])
def test_a_strap_that_one_camera_sees_in_the_head_is_in_it(
    looking: tuple[Station, TieEyes], blind: str, past: float
) -> None:
    """Its tip in the slot or beyond: where the other sees nothing, the head is not called empty."""
    station, eyes = looking
    lie(station, (SLOT + past, 0.0, 0.0))
    station.twin.faults.overlay = lambda name, image: np.full_like(image, 128) if name == blind else image
    station.clock.sleep(0.04)
    seen = eyes.strap()
    station.twin.faults.overlay = None
    station.clock.sleep(0.04)
    assert seen.past == 0.0
    assert in_head(seen)


def test_a_camera_that_hangs_tells_nothing_of_a_strap(looking: tuple[Station, TieEyes]) -> None:
    station, eyes = looking
    eyes.strap()
    station.twin.faults.stuck_cameras.add("across")
    station.clock.sleep(0.3)
    for look in (eyes.strap, eyes.newest, lambda: eyes.image("across")):
        with pytest.raises(CameraLost, match="camera across sends the same picture again and again"):
            look()
    station.twin.faults.stuck_cameras.clear()
    station.twin.faults.frozen_cameras.add("side")
    station.clock.sleep(0.3)
    for look in (eyes.strap, eyes.newest, lambda: eyes.image("side")):
        with pytest.raises(CameraLost, match="camera side has sent nothing"):
            look()
    station.twin.faults.frozen_cameras.clear()
    station.clock.sleep(0.1)  # until its next picture is there
    eyes.strap()


# -- the verdict --------------------------------------------------------------------------------------------------------------
def strap(*pasts: float | None, past: float = 0.0165) -> Strap:
    return Strap(np.array([SLOT + past, 0, 0]), past, pasts, (True, True), 0.0)  # type: ignore[arg-type]


GOOD = strap(0.0165, 0.0164)
READINGS = RealStrapReadings(
    time=1.0, pose=np.zeros(6), target=np.zeros(6), wrench=Wrench(np.zeros(6), "end effector"), force=0.0, depth=0.0,
    nodes=np.zeros((2, 3)), past=0.0165, opening=0.0, held=True, head=np.zeros(6), axes=np.eye(3), pasts=GOOD.pasts,
    late=0, seen=True, at_head=True, looks=((GOOD,) * 3, (GOOD,) * 3), pulled=10.1, supplied=0,
)  # fmt: skip


def test_no_episode_begins_with_something_beyond_the_head() -> None:
    """However well the strap in the hand is held and seen."""
    start = {"tip": [-0.005, 0.0, 0.0], "turn": [0.0, 0.0, 0.0], "grip": 0.04}
    nodes = np.array([[-0.045, 0.0, 0.0], [-0.005, 0.0, 0.0]])
    for pasts, refused in (((None, None), False), ((0.004, None), True), ((None, 0.004), True)):
        why = RealTieZipTie().ready(dataclasses.replace(READINGS, nodes=nodes, past=0.0, pasts=pasts), start)
        assert (why is not None and "beyond the head" in why) == refused, why


def test_what_is_not_seen_is_no_success() -> None:
    """The verdict fails closed: no looks, a blind camera, views that differ, a strap that gave way, a tug that was none."""
    good, readings = GOOD, READINGS

    class Probed:
        def __init__(self, **changed: Any) -> None:
            self._readings = dataclasses.replace(readings, **changed)

        def probe(self, name: str) -> RealStrapReadings:
            assert name == "tug"
            return self._readings

    verify = RealTieZipTie().verify
    assert verify(Probed()).success
    for changed, reason in (
        ({"looks": ((), ())}, "not_seen"),
        ({"looks": ((good,), ())}, "not_held"),
        ({"looks": ((good,), (good, strap(0.0165, None)))}, "not_seen"),
        ({"looks": ((strap(0.0165, 0.0152),), (good,))}, "views_disagree"),
        ({"looks": ((good,), (strap(0.0165, 0.0165, past=0.0),))}, "views_disagree"),
        ({"looks": ((good,), (strap(math.nan, 0.0165),))}, "views_disagree"),
        ({"looks": ((strap(0.0150, 0.0150, past=0.0150),), (good,))}, "too_short"),
        ({"looks": ((good,), (strap(0.0149, 0.0149, past=0.0149),))}, "pulled_out"),
        ({"pulled": 5.0}, "not_tugged"),
        ({"pulled": math.nan}, "not_tugged"),
    ):
        verdict = verify(Probed(**changed))
        assert (verdict.success, verdict.reason) == (False, reason)


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


def test_a_life_of_resets_and_verdicts(env: gym.Env) -> None:
    """From a strap that hangs half-way in the head to a start, by drawing it out; the script's verdict is the truth."""
    simulated = gym.make("ENPIRE/TieZipTie-v0")
    assert env.observation_space == simulated.observation_space
    assert env.action_space == simulated.action_space
    assert env.unwrapped.stages == simulated.unwrapped.stages
    simulated.close()
    scene: TieRealScene = env.unwrapped.real_cell.scene
    twin = scene.station.twin
    twin.props._lie(twin.model, twin.data, np.array([SLOT + 0.004, 0.0, 0.0]), 0.0)
    start = {"tip": [-0.004, 0.0006, -0.0004], "turn": [0.0, 0.03, -0.02], "grip": 0.040}
    observation, info = env.reset(seed=1, options={"start": start})
    assert info["reset_verified"]
    assert info["straps_supplied"] == 1.0
    assert env.observation_space.contains(observation)
    assert twin.truth()["held"]
    assert twin.truth()["strap"][-1] == pytest.approx(start["tip"], abs=0.0012)
    assert set(scene.frames) >= {"used", "fingertips", "feeder", "start"}
    script = make_reference(env)
    script.reset(observation)
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(script.act(observation))
        ended = terminated or truncated
    assert info["success"]
    assert reward == 1.0
    assert twin.truth()["past"] >= ENOUGH
    assert "verdict" in scene.frames
    # Cameras that hang, before the tug or while it pulls, tell nothing of what it did.
    cell, task = env.unwrapped.cell, env.unwrapped.task
    twin.faults.stuck_cameras.update(scene.eyes.cameras)
    with pytest.raises(CellFault, match="sends the same picture again and again"):
        task.verify(cell)
    twin.faults.stuck_cameras.clear()
    scene.station.clock.sleep(0.1)  # until the next pictures are there

    def hang() -> None:
        if scene._pulled > TUG and not twin.faults.stuck_cameras:
            for camera in scene.eyes.cameras:  # it hangs at a picture that nobody has looked at
                scene.station.cameras[camera].latest()
            twin.faults.stuck_cameras.update(scene.eyes.cameras)

    scene._pulled = 0.0
    ticker = scene.station.clock.every(0.1, hang, "a camera that hangs")
    with pytest.raises(CellFault, match="sends the same picture again and again"):
        task.verify(cell)
    ticker.cancel()
    twin.faults.stuck_cameras.clear()
    assert scene._pulled > TUG
    assert twin.truth()["past"] >= ENOUGH
