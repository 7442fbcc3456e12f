"""`evolve`: a population of ideas under Thompson sampling, and a researcher that works by it."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from autoenvbench.agents.evolve import Evolve
from autoenvbench.agents.evolve_proposals import Proposals
from autoenvbench.agents.evolver import Evolver
from autoenvbench.agents.lab import Lab
from autoenvbench.agents.parametric import commit_values
from autoenvbench.errors import UserError
from autoenvbench.evolution.tree import IdeaTree
from autoenvbench.learning.evolve import NUMBERS, Evidence, Population, Settings, beats
from autoenvbench.make_env import make_env
from autoenvbench.record.first_use import FirstUses
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.workspace.bundling import git
from autoenvbench.workspace.make_workspace import make_workspace

PARAMETERS = {f"p{k}": (0.0, 0.9, 1.0) for k in range(6)}


def population(**settings):
    made = Population.over(PARAMETERS, Settings(**settings))
    made.add("the starter", made.families[NUMBERS].point(dict.fromkeys(PARAMETERS, 0.9)))
    return made


def solved(rng, point):
    """An episode of a task that is solved near 0.4 in all numbers: success and score."""
    far = float(np.linalg.norm(point - 0.4))
    success = rng.random() < 1 / (1 + np.exp(8 * (far - 0.6)))
    return (1.0, 1.0) if success else (0.0, 0.25 * int(3.9 * np.exp(-0.8 * far)))


# -- the algorithm ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_robot_time_goes_to_the_better_idea(seed):
    rng, ideas = np.random.default_rng(seed), population()
    rates = {0: 0.1}
    rates |= {ideas.add(f"idea {k}", np.full(6, 0.1 * k)).key: rate for k, rate in enumerate((0.3, 0.8, 0.2, 0.4))}
    for _ in range(150):
        idea = ideas.choose(rng, fresh=False)
        win = float(rng.random() < rates[idea.key])
        idea.own.add(win, win, 1)
    taken = {key: ideas.ideas[key].own.episodes for key in rates}
    assert max(taken, key=taken.get) == 2
    assert taken[2] > 75
    assert ideas.leading().key == 2


def test_the_probability_of_beating_is_that_of_the_two_posteriors():
    rng = np.random.default_rng(0)
    for (a, n), (b, m), margin in (
        ((3, 4), (1, 4), 0.0),
        ((18, 20), (40, 50), 0.05),
        ((0, 0), (0, 0), 0.0),
        ((7.5, 8), (2, 8), 0.1),
    ):
        one, two = rng.beta(1 + a, 1 + n - a, 200_000), rng.beta(1 + b, 1 + m - b, 200_000)
        assert beats(Evidence(a, a, n), Evidence(b, b, m), margin) == pytest.approx(
            np.mean(one > two + margin), abs=5e-3
        )


def test_score_decides_where_nothing_succeeds():
    rng, ideas = np.random.default_rng(0), population()
    low, high = (ideas.add(f"{k}", np.full(6, k)) for k in (0.2, 0.3))
    for idea, score in ((ideas.ideas[0], 0.25), (low, 0.25), (high, 0.75)):
        idea.own.add(0, 8 * score, 8)
    chosen = [ideas.choose(rng, fresh=False).key for _ in range(200)]
    assert chosen.count(high.key) > 120
    assert ideas.promoted(0, 100) is None  # a better score is no reason for an evaluation


def test_no_idea_is_made_twice_and_none_is_evaluated_twice():
    rng, ideas = np.random.default_rng(1), population(population=8)
    ideas.ideas[0].own.add(0, 1, 4)
    evaluated = []
    for k in range(140):
        idea = ideas.choose(rng)
        if idea is None:
            point, words, parent, others = ideas.child(rng)
            assert words
            assert parent not in others
            idea = ideas.add(words, point, parent=parent.key, others=[other.key for other in others])
        assert idea.alive
        assert not idea.evaluated  # what was judged is known: no practice of it
        wins, scores = np.sum([solved(rng, idea.point) for _ in range(4)], axis=0)
        idea.own.add(wins, scores, 4)
        ideas.refit()
        assert ideas.incumbent not in [dropped.key for dropped in ideas.cull()]
        assert len(ideas.alive()) <= 8
        if (best := ideas.promoted(20 * len(evaluated), 4 * k)) is not None:
            evaluated.append(best.key)
            best.evaluated = True
            best.confirmed = Evidence(best.known.wins, best.known.score, best.known.episodes)
            ideas.crown(best)
    assert len(evaluated) == len(set(evaluated)) >= 1
    points = [tuple(np.round(idea.point, 4)) for idea in ideas.ideas]
    assert len(points) == len(set(points))


@pytest.mark.parametrize(("mine", "theirs", "adopts"), [
    (None, (20, 50), True),
    (None, (5, 50), False),  # next to nothing is no gain on nothing
    ((30, 50), (38, 50), True),
    ((40, 50), (45, 50), True),  # of which a margin and 20 episodes of the 50 would make a doubt
    ((40, 50), (42, 50), False),  # as good as mine, for all that is known
    ((40, 50), (40, 50), False),
    ((40, 50), (20, 50), False),
    ((40, 50), (4, 4), False),  # so few tell nothing
    ((194, 200), (200, 200), True),  # half of what is left to gain would be no more than 1 %
])  # fmt: skip
def test_a_peer_is_followed_where_it_is_clearly_better(mine, theirs, adopts):
    ideas = population()
    if mine is not None:
        ideas.ideas[0].confirmed = Evidence(mine[0], mine[0], mine[1])
        ideas.crown(ideas.ideas[0])
    assert ideas.outdone_by(Evidence(theirs[0], theirs[0], theirs[1])) is adopts


def test_what_a_peer_has_confirmed_is_borrowed_where_it_is_better_and_only_there():
    ideas = population()
    ideas.ideas[0].confirmed, ideas.ideas[0].evaluated = Evidence(30, 30, 50), True
    assert ideas.crown(ideas.ideas[0])
    assert ideas.chance(Evidence(19, 19, 20)) >= ideas.settings.sure
    assert ideas.chance(Evidence(12, 12, 20)) < 0.5  # as good as mine
    borrowed = ideas.add("I7 of evolve-2", np.full(6, 0.4), prior=Evidence(19, 19, 20))
    assert ideas.promoted(0, 0) is borrowed  # at once: no practice is spent on what is known
    assert not ideas.crown(borrowed)  # and nobody's score is taken over
    borrowed.confirmed = Evidence(46, 48, 50)
    assert ideas.crown(borrowed)
    assert ideas.promoted(0, 0) is None


@pytest.mark.parametrize("seed", [0, 1])
def test_it_climbs(seed):
    """From where one episode in a thousand succeeds, in as many episodes, to most of them."""
    rng, ideas = np.random.default_rng(seed), population()
    for _ in range(200):
        idea = ideas.choose(rng) if ideas.ideas[0].own.episodes else ideas.ideas[0]
        if idea is None:
            point, words, parent, others = ideas.child(rng)
            idea = ideas.add(words, point, parent=parent.key, others=[other.key for other in others])
        idea.own.add(*np.sum([solved(rng, idea.point) for _ in range(4)], axis=0), 4)
        ideas.refit()
        ideas.cull()
    assert np.mean([solved(rng, ideas.ideas[0].point)[0] for _ in range(200)]) < 0.1
    assert np.mean([solved(rng, ideas.leading().point)[0] for _ in range(200)]) > 0.6


# -- the researcher ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"regime": "tools"}, "no scripts, which alone are answers in the regime tools; leave --regime out"),
        (
            {"regime": "bc"},
            "nothing to try in the regime bc: recipe:bc learns from demonstrations, and this run has none; say --demos 100",
        ),
        (
            {"regime": "bc", "demos": 9, "agent_args": ["recipes=iql"]},
            "recipe:iql works in the regime offline-rl, not in bc",
        ),
        ({"regime": "bc", "demos": 9, "agent_args": ["recipes=none"]}, "recipes=none leaves nothing to learn with"),
        ({"regime": "heuristic", "demos": 9, "agent_args": ["recipes=bc"]}, "works in the regime bc, not in heuristic"),
        (
            {"regime": "heuristic", "demos": 9, "agent_args": ["bc.hidden=64"]},
            "settings of bc, which this run does not try: it tries no recipe",
        ),
        ({"demos": 9, "agent_args": ["bc.hiden=64"]}, "did you mean hidden"),
        ({"demos": 9, "agent_args": ["ppo.hidden=64"]}, "a recipe 'ppo' that there is not; there are bc, "),
        ({"agent_args": ["training=0.9"]}, "above 0, at most 0.5"),
        ({"agent_args": ["elits=3"]}, "did you mean elites"),
        ({"agent_args": ["elites=40"]}, "no more than are alive"),
    ],
)
def test_what_it_cannot_do_is_said_before_a_run_is_made(config, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        Evolve().check(RunConfig(**{"agent": "evolve", "env": "ENPIRE/PushT-v0", "budget_s": 60, **config}))


TOLD = {"seed": 0, "track": "station", "pace": 0.0, "regime": None, "settings": ["slice=4"], "alone": True,
        "recipes": [], "given": {}, "missing": None, "demos": 0}  # fmt: skip


@pytest.fixture
def on_reach(site, monkeypatch):
    """The station's process knows the example task."""
    monkeypatch.setenv("PYTHONPATH", str(site))


