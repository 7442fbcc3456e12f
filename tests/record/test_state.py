"""A run's state, event by event, is what a look at the whole ledger gives; and asking it costs the same however long the run."""

import threading
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoenvbench.record import metrics
from autoenvbench.record.candidates import STRICT_EPISODES, Candidates
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import (
    NOT_AGENTS,
    POLICY,
    AgentEvent,
    CommitEvent,
    ComputeEvent,
    EpisodeEvent,
    EvaluationEvent,
    IdeaEvent,
    NoteEvent,
    RunEvent,
    StartEvent,
    TokensEvent,
)
from autoenvbench.record.goal import Goal
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.results import research_seconds
from autoenvbench.record.state import RECENT_EPISODES, Follower, RunState
from autoenvbench.record.summary import streak

AGENTS = ("codex-1", "cem-1")


class Author:
    """Writes what runs write, in an order that a run can have: batches begin, run on fresh starts, and end or are cut."""

    def __init__(self, draw, ledger):
        self.draw, self.ledger = draw, ledger
        self.ideas = self.evaluations = 0
        self.used = {"practice": 0, "evaluation": 0, "heldout": 0}

    def write(self, payload, agent=None):
        self.ledger.append(payload, agent=agent, station="station-1")

    def pick(self, *options):
        return self.draw(st.sampled_from(options))

    def step(self):
        agent = self.pick(*AGENTS)
        what = self.pick(
            "batch", "batch", "batch", "idea", "commit", "tokens", "tokens", "compute", "agent", "note", "milestone"
        )
        if what == "batch":
            self.batch(agent)
        elif what == "idea":
            self.ideas += 1
            self.write(IdeaEvent(id=f"I{self.ideas}", title="an idea"), agent)
        elif what == "commit":
            phase, bundle = self.pick("received", "submitted"), self.pick("a", "b", "c")
            self.write(CommitEvent(phase=phase, commit=bundle, digest=bundle, content=bundle), agent)
        elif what == "tokens":
            counts = {
                name: self.draw(st.integers(0, 50)) for name in ("cached_input", "output", "cache_write", "reasoning")
            }
            call = TokensEvent(model=self.pick("m", "n"), status=200, input=100, wait_s=0.5, in_flight=self.draw(st.booleans()),
                               error=self.pick(None, "no"), **counts)  # fmt: skip
            self.write(call, self.pick(*AGENTS, POLICY, *NOT_AGENTS))
        elif what == "compute":
            self.write(ComputeEvent(cpu=0.5, station_busy=self.draw(st.booleans())))
        elif what == "agent":
            self.write(
                AgentEvent(phase=self.pick("started", "exited"), name=agent, session=self.pick(None, "s1", "s2")), agent
            )
        elif what == "note":
            self.write(NoteEvent(text="a note"), agent)
        else:
            phase = self.pick("paused", "unpaused", "deadline", "agents_stopped", "resumed")
            self.write(RunEvent(phase=phase))

    def batch(self, agent):
        purpose = self.pick("practice", "evaluate", "confirm", "heldout")
        stream = "evaluation" if purpose in ("evaluate", "confirm") else purpose
        bundle, n = self.pick("a", "b", "c"), self.draw(st.integers(1, 6))
        self.evaluations += 1
        about = {"id": f"E{self.evaluations}", "purpose": purpose, "commit": bundle, "digest": bundle, "content": bundle,
                 "planned": n}  # fmt: skip
        self.write(EvaluationEvent(phase="started", **about), agent)
        runs = self.draw(st.integers(0, n))
        judged = []
        for _ in range(runs):
            common = {"evaluation": about["id"], "purpose": purpose, "index": self.used[stream], "commit": bundle,
                      "digest": bundle, "content": bundle, "seed": 0}  # fmt: skip
            self.used[stream] += 1
            if purpose != "practice":
                self.write(StartEvent(**common), agent)
                if self.draw(st.integers(0, 9)) == 0:
                    return  # killed in the middle of it
            success = self.draw(st.booleans())
            judged.append(EpisodeEvent(**common, success=success, score=float(success), stage="", steps=1, sim_s=1.0,
                                       robot_s=0.25, infrastructure=self.draw(st.integers(0, 9)) == 0))  # fmt: skip
            self.write(judged[-1], agent)
        counted = [e for e in judged if not e.infrastructure]
        wins = sum(e.success for e in counted)
        self.write(
            EvaluationEvent(phase="finished" if runs == n else "aborted", episodes=len(counted), successes=wins,
                            score=wins / len(counted) if counted else 0.0, **about),
            agent,
        )  # fmt: skip


