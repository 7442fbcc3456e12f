"""What runs on RoboCasa are judged on is held out from the kitchens that policies are written on."""

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.simulators import kitchens

from autoenvbench.record.starts import StartStreams
from autoenvbench.study.start_sets import starts

DRAWER = "ENPIRE/RoboCasa-OpenDrawer-v0"
TRIPLETS = starts(DRAWER, "robocasa-40", 40)
SHOWN = {(row["layout"], row["style"]) for row in TRIPLETS}


def plain(seed, split):
    """A draw that holds nothing out."""
    rng, numbers = np.random.default_rng(seed), kitchens.SPLITS[split]
    layout, style = (int(rng.choice(numbers)) for _ in range(2))
    return layout, layout if split == "target" else style


@pytest.mark.parametrize("split", kitchens.SPLITS)
def test_no_draw_of_any_purpose_is_a_development_kitchen(split):
    streams, hits = StartStreams(bytes(range(32))), 0
    for index in range(800):
        for purpose in ("practice", "evaluate", "heldout"):
            generator, _ = gym.utils.seeding.np_random(streams.seed(purpose, index))
            seed = int(generator.integers(2**31))  # as the proxy has it
            start = kitchens.draw(seed, split)
            assert (start["layout"], start["style"]) not in SHOWN
            assert start["layout"] in kitchens.SPLITS[split]
            assert start["style"] in kitchens.SPLITS[split]
            assert kitchens.draw(seed, split) == start
            if plain(seed, split) in SHOWN:
                hits += 1
            else:
                assert (start["seed"], start["layout"], start["style"]) == (seed, *plain(seed, split))
    assert (hits > 0) is (split != "target")  # of those there are none with a style of their own number


def test_every_development_triplet_by_its_own_seed_leads_elsewhere():
    """Also for whoever would like a run whose secret draws just these seeds."""
    for row in TRIPLETS:
        for split in kitchens.SPLITS:
            start = kitchens.draw(row["seed"], split)
            assert (start["layout"], start["style"]) not in SHOWN