def slow_reach(folder, name, env):
    """A member's workspace, whose starter is too slow to solve any start."""
    config = RunConfig(agent="evolve", env=env, budget_s=600, track="station", starter="parametric")
    make_workspace(folder, name, config, make_env(env))
    parametric = folder / "parametric.py"
    parametric.write_text(parametric.read_text().replace("(0.1, 1.0, 20.0)", "(0.1, 0.12, 20.0)"))
    git(folder, "commit", "-qam", "A lower gain")


class Killed(BaseException):
    """The program ended here, as by `kill -9`."""


class Doomed(Lab):
    """A lab in which the program is killed in its third practice."""

    practices = 0

    def practise(self, *args):
        result = super().practise(*args)
        Doomed.practices += 1
        if Doomed.practices == 3:
            raise Killed
        return result


@pytest.mark.parametrize(
    "bench", [{"env": "Example/Reach-v0", "track": "station", "confirm_episodes": 20}], indirect=True
)
def test_it_improves_over_its_start_goes_on_after_a_kill_and_stops_when_nothing_is_left_to_gain(on_reach, bench, reach):
    """On the example task, from a gain with which it is too slow to solve any start."""
    folder = bench.home.with_name("workspace")
    slow_reach(folder, "evolve-1", reach)
    with pytest.raises(Killed):
        Evolver(Doomed(folder, bench.client()), TOLD | {"env": reach, "env_kwargs": {}}).research()
    Evolver(Lab(folder, bench.client()), TOLD | {"env": reach, "env_kwargs": {}}).research()

    events = list(bench.ledger.events())
    ideas = {e.payload.id: e for e in events if e.kind == "idea"}
    ended = [e.payload for e in events if e.kind == "evaluation" and e.payload.phase == "finished"]
    first, last = ended[0], ended[-1]
    assert first.purpose == "practice"
    assert first.successes < first.episodes  # the starter
    assert last.purpose == "confirm"
    assert last.successes == last.episodes  # and then it spent nothing more
    assert len({e.digest for e in ended if e.purpose == "evaluate"}) == sum(e.purpose == "evaluate" for e in ended)
    assert [e.payload.commit for e in events if e.kind == "commit" and e.payload.phase == "submitted"][
        -1
    ] == last.commit
    lessons = {e.payload.idea: e.payload.text for e in events if e.kind == "learned"}
    assert lessons[last.idea].startswith("raised my best from ")
    assert "parameters: gain=" in lessons[last.idea]
    for event in events:  # registered before its first test
        if event.kind == "evaluation" and event.payload.idea:
            assert ideas[event.payload.idea].seq < event.seq
    assert all(e.payload.parent in ideas for e in list(ideas.values())[1:])
    assert (
        json.loads((folder / "runs/evolve.json").read_text())["practised"]
        == sum(e.episodes for e in ended if e.purpose == "practice") - ended[2].episodes
    )  # the one in which it was killed


