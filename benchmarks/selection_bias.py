"""How much an agent's confirmed best flatters it, over simulated runs that use the station's own rule (`Candidates`).

An agent evaluates a new commit on 20 episodes, 30 times; what beats the confirmed best is confirmed on 50 (200 from 98 % on). Printed is
the mean of the final confirmed best minus the leading candidate's true success rate, and of the highest point that the curve ever
showed, which decides the times to a threshold. Beside it the rule of before: each commit is confirmed alone and the highest one kept.

    python benchmarks/selection_bias.py [--runs 10000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from autoenvbench.record.candidates import Candidates
from autoenvbench.record.events import EvaluationEvent, Purpose

LOOKS, EVALUATE = 30, 20
Plan = list[tuple[str, float]]  # content and true success rate of each commit, in order


def empty(rng: np.random.Generator) -> Plan:
    return [("same", 0.55)] * LOOKS


def comments(rng: np.random.Generator) -> Plan:
    return [(f"c{k}", 0.55) for k in range(LOOKS)]


def comments_high(rng: np.random.Generator) -> Plan:
    return [(f"c{k}", 0.97) for k in range(LOOKS)]


def steady(rng: np.random.Generator) -> Plan:
    return [(f"c{k}", p) for k, p in enumerate(np.linspace(0.2, 0.9, 12))]


def wandering(rng: np.random.Generator) -> Plan:
    """Better and worse ideas, better ones a little more often."""
    return [(f"c{k}", p) for k, p in enumerate(np.clip(0.3 + np.cumsum(rng.normal(0.02, 0.06, LOOKS)), 0.0, 1.0))]


PLANS: dict[str, Callable[[np.random.Generator], Plan]] = {
    "30 empty commits of one policy, p = 0.55": empty,
    "30 comment-only commits, p = 0.55": comments,
    "30 comment-only commits, p = 0.97": comments_high,
    "12 commits, steadily better, 0.2 to 0.9": steady,
    "30 commits, better and worse": wandering,
}


def event(purpose: Purpose, content: str, wins: int, n: int) -> EvaluationEvent:
    return EvaluationEvent.model_construct(
        phase="finished", id="", purpose=purpose, commit=content, digest=content, content=content, idea=None, beats=None,
        planned=n, episodes=n, successes=wins, score=wins / n,
    )  # fmt: skip


def run(plan: Plan, rng: np.random.Generator) -> tuple[float, float, int]:
    """(final bias, bias of the curve's highest point, episodes)."""
    made, truth, peak, episodes = Candidates(), dict(plan), 0.0, 0
    for content, p in plan:
        looked = int(rng.binomial(EVALUATE, p))
        episodes += EVALUATE
        best = made.value
        made.add(event("evaluate", content, looked, EVALUATE))
        known = made.known[content]
        if not known.begun and looked / EVALUATE <= best:
            continue
        missing = made.missing(known) if known.begun else made.confirm_episodes
        while missing:
            made.add(event("confirm", content, int(rng.binomial(missing, p)), missing))
            episodes += missing
            missing = made.missing(known)
        if made.leader is not None:
            peak = max(peak, made.value - truth[made.leader.content])
    return (made.value - truth[made.leader.content] if made.leader else 0.0), peak, episodes


def highest(plan: Plan, rng: np.random.Generator) -> float:
    """The bias of keeping the highest confirmation of any commit."""
    value, true = 0.0, 0.0
    for _, p in plan:
        if rng.binomial(EVALUATE, p) / EVALUATE > value and (new := rng.binomial(50, p) / 50) > value:
            value, true = new, p
    return value - true


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    print(f"{runs} simulated runs; bias in percentage points, standard error in brackets")
    print(f"{'':44}{'final':>16}{'highest point':>16}{'rule of before':>16}{'episodes':>10}")
    for name, plan in PLANS.items():
        rng = np.random.default_rng(0)
        ours = np.array([run(plan(rng), rng) for _ in range(runs)])
        before = np.array([highest(plan(rng), rng) for _ in range(runs)])
        cells = [f"{100 * x.mean():+.1f} ({100 * x.std() / runs**0.5:.2f})" for x in (ours[:, 0], ours[:, 1], before)]
        print(f"{name:44}" + "".join(f"{cell:>16}" for cell in cells) + f"{ours[:, 2].mean():>10.0f}", flush=True)


if __name__ == "__main__":
    main()
