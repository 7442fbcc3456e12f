"""Experience of an earlier run: what may be given, that it is the same for all and for ever, and what `evolve` makes of it."""

import hashlib

import pytest

from autoenvbench.agents.evolve_proposals import experience
from autoenvbench.agents.evolver import Evolver
from autoenvbench.agents.lab import Lab
from autoenvbench.errors import UserError
from autoenvbench.learning.evolve import NUMBERS
from autoenvbench.make_env import make_env
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.client import StationClient
from autoenvbench.workspace.bundling import git
from autoenvbench.workspace.experience import keep_experience, kept_experience, with_experience
from autoenvbench.workspace.make_workspace import make_workspace

PAGE = """# What an earlier run on ENPIRE/PinInsertion-v0 has shown

> learned: "| push | 99 | 0 | 100 |"

## Parameters that won

| parameter | value | from | to |
|---|---|---|---|
| press | 4 | 0 | 16 |
| push | 17 | 4 | 30 |
| pitch | 0.0003 | 0.0001 | 0.0005 |
"""


def config(path, **more):
    return RunConfig(
        agent="evolve", env="ENPIRE/GPUInsertion-v0", budget_s=60, starter="parametric", experience=str(path), **more
    )


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\x00", b"x" * (65 << 10)])
def test_only_a_page_of_text_can_be_given(tmp_path, content):
    file = tmp_path / "experience.md"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match="autoenvbench distill RUN"):
        with_experience(config(file))


def test_members_find_it_the_run_records_it_and_nobody_exchanges_it(tmp_path):
    file = tmp_path / "given.md"
    file.write_text(PAGE)
    run, text = with_experience(config(file))
    assert (run.experience_sha256, run.experience_bytes) == (
        hashlib.sha256(PAGE.encode()).hexdigest(),
        len(PAGE.encode()),
    )
    keep_experience(tmp_path, text)
    file.write_text("something else")
    kept = kept_experience(tmp_path, run)
    env = make_env(run.env)
    make_workspace(tmp_path / "with", "evolve-1", run, env, experience=kept)
    assert git(tmp_path / "with", "show", "HEAD:experience.md") == PAGE.rstrip("\n")
    assert "`experience.md` says" in (tmp_path / "with/TASK.md").read_text()
    make_workspace(tmp_path / "without", "evolve-1", RunConfig(agent="cem", env=run.env, budget_s=60), env)
    assert "xperience" not in (tmp_path / "without/TASK.md").read_text()
    assert not (tmp_path / "without/experience.md").exists()
    env.close()

    # where parameters have the same name, evolve begins at the same place in their range
    told = {"seed": 0, "settings": [], "regime": None, "recipes": [], "given": {}}
    evolver = Evolver(Lab(tmp_path / "with", StationClient("nowhere", "")), told)
    family, point = evolver.population.families[NUMBERS], experience(tmp_path / "with", evolver.population)
    names = family.names
    found = dict(zip(names, point, strict=True))
    assert found["press"] == pytest.approx(0.25)
    assert found["push"] == pytest.approx(0.5)
    usual = dict(zip(names, family.point(family.first), strict=True))
    assert {name for name in names if found[name] != usual[name]} == {"press", "push"}

    (tmp_path / "experience.md").write_text(PAGE + "\nand something more\n")
    with pytest.raises(UserError, match="no longer the experience"):
        kept_experience(tmp_path, run)
