"""Batches: recorded one by one, repeatable to the bit, and unmoved by a busy machine."""

import multiprocessing
import time

import pytest
from conftest import ZERO_POLICY

from autoenvbench.station.bundles import Bundle
from autoenvbench.station.evaluation import Batch, Evaluator
from autoenvbench.station.starts import StartStreams

STUMBLING = ZERO_POLICY.replace(
    "return np.zeros(self.shape)",
    "d = observation[2:4] - observation[:2]; return np.clip(d / 0.03 + np.random.normal(size=2), -1, 1)",
)


def burn(until):
    while time.monotonic() < until:
        pass


@pytest.fixture
def evaluator(env, ledger):
    return Evaluator(env, ledger, StartStreams(bytes(32)), sandbox="none", track="open")


def outcomes(tally):
    return [(e.index, e.seed, e.success, e.score, e.stage, e.reason, e.steps) for e in tally.episodes]


def test_equal_bundles_on_equal_starts_give_equal_episodes_idle_or_loaded(evaluator, policy_dir):
    bundle = Bundle("c", "d", "", policy_dir(STUMBLING))
    batch = Batch("heldout", 6, 0)
    idle = outcomes(evaluator.run(bundle, batch))
    load = [multiprocessing.get_context("spawn").Process(target=burn, args=(time.monotonic() + 20,)) for _ in range(4)]
    for p in load:
        p.start()
    try:
        loaded = outcomes(evaluator.run(bundle, batch))
    finally:
        for p in load:
            p.terminate()
            p.join()
    assert idle == loaded
    assert len({o[6] for o in idle} | {o[3] for o in idle}) > 1  # the episodes do differ from one another


def test_every_episode_is_in_the_ledger_before_it_is_told(evaluator, ledger, policy_dir):
    told = []

    def on_episode(event):
        assert sum(1 for _ in ledger.events("episode")) == len(told) + 1
        told.append(event)

    tally = evaluator.run(
        Bundle("c", "d", "", policy_dir(ZERO_POLICY)), Batch("evaluate", 3, 10), on_episode=on_episode
    )
    assert [e.payload for e in ledger.events("episode")] == tally.episodes == told
    assert [e.index for e in told] == [10, 11, 12]
    phases = [e.payload.phase for e in ledger.events("evaluation")]
    assert phases == ["started", "finished"]


def test_a_stopped_batch_leaves_no_half_episode(evaluator, ledger, policy_dir):
    calls = iter(range(10**6))
    tally = evaluator.run(
        Bundle("c", "d", "", policy_dir(ZERO_POLICY)), Batch("evaluate", 5, 0), stop=lambda: next(calls) > 450
    )
    assert tally.aborted
    assert len(tally.episodes) == 1
    assert [e.payload.phase for e in ledger.events("evaluation")] == ["started", "aborted"]


def test_resuming_skips_what_is_done(evaluator, policy_dir):
    bundle = Bundle("c", "d", "", policy_dir(STUMBLING))
    whole = outcomes(evaluator.run(bundle, Batch("heldout", 4, 0)))
    rest = outcomes(evaluator.run(bundle, Batch("heldout", 4, 0, skip=frozenset({(0, 0), (2, 0)}))))
    assert rest == [whole[1], whole[3]]


def test_a_policy_that_never_answers_is_given_up_on(evaluator, ledger, policy_dir, monkeypatch):
    from autoenvbench.station.policy_process import PolicyLimits

    evaluator._limits = PolicyLimits(act_cpu_s=1, act_wall_s=0.3)
    sleeper = ZERO_POLICY.replace("return np.zeros(self.shape)", "import time; time.sleep(60)")
    began = time.monotonic()
    tally = evaluator.run(Bundle("c", "d", "", policy_dir(sleeper)), Batch("evaluate", 30, 0))
    assert time.monotonic() - began < 20
    assert [e.reason for e in tally.episodes] == ["act_wall_limit"] * 3 + ["policy_unresponsive"] * 27
    assert [e.reruns for e in tally.episodes[:3]] == [1, 1, 1]


def test_practice_leaves_trajectories(evaluator, policy_dir, tmp_path):
    import numpy as np

    tally = evaluator.run(
        Bundle("c", "d", "", policy_dir(STUMBLING)), Batch("practice", 2, 0), practice_dir=tmp_path / "out"
    )
    files = sorted((tmp_path / "out").glob("*.npz"))
    assert len(files) == 2
    with np.load(files[0]) as data:
        steps = tally.episodes[0].steps
        assert data["observation"].shape == (steps + 1, 8)
        assert data["action"].shape == (steps, 2)
        assert data["reward"].shape == (steps,)
        assert data["seed"] == 0


def test_seeds_by_purpose():
    a, b = StartStreams(bytes(32)), StartStreams(b"\1" * 32)
    assert [a.seed("practice", k) for k in range(3)] == [0, 1, 2]
    assert a.seed("heldout", 0) != b.seed("heldout", 0)
    assert a.seed("heldout", 0) != a.seed("evaluate", 0)
    assert a.seed("evaluate", 5) == a.seed("confirm", 5)
    assert len({a.seed("heldout", k) for k in range(1000)}) == 1000
    assert a.commitment != b.commitment
