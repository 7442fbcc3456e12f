"""Push-T's levels draw and show what their table says, and the arm hides what lies behind it."""

from __future__ import annotations

import inspect
import math
import runpy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.levels import WanderingPose
from enpire_envs.pusht.env import PushTEnv
from enpire_envs.pusht.levels import LEVELS

RANKED = [name for name in LEVELS if name != "intro"]
IMAGES = [name for name in RANKED if LEVELS[name].images]


def make(level: str, **kwargs: Any) -> gym.Env[Any, Any]:
    return gym.make(f"ENPIRE/PushT-{level.title()}-v0", disable_env_checker=True, **kwargs)


def test_the_reference_page_shows_every_level() -> None:
    page = inspect.getdoc(PushTEnv) or ""
    header = next(line for line in page.splitlines() if line.startswith("| | `intro`"))
    assert all(f"`{level}`: `" in header for level in LEVELS)
    rows = [line for line in page.split("## Levels")[1].split("## Action")[0].splitlines() if line.startswith("|")]
    for level, numbers in LEVELS.items():
        k = 2 + list(LEVELS).index(level)
        cells = " ".join(row.split(" | ")[k - 1] for row in rows[2:] if len(row.split(" | ")) >= k)
        for low, high in (numbers.episode.friction, numbers.station.friction):
            assert (low, high) == (1.0, 1.0) or f"x {low:g} to {high:g}" in cells or "as st" in cells


@pytest.mark.parametrize("level", IMAGES)
def test_an_image_level_hands_over_no_pose(level: str) -> None:
    env = make(level)
    assert set(env.observation_space.spaces) == {"pixels", "agent_pos"}
    assert env.observation_space["agent_pos"].shape == (2,)
    for refused in ("state", "environment_state_agent_pos"):
        with pytest.raises(ValueError, match="unknown obs_type"):
            make(level, obs_type=refused)
    observation, _ = env.reset(seed=0)
    assert observation["pixels"].shape == (96, 96, 3)
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize("level", RANKED)
def test_episodes_and_stations_differ_and_seeds_reproduce_them(level: str) -> None:
    def drawn(station: int, seed: int) -> np.ndarray:
        env = make(level, station_seed=station)
        env.reset(seed=seed)
        cell: Any = env.unwrapped.cell
        model = cell.model
        return np.concatenate([
            model.geom_friction[model.geom("foot").id, :2], model.geom_friction[model.geom("tip").id, :1],
            model.geom_pos[model.geom("foot").id, :2], model.cam_pos[0], model.cam_quat[0],
            model.actuator_gainprm[:, 0], cell.read().tip_offset, [cell.read().arm], model.mat_rgba.ravel(),
        ])  # fmt: skip

    here, again, later, elsewhere = (drawn(*which) for which in ((1, 5), (1, 5), (1, 6), (2, 5)))
    assert np.array_equal(here, again)
    assert not np.array_equal(here, later)
    assert (here != elsewhere).mean() > 0.4


@pytest.mark.parametrize("level", RANKED)
def test_what_is_drawn_stays_within_the_level(level: str) -> None:
    numbers = LEVELS[level]
    nominal = make("state").unwrapped.cell.scene._compiled["geom_friction"]
    env = make(level)
    model = env.unwrapped.cell.model
    foot, low, high = model.geom("foot").id, [], []
    for station in range(12):
        env.reset(seed=station, options={"station": station})
        low.append(model.geom_friction[foot, 0] / nominal[foot, 0])
        high.append(np.hypot(*model.geom_pos[foot, :2]))
        assert (
            np.hypot(*env.unwrapped.cell.read().tip_offset) <= numbers.episode.tip_offset + numbers.station.tip_offset
        )
    bounds = np.array(numbers.episode.friction) * numbers.station.friction
    assert bounds[0] <= min(low) < max(low) <= bounds[1]
    assert max(low) / min(low) > 1.2
    assert 0 < max(high) <= numbers.episode.pressure + numbers.station.pressure + 1e-9


def test_the_arm_hides_a_t_between_fingertip_and_base_and_no_other() -> None:
    env = make("state", station_seed=0)
    task = env.unwrapped.task

    def hidden(block: list[float], tip: list[float]) -> bool:
        env.reset(seed=0, options={"start": {"block": block, "tip": tip}})
        return task.hidden(env.unwrapped.cell.read())

    behind, before = _tips(env)
    assert hidden([0.0, 0.0, 1.5], behind)
    assert not hidden([0.0, 0.0, 1.5], before)
    assert not hidden([-0.15, 0.05, 0.0], [0.2, 0.1])
    # as the camera sees it: what is said to be hidden shows less than what is not
    shown = []
    for tip in (behind, before):
        env.reset(seed=0, options={"start": {"block": [0.0, 0.0, 1.5], "tip": tip}})
        red, green, _ = np.moveaxis(env.unwrapped.cell.frame("top", 96, 96).astype(int), -1, 0)
        shown.append(int((red > 1.8 * green).sum()))
    assert shown[0] < 0.7 * shown[1]