@pytest.mark.parametrize(
    "bench",
    [{"env": "Example/Reach-v0", "track": "station", "confirm_episodes": 20, "members": ("evolve-2",)}],
    indirect=True,
)
def test_it_adopts_what_a_peer_has_confirmed_before_it_tries_anything_of_its_own(on_reach, bench, reach):
    """No luck is in it: the peer solves all, the start of both solves nothing, and the first look is before the first practice."""
    mine, theirs = (bench.home.with_name(name) for name in ("mine", "theirs"))
    slow_reach(mine, "codex", reach)
    slow_reach(theirs, "evolve-2", reach)
    peer = Lab(theirs, bench.client(bench.tokens["evolve-2"]))
    commit_values(peer, {"gain": 9.0}, "A gain of nine")
    source = peer.idea("a gain of nine", "heuristic")
    assert peer.evaluate(source)["confirmation"]["successes"] == 20

    Evolver(Lab(mine, bench.client()), TOLD | {"env": reach, "env_kwargs": {}, "alone": False}).research()

    events = [e for e in bench.ledger.events() if e.agent == "codex"]
    _, adopted = (e.payload for e in events if e.kind == "idea")
    assert adopted.inspired_by == [source]
    assert (adopted.title, adopted.parent) == (f"{source} of evolve-2 as it is, which solved 100% for it", None)
    runs = [e.payload for e in events if e.kind == "evaluation" and e.payload.phase == "finished"]
    assert [(e.purpose, e.idea) for e in runs] == [
        ("evaluate", adopted.id),
        ("confirm", adopted.id),
    ]  # anew, and at once
    assert runs[-1].successes == 20
    assert json.loads(git(mine, "show", f"{runs[-1].commit}:params.json")) == {"gain": 9.0}
    with bench.follow() as state:
        assert state.first_uses.words(adopted.id) == "adopted, and recorded before its adopter ran its files"
        found = state.book.provenance["codex", runs[-1].commit].sources
    assert [(s.agent, s.idea, s.how) for s in found if s.how == "merge"] == [("evolve-2", source, "merge")]
    # And there is nothing to adopt back: what the other would find is its own.
    back = Evolver(
        Lab(theirs, bench.client(bench.tokens["evolve-2"])), TOLD | {"env": reach, "env_kwargs": {}, "alone": False}
    )
    assert back.lab.peers()[0]["best_idea"] == adopted.id
    back.proposals = Proposals(back.lab, back.told, back.record, back.rng, None)
    nine = back.proposals._send("HEAD", {"gain": 9.0}, "what it had")
    back.record.filed.append(nine)
    assert back.proposals.borrow(adopted.id, "codex", Evidence(20, 20, 20)) is None


