"""The answer again, in a fresh cage: on the starts of its run, and on starts that nobody knew before."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.make_env import choose_stations, make_env
from autoenvbench.publish.verification import Fresh, Replay
from autoenvbench.record.clock import RunClock
from autoenvbench.record.compute import hardware
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.regimes import answer_of
from autoenvbench.record.results import HeldOut, Result, started, versions
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.statistics import false_rejection, predictive_interval
from autoenvbench.record.summary import summarise
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.station.batch import Batch, Start
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import evaluate
from autoenvbench.station.script_rollout import script_settings
from autoenvbench.study.score import station_of_start
from autoenvbench.verify.begun import Begun, worst

OnEpisode = Callable[[EpisodeEvent], None]
#: Reasons of failures that a slower or fuller machine brings about: such an outcome is compared with no other.
_OF_THE_MACHINE = ("_cpu_limit", "_wall_limit", "memory_limit", "disk_limit", "interrupted")


class Rerun:
    """Runs the answer of one run. Close it after use.

    Args:
        private: the run's private stations, if it has any.
        sandbox: a cage: what runs is a stranger's.

    Raises:
        UserError: an environment that is not here, or stations that are not the run's.
    """

    def __init__(
        self, result: Result, events: Sequence[Event], bundle: Bundle, *, sandbox: Sandbox, private: Path | None = None,
        on_episode: OnEpisode = lambda event: None,
    ) -> None:  # fmt: skip
        if sandbox == "none":
            raise UserError("a stranger's answer is run in a cage or not at all: use --sandbox bwrap or docker")
        _, self._config = started(events)
        self._result, self._events, self._bundle = result, events, bundle
        self._sandbox, self._on_episode = sandbox, on_episode
        self._secret = StartStreams.parse_secret(result.held_out_secret or "")
        self._env: gym.Env[Any, Any] = make_env(result.env.id, result.env.kwargs)
        self._stations = choose_stations(
            self._env, result.env.kwargs, private, self._config.held_out, cells=self._config.cells
        )
        chosen = self._stations.private
        if (chosen.sha256 if chosen else None) != result.stations_sha256:
            self.close()
            raise UserError(f"{private or 'no file'} does not hold the private stations of this run")
        self.fingerprint = fingerprint(self._env)

    def __enter__(self) -> Rerun:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the environment."""
        self._env.close()

    # -- the run's own starts ----------------------------------------------------------------------------------------
    def replay(self) -> Replay:
        """Every held-out episode again, each cell's in its own process and in the order in which the ledger has them.

        Where outcomes differ all is run once more. If both re-runs agree, on the platform of the run, the answer is deterministic and
        the ledger's outcomes are not its own; else only its rate can be compared.
        """
        before = [e.payload for e in self._events if e.kind == "episode" and e.payload.purpose == "heldout"]
        recorded = {(e.index, e.attempt): e for e in before}
        again = self._again()
        pairs = [(recorded[key], now) for key, now in again.items() if _repeatable(recorded[key]) and _repeatable(now)]
        differing = [words for old, now in pairs if (words := difference(old, now)) is not None]
        by: Literal["outcomes", "interval"] = "outcomes"
        if differing and (
            other_platform(self._result.versions, self._result.hardware) or _unlike(again, self._again())
        ):
            by = "interval"
        firsts = [(old, again[old.index, old.attempt]) for old in before if old.attempt == 0 and not old.infrastructure]
        wins, counted = sum(old.success for old, _ in firsts), [now for _, now in firsts if not now.infrastructure]
        return Replay(
            episodes=len(pairs), same=len(pairs) - len(differing), successes=sum(now.success for now in counted), recorded_successes=wins,
            skipped=len(before) - len(pairs), by=by, interval=predictive_interval(wins, len(firsts), len(counted)), differing=differing[:10],
        )  # fmt: skip

    def _again(self) -> dict[tuple[int, int], EpisodeEvent]:
        streams = StartStreams(self._secret)
        station = station_of_start(self._stations, self._secret, "heldout")
        groups: defaultdict[tuple[int, str | None], list[EpisodeEvent]] = defaultdict(list)
        session = 0  # a scoring that was interrupted goes on in new processes
        for event in self._events:
            if event.kind == "evaluation" and event.payload.purpose == "heldout" and event.payload.phase == "started":
                session += 1
            elif event.kind == "episode" and event.payload.purpose == "heldout":
                groups[session, event.station].append(event.payload)
        found: dict[tuple[int, int], EpisodeEvent] = {}
        for group in groups.values():
            starts = [
                Start(
                    e.index, e.attempt, streams.seed("heldout", e.index), None, station(e.index),
                    streams.policy_seed("heldout", e.index, e.attempt),
                )
                for e in group
            ]  # fmt: skip
            found |= {(e.index, e.attempt): e for e in self._run(starts)}
        return found

    # -- fresh starts ------------------------------------------------------------------------------------------------
    def fresh(self, secret: bytes, begun: Begun | None = None, failed: Collection[int] = ()) -> Fresh:
        """As many starts as were held out, one attempt at each, from a secret.

        They are at the run's own station, where a run has one: there it claims its rate.

        Args:
            begun: where each episode is written, if this is no audit; what failed there in an earlier try has failed.
            failed: for an audit, the starts that failed in earlier tries of its record, by index.
        """
        failed = failed if begun is None else begun.failed
        each = self._stations.scope == "each"
        station = station_of_start(self._stations, secret if each else self._secret, "heldout")
        streams, n = StartStreams(secret), self._config.held_out
        starts = (
            Start(k, 0, streams.seed("heldout", k), None, station(k), streams.policy_seed("heldout", k))
            for k in range(n)
        )
        episodes = [worst(episode, failed) for episode in self._run(starts, None if begun is None else begun.ledger)]
        summary = summarise(episodes)
        held_out = HeldOut(**{name: getattr(summary, name) for name in HeldOut.model_fields})
        tries = 1 if begun is None else begun.tries + 1
        found = Fresh(secret=secret.hex(), held_out=held_out, tries=tries, failed=sorted(failed))
        if self.fingerprint != self._result.env.fingerprint:
            return found
        wins, claimed = self.claim()
        interval = predictive_interval(wins, claimed, held_out.episodes)
        chance = false_rejection(claimed, held_out.episodes)
        return found.model_copy(update={"interval": interval, "false_rejection": chance})

    def claim(self) -> tuple[int, int]:
        """Successes and starts of the ledger's first attempts: attempts at one start say little more than one does."""
        held = [e.payload for e in self._events if e.kind == "episode" and e.payload.purpose == "heldout"]
        firsts = [e.success for e in held if e.attempt == 0 and not e.infrastructure]
        return sum(firsts), len(firsts)

    def _run(self, starts: Iterable[Start], ledger: Ledger | None = None) -> list[EpisodeEvent]:
        """Episodes in a new process of the policy's. Raises UserError where they were cut, or the machine failed in any: what is left of
        them would say of the answer whatever the machine let through."""
        starts = list(starts)
        ledger = ledger or Ledger(Path(":memory:"), RunClock.start(math.inf))
        with script_settings(self._config.tools, None, None, ledger) as scripts:
            cell = LocalCell(
                self._env,
                sandbox=self._sandbox,
                track=self._config.track,
                scripts=scripts,
                answer=answer_of(self._config.regime),
            )
            attempts = 1 + max((start.attempt for start in starts), default=0)
            batch = Batch("held-out", "heldout", self._bundle, len(starts), starts, attempts=attempts)
            tally = evaluate([cell], batch, ledger, on_episode=self._on_episode)
        if tally.aborted or len(tally.episodes) != len(starts):
            raise UserError("the re-run was cut; verify again")
        if lost := sum(e.infrastructure or e.reason == "interrupted" for e in tally.episodes):
            raise UserError(f"{lost} of {len(starts)} episodes were void or interrupted; verify again")
        return tally.episodes


