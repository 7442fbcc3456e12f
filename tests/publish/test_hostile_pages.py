"""Every kind of page, of whoever wrote hostile words, in a browser: they are read as text, no script runs, and numbers lead to episodes."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from board import result_of, verified, write_run
from histories import Author

from autoenvbench.cli.main import main
from autoenvbench.publish.report import write_report
from autoenvbench.publish.side_by_side import Rollout, Side, SideBySide, write_side_by_side
from autoenvbench.publish.site import write_site
from autoenvbench.record.events import AgentEvent, LearnedEvent, NoteEvent, RunEvent
from autoenvbench.record.results import AgentInfo
from autoenvbench.study.execute import Measured
from autoenvbench.study.page import write_page
from autoenvbench.study.plan import Plan
from autoenvbench.study.spec import Study

HOSTILE = (
    "'\"></script></title></style></svg></pre><script>owned=1</script><img src=x onerror=owned=1><svg/onload=owned=1>"
    "<a href='javascript:owned=1'>&lt;\x1b]0;x\x07\x1b[31m\u202egnp"
)
FIRST = "'\"></script></title>"  # what is shown of it where room is short
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
#: A script that the page did not come with; under its policy it does nothing.
INJECT = """(() => { try {
  const made = document.createElement("script"); made.textContent = "window.owned = 2"; document.body.append(made);
  document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.owned = 3'>");
} catch (refused) {} return window.owned ?? null; })()"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose every name and word is hostile."""
    folder = tmp_path_factory.mktemp("runs") / "run with a 'name"
    folder.mkdir()
    with Author.of_ledger(folder / "ledger.sqlite") as author:
        author.begin({HOSTILE: HOSTILE}, agent=f"command:{HOSTILE}", confirm_episodes=8)
        author.write(AgentEvent(phase="started", name=HOSTILE), HOSTILE)
        author.commit(HOSTILE, "c")
        idea = author.idea(HOSTILE, HOSTILE, regime=HOSTILE)
        author.write(LearnedEvent(idea=idea, text=HOSTILE), HOSTILE)
        author.batch(HOSTILE, "c", 12, 20, idea, seconds=60.0)
        author.batch(HOSTILE, "c", 5, 8, idea, "confirm", seconds=60.0)
        author.write(NoteEvent(text=HOSTILE), HOSTILE)
        author.write(AgentEvent(phase="exited", name=HOSTILE, reason=HOSTILE), HOSTILE)
        author.write(RunEvent(phase="agents_stopped", detail=HOSTILE))
        author.batch("admin", "c", 3, 6, None, "heldout", seconds=6.0)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A board and a site of a result whose words are hostile."""
    folder, out = tmp_path_factory.mktemp("board"), tmp_path_factory.mktemp("site") / "out"
    first = result_of(write_run(tmp_path_factory.mktemp("other") / "a-0"))
    changes = {"agent": AgentInfo(name=HOSTILE, model=HOSTILE), "stopped_by": HOSTILE, "hardware": HOSTILE, "run_id": "h-0",
               "ledger_sha256": "1" * 64, "held_out_secret": "1" * 64}  # fmt: skip
    hostile = first.model_copy(update=changes)
    rejected = verified([hostile], verdict="rejected", reasons=[HOSTILE])
    for name, files in (("submissions", {r.run_id: r for r in (first, hostile)}), ("verifications", rejected)):
        (folder / name).mkdir()
        for run_id, what in files.items():
            (folder / name / f"{run_id}.json").write_text(what.model_dump_json())
    (folder / "submissions/broken.json").write_text(json.dumps({HOSTILE: 1}))
    assert main(["leaderboard", "build", "--dir", str(folder)]) in (0, 1, 2)
    write_site(folder, out)
    return folder, out


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The page of a study that went wrong in hostile words."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "crowded.txt").write_text(HOSTILE.replace("\x1b", "") + "\n")
    about = Study.model_validate({"name": "s", "base": {"env": "ENPIRE/PushT-v0", "policy": "random"}})
    rows = [Measured(level, 2, 1, [True, False], [None, None], {HOSTILE: 1}, "sim") for level in (HOSTILE, "b")]
    return write_page(Plan(about, folder, "none", None, []), {HOSTILE: rows}, {}, [], {HOSTILE: HOSTILE})[0]


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
    """Rollouts of a run with a hostile name, which failed for a hostile reason."""
    sides = [Side(HOSTILE, HOSTILE, "c", None)]
    made = SideBySide("ENPIRE/PushT-v0", {}, 0, sides, measure=HOSTILE, notes=[HOSTILE])
    made.rollouts = [Rollout(0, kind, 0, False, HOSTILE, 0.5, 3, 0.3, [0.1, 0.2, 0.3], []) for kind in ("id", "ood")]
    return write_side_by_side(made, tmp_path_factory.mktemp("compare"))[0]


def test_no_page_obeys_what_others_wrote(run, board, study, side_by_side, browser):
    folder, out = board
    server = subprocess.Popen(
        [sys.executable, "-m", "autoenvbench.publish.live_server", str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        site = [out / name for name in ("index.html", "compare.html", "runs/h-0.html")]
        site += [*sorted((out / "agents").glob("*.html")), *sorted((out / "boards").glob("*.html"))]
        pages = {"live": server.stdout.readline().strip(), "report": run / "report.html", "board": folder / "index.html", "study": study,
                 "compare": side_by_side, **{f"site/{page.name}": page for page in site}}  # fmt: skip
        shown = 0
        for name, page in pages.items():
            browser.open(page)
            if name == "live":
                browser.wait("document.querySelectorAll('.idea').length === 1")
            assert browser.said == [], name
            text = browser.run("document.documentElement.textContent + document.title")
            assert not UNSEEN.search(text), name
            assert FIRST in text or name.startswith("site/"), name
            shown += FIRST in text
            obeyed = "[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on')) || /javascript:/i.test(e.href ?? '')).length"
            assert browser.run(obeyed) == 0, name
            assert browser.run(INJECT) is None, name
            browser.run("new Promise(done => setTimeout(done, 20))")
            assert browser.run("window.owned ?? null") is None, name
            browser.said.clear()  # the policy said what it refused
        assert shown >= 8
    finally:
        server.stdin.close()
        server.wait(60)


def test_every_number_of_a_report_leads_to_its_episodes_and_how_to_see_them(run, browser):
    for width, dark in ((1280, False), (390, False)):
        browser.open(run / "report.html", width, dark)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        browser.shoot(f"report-{width}")
    browser.open(run / "report.html")
    points = browser.run(
        "[...document.querySelectorAll('#climb a')].map(a => [a.getAttribute('href'), a.querySelector('title').textContent])"
    )
    assert len(points) == 3  # an evaluation, a confirmation, the scoring
    said = " ".join(title for _, title in points)
    assert "evaluate of c, I1" in said
    assert "12 of 20 (60.0 % [39, 78])" in said
    assert {href for href, _ in points} == {"#runs-1", "#runs-2", "#runs-3"}
    tiles = browser.run("[...document.querySelectorAll('.tiles b a')].map(a => a.getAttribute('href'))")
    assert tiles == ["#runs-3", "#runs-2", "#runs-3"]  # held out, confirmed best, streak
    browser.run(
        "document.querySelector(\"#climb a[href='#runs-1']\").dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    card = browser.wait(
        "getComputedStyle(document.querySelector('#runs-1')).display === 'block' && document.querySelector('#runs-1').innerText"
    )
    assert re.search(r"succeeded, 12: \d+ \d+", card)
    assert "failed: time_limit, 8:" in card
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("autoenvbench replay")))
    assert command[:3] == ["autoenvbench", "replay", run.name]
    assert re.fullmatch(r"E1-\d+", command[3])
    browser.shoot("report-card")
    browser.open(run / "report.html", fragment="#idea-1")
    linked = browser.run("[...document.querySelectorAll('#idea-1 td a')].map(a => a.getAttribute('href'))")
    assert linked == ["#runs-1", "#runs-2"]
    assert browser.said == []