def written(state, kind):
    """How many events of a kind all members have caused."""
    return sum(n for (_, of), n in state.book.words.items() if of == kind)


def of_kind(events, kind):
    return [e for e in events if e.kind == kind]


def check(state, events, min_episodes):
    """Every answer of the state, against the whole ledger read anew."""
    episodes, starts = of_kind(events, "episode"), of_kind(events, "start")
    raw, confirmed = metrics.best_curves(events, min_episodes)
    assert (state.curves.raw, state.curves.confirmed) == (raw, confirmed)
    assert state.candidates == Candidates.of(events)
    looks = [
        e.payload
        for e in of_kind(events, "evaluation")
        if (e.payload.purpose, e.payload.phase) == ("evaluate", "finished")
    ]
    rates = [e.successes / e.episodes for e in looks if e.episodes >= min_episodes]
    assert [p.value for p in raw] == [r for k, r in enumerate(rates) if k == 0 or r > max(rates[:k])]
    for point in [*raw, *confirmed]:  # what was spent until then
        before = [e for e in events if e.t_run <= point.t_run]
        spent = [e.payload for e in of_kind(before, "episode") if e.payload.purpose != "heldout"]
        tokens = metrics.token_totals(before, 60.0).headline
        assert (point.episodes, point.robot_s, point.tokens) == (len(spent), 0.25 * len(spent), tokens)
    for policies, count in ((False, state.agent_tokens), (True, state.policy_tokens)):
        assert count.totals(60.0) == metrics.token_totals(events, 60.0, of_policies=policies)
        calls = [
            e.payload
            for e in of_kind(events, "tokens")
            if (e.agent == POLICY if policies else e.agent not in NOT_AGENTS)
        ]
        whole = [c for c in calls if not c.in_flight]
        assert (count.calls, count.errors) == (len(calls), sum(c.error is not None for c in calls))
        assert count.headline == sum(c.input - c.cached_input + c.output for c in whole)
        assert count.in_flight_calls == len(calls) - len(whole)
        assert sum(count.by_model.values()) == count.headline
    for purposes in (("practice",), ("evaluate", "confirm"), ("heldout",)):
        used = [e.payload.index for e in [*episodes, *starts] if e.payload.purpose in purposes]
        assert {state.next_index(p) for p in purposes} == {max(used, default=-1) + 1}
    judged = {(e.payload.evaluation, e.payload.index, e.payload.attempt) for e in episodes}
    left = [e for e in starts if (e.payload.evaluation, e.payload.index, e.payload.attempt) not in judged]
    assert list(state.open_starts.values()) == left
    last = {e.payload.id: e for e in of_kind(events, "evaluation")}
    assert list(state.open_evaluations.values()) == [e for e in last.values() if e.payload.phase == "started"]
    phases = [e.payload.phase for e in of_kind(events, "evaluation")]
    assert (state.evaluations_started, state.batches_finished.total()) == (
        phases.count("started"),
        phases.count("finished"),
    )
    submitted = [e.payload for e in of_kind(events, "commit") if e.payload.phase == "submitted"]
    assert (written(state, "submitted"), state.submitted) == (len(submitted), submitted[-1] if submitted else None)
    assert list(state.ideas.values()) == [e.payload for e in of_kind(events, "idea")]
    assert written(state, "note") == len(of_kind(events, "note"))
    assert state.episodes == len(episodes)
    held = metrics.heldout_episodes(events)
    assert sorted(state.held_out.items()) == [((e.index, e.attempt), e.success) for e in held]
    assert state.held_out_successes == sum(e.success for e in held)
    for digest in "abc":
        assert state.scored(digest) == {(e.index, e.attempt) for e in held if e.digest == digest}
    samples = of_kind(events, "compute")
    assert state.last_compute == (samples[-1].payload if samples else None)
    assert state.research_s == research_seconds(events)
    for agent in AGENTS:
        own = [e for e in events if e.agent == agent]
        calls = [e.payload for e in of_kind(own, "tokens")]
        sessions = [e.payload.session for e in of_kind(own, "agent") if e.payload.session]
        known = state.member(agent)
        assert known.achievements == sum(e.kind in ("idea", "commit", "evaluation") for e in own)
        assert (known.calls, known.last_call) == (len(calls), calls[-1] if calls else None)
        assert known.exits == sum(e.payload.phase == "exited" for e in of_kind(own, "agent"))
        assert known.session == (sessions[-1] if sessions else None)


