"""Policies in a process of their own on every level: what they see goes over the wire, whatever its parts."""

import numpy as np
import pytest
from conftest import ZERO_POLICY, judge
from enpire_envs.registry import entries

from autoenvbench.make_env import make_env
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.codec import ObservationCodec, leaves

OWN = [entry for entry in entries() if entry.levels]
RANKED = [env_id for entry in OWN for env_id, level in entry.levels.items() if level.ranked]
LOOKING = [env_id for env_id in RANKED if env_id.endswith("-Standard-v0")]
#: Says what it was given, as an action that would fail if a part were missing or of another shape.
CHECKING = ZERO_POLICY.replace(
    "        return",
    "        def flat(part): return [x for k in sorted(part) for x in flat(part[k])] if isinstance(part, dict) else [part.shape]\n"
    "        assert flat(observation) == SHAPES, flat(observation)\n        return",
)


@pytest.mark.parametrize("env_id", RANKED)
def test_what_is_seen_survives_the_trip(env_id):
    env = make_env(env_id)
    seen = env.observation_space.sample()
    codec = ObservationCodec(env.observation_space)
    env.close()
    np.testing.assert_equal(codec.decode(codec.encode(seen)), seen)


@pytest.mark.parametrize("env_id", LOOKING)
def test_a_policy_in_its_process_sees_every_part(env_id, ledger, policy_dir):
    env = make_env(env_id)
    shapes = [box.shape for _, box in leaves(env.observation_space)]
    bundle = Bundle("c", "d", "", policy_dir(f"SHAPES = {shapes}\n{CHECKING}"))
    (episode,) = judge(LocalCell(env, sandbox="none", track="station"), ledger, bundle, "practice", 1).episodes
    env.close()
    assert episode.detail is None
    assert episode.steps > 10
