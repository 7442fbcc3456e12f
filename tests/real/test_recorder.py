"""Recording episodes: what is kept, what is given up, and that nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.episode_file import Source, read_episode
from enpire_envs.episodes import Episodes
from enpire_real.dataset import NoLeRobot, convert


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[gym.Env]:
    made = gym.make("ENPIRE/PushT-real-v0", record=tmp_path / "rec", disable_env_checker=True)
    yield made
    made.close()


def run(env: gym.Env, steps: int, *, finish: bool) -> list[np.ndarray]:
    """An episode of small pushes; its time limit is set so that it ends, or does not."""
    env.unwrapped.limit.own = steps if finish else None
    env.reset(options={"start": {"block": [0.1, 0.05, 0.0], "tip": [-0.2, -0.15]}})
    actions = [np.array([0.2 * np.cos(k), 0.2 * np.sin(k)]) for k in range(steps)]
    for action in actions:
        env.step(action)
    return actions


def test_whole_episodes_are_kept_and_broken_ones_are_not(recorded: gym.Env, tmp_path: Path) -> None:
    actions = run(recorded, 8, finish=True)
    run(recorded, 5, finish=False)  # cut off by the next reset
    run(recorded, 6, finish=True)
    recorder = recorded.unwrapped._recorder
    recorded.close()
    files = sorted((tmp_path / "rec" / "episodes").iterdir())
    assert [f.name for f in files] == ["000000.episode", "000001.episode"]
    assert (recorder.written, recorder.dropped, recorder.problem) == (2, 0, None)
    episode = read_episode(files[0], check=True)
    assert episode["action"] == pytest.approx(np.array(actions), abs=1e-6)
    state, images = episode["observation.state"], episode["observation.images.top"]
    assert state.shape == (8 + 1, 14)  # what the last action led to is kept
    assert not np.array_equal(state[-1], state[-2])
    assert len(episode.meta["names"]["observation.state"]) == 14
    assert episode["truncated"].tolist() == [False] * 7 + [True]
    assert not episode["terminated"].any()
    assert not episode["late"].any()
    assert set(episode["source"]) == {Source.POLICY}
    assert np.diff(episode["time"]) == pytest.approx(0.1, abs=0.005)
    assert len(images) == 9
    assert images[0].shape == (240, 320, 3)
    assert images[0].std() > 20
    c = recorded.unwrapped.cell.station.file.cameras["top"]
    assert episode["evidence.top"][0].shape[:2] == (c.height_px, c.width_px)
    meta = episode.meta
    assert (meta["env"], meta["control_hz"], meta["start"]["tip"]) == ("ENPIRE/PushT-real-v0", 10, [-0.2, -0.15])
    assert meta["verdict"] == {"success": False, "score": meta["verdict"]["score"], "stage": meta["verdict"]["stage"],
                               "reason": "time_limit", "violations": []}  # fmt: skip
    assert meta["provenance"]["kind"] == "twin"
    assert len(read_episode(files[1])) == 6
    both = Episodes(tmp_path / "rec" / "episodes")
    assert (both.steps, both.observation["state"].shape) == (14, (14, 14))
    assert both.images("observation.images.top", [0, 13], later=1).shape == (2, 240, 320, 3)


def test_a_second_recording_goes_on_after_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        env = gym.make("ENPIRE/PushT-real-v0", record=tmp_path / "rec", disable_env_checker=True)
        run(env, 3, finish=True)
        env.close()
    assert len(list((tmp_path / "rec" / "episodes").glob("*.episode"))) == 2


def test_a_writer_that_hangs_costs_the_recording_and_not_the_robot(recorded: gym.Env, tmp_path: Path) -> None:
    import threading

    recorder = recorded.unwrapped._recorder
    release = threading.Event()
    write = recorder._write
    recorder._write = lambda writer, end: (release.wait(60), write(writer, end))
    run(recorded, 3, finish=True)  # its writing hangs from here on
    run(recorded, 90, finish=True)  # more than may wait
    assert recorded.unwrapped.cell.station.control.monitor.stop is None
    release.set()
    recorded.close()
    assert recorder.written == 1
    assert recorder.dropped == 1


def test_a_full_disk_costs_the_recording_and_not_the_run(recorded: gym.Env, tmp_path: Path) -> None:
    recorder = recorded.unwrapped._recorder

    def full(writer: object, end: object) -> None:
        raise OSError(28, "No space left on device")

    recorder._write = full
    run(recorded, 3, finish=True)
    recorded.close()
    assert recorder.dropped == 1
    assert "No space left" in recorder.problem


def test_without_lerobot_the_way_to_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    (tmp_path / "episodes" / "000000.episode").touch()
    with pytest.raises(NoLeRobot, match="--python"):
        convert(tmp_path, tmp_path / "out")
    with pytest.raises(FileExistsError, match="exists already"):
        convert(tmp_path, tmp_path)


@pytest.mark.parametrize("where", ["_write", "_encode"])
def test_no_exception_ends_the_writer(recorded: gym.Env, monkeypatch, where: str) -> None:
    """Anything may go wrong in one episode; the next one is recorded, and what was lost is said."""
    from enpire_real import recorder as module

    recorder = recorded.unwrapped._recorder
    broken = [True]
    target = recorder if where == "_write" else module
    kept = getattr(target, where)

    def once(*args: object) -> object:
        if broken.pop() if broken else False:
            raise ZeroDivisionError("no such luck")
        return kept(*args)

    monkeypatch.setattr(target, where, once)
    run(recorded, 3, finish=True)
    run(recorded, 4, finish=True)
    recorded.close()
    assert (recorder.written, recorder.dropped) == (1, 1)
    assert recorder.dropped_frames == 3
    assert "no such luck" in recorder.problem


def test_closing_ends_although_the_disk_does_not_answer(recorded: gym.Env, monkeypatch) -> None:
    import threading
    import time

    monkeypatch.setattr("enpire_real.recorder._CLOSE_S", 0.5)
    recorder, release = recorded.unwrapped._recorder, threading.Event()
    recorder._write = lambda writer, end: release.wait(60)
    run(recorded, 2, finish=True)
    recorded.unwrapped.limit.own = None
    recorded.reset(options={"start": {"block": [0.1, 0.05, 0.0], "tip": [-0.2, -0.15]}})
    for _ in range(70):
        *_, info = recorded.step(np.zeros(2))
    assert info["recording"]["dropped_frames"] > 0  # said while it happens
    assert "too slow" in info["recording"]["problem"]
    began = time.monotonic()
    recorder.close()
    assert time.monotonic() - began < 3
    assert recorder.dropped >= 1
    release.set()


def test_a_camera_that_is_lost_at_the_end_costs_the_recording_and_not_the_verdict(
    recorded: gym.Env, monkeypatch
) -> None:
    recorder = recorded.unwrapped._recorder
    look = recorder._look
    looks = iter(range(100))
    monkeypatch.setattr(recorder, "_look", lambda: look() if next(looks) < 3 else 1 / 0)
    run(recorded, 3, finish=True)
    recorded.close()
    assert (recorder.written, recorder.dropped) == (0, 1)
    assert "could not be seen" in recorder.problem
