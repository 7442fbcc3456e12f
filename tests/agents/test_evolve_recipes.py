"""`evolve` with learning recipes: which of them a run allows, and how robot time is divided among families of ideas. (Their research is in test_recipe.)"""

import json
import os
import time
from dataclasses import asdict

import numpy as np
import pytest

from autoenvbench.agents.evolve_recipes import AXES, OWN, axes_of, choose_recipes, settings_words
from autoenvbench.agents.evolve_training import Trainings, Variant, most_s
from autoenvbench.agents.recipe import PLANS, Recipe
from autoenvbench.errors import UserError
from autoenvbench.learning.evolve import NUMBERS, Population, Settings
from autoenvbench.learning.evolve_space import Axis, Family
from autoenvbench.learning.train import settings_of
from autoenvbench.record.run_config import RunConfig
from autoenvbench.workspace import jobs


def config(**more):
    return RunConfig(**{"agent": "evolve", "env": "ENPIRE/PushT-v0", "budget_s": 60, **more})


# -- which recipes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("more", "wanted", "recipes"), [
    ({}, "all", []),  # nothing to learn from
    ({"demos": 9}, "all", ["bc", "iql", "td3_bc", "rlpd"]),
    ({"demos": 9, "sandbox": "none"}, "all", ["bc", "iql", "td3_bc", "rlpd", "dagger"]),
    ({"demos": 9, "track": "station"}, "all", ["bc", "iql", "td3_bc"]),
    ({"demos": 9, "track": "station"}, "iql+bc", ["iql", "bc"]),
    ({"demos": 9, "regime": "mixed", "track": "station"}, "all", ["bc", "iql", "td3_bc"]),
    ({"demos": 9, "regime": "heuristic"}, "all", []),
    ({"demos": 9}, "none", []),
    ({}, "bc", ["bc"]),  # from what other ideas solve
    ({"demos": 9, "regime": "bc"}, "all", ["bc"]),
    ({"demos": 9, "regime": "offline-rl"}, "all", ["iql", "td3_bc"]),
    ({"regime": "online-rl"}, "all", ["sac"]),
])  # fmt: skip
def test_what_regime_track_and_data_allow_is_tried(more, wanted, recipes):
    assert choose_recipes(config(**more), wanted) == (recipes, None)


def test_without_pytorch_it_says_so_and_goes_on_with_what_there_is(monkeypatch):
    monkeypatch.setattr(Recipe, "problem", lambda self: f"{self.name} learns with torch; type: pip install x")
    assert choose_recipes(config(demos=9), "all") == ([], "recipe-bc learns with torch; type: pip install x")
    assert choose_recipes(config(), "all") == ([], None)
    with pytest.raises(UserError, match="nothing to try in the regime bc: recipe-bc learns with torch; type: pip"):
        choose_recipes(config(demos=9, regime="bc"), "all")


@pytest.mark.parametrize("recipe", sorted(AXES))
def test_every_place_in_a_recipes_space_is_a_setting_that_it_has(recipe):
    rng, (axes, first) = np.random.default_rng(0), axes_of(recipe, [], demos=True)
    space = Family.of(axes, first, 0.3)
    given = asdict(settings_of(recipe, PLANS[recipe].base))
    start = space.values(space.point(first))
    assert {name: value for name, value in start.items() if name != OWN} == {
        name: pytest.approx(given[name]) for name in axes if name != OWN
    }
    for point in [np.zeros(len(axes)), np.ones(len(axes)), *rng.random((20, len(axes)))]:
        values = space.values(point)
        assert asdict(settings_of(recipe, settings_words(recipe, values, []))) | {
            n: values[n] for n in axes if n != OWN
        } == asdict(settings_of(recipe, settings_words(recipe, values, [])))
        assert space.values(space.point(values)) == {
            n: v if isinstance(v, (bool, int, str)) else pytest.approx(v, rel=1e-4) for n, v in values.items()
        }
    fixed, _ = axes_of(recipe, ["hidden=64"], demos=False)
    assert not {"hidden", OWN} & set(fixed)
    assert "hidden=64" in settings_words(recipe, {}, ["hidden=64"])


# -- families --------------------------------------------------------------------------------------------------------
def families(rates, seed, slices=120, fails=()):
    """Slices of new ideas by family, where ideas of each succeed so often."""
    rng, ideas = np.random.default_rng(seed), Population.over({"gain": (0.0, 0.5, 1.0)}, Settings())
    for name in rates:
        if name != NUMBERS:
            ideas.open(name, {"lr": Axis(1e-4, 1e-2, log=True)}, {"lr": 1e-3})
    taken = dict.fromkeys(rates, 0)
    for _ in range(slices):
        name = ideas.turns(rng)[0]
        taken[name] += 1
        if name in fails:
            ideas.families[name].failed += 1
            continue
        wins = float(rng.binomial(6, rates[name]))
        ideas.add("an idea", rng.random(1), family=name).own.add(wins, wins, 6)
    return taken


@pytest.mark.parametrize("seed", range(4))
def test_a_family_that_does_nothing_costs_little(seed):
    taken = families({NUMBERS: 0.6, "bc": 0.0, "iql": 0.05}, seed)
    assert taken[NUMBERS] > 100
    assert taken["bc"] >= 1  # it had its turn
    better = families({NUMBERS: 0.1, "bc": 0.7}, seed)
    assert better["bc"] > 85
    assert families({NUMBERS: 0.3, "bc": 0.9}, seed, fails=("bc",))["bc"] < 12  # a training that comes to nothing, too


def test_variants_of_a_recipe_change_and_mix_its_settings():
    rng, ideas = np.random.default_rng(0), Population(Settings())
    axes, first = axes_of("bc", [], demos=True)
    ideas.open("bc", axes, first)
    space = ideas.families["bc"]
    parent = ideas.add("as it comes", space.point(first), family="bc")
    other = ideas.add("another", np.full(len(axes), 0.9), family="bc")
    elsewhere = ideas.add("numbers", np.zeros(3), family=NUMBERS)
    for idea in (parent, other, elsewhere):
        idea.own.add(3, 3, 6)
    made = [ideas.child(rng, "bc") for _ in range(60)]
    known = [space.values(idea.point) for idea in (parent, other)]
    assert all(space.values(point) not in known for point, *_ in made)
    assert {words.partition(":")[0] for _, words, *_ in made} == {"near the elite", "mutation", "crossover"}
    assert {idea.key for _, _, near, drawn_on in made for idea in (near, *drawn_on)} == {parent.key, other.key}
    assert any("head gaussian -> mixture" in words for _, words, *_ in made)


def test_what_learns_elsewhere_is_not_varied():
    with pytest.raises(UserError, match="varies no recipe 'act'; write recipes=NAME"):
        choose_recipes(config(demos=9), "bc+act")


# -- trainings -------------------------------------------------------------------------------------------------------
def test_a_training_that_does_not_end_is_ended(tmp_path):
    trainings = Trainings(tmp_path, {})
    variant = trainings.under_way = Variant(1, "bc", "bc, as it comes", [], {}, 0, minutes=1.0)
    folder = tmp_path / jobs.JOBS / variant.job
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    for past, ended in ((most_s(variant) - 60, False), (most_s(variant) + 60, True)):
        began = {"pid": os.getpid(), "ticks": jobs.ticks(os.getpid()), "at": time.time() - past}
        (folder / "started.json").write_text(json.dumps(began))
        found = trainings.look()
        assert (found is not None, (folder / "stop").exists()) == (ended, ended)
    assert found[0] is variant
    assert "where it was to take 60 s" in found[1]
    assert trainings.under_way is None
    assert trainings.look() is None
