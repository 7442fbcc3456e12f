"""The site: verified rows have medals, all links lead somewhere, others' text does nothing, and a browser shows and sorts it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from board import result_of, tampered, verified, write_run
from headless import AXE

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.publish.site import write_site
from autoenvbench.record.results import AgentInfo, HeldOut
from autoenvbench.record.summary import wilson

HOSTILE = '</title></style><script>alert(1)</script><img src=//evil.example onerror=alert(1)> " onclick="alert(1) {{7*7}}\x1b[31m\u202egnp'
TAGS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "nav", "main", "footer", "script", "code", "h1", "h2", "h3", "p", "b",
    "small", "span", "ul", "li", "div", "table", "thead", "tbody", "tr", "th", "td", "svg", "rect", "path", "g", "text", "figure",
    "figcaption", "label", "input", "select", "option", "output", "details", "summary",
}  # fmt: skip


class Page(HTMLParser):
    """A page's tags with their attributes, and what stands in its one style and its one script."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.inside, self._open = [], {"style": "", "script": ""}, None
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open in self.inside:
            self.inside[self._open] += data

    def all(self, attribute):
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def like(result, name, agent, wins, **changes):
    """Another run of an agent, as a submission would say it."""
    n = result.held_out.episodes
    held_out = HeldOut(episodes=n, successes=wins, success_rate=wins / n, wilson95=wilson(wins, n), score=wins / n, streak=0,
                       failures={HOSTILE: n - wins} if n > wins else {})  # fmt: skip
    digest = hashlib.sha256(name.encode()).hexdigest()
    about = {
        "run_id": name,
        "agent": agent,
        "held_out": held_out,
        "ledger_sha256": digest,
        "held_out_secret": digest,
    }
    return result.model_copy(update={**about, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "alpha-0", wins=180, confirm_episodes=20)


@pytest.fixture(scope="module")
def board(tmp_path_factory, run):
    """Three agents with three verified runs each, of which two are tied; one that nobody has verified and is hostile; one that is rejected."""
    folder, first = tmp_path_factory.mktemp("board"), result_of(run)
    sound = [first, *(like(first, f"alpha-{k}", first.agent, 180 + k) for k in (1, 2))]
    sound += [
        like(first, f"{name}-{k}", AgentInfo(name=name), wins + k)
        for name, wins in (("beta", 100), ("gamma", 98))
        for k in range(3)
    ]
    hostile = [
        like(first, f"h-{k}", AgentInfo(name=HOSTILE), 200, hardware=HOSTILE, stopped_by=HOSTILE) for k in range(3)
    ]
    wrong = like(first, "wrong-0", AgentInfo(name="delta"), 199)
    records = verified(sound) | verified([wrong], verdict="rejected", reasons=[HOSTILE])
    for name, files in (("submissions", {r.run_id: r for r in [*sound, *hostile, wrong]}), ("verifications", records)):
        (folder / name).mkdir()
        for run_id, what in files.items():
            (folder / name / f"{run_id}.json").write_text(what.model_dump_json())
    (folder / "submissions/broken.json").write_text(json.dumps({HOSTILE: 1}))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory, board, run):
    out = tmp_path_factory.mktemp("site") / "out"
    _, broken = write_site(board, out, [run])
    assert list(broken) == ["broken.json"]
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {file.relative_to(site).as_posix(): Page(file.read_text()) for file in site.rglob("*.html") if file.parent.name != "reports"}  # fmt: skip


def board_page(site):
    (found,) = [b for b in json.loads((site / "index.json").read_text())["boards"] if b["tables"]]
    return found


def test_only_verified_rows_have_ranks_and_medals(site):
    found = board_page(site)
    (table,) = found["tables"]
    assert [(row["agent"].split()[0], row["rank"], row["status"]) for row in table["rows"]] == [
        ("cem", 1, "verified"), ("beta", 2, "verified"), ("gamma", 2, "verified"),
    ]  # fmt: skip
    assert table["rows"][1]["ties"] == table["rows"][2]["ties"] != table["rows"][0]["ties"]
    assert {(row["status"], row["rank"]) for row in found["unranked"]} == {("self-reported", None), ("rejected", None)}
    medals = re.findall(r'class="medal (\w+)"', (site / found["page"]).read_text())
    assert medals == ["gold", "silver", "silver"]


def test_what_others_wrote_is_text_and_nothing_is_loaded(site, pages):
    for name, page in pages.items():
        assert {tag for tag, _ in page.tags} <= TAGS, name
        assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in page.tags].count("style") == 1, name
        assert not [
            key for _, attributes in page.tags for key in attributes if key.startswith("on") or key in ("src", "style")
        ], name
        text = (site / name).read_text()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), name
        policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
        for kind, content in page.inside.items():
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy, name
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
    assert "{{7*7}}" in (site / board_page(site)["page"]).read_text()  # no template either


