"""Levels by id, stations that differ, and how scenes may look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs import ENV_IDS, registry
from enpire_envs.appearance import APPEARANCE, Appearance, AppearanceSpec
from enpire_envs.env import CellEnv
from enpire_envs.fingerprint import fingerprint
from enpire_envs.pin_insertion.levels import LEVELS
from enpire_envs.pin_insertion.scene import PinScene
from enpire_envs.pin_insertion.task import PinInsertion
from enpire_envs.registry import level_of
from enpire_envs.sim import SimCell

#: Tasks with one level, a ranked one.
LONG_HORIZON = ("ENPIRE/PinBoard-v0", "ENPIRE/ZipTieFull-v0")


class _Drawing:
    """A part that notes what it was given to draw from."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def install(self, rng: np.random.Generator) -> None:
        self.drawn.append(float(rng.uniform()))


class StationedPin(CellEnv):
    def __init__(self, parts: int = 2, **options: Any) -> None:
        self.parts = [_Drawing() for _ in range(parts)]
        numbers = LEVELS["intro"]
        super().__init__(
            PinInsertion(numbers, "noisy", "easy"), SimCell(PinScene(numbers), 30.0), installed=self.parts, **options
        )


def test_every_id_of_the_suite_is_of_a_level() -> None:
    for env_id in ENV_IDS:
        level = level_of(env_id)
        assert level is not None
        of_its_own = any(f"-{name.title()}-" in env_id for name in registry.LEVELS if name != "intro")
        assert level.ranked == (of_its_own or env_id in LONG_HORIZON)
    assert level_of("ENPIRE/RoboCasa-OpenDrawer-v0") is None
    assert level_of("Nobody/Knows-v0") is None


def test_a_station_is_drawn_once_and_again_when_another_is_asked_for() -> None:
    env = StationedPin(station_seed=7)
    first, second = (part.drawn for part in env.parts)
    env.reset(seed=0)
    env.reset(seed=1)
    assert len(first) == len(second) == 1
    assert first != second
    env.reset(seed=0, options={"station": 8})
    env.reset(seed=0)  # it stays that station
    env.reset(seed=0, options={"station": 7})
    assert first == [first[0], first[1], first[0]]
    assert first[1] != first[0]


def test_another_station_is_no_other_start() -> None:
    env = StationedPin()
    starts = [env.reset(seed=3, options={"station": k})[1]["start"] for k in range(3)]
    assert starts[0] == starts[1] == starts[2]


@pytest.mark.parametrize("seed", [-1, 1.5, "7", True, None])
def test_a_station_seed_that_is_none_is_refused(seed: Any) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        StationedPin(station_seed=seed)


def test_where_stations_are_the_same_another_is_refused() -> None:
    with pytest.raises(ValueError, match="all stations of PinInsertion are the same"):
        gym.make("ENPIRE/PinInsertion-v0", station_seed=1)
    env = StationedPin(parts=0)
    with pytest.raises(ValueError, match="known: attempt, start"):
        env.reset(options={"station": 1})


def test_which_station_it_is_changes_no_fingerprint() -> None:
    gym.register("Test/StationedPin-v0", entry_point=StationedPin)
    try:
        here, there = (gym.make("Test/StationedPin-v0", station_seed=k) for k in (1, 2))
        assert fingerprint(here) == fingerprint(there)
    finally:
        del gym.registry["Test/StationedPin-v0"]


def test_a_scene_looks_as_compiled_unless_it_is_drawn_and_then_as_its_seed_says() -> None:
    cell = SimCell(PinScene(LEVELS["intro"]), 30.0)
    start = {"tip": [0.0, 0.0, 0.005], "tilt": [0.0, 0.0], "hole": [1, 1]}
    appearance = Appearance(cell.model, ("plate", "pin", "bench"), ("wrist",))
    spec = AppearanceSpec(light=(0.6, 1.3), tint=0.1, direction=15.0, colour=0.2, camera=(0.003, 2.0))

    def look(seed: int | None, spec: AppearanceSpec = spec) -> np.ndarray:
        if seed is not None:
            appearance.draw(cell.model, spec, np.random.default_rng(seed))
        cell.reset(start, np.random.default_rng(0))
        return cell.frame("wrist", 96, 96)

    compiled = {name: getattr(cell.model, name).copy() for name in APPEARANCE}
    plain = look(None)
    seen = [look(seed) for seed in (1, 2, 1)]
    assert np.array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])
    assert np.abs(seen[0].astype(int) - plain).mean() > 2
    assert np.array_equal(look(5, AppearanceSpec()), plain)
    assert all(np.allclose(getattr(cell.model, name), was) for name, was in compiled.items())
    cell.close()


def test_episodes_look_different_around_how_their_station_looks() -> None:
    cell = SimCell(PinScene(LEVELS["intro"]), 30.0)
    appearance = Appearance(cell.model, ("plate", "pin"), ("wrist",))
    compiled = cell.model.cam_pos.copy()
    usual = []
    for station in (1, 2, 1):
        appearance.install(AppearanceSpec(camera=(0.01, 0.0), colour=0.2), np.random.default_rng(station))
        appearance.draw(cell.model, AppearanceSpec(), np.random.default_rng(0))
        usual.append((cell.model.cam_pos.copy(), cell.model.mat_rgba.copy()))
        for episode in range(20):
            appearance.draw(cell.model, AppearanceSpec(camera=(0.001, 0.0)), np.random.default_rng(episode))
            assert np.abs(cell.model.cam_pos - usual[-1][0]).max() <= 0.001
            assert np.array_equal(cell.model.mat_rgba, usual[-1][1])
    assert all(np.array_equal(a, b) for a, b in zip(usual[0], usual[2], strict=True))
    assert np.abs(usual[0][0] - usual[1][0]).max() > 0.001
    assert 0.001 < np.abs(usual[0][0] - compiled).max() <= 0.01
    cell.close()


def test_levels_of_one_task_have_one_folder() -> None:
    entry = registry.entry_of("ENPIRE/PinInsertion-State-v0")
    assert entry is not None
    assert entry is registry.entry_of("ENPIRE/PinInsertion-v0")
    assert Path(registry.folder(entry.package)).is_dir()
