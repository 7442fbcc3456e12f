"""A tie is decided on shared fresh starts, once, at a known cost; and nobody is luckier for asking again."""

import json
from itertools import pairwise

import numpy as np
import pytest
from conftest import ZERO_POLICY
from test_door import _SOLVER

from autoenvbench.publish import ledger_audit
from autoenvbench.record.candidates import Candidate, Candidates
from autoenvbench.record.events import ComparisonEvent, EpisodeEvent, EvaluationEvent
from autoenvbench.record.ledger import Event
from autoenvbench.record.sequential import COMPARED_ALPHA, COMPARED_STARTS, alpha_of
from autoenvbench.station.comparison import BLOCK, begin, compare
from autoenvbench.station.evaluation import Tally
from autoenvbench.workspace.bundling import send_head


def tally(content, first, outcomes, aborted=False):
    """What a block of episodes came to; None where the machine failed."""
    episodes = [
        EpisodeEvent(evaluation="E", purpose="compare", index=first + k, commit=content, digest=content, content=content, seed=0,
                     success=bool(won), score=float(bool(won)), stage="", steps=1, sim_s=0.1, robot_s=0.1, infrastructure=won is None)
        for k, won in enumerate(outcomes)
    ]  # fmt: skip
    return Tally("E", episodes, aborted=aborted)


def play(ledger, number, outcome, cut_after=10**9):
    """A comparison in which `outcome(content, index)` says who solves what; returns its end and the blocks that were run."""
    blocks = []

    def block(n, challenger_first):
        first = sum(size for size, _ in blocks)
        blocks.append((n, challenger_first))
        order = ("new", "old") if challenger_first else ("old", "new")
        return [
            tally(c, first, [outcome(c, first + k) for k in range(n)], aborted=len(blocks) > cut_after) for c in order
        ]

    begun = begin(number, Candidate("new", "c", "d"), Candidate("old", "c", "d"), ledger, "codex")
    end = compare(begun, ledger, "codex", block)
    assert [e.payload.phase for e in ledger.events("comparison")][-2:] == ["started", "ended"]
    return end, blocks


