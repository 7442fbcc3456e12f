"""`rlpd` while a robot works: the learner's side of a session at a station, which waits for none of its gradient steps.

    EPISODES/*.episode     the station's: one file an episode, whole or not there. Together they are the buffer: no crash takes it along
    LIVE/network.onnx      this program's: the newest network that explores; it acts from the next episode on
    LIVE/checkpoint.pt     what the next gradient step depends on, and which episodes it knows
    LIVE/curve.csv         as every training (`run`)
    LIVE/policy/           in the end, and now and then: the policy without what it tries out

A learner that is ended, however, goes on where its checkpoint stands, with every episode that has come since, each once. The same
program learns beside a simulated cell, a twin and a robot: it sees files, and never the station.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from enpire_envs.episode_file import SUFFIX, EpisodeError, read_head

from autoenvbench.errors import UserError
from autoenvbench.learning.buffer import Batch, Buffer, Mixture
from autoenvbench.learning.episodes import Demonstrations, load
from autoenvbench.learning.export import action_bounds, export
from autoenvbench.learning.network_file import declared_network
from autoenvbench.learning.rlpd import Settings, learner_of
from autoenvbench.learning.run import CHECKPOINT, Training
from autoenvbench.learning.settings import parse_settings
from autoenvbench.learning.task_file import SpacesOnly, space_of
from autoenvbench.workspace.learner import NEWEST

SEND_S = 2.0  # between two networks that explore
EXPORT_S = 60.0  # between two policies
_WAIT_S = 0.02
_STEPS = 10**9


class Arrivals:
    """Episodes that a station leaves in a folder, each of which goes into a buffer once, in the order in which they were run.

    Args:
        like: what they must go with.
        good: a buffer that takes the successes, too.

    Attributes:
        episodes, steps: that have come so far.
    """

    RECENT = 50  # episodes that the success rate is of

    def __init__(self, folder: Path, buffer: Buffer, like: Demonstrations, good: Buffer | None = None) -> None:
        self._folder, self._buffer, self._like, self._good = folder, buffer, like, good
        self._taken: list[str] = []
        self._known: set[str] = set()
        self._recent: deque[bool] = deque(maxlen=self.RECENT)
        self.episodes = self.steps = 0

    def take(self) -> None:
        """What has come since. Raises UserError for an episode of another environment."""
        try:
            names = [e.name for e in os.scandir(self._folder) if e.name.endswith(SUFFIX) and e.name not in self._known]
        except FileNotFoundError:
            return  # the first one makes the folder
        for name in sorted((n for n in names if not n.startswith(".")), key=_order):
            self._add(name)

    def _add(self, name: str) -> None:
        self._taken.append(name)
        self._known.add(name)
        try:
            if not read_head(self._folder / name).steps:
                return  # its policy never acted
        except EpisodeError as error:
            raise UserError(f"cannot learn from what the station left: {error}") from None
        found = load([self._folder / name])
        for what in ("env", "fingerprint", "observation_space", "action_space"):
            if getattr(found, what) != getattr(self._like, what):
                raise UserError(
                    f"{name} does not go with the demonstrations: its {what} is {getattr(found, what)}, theirs {getattr(self._like, what)}"
                )
        for trajectory in found:
            self._buffer.add(trajectory)
            if self._good is not None and trajectory.success:
                self._good.add(trajectory)
            self._recent.append(trajectory.success)
            self.episodes, self.steps = self.episodes + 1, self.steps + len(trajectory)

    def __len__(self) -> int:
        """Recent ones."""
        return len(self._recent)

    @property
    def success(self) -> float:
        """Share of the recent episodes that succeeded, with what they tried out; NaN before the first."""
        return float(np.mean(self._recent)) if self._recent else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """Which episodes are in the buffer: what they hold is in their files."""
        return {"taken": list(self._taken)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold these episodes again; those whose files somebody removed are gone."""
        for name in state["taken"]:
            if (self._folder / name).exists():
                self._add(name)


def _order(name: str) -> tuple[int, int, str]:
    """Of `E12-345.episode`: by evaluation, then by start."""
    evaluation, _, index = name.removesuffix(SUFFIX).partition("-")
    number = evaluation.removeprefix("E")
    return (int(number) if number.isdecimal() else 0, int(index) if index.isdecimal() else 0, name)


