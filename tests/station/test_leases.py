"""Who has which cell: the pool by itself, with no clock and no robot, in whatever order members ask."""

import itertools
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoenvbench.errors import RobotBusy
from autoenvbench.record.events import TRIED, EpisodeEvent, StartEvent
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.batch import Batch, CellLost, CellResult, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.evaluation import evaluate_with
from autoenvbench.station.leases import TURN, Pool


class Robot:
    """A cell as the pool knows it."""

    def __init__(self, place):
        self.name = f"cell {place}"


class Bench:
    """A pool and its jobs, of which `running` are the cells on which episodes are under way."""

    def __init__(self, cells, members, own_stations=False):
        self.members = [f"m{k}" for k in range(members)]
        own = {m: frozenset(range(k, cells, members)) for k, m in enumerate(self.members)} if own_stations else None
        self.pool = Pool(cells, own)
        for place in range(cells):
            self.pool.put(place, Robot(place))
        self.jobs, self.running, self.ran = {}, {}, Counter()

    def ask(self, member, most):
        if member in self.jobs:
            with pytest.raises(RobotBusy, match="a job of yours"):
                self.pool.open(member, "another", most)
            return
        self.jobs[member] = self.pool.open(member, f"job of {member}", most)

    def begin(self):
        """Whoever was given a cell begins an episode on it."""
        for member, lease in self.jobs.items():
            while (cell := lease.poll()) is not None:
                assert cell not in self.running
                self.running[cell] = member
                assert lease.keeps(cell)  # an episode at least
        self.check()

    def boundary(self, cell):
        """An episode is over."""
        member = self.running[cell]
        self.ran[member] += 1
        if not self.jobs[member].keeps(cell):
            del self.running[cell]
            self.jobs[member].give_back(cell)

    def end(self, member):
        self.jobs.pop(member).close()
        self.running = {cell: other for cell, other in self.running.items() if other != member}

    def lose(self, place):
        cell = self.pool.cells.get(place)
        if cell is not None and len(self.pool.cells) > 1:
            self.pool.lose(place, returns=True)
            if (member := self.running.pop(cell, None)) is not None:
                self.jobs[member].give_back(cell)  # as who ran it does, later

    def check(self):
        held = [cell for lease in self.jobs.values() for cell in lease.held]
        assert len(held) == len(set(held))
        assert set(held) <= set(self.pool.cells.values())
        for lease in self.jobs.values():
            assert len(lease.held) <= lease.most
            assert {self.pool.place_of(cell) for cell in lease.held} <= lease.places
        for place, cell in self.pool.cells.items():  # none stands idle that somebody wants
            if cell not in held:
                assert not [j for j in self.jobs.values() if len(j.held) < j.most and place in j.places]

    def starving(self):
        return [member for member, lease in self.jobs.items() if not lease.held]


step = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 4), st.sampled_from([1, None])),
    st.tuples(st.just("boundary"), st.integers(0, 9), st.none()),
    st.tuples(st.just("end"), st.integers(0, 4), st.none()),
    st.tuples(st.just("lose"), st.integers(0, 3), st.none()),
    st.tuples(st.just("put"), st.integers(0, 3), st.none()),
)


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(1, 5), st.booleans(), st.lists(step, max_size=40))
def test_whatever_members_ask_for_nobody_starves_and_shares_are_equal(cells, members, own_stations, steps):
    bench = Bench(cells, members, own_stations and cells >= members)
    for kind, number, most in steps:
        member = f"m{number}"
        if kind == "ask" and member in bench.members:
            bench.ask(member, most)
        elif kind == "boundary" and bench.running:
            bench.boundary(sorted(bench.running, key=lambda c: c.name)[number % len(bench.running)])
        elif kind == "end" and member in bench.jobs:
            bench.end(member)
        elif kind == "lose" and number < cells:
            bench.lose(number)
        elif kind == "put" and number < cells and number not in bench.pool.cells:
            bench.pool.put(number, Robot(number))
        bench.begin()
    for place in set(range(cells)) - bench.pool.cells.keys():
        bench.pool.put(place, Robot(place))
    bench.begin()
    # From here on nobody comes or goes, and every cell has an episode after the other.
    waited = Counter()
    for _ in range(3 * (TURN + 1) * (members + 1)):
        for cell in list(bench.running):
            if cell in bench.running:
                bench.boundary(cell)
        bench.begin()
        waited = Counter({member: waited[member] + 1 for member in bench.starving()})
        assert not waited or max(waited.values()) <= (TURN + 1) * members
    held = [len(lease.held) for lease in bench.jobs.values() if lease.most > 1]
    if not own_stations and held:
        assert max(held) - min(held) <= 1


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 7))
def test_who_comes_new_has_the_next_cell_whose_episode_ends(cells, others, episodes):
    bench = Bench(cells, others + 1)
    for member in bench.members[:-1]:
        bench.ask(member, None)
        bench.begin()
    for _ in range(episodes):
        for cell in list(bench.running):
            bench.boundary(cell)
            bench.begin()
    bench.ask(bench.members[-1], 1)
    bench.begin()
    for _ in bench.starving():  # it, and who came new before it
        bench.boundary(next(iter(bench.running)))
        bench.begin()
    assert bench.members[-1] not in bench.starving()