def test_it_ends_when_it_is_decided_and_costs_no_more_than_its_cap(ledger):
    end, blocks = play(ledger, 1, lambda content, k: content == "new")
    assert (end.verdict, end.wins, end.losses) == ("challenger", end.starts, 0)
    assert end.starts < sum(n for n, _ in blocks) == 2 * BLOCK
    end, _ = play(ledger, 2, lambda content, k: content == "old" or k % 5 == 0)
    assert end.verdict == "incumbent"
    end, blocks = play(
        ledger, 3, lambda content, k: (k + (content == "new")) % 2 == 0
    )  # each solves what the other does not
    assert (end.verdict, end.wins, end.losses) == ("undecided", end.starts // 2, end.starts // 2)
    assert end.starts <= sum(n for n, _ in blocks) <= COMPARED_STARTS == end.most
    assert all(one != two for (_, one), (_, two) in pairwise(blocks))  # neither always goes first


def test_a_start_at_which_the_machine_failed_says_nothing(ledger):
    end, _ = play(ledger, 1, lambda content, k: None if content == "old" and k < 5 else content == "new")
    assert end.verdict == "challenger"
    assert end.wins == end.starts
    assert end.starts < BLOCK + 5


@pytest.mark.parametrize("winner", ["new", "old"])
def test_a_comparison_that_is_cut_is_a_tie_and_is_spent(ledger, winner):
    """Whoever hangs up when it goes badly keeps nothing by it, and the next one must be clearer."""
    end, _ = play(ledger, 1, lambda content, k: content == winner, cut_after=0)
    assert (end.verdict, end.starts) == ("undecided", 0)
    made = Candidates()
    for event in ledger.events("comparison"):
        made.compared(event.payload)
    assert made.comparisons == 1
    assert alpha_of(2) < alpha_of(1) / 2


def test_asking_again_and_again_brings_no_luck(ledger):
    """Copies of one policy, compared ten times in a run: one does win or lose in two runs of a hundred, not in one of five."""
    assert sum(alpha_of(k) for k in range(1, 10**5)) <= COMPARED_ALPHA
    rng, runs, decided = np.random.default_rng(7), 40, 0
    for _ in range(runs):
        verdicts = [play(ledger, k, lambda content, index: rng.random() < 0.5)[0].verdict for k in range(1, 11)]
        decided += set(verdicts) != {"undecided"}
    assert decided <= 3  # 2 % of 40 is 0.8; more than 3 has a chance below 1 %


def confirmed(content, wins, n=50):
    return EvaluationEvent(phase="finished", id="E", purpose="confirm", commit=content, digest=content, content=content,
                           planned=n, episodes=n, successes=wins)  # fmt: skip


def decided(verdict, challenger="b", incumbent="a"):
    return ComparisonEvent(phase="ended", id="C1", challenger=challenger, incumbent=incumbent, most=100, alpha=0.01, starts=20,
                           wins=9, losses=0, verdict=verdict)  # fmt: skip


def test_the_winner_leads_the_loser_leaves_and_a_tie_changes_nothing():
    made = Candidates()
    for content, wins in (("a", 42), ("b", 40), ("c", 38)):
        made.add(confirmed(content, wins))
    assert (made.leader.content, made.estimate()) == ("a", (120, 150))
    assert not made.compared(decided("undecided"))
    assert (made.leader.content, made.estimate()) == ("a", (120, 150))
    assert made.to_compare("b") == (made.known["b"], made.known["a"])
    assert made.compared(decided("challenger"))
    assert (made.leader.content, made.estimate()) == (
        "b",
        (78, 100),
    )  # its own rate is not the highest of three: it has won
    made.add(confirmed("d", 41))
    assert made.leader.content == "b"  # who ties does not lead by luck
    assert made.compared(decided("incumbent", "d", "b"))
    assert made.leader.content == "b"
    assert {c.content for c in made.group} == {"b", "c"}
    made.add(confirmed("e", 50))  # whoever is better at one per cent replaces them all
    assert (made.leader.content, made.estimate()) == ("e", (50, 50))


def test_a_verdict_about_candidates_that_do_not_lead_changes_nothing():
    made = Candidates()
    made.add(confirmed("a", 42))
    for other in (decided("challenger"), decided("challenger", "a", "z"), decided("incumbent", "y", "z")):
        assert not made.compared(other)
    assert (made.leader.content, made.estimate()) == ("a", (42, 50))


def test_a_tie_at_a_station_is_decided_once(bench):
    """Two candidates whose confirmations are equal, of which one solves four starts of five and the other none."""
    digests = {}
    for name, source in (("still", ZERO_POLICY), ("solver", _SOLVER)):
        bench.commit(source) if source != ZERO_POLICY else None
        head = send_head(bench.client(), bench.repo)
        (received,) = [e.payload for e in bench.ledger.events("commit") if e.payload.digest == head.digest]
        digests[name] = (received.commit, received.digest, received.content)
    assert bench.aeb("compare")[0] == 2  # nothing is confirmed yet
    for k, (commit, digest, content) in enumerate(digests.values()):
        about = {"commit": commit, "digest": digest, "content": content, "planned": 4, "episodes": 4, "successes": 2}
        bench.ledger.append(
            EvaluationEvent(phase="finished", id=f"E{k + 1}", purpose="confirm", **about), agent="codex"
        )
    code, out, _ = bench.aeb("compare", "--json")
    result = json.loads(out)
    assert (code, result["verdict"], result["losses"]) == (0, "challenger", 0)
    assert result["wins"] >= 7
    status = json.loads(bench.aeb("status", "--json")[1])
    assert status["best"] == {**status["best"], "commit": digests["solver"][0], "success_rate": 0.5, "episodes": 4}
    code, _, err = bench.aeb("compare")
    assert code == 2
    assert "this is the confirmed best" in err
    events = list(bench.ledger.events())
    episodes = [e.payload for e in events if e.kind == "episode"]
    by_content = [{e.index for e in episodes if e.content == content} for *_, content in digests.values()]
    assert by_content[0] == by_content[1] == set(range(len(episodes) // 2))  # the same fresh starts, each once
    assert len(episodes) <= 2 * COMPARED_STARTS
    bench.aeb("evaluate", "-n", "1")
    assert (
        next(reversed(list(bench.ledger.events("episode")))).payload.index == len(episodes) // 2
    )  # and nobody's again

    assert not list(ledger_audit._comparison_faults(events))
    for change in ({"verdict": "incumbent"}, {"wins": result["wins"] + 1}, {"starts": 100}):
        forged = [Event(**{**_fields(e), "payload": e.payload.model_copy(update=change)}) if e.kind == "comparison" and e.payload.phase == "ended" else e
                  for e in events]  # fmt: skip
        assert [fault for fault in ledger_audit._comparison_faults(forged) if "its episodes give challenger" in fault]
    bold = [
        Event(**{**_fields(e), "payload": e.payload.model_copy(update={"alpha": 0.5})}) if e.kind == "comparison" else e
        for e in events
    ]
    assert list(ledger_audit._comparison_faults(bold))


def _fields(event):
    return {name: getattr(event, name) for name in event.__dataclass_fields__}