def learn(
    episodes: Path | str,
    live: Path | str,
    *,
    demos: Sequence[Path | str] = (),
    settings: Sequence[str] = (),
    seed: int = 0,
    minutes: float = 10_000.0,
    threads: int = 1,
    answer: Path | str | None = None,
    stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> Path:
    """Learn from the episodes that a station leaves, until `stop`, SIGTERM, or the minutes are over; go on with what `live` holds.

    Args:
        episodes: the folder that the station fills.
        live: this program's folder.
        demos: folders of demonstrations; where there are none, of any episode of the environment, which says what it sees and does.
        settings: of `rlpd`, as NAME=VALUE. Where decisions come faster than `updates` gradient steps, the learner is behind, and where they
            come more slowly, it waits.
        minutes: at most; those before an interruption count.
        answer: where a copy of the policy's declared network is kept, such as checkpoints/network.onnx.

    Returns:
        The policy's folder.

    Raises:
        UserError: for anything that is not there or does not fit.
    """
    s, live = parse_settings(Settings, settings), Path(live)
    if s.robot_minutes < Settings().robot_minutes:
        raise UserError("robot_minutes is the session's to bound here, by its minutes or its episodes")
    if not demos:
        raise UserError(
            "learning on a robot begins with demonstrations, or with any episodes of it that say what it sees and does"
        )
    shown_episodes = load(demos)
    seen, done = space_of(shown_episodes.observation_space), space_of(shown_episodes.action_space)
    station = SpacesOnly(shown_episodes.env, seen, done)
    low, high = action_bounds(station)
    imitates = bool(s.demo_share or s.clone or s.bc_weight)
    features, learner = learner_of(station, shown_episodes, s)
    room = sum(len(t) + 1 for t in shown_episodes) + s.capacity * s.imitate_own
    shown, replay = Buffer(features, room, low, high), Buffer(features, s.capacity, low, high)
    for demonstration in shown_episodes:
        shown.add(demonstration)
    mixture = Mixture({"replay": (replay, 1 - s.demo_share), "demos": (shown, s.demo_share)})
    arrivals = Arrivals(Path(episodes), replay, shown_episodes, shown if s.imitate_own else None)
    training = Training(live, seed=seed, minutes=minutes, threads=threads, resume=(live / CHECKPOINT).is_file())
    decisions: dict[str, Any] = {"gamma": s.gamma, "n_step": s.n_step, "hold": s.hold}
    about = {"algorithm": "rlpd", "env": shown_episodes.env, "fingerprint": shown_episodes.fingerprint, "seed": seed,
             "settings": asdict(s), "demos": {"sources": shown_episodes.sources, "steps": shown_episodes.steps}}  # fmt: skip
    terminated: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: terminated.append(number))

    def over() -> bool:
        return bool(terminated) or stop() or training.over or arrivals.episodes >= s.episodes

    def demonstrated() -> Batch:
        return shown.batch(shown.sample(s.batch, training.rng), **decisions)

    def send() -> None:
        exploring = learner.pack(features, low, high, newest=True)
        _replace(live / NEWEST, declared_network(*exploring, station.observation_space, explore=True))

    def keep() -> Path:
        packed = learner.pack(features, low, high)
        network = declared_network(*packed, station.observation_space)
        if answer is not None:
            _replace(Path(answer), network)
        made_by = {**about, "updates": learner.steps, "episodes": arrivals.episodes, "robot_steps": arrivals.steps}
        return export(live / "policy", packed, made_by, network)

    sent = kept = recorded = -np.inf
    for _ in training.steps(_STEPS, learner=learner, arrivals=arrivals):
        if (
            not learner.steps and not arrivals.episodes and sent < 0
        ):  # start as what behaviour cloning makes of the demonstrations
            for _ in range(s.clone if imitates else 0):
                learner.clone(demonstrated())
        while not over():
            if (now := time.monotonic()) - sent >= SEND_S:
                send()
                sent = now
            arrivals.take()
            if learner.steps < s.updates * arrivals.steps / s.hold:
                break
            time.sleep(_WAIT_S)  # for the robot; it never waits for this
        if over():
            break
        batch = mixture.sample(s.batch, training.rng, **decisions)
        measured = learner.update(batch, demonstrated() if s.bc_weight or s.bc_final else None)
        if arrivals.episodes - recorded >= s.record_every:
            recorded = arrivals.episodes
            log(
                f"learner: {arrivals.episodes} episodes, {100 * arrivals.success:.0f} % of the last {len(arrivals)} succeeded; "
                f"{learner.steps} gradient steps"
            )
            training.record(success=arrivals.success, episodes=arrivals.episodes, robot_steps=arrivals.steps, updates=learner.steps,
                            bc_weight=learner.bc_weight, **measured)  # fmt: skip
        if now - kept >= EXPORT_S:
            keep()
            kept = now
    training.checkpoint()
    send()
    return keep()


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def main() -> None:
    """Learn; the argument is a JSON object of the arguments of `learn`."""
    try:
        print(learn(**json.loads(sys.argv[1])))
    except UserError as error:
        raise SystemExit(f"the learner: {error}") from None


if __name__ == "__main__":
    main()