@pytest.mark.cage
def test_in_a_run_of_two_one_adopts_what_the_other_has_found(site, tmp_path):
    """One gain of twenty solves anything; with this seed one member's fifth idea has it, and the other's would be its thirty-ninth."""
    shutil.copytree(site, tmp_path / "site")
    parametric = tmp_path / "site/reach/template/parametric.py"
    said = '        self.gain = known.get("gain", PARAMETERS["gain"][1])\n'
    few = "        self.gain = 9.0 if abs(self.gain - 7.0) < 0.6 else 0.0\n"
    assert said in parametric.read_text()
    parametric.write_text(parametric.read_text().replace(said, said + few))
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", "evolve", "--team", "2", "--stations", "2", "--env", "Example/Reach-v0",
         "--track", "station", "--regime", "heuristic", "--seed", "32", "--agent-args", "slice=3", "--budget", "240s", "--held-out", "2",
         "--out", tmp_path / "runs"],
        capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    events = list(Ledger(run / "ledger.sqlite").events())
    tree, uses = IdeaTree.of(events), FirstUses()
    for event in events:
        uses.add(event)
    adopted = next(idea for idea in tree.ideas.values() if "as it is" in idea.title)
    source = next(tree.ideas[edge.source] for edge in tree.edges if edge.target == adopted.id)
    assert {source.agent, adopted.agent} == {"evolve-1", "evolve-2"}
    assert adopted.title.startswith(f"{source.id} of {source.agent} as it is")
    found = [s for e in events if e.kind == "provenance" and e.agent == adopted.agent for s in e.payload.sources]
    assert (source.agent, source.id, "merge") in [(s.agent, s.idea, s.how) for s in found]  # by Git's word, too
    assert uses.words(adopted.id) == "adopted, and recorded before its adopter ran its files"
    result = Result.model_validate_json((run / "result.json").read_text())
    assert {m.id: (m.best_confirmed, m.evaluations) for m in result.members} == {
        "evolve-1": (1.0, 1),
        "evolve-2": (1.0, 1),
    }
    assert (result.team_average, result.stopped_by) == (1.0, "agent_ended")
