"""What runs on RoboCasa are judged on is held out from the kitchens that policies are written on."""

import json

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.episode_file import read_head
from enpire_envs.fingerprint import sources
from enpire_envs.remote.env import RoboCasaEnv
from enpire_envs.remote.venvs import ROBOCASA
from enpire_envs.simulators import kitchens

from autoenvbench.errors import UserError
from autoenvbench.record.starts import StartStreams
from autoenvbench.study.start_sets import starts
from autoenvbench.workspace.bundling import send_head

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


@pytest.mark.skipif(not ROBOCASA.installed, reason="autoenvbench setup robocasa")
@pytest.mark.parametrize(
    "bench", [{"env": DRAWER, "env_kwargs": {"max_episode_steps": 2}, "track": "station"}], indirect=True
)
def test_what_a_member_learns_of_its_judgement_names_no_kitchen(bench):
    """A run's start is told nowhere: not in answers, not in files, not in the scene's digest, which no seed known beforehand leads to."""
    agent = bench.client()
    digest = send_head(agent, bench.repo).digest
    practised = agent.job("/practice", {"digest": digest, "n": 1})
    judged = agent.job("/evaluate", {"digest": digest, "n": 1, "confirm": False})
    with pytest.raises(UserError, match="draws its starts itself"):
        agent.job("/evaluate", {"digest": digest, "n": 1, "start": TRIPLETS[0]})
    rows = {row["purpose"]: row for row in agent.get("/episodes")}
    assert rows["practice"]["seed"] == 0
    assert "seed" not in rows["evaluate"]
    assert rows["evaluate"]["scene"] != rows["practice"]["scene"]
    (event,) = [e.payload for e in bench.ledger.events("episode") if e.payload.purpose == "evaluate"]
    generator, _ = gym.utils.seeding.np_random(event.seed)
    start = kitchens.draw(int(generator.integers(2**31)), "all")
    told = json.dumps([practised, judged, rows, agent.get("/status")])
    files = [path for path in (bench.run_dir / "data").rglob("*") if path.is_file()]
    assert len(files) == 1
    for secret in (str(event.seed), str(start["seed"])):
        assert secret not in told
        assert not any(secret.encode() in path.read_bytes() for path in files)
    assert "start" not in read_head(files[0]).meta
    assert not list(bench.run_dir.rglob("*.npz"))  # nor is a scene kept anywhere


def test_which_kitchens_are_left_out_is_in_the_fingerprint():
    about = {"cell": "sim", "entry": RoboCasaEnv.entry.partition(":")[0], "versions": {}, "arguments": {}}
    env = RoboCasaEnv.__new__(RoboCasaEnv)  # without the process of the other side
    env.about = about
    read = sources(env.identity())
    assert any(name.startswith("files/robocasa_40.json") and b"layout" in content for name, content in read.items())
