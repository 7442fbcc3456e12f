"""`autoenvbench compare`: which of two policies is better, on shared starts and as soon as the sequential test decides."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.make_env import choose_stations, make_env
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.sequential import PairedTest
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.statistics import paired_difference
from autoenvbench.record.summary import wilson
from autoenvbench.sandbox.cage import Sandbox, Track
from autoenvbench.station.batch import Batch, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import evaluate
from autoenvbench.study.policies import answer_in, resolve_policy
from autoenvbench.study.score import station_of_start


def compare(
    env_id: str,
    policies: tuple[str, str],
    most: int,
    *,
    alpha: float = 0.05,
    env_kwargs: dict[str, Any] | None = None,
    seed: int = 0,
    sandbox: Sandbox = "bwrap",
    track: Track = "open",
    on_start: Callable[[PairedTest], None] = lambda test: None,
) -> dict[str, Any]:
    """Compare two policies on up to `most` shared starts; see `sequential.PairedTest`.

    Args:
        policies: each "reference", "scripted", "naive", "random", or a folder with a policy.py or a network.
        alpha: chance of naming a better one where neither is.
        on_start: called with the test after each start on which both were judged.

    Returns:
        The JSON object that the command prints. A start on which the machine failed for one of the two is left out and counted
        as `void`; a comparison that Ctrl-C ended has `interrupted` and is undecided.

    Raises:
        UserError: bad numbers, or a policy that is none.
    """
    if most < 1:
        raise UserError(f"-n {most}: a comparison needs at least one start")
    if not 0 < alpha < 1:
        raise UserError(f"--alpha {alpha}: give the chance of a false alarm, between 0 and 1, like 0.05")
    env = make_env(env_id, env_kwargs)
    ledger = Ledger(Path(":memory:"), RunClock.start(float("inf")))
    test, interrupted = PairedTest(most, alpha), False
    outcomes: tuple[list[bool], list[bool]] = ([], [])
    void = 0
    with contextlib.ExitStack() as stack:
        stack.callback(env.close)
        secret = hashlib.sha256(f"autoenvbench compare {seed}".encode()).digest()
        streams, station = (
            StartStreams(secret),
            station_of_start(choose_stations(env, env_kwargs or {}, None, most), secret, "score"),
        )
        sides: list[tuple[Bundle, LocalCell]] = []
        for name in policies:
            bundle, driver = resolve_policy(env, name, seed)
            cell = LocalCell(env, sandbox=sandbox, track=track, answer=answer_in(bundle))
            cell.policy = driver or stack.enter_context(cell.policy_process(bundle))  # one process for all starts
            sides.append((bundle, cell))
        try:
            for index in range(most):
                judged: dict[int, bool | None] = {}
                for k in (0, 1) if index % 2 == 0 else (1, 0):  # neither always has the warmer machine
                    bundle, cell = sides[k]
                    batch = Batch(
                        f"{index}-{k}", "score", bundle, 1, draw_starts(streams, "score", index, 1, station=station)
                    )
                    (episode,) = evaluate([cell], batch, ledger).episodes
                    judged[k] = None if episode.infrastructure else episode.success
                first, second = judged[0], judged[1]
                if first is None or second is None:
                    void += 1
                    continue
                outcomes[0].append(first)
                outcomes[1].append(second)
                verdict = test.add(first, second)
                on_start(test)
                if verdict is not None:
                    break
        except KeyboardInterrupt:
            interrupted = True
        marks = {"env": env_id, "env_kwargs": env_kwargs or {}, "fingerprint": fingerprint(env)}
    difference, low, high = paired_difference(*outcomes)
    return {
        **marks,
        "seed": seed,
        "policies": [
            {"policy": name, "digest": bundle.digest, "episodes": len(won), "successes": sum(won),
             "success_rate": sum(won) / len(won) if won else 0.0, "wilson95": wilson(sum(won), len(won))}
            for name, (bundle, _), won in zip(policies, sides, outcomes, strict=True)
        ],
        "better": {"first": policies[0], "second": policies[1]}.get(test.verdict or ""),
        "verdict": test.verdict or "undecided",
        "alpha": alpha,
        "p_value": test.p_value if test.verdict else None,
        "starts": test.starts,
        "most": most,
        "only_first": test.wins,
        "only_second": test.losses,
        "difference": difference,
        "difference95": [low, high],
        "void": void,
        "interrupted": interrupted,
    }  # fmt: skip
