"""What is no number is refused at the door where it comes in, and a failed reset leaves nothing hanging in the air."""

from __future__ import annotations

import math
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import MakeStation, judge
from enpire_envs.env import ResetFailed
from enpire_real.motion import JointFollow, JointMove
from enpire_real.yam import HOME, REST

from autoenvbench.errors import UserError
from autoenvbench.record.ledger import Ledger
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell

START = {"block": [0.1, 0.05, 0.0], "tip": [-0.2, -0.15]}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_door_of_a_station_takes_what_is_no_number(make_station: MakeStation, bad: float) -> None:
    station = make_station()
    doors = [
        lambda: setattr(station.control.arms["right"], "opening", bad),
        lambda: JointMove([HOME, HOME * bad], 1.0, 5.0),
        lambda: JointFollow(HOME, HOME, HOME, -HOME, HOME).aim(HOME * bad),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=r"finite|a number"):
            door()
    station.clock.sleep(0.1)
    station.control.check()  # nobody went limp


def test_no_door_of_an_environment_takes_what_is_no_number(twin_env: gym.Env) -> None:
    twin_env.reset(options={"start": START})
    inner, body = twin_env.unwrapped, twin_env.unwrapped.tools_body()
    body.begin()
    doors = [
        lambda: twin_env.step(np.array([math.nan, 0.0])),
        lambda: twin_env.step(np.array([1.5e308, math.inf])),
        lambda: inner.real_cell.apply(np.array([math.nan, 0.0])),
        lambda: body.action(np.array([0.0, math.nan, 0.0]), None, None, None),
        lambda: body.action(np.zeros(3), np.array([1.0, 0, 0, math.inf]), None, None),
        lambda: body.action(None, None, math.nan, None),
        lambda: twin_env.reset(options={"start": {"block": [math.nan, 0.0, 0.0], "tip": [0.2, 0.2]}}),
    ]
    for door in doors:
        with pytest.raises(ValueError):  # noqa: PT011  (each says what)
            door()
    inner.real_cell.station.control.check()
    twin_env.step(np.zeros(2))


def test_a_failed_reset_parks_and_is_on_record_and_its_batch_ends(
    twin_env: gym.Env, ledger: Ledger, tmp_path: Path
) -> None:
    scene = twin_env.unwrapped.real_cell.scene
    calls = []

    def broken(start: object, rng: object) -> None:
        calls.append(1)
        scene.station.control.stop("collision_margin", "as if")
        scene.station.control.check()

    scene.reset = broken

    class Zero:
        def reset(self, observation: object) -> None: ...

        def act(self, observation: object) -> np.ndarray:
            return np.zeros(2)

    bundle = Bundle(path=tmp_path, commit="c" * 40, digest="d", content="e", subject="s")
    with pytest.raises(UserError, match="folded down"):
        judge(LocalCell(twin_env, sandbox="none", track="station", policy=Zero()), ledger, bundle, "evaluate", 2)
    for side in ("left", "right"):
        assert scene.station.twin.truth()["joints"][side][:3] == pytest.approx(REST[:3], abs=0.03)
    events = list(ledger.events("reset", "evaluation"))
    assert [e.payload.attempts for e in events if e.kind == "reset"] == [len(calls)] == [3]
    assert [e.payload.phase for e in events if e.kind == "evaluation"] == ["started", "aborted"]


def test_the_end_takes_the_arms_from_a_job_that_does_not_end(twin_env: gym.Env) -> None:
    """As when a run is killed while a reset pushes for minutes, or a policy thinks: the arms fold and do not go back."""
    twin_env.reset(options={"start": START})
    twin_env.step(np.array([0.5, 0.5]))
    cell = twin_env.unwrapped.real_cell
    cell.end()
    with pytest.raises(ResetFailed, match="the run is over"):
        twin_env.reset(options={"start": START})
    cell.close()
    for side in ("left", "right"):
        assert cell.station.twin.truth()["joints"][side][:3] == pytest.approx(REST[:3], abs=0.03)
