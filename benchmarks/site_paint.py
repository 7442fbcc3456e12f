"""How soon, and with how many bytes, each page of a site is seen that `publish site` makes of a run with 10,000 episodes, in headless Chromium.

The run is a team's of four: batches of 20 and confirmations of 50 until there are so many episodes, and 200 held-out ones, with the ledger and
answer that such a run has. Prints a line a page, and how much a page holds before films; exit code 1 where one has more than 500 KB, or is first
painted after 1 s. First paint is the browser's own, the least of --tries loads, since a busy computer only adds to it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from headless import PROGRAM, WITHOUT, Chromium
from histories import Author

from autoenvbench.errors import UserError
from autoenvbench.publish.site import write_site
from autoenvbench.record.compute import compute_class, hardware
from autoenvbench.record.events import (
    AgentEvent,
    CommitEvent,
    EpisodeEvent,
    EvaluationEvent,
    Payload,
    RunEvent,
    StartEvent,
)
from autoenvbench.record.results import versions
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams

MEMBERS = [f"codex-{k + 1}" for k in range(4)]
SECRET = bytes(32)
STREAMS = StartStreams(SECRET)
MOST_KB, MOST_S = 500, 1.0
HELD_OUT = 200
PAINTED = """new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime / 1000))
    .observe({type: 'paint', buffered: true}))"""


class Seeded(Author):
    """Starts have the seeds of the secret of 32 zeros, and batches the scores of their episodes."""

    scores: list[float]

    def write(self, payload: Payload, agent: str | None = None, station: str | None = None) -> None:
        """One event."""
        if isinstance(payload, StartEvent | EpisodeEvent):
            payload = payload.model_copy(update={"seed": STREAMS.seed(payload.purpose, payload.index)})
        if isinstance(payload, EpisodeEvent):
            self.scores.append(payload.score)
        elif isinstance(payload, EvaluationEvent):
            if payload.phase == "finished":
                payload = payload.model_copy(update={"score": sum(self.scores) / len(self.scores)})
            self.scores = []
        super().write(payload, agent, station)


def write_run(folder: Path, episodes: int) -> Path:
    """A finished run of eight hours."""
    folder.mkdir(parents=True)
    config = RunConfig(
        agent="codex",
        env="ENPIRE/PinInsertion-State-v0",
        budget_s=8 * 3600.0,
        team=4,
        cells=4,
        pace=1.0,
        held_out=HELD_OUT,
    )
    with Seeded.of_ledger(folder / "ledger.sqlite") as author:
        author.t = 0.0
        author.write(
            RunEvent(
                phase="started", run_id=folder.name, config=config.model_dump(exclude={"held_out_secret"}), members=dict.fromkeys(MEMBERS, "codex"),
                secret_sha256=STREAMS.commitment, known_starts=False, prices={}, fingerprint="f" * 16, cell="sim", versions=versions(),
                hardware=hardware(), compute_class=compute_class(),
            )
        )  # fmt: skip
        author.commit("admin", "c0")
        author.commit("admin", "c0", "starter")
        for name in MEMBERS:
            author.write(AgentEvent(phase="started", name="codex", model="m"), name)
        rounds = max(1, episodes // 30)
        slot = config.budget_s / rounds
        for k in range(rounds):
            name, author.t = MEMBERS[k % 4], k * slot
            author.call(name, 0.2 * slot)
            idea = author.idea(name, f"idea {k}", parent=f"I{author.ideas}" if k else None) if k % 3 == 0 else None
            commit = f"{k:040x}"
            author.commit(name, commit)
            author.batch(name, commit, min(20, k * 20 // rounds), 20, idea, seconds=0.3 * slot, cells=4)
            if k % 5 == 0:
                best = commit
                author.batch(name, commit, min(50, k * 50 // rounds), 50, idea, "confirm", seconds=0.4 * slot, cells=4)
        author.write(CommitEvent(phase="submitted", commit=best, digest=best, content=best), MEMBERS[0])
        author.t = config.budget_s
        author.write(RunEvent(phase="agents_stopped", detail="deadline"))
        author.index = 0
        author.batch(MEMBERS[0], best, 150, HELD_OUT, None, "heldout")
        author.write(RunEvent(phase="finished", secret=SECRET.hex()))
    return folder


def main() -> int:
    """Write the run and its site, and look at each page."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the run and the site")
    parser.add_argument("--tries", type=int, default=5)
    args = parser.parse_args()
    if PROGRAM is None:
        raise UserError(WITHOUT)
    run = args.out / "runs/a-long-run"
    run = run if run.exists() else write_run(run, args.episodes)
    pages, _ = write_site(Path(__file__).parents[1] / "leaderboards", args.out / "site", [run])
    failed = 0
    with tempfile.TemporaryDirectory() as profile:
        browser = Chromium(Path(profile))
        try:
            for page in pages:
                if page.suffix != ".html":
                    continue
                first = min(_painted(browser, page) for _ in range(args.tries))
                size = page.stat().st_size / 1e3
                failed += (bad := size > MOST_KB or first > MOST_S)
                print(
                    f"{size:8.1f} KB  first paint {first:5.2f} s  {page.relative_to(args.out)}{'  too much' if bad else ''}",
                    flush=True,
                )
        finally:
            browser.close()
    return int(failed > 0)


def _painted(browser: Chromium, page: Path) -> float:
    browser.open(page)
    return float(browser.run(PAINTED))


if __name__ == "__main__":
    sys.exit(main())