def difference(old: EpisodeEvent, now: EpisodeEvent) -> str | None:
    """In what two outcomes at one start differ, in words."""
    for name in ("success", "reason", "stage", "steps", "score", "sim_s", "violations", "scene"):
        before, after = getattr(old, name), getattr(now, name)
        if isinstance(before, float) and math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-12):
            continue
        if before != after and not (name == "scene" and None in (before, after)):
            return f"start {old.index}: {name} is {before!r} in the ledger, and {after!r} again"[:300]
    return None


def _repeatable(episode: EpisodeEvent) -> bool:
    if episode.infrastructure or episode.reruns:
        return False
    return not (episode.reason or "").endswith(_OF_THE_MACHINE)


def _unlike(one: dict[tuple[int, int], EpisodeEvent], two: dict[tuple[int, int], EpisodeEvent]) -> bool:
    return any(difference(one[key], two[key]) for key in one if _repeatable(one[key]) and _repeatable(two[key]))


def other_platform(its_versions: Mapping[str, str], its_hardware: str | None) -> str | None:
    """In what this computer is not the one that something was measured on, as far as arithmetic goes; None where it is."""
    for name, here in versions().items():
        if its_versions.get(name) != here:
            return f"{name} is {here} here and was {its_versions.get(name)}"
    mine, its = (text.partition(",")[0] for text in (hardware(), its_hardware or "unknown"))
    return None if mine == its else f"this is {mine}, and it was {its}"