def test_every_link_leads_somewhere(site, pages):
    ids = {name: set(page.all("id")) for name, page in pages.items()}
    for name, page in pages.items():
        for link in page.all("href"):
            path, _, fragment = unquote(link).partition("#")
            there = ((site / name).parent / path).resolve() if path else site / name
            assert there.is_file(), (name, link)
            assert not fragment or fragment in ids[there.relative_to(site.resolve()).as_posix() if path else name], (
                name,
                link,
            )
    assert (site / "reports/alpha-0.html").is_file()


def test_published_curves_have_ours_over_them_and_the_warning(site, pages):
    text = (site / "published.html").read_text()
    ours = re.findall(r'<path class="run k\d ours" d="M[^"]*V[^"]*"/>', text)
    assert len(ours) == 13
    assert "<b>Not comparable.</b>" in text
    index = json.loads((site / "index.json").read_text())
    assert index["published"]["comparable"] is False
    (alpha,) = [one for one in index["runs"] if one["id"] == "alpha-0"]
    assert (alpha["steps_from"], alpha["report"], alpha["steps"][-1][1]) == ("ledger", "reports/alpha-0.html", 0.75)


def test_a_site_is_written_again_but_over_nothing_else(board, tmp_path):
    write_site(board, tmp_path / "out")
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.html")}
    (tmp_path / "out/runs/gone.html").write_text("of an earlier site")
    write_site(board, tmp_path / "out")
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.html")} == before
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that is no site"):
        write_site(board, tmp_path)


def test_runs_that_are_not_what_they_say_are_refused(board, run, tmp_path, capsys):
    other = write_run(tmp_path / "alpha-1", number=7, wins=10)
    with pytest.raises(UserError, match="their ledgers differ"):
        write_site(board, tmp_path / "out", [other])
    edited = tampered(
        run, "UPDATE event SET payload = json_set(payload, '$.success', json('true')) WHERE kind = 'episode'"
    )
    with pytest.raises(UserError, match="contradicts itself"):
        write_site(board, tmp_path / "out", [edited])
    assert main(["publish", "site", "--dir", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "there is no leaderboard in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# -- in a browser ----------------------------------------------------------------------------------------------------------
def test_a_board_is_sorted_and_filtered_and_rows_compared(site, browser):
    found = board_page(site)
    browser.open(site / found["page"], width=390)
    first = "document.querySelector('table.rows tbody tr').dataset.name.split(':')[0]"
    assert browser.run(first).startswith("cem")
    assert browser.run(f"document.querySelectorAll('table.rows thead button')[2].click(), {first}").startswith(
        "cem"
    )  # success, falling
    assert browser.run(f"document.querySelectorAll('table.rows thead button')[2].click(), {first}").startswith("gamma")
    assert browser.run("document.querySelectorAll('[aria-sort=ascending]').length") == 1
    shown = "[...document.querySelectorAll('table.rows tbody tr')].filter(row => !row.hidden).length"
    typed = "(i => { i.value = 'bet'; i.dispatchEvent(new Event('input')); })(document.querySelector('.filter input'))"
    assert browser.run(f"{typed}, {shown}") == 1
    rows = {row["agent"].split()[0]: row["id"] for row in found["tables"][0]["rows"]}
    told = "document.querySelector('#told').textContent"
    browser.open(site / "compare.html", fragment=f"#{rows['beta']},{rows['gamma']}")
    assert browser.run(told).startswith("Tied")
    browser.open(site / "compare.html", fragment=f"#{rows['beta']},{rows['cem']}")
    assert browser.run(told).startswith("They differ")
    assert browser.run("[...document.querySelectorAll('#two tbody tr')][2].cells[1].textContent").startswith("50.5 %")
    assert browser.said == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_pages_are_usable_by_everybody(site, browser, width, dark):
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make .tools/.agents")
    hostile = next(a["page"] for a in json.loads((site / "index.json").read_text())["agents"] if "evil" in a["name"])
    for name in ("index.html", board_page(site)["page"], hostile, "runs/h-0.html", "compare.html", "published.html"):
        browser.open(site / name, width, dark)
        browser.run(AXE.read_text() + ";0")
        serious = browser.run(
            "axe.run({resultTypes: ['violations']}).then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
            ".map(v => v.id + ': ' + v.nodes[0].html + v.nodes[0].failureSummary))"
        )
        assert serious == [], name
        assert browser.run("document.documentElement.scrollWidth") <= width, name
    assert browser.said == []