@settings(max_examples=60)
@given(st.data())
def test_event_by_event_is_what_the_whole_ledger_gives(tmp_path_factory, data):
    """Checked at random moments, with the ledger read by another process's connection than the one that writes it."""
    path = tmp_path_factory.mktemp("run") / "ledger.sqlite"
    ledger = Ledger(path, RunClock.start(60))
    ledger._db.execute("PRAGMA synchronous=OFF")  # nothing here need survive a power cut
    ledger.append(RunEvent(phase="started", config={"confirm_episodes": 4, "strict_episodes": 6, "goal": "streak>=2"}))
    author, follower, min_episodes = Author(data.draw, ledger), Follower(Ledger(path), 3), 3
    for _ in range(data.draw(st.integers(1, 25))):
        author.step()
        if data.draw(st.booleans()):
            with follower.read() as state:
                check(state, list(ledger.events()), min_episodes)
    with follower.read() as state:
        events = list(ledger.events())
        assert state == RunState.of(events, min_episodes)
        check(state, events, min_episodes)
    shown = [e for e in of_kind(events, "episode") if e.payload.purpose != "heldout"]
    for limit in (1, 3, 1000):
        assert follower.newest_episodes(None, limit) == shown[-limit:]
        for evaluation in ("E1", "E2", "E7", "no such one"):
            own = [e for e in shown if e.payload.evaluation == evaluation]
            assert follower.newest_episodes(evaluation, limit) == own[-limit:]


@given(st.lists(st.booleans(), max_size=2 * STRICT_EPISODES))
def test_the_longest_streak_is_looked_for_in_the_first_200_episodes(outcomes):
    events = [_episode(k, success) for k, success in enumerate(outcomes)]
    state = RunState.of(events)
    first = outcomes[:STRICT_EPISODES]
    assert (state.streaks["a"].episodes, state.streaks["a"].longest) == (len(first), streak(first))
    longest = max((len(list(run)) for ok, run in groupby(first) if ok), default=0)
    assert Goal("streak", longest).reached(state) == (len(outcomes) >= STRICT_EPISODES or longest == 0)
    assert not Goal("streak", longest + 1).reached(state)


def _episode(k, success=True, *, evaluation="E1", purpose="confirm"):
    payload = EpisodeEvent(evaluation=evaluation, purpose=purpose, index=k, commit="a", digest="a", content="a", seed=k,
                           success=success, score=1.0, stage="", steps=1, sim_s=1.0, robot_s=1.0)  # fmt: skip
    return Event(k + 1, 0.0, float(k), "episode", "a", "s", payload, "")


def test_only_what_is_new_is_read(ledger, monkeypatch):
    for k in range(50):
        ledger.append(_episode(k).payload)
    follower = Follower(ledger)
    with follower.read() as state:
        assert state.episodes == 50
    ledger.append(NoteEvent(text="new"))
    parsed = []
    parse = ledger._parsed
    monkeypatch.setattr(ledger, "_parsed", lambda seq, kind, text: parsed.append(seq) or parse(seq, kind, text))
    for _ in range(3):
        with follower.read() as state:
            assert written(state, "note") == 1
    assert parsed == [51]
    parsed.clear()
    assert [e.seq for e in follower.newest_episodes(None, 5)] == [46, 47, 48, 49, 50]
    assert len(parsed) == 5


def test_the_newest_episodes_of_a_long_run_are_a_bounded_number():
    state = RunState.of(_episode(k, evaluation=f"E{k // 50}") for k in range(RECENT_EPISODES + 100))
    first, last = state.episode_span(None, 10**6)
    assert last - first + 1 == RECENT_EPISODES
    assert state.episode_span("E0", 5) == (1, 50)  # any evaluation of the run can still be looked up


@pytest.mark.timeout(60)
def test_threads_read_one_state_while_others_write(ledger):
    ledger._db.execute("PRAGMA synchronous=OFF")
    follower, wrong = Follower(ledger), []

    def write(name):
        for k in range(100):
            ledger.append(IdeaEvent(id=f"{name}{k}", title="an idea"), agent=name)

    def read():
        while any(w.is_alive() for w in writers):
            with follower.read() as state:
                if len(state.ideas) != sum(m.achievements for m in state.members.values()):
                    wrong.append(state.seq)

    writers = [threading.Thread(target=write, args=(n,), daemon=True) for n in "abc"]
    readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for thread in [*writers, *readers]:
        thread.start()
    for thread in [*writers, *readers]:
        thread.join()
    with follower.read() as state:
        assert (len(state.ideas), wrong) == (300, [])
