"""`evolve`: a population of ideas under Thompson sampling, and a researcher that works by it."""

import json

import numpy as np
import pytest

from autoenvbench.agents.evolve import Evolve
from autoenvbench.agents.evolver import Evolver
from autoenvbench.agents.lab import Lab
from autoenvbench.errors import UserError
from autoenvbench.learning.evolve import Evidence, Population, Settings, beats
from autoenvbench.make_env import make_env
from autoenvbench.record.run_config import RunConfig
from autoenvbench.workspace.bundling import git
from autoenvbench.workspace.make_workspace import make_workspace

PARAMETERS = {f"p{k}": (0.0, 0.9, 1.0) for k in range(6)}


def population(**settings):
    made = Population.over(PARAMETERS, Settings(**settings))
    made.add("the starter", made.point(dict.fromkeys(PARAMETERS, 0.9)))
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
        ({"regime": "bc"}, "no answer in the regime bc; leave --regime out, or say --regime heuristic"),
        ({"agent_args": ["elits=3"]}, "did you mean elites"),
        ({"agent_args": ["elites=40"]}, "no more than are alive"),
    ],
)
def test_what_it_cannot_do_is_said_before_a_run_is_made(config, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        Evolve().check(RunConfig(**{"agent": "evolve", "env": "ENPIRE/PushT-v0", "budget_s": 60, **config}))


TOLD = {"seed": 0, "track": "station", "pace": 0.0, "regime": None, "settings": ["slice=4"], "alone": True}


@pytest.fixture
def on_reach(site, monkeypatch):
    """The station's process knows the example task."""
    monkeypatch.setenv("PYTHONPATH", str(site))


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
    config = RunConfig(agent="evolve", env=reach, budget_s=600, track="station", starter="parametric")
    make_workspace(folder, "evolve-1", config, make_env(reach))
    parametric = folder / "parametric.py"
    parametric.write_text(parametric.read_text().replace("(0.1, 1.0, 20.0)", "(0.1, 0.12, 20.0)"))
    git(folder, "commit", "-qam", "A lower gain")
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
