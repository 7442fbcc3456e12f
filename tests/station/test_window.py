"""People who look on change nothing: episodes are the same to the bit, a paced one is not waited for, and nobody looking costs nothing."""

import math

import gymnasium as gym
import numpy as np
from conftest import ZERO_POLICY, judge

from autoenvbench.record import frame_slot
from autoenvbench.station import window as window_module
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.window import Window


class Drawn(gym.Wrapper):
    """Counts pictures, each of which takes as long as it is told [s], by a clock of its own."""

    def __init__(self, env):
        super().__init__(env)
        self.pictures, self.takes, self.now = 0, 0.0, 1000.0

    def render(self):
        self.pictures += 1
        self.now += self.takes
        return np.zeros((8, 8, 3), np.uint8)


def test_episodes_are_the_same_while_somebody_looks_on(env, ledger, policy_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(window_module, "EVERY_S", 0.0)
    monkeypatch.setattr(window_module, "SHARE", math.inf)  # a picture of every step
    bundle, outcomes, drawn = Bundle("c", "d", "", policy_dir(ZERO_POLICY)), [], []
    for looks_on in (False, True):
        run_dir = tmp_path / str(looks_on)
        run_dir.mkdir()
        if looks_on:
            monkeypatch.setattr(frame_slot, "wanted", lambda run_dir: True)
            (run_dir / frame_slot.FOLDER).mkdir()
        window = Window(env, run_dir, "station-1")
        episodes = judge(
            LocalCell(env, sandbox="none", track="open", window=window), ledger, bundle, "evaluate", 2
        ).episodes
        outcomes.append([e.model_dump(exclude={"evaluation", "robot_s", "act_cpu_ms"}) for e in episodes])
        drawn.append(frame_slot.newest(run_dir, "station-1"))
    assert outcomes[0] == outcomes[1]
    assert drawn[0] is None
    assert drawn[1] is not None


def test_a_picture_is_taken_only_in_time_that_is_left(env, tmp_path, monkeypatch):
    drawn = Drawn(env)
    monkeypatch.setattr(window_module.time, "monotonic", lambda: drawn.now)
    window = Window(drawn, tmp_path, "left")
    drawn.takes = 0.01

    def shown(spare_s=math.inf, later=10.0):
        drawn.now += later
        before = drawn.pictures
        window.show(spare_s)
        return drawn.pictures - before

    assert shown() == 0  # nobody looks on
    monkeypatch.setattr(frame_slot, "LOOKS_ON_S", 1e9)
    frame_slot.ask(tmp_path)
    assert shown(5.0) == 0  # what one takes is not known yet
    assert shown() == 1
    assert shown(0.015) == 0
    assert shown(0.025) == 1
    assert shown(0.025, later=0.4) == 0  # too soon
    drawn.takes = 0.3  # a busy machine
    assert shown(0.025) == 1
    drawn.takes = 0.01
    assert shown(100.0, later=100.0) == 0  # not again before the next two episodes
    assert shown() == 1
    assert shown(0.025) == 1