def test_who_asks_again_and_again_has_no_more_of_a_robot_than_who_asks_once():
    bench = Bench(1, 2)
    bench.ask("m0", None)
    bench.begin()
    for _ in range(40):
        bench.ask("m1", 1)
        bench.begin()
        (cell,) = bench.running
        if bench.running[cell] == "m1":
            bench.ran["m1"] += 1
            bench.end("m1")  # one episode, and the next job at once
        else:
            bench.boundary(cell)
    assert bench.ran["m1"] <= bench.ran["m0"] + 1


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=40, max_size=100),
)
def test_no_jobs_however_short_make_another_begin_anew_more_than_once_in_a_turn(cells, others, asked):
    """Where each member has a cell at most: peers run jobs of an episode, or take a picture, in whatever order suits them."""
    bench = Bench(cells, others + cells)
    for member in (honest := bench.members[:cells]):
        bench.ask(member, 1)
    anew, waits = Counter(honest), Counter()
    bench.begin()
    for attacker, cell in asked:
        if (member := bench.members[cells + attacker % others]) not in bench.jobs:
            bench.ask(member, 1)
        before = set(bench.running.values())
        bench.begin()
        for member in set(bench.running.values()) - set(honest):
            bench.end(member)  # after an episode or none: the next job may be asked for at once
        bench.begin()
        anew.update(member for member in honest if member in set(bench.running.values()) - before)
        bench.boundary(sorted(bench.running, key=lambda c: c.name)[cell % len(bench.running)])
        waits = Counter({member: waits[member] + 1 for member in bench.starving()})
        assert not waits or max(waits.values()) <= cells * (TURN + 1) * len(bench.members)
    for member in honest:
        assert anew[member] <= 1 + others + bench.ran[member] / TURN, (anew, bench.ran)  # once for who never had a cell


def test_who_shares_one_robot_takes_turns_of_some_episodes():
    bench = Bench(1, 2)
    order = []
    for member in bench.members:
        bench.ask(member, None)
    bench.begin()
    for _ in range(4 * TURN):
        (cell,) = bench.running
        order.append(bench.running[cell])
        bench.boundary(cell)
        bench.begin()
    turns = [(member, len(list(run))) for member, run in itertools.groupby(order)]
    assert turns[0] == ("m0", 1)  # the other had none yet
    assert turns[1:-1] == [(m, TURN) for m, _ in turns[1:-1]]
    assert len(turns) >= 4


def test_a_member_whose_robots_are_all_lost_is_told_so_and_waits_for_one_that_returns():
    bench = Bench(2, 2, own_stations=True)
    bench.pool.lose(1, returns=False)
    lease = bench.pool.open("m1", "a job")
    with pytest.raises(CellLost, match="every cell is lost on which m1 works"):
        lease.take(lambda: False)
    lease.close()
    bench.pool.lose(1, returns=True)
    lease, polls = bench.pool.open("m1", "a job"), itertools.count()
    assert lease.take(lambda: next(polls) == 2) is None  # it gave up
    threading.Timer(0.05, bench.pool.put, (1, back := Robot(1))).start()
    assert lease.take(lambda: False) is back


