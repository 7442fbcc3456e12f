"""Where the fixture stands: looked at, and surveyed from many sides if it is new or has moved."""

from __future__ import annotations

import numpy as np

from enpire_real.fixture_scene import Eyes, FixtureScene

_VIEWS, _TURNS = (
    16,
    np.array([0.06, 0.05, 0.05, 0.12, 0.22, 0.30]),
)  # of the survey, and how far joints turn for it [rad]
_MOVED = 0.0015  # of the fixture, before it is surveyed anew [m]


def know_fixture(scene: FixtureScene[Eyes]) -> None:
    """Where the fixture stands is known; the hand is where it looks from. Raises Stopped, CellFault."""
    hand, eyes = scene.hand, scene.eyes
    if eyes.surveyed:
        hand.line(scene.at(scene.look_from))
        scene.keep("fixture")
        if eyes.locate(hand.flange()) < _MOVED:
            return
    rng, samples = np.random.default_rng(0), []
    centre = hand.joints_at(scene.at(scene.look_from * (1, 0, 1)))
    for _ in range(2 * _VIEWS):
        hand.joints({hand.name: hand.within(centre + _TURNS * rng.uniform(-1, 1, 6))})
        scene.station.clock.sleep(0.25)
        if (sample := eyes.sample(hand.flange())) is not None:
            samples.append(sample)
        if len(samples) == _VIEWS:
            break
    eyes.survey(samples)
    hand.fold_out(scene.at(scene.look_from), scene.yaw)
