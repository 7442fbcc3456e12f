"""Pages on methods: each is whole, and is found by the words of its method."""

import json
import re
from pathlib import Path

import pytest

from autoenvbench.workspace import literature, make_workspace

TEMPLATE = Path(make_workspace.__file__).with_name("templates") / "common"
PAGES = sorted(path.stem for path in (TEMPLATE / literature.FOLDER).glob("*.md") if path.stem != "README")


@pytest.fixture(scope="module")
def known():
    return literature.sections(TEMPLATE)


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("HIL-SERL", "serl"), ("PLD residual", "residual-rl"), ("RL Token", "residual-rl"), ("CaP-X code", "code-as-policy"),
        ("action chunking", "act"), ("denoising", "diffusion-policy"), ("expectile", "iql"), ("spiral search", "search-by-contact"),
        ("dagger", "dagger"), ("demonstrations half of every batch", "rlpd"), ("limit surface", "pushing"), ("elites", "cem"),
        ("McNemar", "measuring"), ("copycat history", "behaviour-cloning"), ("squashed Gaussian actor", "sac"),
    ],
)  # fmt: skip
def test_a_method_is_found_by_its_words(known, words, page):
    assert page in {Path(section.page).stem for section in literature.search(known, words)[:2]}


def test_what_nobody_wrote_about_is_not_found(known):
    assert literature.search(known, "zebra xylophone") == []
    assert literature.search(known, "?!") == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_goes_into_it_and_where_it_comes_from(known, page):
    own = {section.heading: section.text for section in known if Path(section.page).stem == page}
    assert own[""], "the idea in a sentence"
    assert "Sources" in own
    assert re.search(r"\b(19|20)\d\d\b|arXiv \d{4}\.\d{5}", own["Sources"])
    linked = (TEMPLATE / literature.FOLDER / "README.md").read_text()
    assert f"({page}.md)" in linked


def test_links_lead_somewhere():
    linked = re.findall(r"\]\(([\w-]+)\.md\)", (TEMPLATE / literature.FOLDER / "README.md").read_text())
    assert sorted(set(linked)) == PAGES


def test_aeb_lists_and_searches_and_an_agents_own_page_counts(bench):
    own = bench.repo / literature.FOLDER
    own.mkdir(exist_ok=True)
    (own / "mine.md").write_text("# Mine\n\nA wobbleplate helps.\n\n## Do it\nTurn the wobbleplate.\n")
    code, out, _ = bench.aeb("literature", "wobbleplate")
    assert (code, out.splitlines()[0]) == (0, "literature/mine.md  Mine")
    code, out, _ = bench.aeb("literature", "--json")
    assert (code, json.loads(out)["literature/mine.md"]) == (0, "Mine")
    code, out, _ = bench.aeb("literature", "zebra")
    assert (code, "nothing about 'zebra'" in out) == (0, True)


def test_without_pages_it_says_how_to_get_them_back(bench):
    code, _, err = bench.aeb("literature", "cem")
    assert (code, err.count("\n")) == (2, 1)
    assert "git checkout" in err