# -- batches on a pool ---------------------------------------------------------------------------------------------------
class Scripted(Robot):
    """Runs episodes whose outcomes their seeds decide; may be lost when it is told of its nth start, before or after that begins."""

    def __init__(self, place, dies=None, begun=False):
        super().__init__(place)
        self._left, self._begun = dies, begun

    def run(self, batch, sink, stop):
        for start in batch.starts:
            about = {"evaluation": batch.evaluation, "purpose": batch.purpose, "index": start.index, "commit": "c", "digest": "d",
                     "seed": start.seed}  # fmt: skip
            if self._left is not None:
                self._left -= 1
            if self._left == 0 and not self._begun:
                raise CellLost(f"{self.name} is gone")
            if batch.purpose not in TRIED:  # as a worker does: what is tried out is on record when it is over
                sink.append(StartEvent(**about))
            if self._left == 0:
                raise CellLost(f"{self.name} is gone")
            success = start.seed % 3 == 0
            sink.append(EpisodeEvent(**about, success=success, score=float(success), stage="", reason=None if success else "time_limit",
                                     steps=start.seed % 7, sim_s=1.0, robot_s=1.0))  # fmt: skip
        return CellResult(through=True)


def run_members(ledger, folder, cells, n):
    """Two members' evaluations at once on these cells; what each came to."""
    pool = Pool(len(cells))
    for place, cell in enumerate(cells):
        pool.put(place, cell)
    tallies = {}

    def run(member, first):
        starts = draw_starts(StartStreams(bytes(32)), "evaluate", first, n)
        lease = pool.open(member, member)
        batch = Batch(f"E{first}", "evaluate", Bundle("c", "d", "", folder), n, starts, agent=member)
        tallies[member] = evaluate_with(lease, batch, ledger, "station-1")
        lease.close()

    threads = [threading.Thread(target=run, args=(f"m{k}", k * n)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return tallies


def outcomes(tally):
    return [(e.index, e.seed, e.success, e.steps) for e in tally.episodes]


def test_two_members_at_once_have_the_same_episodes_on_one_cell_two_or_four(ledger, tmp_path):
    ran = [run_members(ledger, tmp_path, [Scripted(k) for k in range(n)], 13) for n in (1, 2, 4)]
    for member in ("m0", "m1"):
        assert outcomes(ran[0][member]) == outcomes(ran[1][member]) == outcomes(ran[2][member])
        assert not any(tallies[member].aborted for tallies in ran)
        assert len(ran[0][member].episodes) == 13
    assert outcomes(ran[0]["m0"]) != outcomes(ran[0]["m1"])


@pytest.mark.parametrize("begun", [False, True])
def test_a_start_that_a_lost_cell_had_begun_is_judged_and_one_that_it_had_not_is_run_by_another(
    ledger, tmp_path, begun
):
    tallies = run_members(ledger, tmp_path, [Scripted(0), Scripted(1, dies=3, begun=begun)], 20)
    cut = [e for tally in tallies.values() for e in tally.episodes if e.reason == "interrupted"]
    assert len(cut) == begun
    assert all("cell 1 is gone" in e.detail and not e.success for e in cut)
    for k in range(2):
        assert not tallies[f"m{k}"].aborted
        assert [e.index for e in tallies[f"m{k}"].episodes] == list(range(k * 20, k * 20 + 20))


def test_what_a_lost_cell_was_trying_out_is_no_episode_and_its_batch_is_not_whole(ledger, tmp_path):
    pool = Pool(2)
    for place, cell in enumerate([Scripted(0, dies=3), Scripted(1)]):
        pool.put(place, cell)
    lease, bundle = pool.open("m0", "practice", 1), Bundle("c", "d", "", tmp_path)
    batch = Batch("E1", "practice", bundle, 6, draw_starts(StartStreams(bytes(32)), "practice", 0, 6), agent="m0")
    tally = evaluate_with(lease, batch, ledger, "station-1")
    lease.close()
    assert tally.aborted
    on_record = [e.payload.index for e in ledger.events("episode")]
    assert on_record == [e.index for e in tally.episodes] == [0, 1, 3, 4, 5]  # nobody knows whether the third had begun
    assert [(e.payload.phase, e.payload.episodes) for e in ledger.events("evaluation")] == [
        ("started", 0),
        ("aborted", 5),
    ]


def test_where_the_last_cell_is_lost_its_batch_ends(ledger, tmp_path):
    pool = Pool(1)
    pool.put(0, Scripted(0, dies=3, begun=True))
    lease = pool.open("m0", "m0")
    batch = Batch(
        "E1", "evaluate", Bundle("c", "d", "", tmp_path), 9, draw_starts(StartStreams(bytes(32)), "evaluate", 0, 9)
    )
    with pytest.raises(CellLost):
        evaluate_with(lease, batch, ledger, "station-1")
    assert [e.payload.reason == "interrupted" for e in ledger.events("episode")] == [False, False, True]
    assert [e.payload.phase for e in ledger.events("evaluation")] == ["started", "aborted"]