def _tips(env: gym.Env[Any, Any]) -> tuple[list[float], list[float]]:
    """Where the arm lies over a T in the middle, and where it does not."""
    env.reset(seed=0)
    arm = env.unwrapped.cell.read().arm
    away = -0.15 * np.array([math.cos(arm), math.sin(arm)])
    return away.tolist(), (-away).tolist()


def test_no_estimate_comes_while_the_t_is_hidden_and_the_last_one_stays() -> None:
    env = make("state")
    env.reset(seed=1, options={"start": {"block": [0.0, 0.0, 1.5], "tip": _tips(env)[0]}})
    seen = [env.step(np.zeros(2))[0] for _ in range(20)]
    assert all(row[7] == 0 for row in seen[2:])
    assert all(np.array_equal(row[2:6], seen[2][2:6]) for row in seen[2:])
    assert seen[-1][6] > seen[3][6] > 0


def test_an_estimate_keeps_to_its_bounds_unless_it_lies() -> None:
    spec = LEVELS["state"].block
    assert spec is not None
    rng, errors = np.random.default_rng(0), []
    for _ in range(40):
        model = WanderingPose(spec, 0.1, rng)
        errors += [model.read(np.zeros(3))[0] / spec.radius for _ in range(100)]
    size = np.linalg.norm(errors, axis=1)
    assert 0.005 < (size > 1).mean() < 0.06
    assert size[size > 1].min() >= spec.outlier_size[0] - 1e-9


@pytest.mark.parametrize("level", RANKED)
def test_an_action_waits_for_its_delay(level: str) -> None:
    low, high = LEVELS[level].delay
    env, seen = make(level, sensing="ideal"), set()
    for seed in range(8):
        env.reset(seed=seed, options={"start": {"block": [0.15, 0.1, 0.0], "tip": [-0.2, -0.1]}})
        cell: Any = env.unwrapped.cell
        for k in range(6):
            before = cell.read().tip_target[0]
            env.step(np.array([1.0, 0.0]))
            if cell.read().tip_target[0] > before + 0.01:
                seen.add(k)
                break
    assert seen <= set(range(low, high + 1))
    assert len(seen) > 1


def test_commanded_less_measured_position_hides_a_light_push() -> None:
    """The drive's deflection is the contact's force; encoders must blur the 0.4 mm that the T's friction makes of it."""
    env, gaps = make("state"), {"free": [], "pushing": []}
    for seed in range(12):
        for what, block in (("pushing", [0.02, 0.0, 1.5]), ("free", [0.1, 0.1, 1.5])):
            env.reset(seed=seed, options={"start": {"block": block, "tip": [-0.15, -0.04]}})
            cell: Any = env.unwrapped.cell
            for _ in range(10):
                observation = env.step(np.array([0.2, 0.0]))[0]
            gaps[what].append(cell.read().tip_target[0] - observation[0])
    free, pushing = np.array(gaps["free"]), np.array(gaps["pushing"])
    assert abs(pushing.mean() - free.mean()) < 2 * np.hypot(free.std(), pushing.std())


def test_out_of_distribution_starts_are_mixed_in_at_expert_alone() -> None:
    share = {}
    for level in ("standard", "expert"):
        task = make(level).unwrapped.task
        rng = np.random.default_rng(0)
        starts = [task.sample_start(rng, "id")["block"] for _ in range(150)]
        share[level] = np.mean([_room(block) < 0.0599 for block in starts])
    assert share["standard"] == 0
    assert 0.15 < share["expert"] < 0.45


def _room(block: list[float]) -> float:
    from enpire_envs.pusht.geometry import bounding_box
    from enpire_envs.pusht.scene import STATION

    x0, x1, y0, y1 = bounding_box(block)
    return min(x0 + STATION.half[0], STATION.half[0] - x1, y0 + STATION.half[1], STATION.half[1] - y1)


def test_the_start_of_the_parametric_policy_sees_a_t_in_an_image() -> None:
    pose_in = runpy.run_path(str(Path(inspect.getfile(PushTEnv)).parent / "template" / "parametric.py"))["pose_in"]
    env, off = make("standard"), []
    for seed in range(40):
        observation, info = env.reset(seed=seed, options={"station": seed % 4})
        pose = pose_in(observation["pixels"])
        if pose is not None:
            x, y, yaw = info["start"]["block"]
            off.append([math.hypot(pose[0] - x, pose[1] - y), abs(math.remainder(pose[2] - yaw, 2 * math.pi))])
    assert len(off) > 20
    assert np.median(off, axis=0)[0] < 0.008
    assert np.median(off, axis=0)[1] < math.radians(3)
