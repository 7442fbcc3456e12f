"""The manual holds what it says: its Python runs, its commands parse, its generated pages and pictures are what the code gives.

The pages that add a task, an agent and a recipe have tests of their own beside those of tasks, agents and learning. Blocks without a
language are a terminal's: their commands are parsed and not run, because they train, install or do research for minutes and hours.
"""

import lzma
import re
import sys

import pytest
from manual import PAGES, ROOT, blocks, commands, run_page, write_files
from test_readme import PAGES as READ_PAGES

from autoenvbench.cli.parser import make_parser
from autoenvbench.errors import UserError

sys.path.insert(0, str(ROOT / "docs"))
import generate
import pictures

ELSEWHERE = ("docs/add_a_task.md", "docs/add_an_agent.md", "docs/add_a_recipe.md")
RUN = [page for page in PAGES if page not in ELSEWHERE and any(b.language in ("python", "sh") for b in blocks(page))]


@pytest.mark.parametrize("page", RUN)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(page, tmp_path)
    if page == "docs/concepts.md":  # shows a run's ledger
        ledger = tmp_path / "runs/mine/ledger.sqlite"
        ledger.parent.mkdir(parents=True)
        ledger.write_bytes(lzma.decompress((ROOT / "tests/data/runs_of_before/finished.sqlite.xz").read_bytes()))
    run_page(page)


@pytest.mark.parametrize("page", [*READ_PAGES, "examples/README.md"])
def test_every_command_on_a_page_is_one(page):
    """Every line of a block, and every command in a sentence; a command that is only named has to be one."""
    parser, wrong = make_parser(), []
    shown = [words for block in blocks(page) for words in commands(block.text)]
    named = re.findall(r"(?<!`)`((?:[A-Z_]+=\S+ )*autoenvbench [^`|]+)`", (ROOT / page).read_text())
    for words in [*shown, *(words for text in named for words in commands(text))]:
        try:
            parser.parse_args(words)
        except UserError as error:
            if words in shown or len(words) > 1 or "required" not in str(error):
                wrong.append(f"{' '.join(words)}: {error}")
    assert wrong == []


def test_a_command_that_is_none_is_found():
    with pytest.raises(UserError, match="--agnet"):
        make_parser().parse_args(next(commands("KEY=x autoenvbench eval --agnet cem   # a comment")))


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_does_not_run_says_why(page):
    """Python runs or says why not; and it compiles in any case."""
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, page, "exec")
            assert block.why is None or len(block.why.split()) > 3


def test_links_lead_to_pages_of_the_manual():
    text = "[a](../envs/README.md) [b](score.md#more) ![p](../envs/pictures/pusht.jpg) [LICENSE](../LICENSE) [c](https://x.y)"
    page = ROOT / "docs/x.md"
    assert generate.relink(text, page, page) == (
        "[a](generated/catalogue.md) [b](score.md#more) ![p](../envs/pictures/pusht.jpg) `LICENSE` [c](https://x.y)"
    )
    assert (
        generate.relink("[m](../README.md)", ROOT / "real/README.md", ROOT / "docs/generated/robots.md")
        == "[m](../index.md)"
    )
    assert [source for source in generate.COPIED if not (ROOT / source).exists()] == []


def test_docstrings_become_what_sphinx_reads():
    lines = ["All *.episode files; `a*b`.", "", "    x = 2 * 3", "", "Args:", "    n: of *these*."]
    generate.as_rst(lines)
    assert lines == [
        "All \\*.episode files; `a*b`.",
        "",
        "::",
        "",
        "    x = 2 * 3",
        "",
        "Args:",
        "    n: of \\*these\\*.",
    ]


def test_the_picture_of_a_run_is_the_scripts():
    assert (ROOT / "docs/pictures/run.svg").read_text() == pictures.run_svg()


def test_the_pictures_of_tasks_are_there():
    named = {name for names in generate.PICTURES.values() for name in names}
    assert named <= {path.name for path in (ROOT / "envs/pictures").iterdir()}
