"""What is left of a study, and what it may cost at most: known before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoenvbench.agents.registry import make_agent
from autoenvbench.record.clock import format_duration
from autoenvbench.study.plan import Plan
from autoenvbench.study.runs import PlannedRun, Standing, result_of, standing_of


@dataclass(frozen=True, slots=True)
class Estimate:
    """Upper limits of what is not done yet; None where nothing bounds it.

    Attributes:
        runs, interrupted: research runs that are left, and how many of them go on where they were.
        finished: runs that have a result already.
        policies, episodes: levels of policies that are left, and episodes of each.
        wall_s: research wall-clock of them all, so many at a time [s]; scoring comes on top.
        robot_s: robot time [s]; None where robots are simulated as fast as they go and nothing limits them.
        tokens: headline tokens, from the runs' budgets or, where `tokens_by_pace`, from the rate of this study's finished runs.
    """

    runs: int
    interrupted: int
    finished: int
    policies: int
    episodes: int
    wall_s: float
    robot_s: float | None
    tokens: int | None
    tokens_by_pace: bool

    @property
    def nothing_left(self) -> bool:
        """Whether all is measured."""
        return not self.runs and not self.policies

    def lines(self, jobs: int) -> list[str]:
        """In words, for the person who is asked."""
        said = []
        if self.policies:
            said.append(f"{self.policies} policies on {self.episodes} starts each")
        if self.runs:
            begun = ", ".join(
                filter(None, [f"{self.finished} are finished" if self.finished else "", f"{self.interrupted} go on where they were" if self.interrupted else ""])
            )  # fmt: skip
            said.append(f"{self.runs} research runs, {jobs} at a time" + (f" ({begun})" if begun else ""))
            said.append(f"wall-clock: at most {format_duration(self.wall_s)} of research; scoring comes on top")
            robot = (
                "as much simulated time as fits" if self.robot_s is None else f"at most {format_duration(self.robot_s)}"
            )
            said.append(f"robot time: {robot}")
            how = " at the rate of the runs so far" if self.tokens_by_pace else ""
            said.append("tokens: " + ("not known: no run has a token budget" if self.tokens is None else f"at most {self.tokens:,}{how}" if self.tokens else "none, no agent has a language model"))  # fmt: skip
        return said


def estimate(plan: Plan, jobs: int) -> Estimate:
    """What is left to do. Raises UserError for a ledger that cannot be read."""
    standings = {run.key: standing_of(run) for run in plan.runs}
    left = [run for run in plan.runs if standings[run.key].state != "finished"]
    tokens, by_pace = _tokens(left, plan.runs, standings)
    robot = [_robot_s(run, _left_s(run, standings[run.key])) for run in left]
    return Estimate(
        runs=len(left), interrupted=sum(standings[run.key].state == "interrupted" for run in left), finished=len(plan.runs) - len(left),
        policies=len({level.file for level in plan.levels if level.file is not None and not level.measured}), episodes=plan.study.episodes,
        wall_s=_makespan([_left_s(run, standings[run.key]) for run in left], jobs),
        robot_s=None if None in robot else sum(seconds for seconds in robot if seconds is not None), tokens=tokens, tokens_by_pace=by_pace,
    )  # fmt: skip


def _left_s(run: PlannedRun, standing: Standing) -> float:
    done = standing.t_run if standing.state == "interrupted" else 0.0
    return max(0.0, run.config.budget_s - done)


def _robot_s(run: PlannedRun, left_s: float) -> float | None:
    paced = left_s * run.config.cells if run.config.pace else None
    return min((seconds for seconds in (run.config.robot_budget_s, paced) if seconds is not None), default=None)


def _tokens(
    left: Sequence[PlannedRun], runs: Sequence[PlannedRun], standings: Mapping[str, Standing]
) -> tuple[int | None, bool]:
    """Tokens of the runs that are left, None where nothing tells; and whether they are guessed by those of other runs."""
    rates: dict[tuple[str, ...], list[float]] = {}  # tokens per second of budget, by who works
    for run in runs:
        standing = standings[run.key]
        if (
            standing.state == "finished"
            and standing.run_dir is not None
            and (used := result_of(standing.run_dir).tokens)
        ):
            rates.setdefault(tuple(sorted(run.agents)), []).append(used.headline / run.config.budget_s)
    total, guessed = 0, False
    for run in left:
        if not any(make_agent(agent).needs_model for agent in run.agents):
            continue
        if run.config.token_budget is not None:
            total += run.config.token_budget
        elif rate := rates.get(tuple(sorted(run.agents))):
            total, guessed = total + round(max(rate) * run.config.budget_s), True
        else:
            return None, False
    return total, guessed


def _makespan(seconds: Sequence[float], jobs: int) -> float:
    """When the last of so many lanes is free, each taking the next run as soon as it can."""
    lanes = [0.0] * max(1, jobs)
    for length in seconds:
        lanes[lanes.index(min(lanes))] += length
    return max(lanes)
