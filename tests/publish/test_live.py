"""The live page: whoever has its address sees runs as they go, in a real browser; nobody else sees anything, and no text is a program."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from histories import Author, tell

from autoenvbench.publish.live_server import LOOK_S, serve
from autoenvbench.publish.live_view import MOST_IDEAS, MOST_LINES, LiveView
from autoenvbench.record import frame_slot
from autoenvbench.record.events import AgentEvent, EvaluationEvent, JobEvent, LearnedEvent, NoteEvent, RunEvent

HOSTILE = "</script><img src=x onerror='document.title=`owned`'><svg/onload=alert(1)>\x1b[31m\u202egnp.exe'\"&lt;"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A team's finished research, and a run of hostile words that goes on; each with an author that still writes."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "a-team").mkdir()
    (folder / "hostile").mkdir()
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(Author.of_ledger(folder / "a-team/ledger.sqlite"))
        tell(team, members=4, ideas=24)
        author = stack.enter_context(Author.of_ledger(folder / "hostile/ledger.sqlite"))
        author.begin({HOSTILE: HOSTILE}, agent=f"command:{HOSTILE}")
        author.write(AgentEvent(phase="started", name=HOSTILE), HOSTILE)
        idea = author.idea(HOSTILE, HOSTILE, regime=HOSTILE)
        author.write(LearnedEvent(idea=idea, text=HOSTILE), HOSTILE)
        author.batch(HOSTILE, "c", 5, 20, idea, seconds=60.0)
        author.write(NoteEvent(text=HOSTILE), HOSTILE)
        author.write(JobEvent(phase="asked", what=HOSTILE), HOSTILE)
        frame_slot.ask(folder / "hostile")
        picture = cv2.imencode(".jpg", np.full((32, 32, 3), 90, np.uint8))[1].tobytes()
        frame_slot.put(folder / "hostile", "station-1", picture)
        yield folder, author, team


@pytest.fixture(scope="module")
def address(runs):
    """Of a page with both runs."""
    folder, opened, said = runs[0], threading.Event(), []
    loop = asyncio.new_event_loop()
    ended = loop.create_future()

    def on_open(url):
        said.append(url)
        opened.set()

    async def run():
        await serve([folder / "a-team", folder / "hostile"], on_open, ended)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert opened.wait(30)
    yield said[0]
    loop.call_soon_threadsafe(ended.set_result, None)
    thread.join()
    loop.close()


def get(address, path, **headers):
    place = urlsplit(address)
    assert place.hostname == "127.0.0.1"
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)
    connection.request("GET", path, headers={"Host": place.netloc, **headers})
    answer = connection.getresponse()
    return answer, connection


def test_only_who_has_the_address_is_answered(address):
    path, token = urlsplit(address).path, urlsplit(address).path.strip("/")
    assert len(token) >= 43
    answer, connection = get(address, path)
    policy = answer.headers["Content-Security-Policy"]
    assert answer.status == 200
    assert re.search(
        r"default-src 'none'; script-src 'sha256-[^ ]+'; .*frame-ancestors 'none'; require-trusted-types-for 'script'",
        policy,
    )
    assert "unsafe" not in policy
    assert "http" not in policy
    connection.close()
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    strangers = [("/", {}), ("/events", {}), (f"/{other}/", {}), (f"/{other}/events", {}), (f"/{other}/frame/1/0", {}), (f"//{token}/", {}),
                 (path, {"Host": "evil.example"}), (path, {"Host": "evil.example:80"}), (path, {"Host": ""}),
                 (f"{path}events", {"Host": "127.0.0.1.evil.example"}), (f"{path}events", {"Sec-Fetch-Site": "cross-site"})]  # fmt: skip
    for at, headers in strangers:
        answer, connection = get(address, at, **headers)
        assert answer.status in (400, 404), (at, headers)
        assert token.encode() not in answer.read()
        connection.close()
    page, stream = get(address, f"{path}events")  # runs are read while somebody looks on
    while b'"run":1,"section":"robots"' not in page.readline():
        pass
    frame, connection = get(address, f"{path}frame/1/0")
    assert (frame.status, frame.headers["Content-Type"], frame.read()[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")
    connection.close()
    for nothing in ("frame/1/7", "frame/9/0", "frame/0/0", "frame/1/../../ledger.sqlite"):
        answer, connection = get(address, path + nothing)
        assert answer.status == 404, nothing
        connection.close()
    stream.close()


def test_pictures_are_read_from_slots_and_from_nothing_else(tmp_path):
    (tmp_path / "secret").write_bytes(b"\xff\xd8\xffsecret")
    frame_slot.ask(tmp_path)
    assert frame_slot.wanted(tmp_path)
    for name in ("../secret", "..", "", "a/b", "/etc/passwd", "x\0y"):
        assert frame_slot.slot(tmp_path, name) is None
    (tmp_path / "live/linked.jpg").symlink_to(tmp_path / "secret")
    (tmp_path / "live/text.jpg").write_text("<script>")
    os.mkfifo(tmp_path / "live/pipe.jpg")
    assert [frame_slot.newest(tmp_path, name) for name in ("linked", "text", "pipe", "none")] == [None] * 4
    os.utime(tmp_path / "live/wanted", (1, 1))
    assert not frame_slot.wanted(tmp_path)


def test_a_browser_shows_runs_as_they_go(runs, address, browser):
    _, author, team = runs
    browser.open(address)
    browser.wait(
        f"document.querySelectorAll('.run').length === 2 && document.querySelectorAll('.idea').length === {team.ideas + 1}"
    )
    assert browser.run("document.querySelectorAll('#run-0 .members li').length") == 4
    assert browser.run("document.querySelectorAll('#run-0 .robots li').length") == 4
    assert browser.run("document.querySelectorAll('#run-0 .climb .confirmed').length") == 1
    browser.wait("document.querySelector('#run-1 .robots img')?.naturalWidth === 32")
    # What an agent wrote is there as text, and is nothing else.
    assert browser.run("document.title") == "AutoEnvBench, live"
    assert browser.run("document.querySelectorAll('main img').length") == 1
    shown = browser.run("document.querySelector('#run-1').textContent")
    assert shown.count("</script><img src=x onerror=") >= 6
    assert "\\u202egnp.exe" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", shown)
    # By keyboard: from the newest idea to the one before.
    browser.run("document.querySelector('#run-0 .idea[tabindex=\"0\"]').focus()")
    browser.press("ArrowLeft")
    assert browser.wait("document.querySelector('#run-0 .detail b')?.textContent.trim()") == f"I{team.ideas - 1}"
    # What is written now is there soon, and what was chosen stays chosen.
    began = time.monotonic()
    team.write(NoteEvent(text="a word that was not there before"), "codex-1")
    author.idea(HOSTILE, "one more idea")
    browser.wait("document.querySelector('#run-0 .log').textContent.includes('a word that was not there before')")
    print(f"shown after {time.monotonic() - began:.2f} s")
    browser.wait("document.querySelectorAll('#run-1 .idea').length === 2")
    assert browser.run("document.querySelector('#run-0 .detail b').textContent.trim()") == f"I{team.ideas - 1}"
    for name, width, dark in (("desktop", 1280, False), ("phone", 390, True)):
        browser.look(width, dark)
        browser.shoot(name)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), name
    assert browser.said == []
    assert (
        browser.run(
            "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'written' } catch (e) { return e.name } })()"
        )
        == "TypeError"
    )


def events_of(text):
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]


def test_what_is_new_is_sent_alone_and_a_page_that_opens_late_has_all(runs, address):
    team = runs[2]
    answer, connection = get(address, f"{urlsplit(address).path}events")
    first = b""
    while not {"head", "climb", "ideas", "members", "robots", "log"} <= {
        e["section"] for e in events_of(first.decode(errors="replace")) if e["run"] == 0
    }:
        first += answer.readline()
    team.write(NoteEvent(text="only the log and the numbers change"), "codex-1")
    later = b""
    while b"only the log and the numbers change" not in later:
        later += answer.readline()
    assert {e["section"] for e in events_of(later.decode()) if e["run"] == 0} <= {"head", "members", "log", "robots"}
    connection.close()


def test_members_and_robots_are_shown_with_what_they_do_now(tmp_path):
    with Author.of_ledger(tmp_path / "ledger.sqlite") as author:
        author.begin({"a-1": "codex", "a-2": "codex"}, team=2)
        view = LiveView(tmp_path)
        doing = lambda: [m["doing"] for m in json.loads(view.refresh()["members"])]  # noqa: E731
        assert doing() == ["has not begun"] * 2
        for name in ("a-1", "a-2"):
            author.write(AgentEvent(phase="started", name="codex"), name)
        author.batch("a-1", "c", 2, 4, cut=3, closed=False)
        about = {"id": "E1", "purpose": "evaluate", "commit": "c", "digest": "c", "content": "c", "planned": 4}
        author.write(JobEvent(phase="asked", what="evaluate"), "a-2")
        assert doing() == ["evaluates E1 (3 of 4)", "waits for a robot (evaluate)"]
        author.write(EvaluationEvent(phase="finished", episodes=3, successes=2, **about), "a-1")
        author.write(JobEvent(phase="began", what="evaluate"), "a-2")
        assert doing() == ["works on its own machine"] * 2
        author.write(AgentEvent(phase="exited", name="codex", reason="memory_limit", exit_code=-9), "a-1")
        assert doing()[0] == "ended: memory_limit"
        author.write(RunEvent(phase="finished", secret="0" * 64))
        assert json.loads(view.refresh()["head"])["phase"] == "finished"
        assert view.refresh() == {}  # nothing is new
        assert view.finished
        view.close()


def test_sections_stay_small_however_long_a_run_is(tmp_path):
    with Author.of_ledger(tmp_path / "ledger.sqlite") as author:
        author.begin({"a": "codex"})
        for k in range(MOST_IDEAS + 50):
            idea = author.idea("a", HOSTILE * 3, parent=f"I{k}" if k else None)
            author.batch("a", f"{k:040x}", 1, 2, idea, "confirm" if k % 9 == 0 else "evaluate")
    view, sections = LiveView(tmp_path), {}
    while view.behind:
        sections |= view.refresh()
    ideas = json.loads(sections["ideas"])
    assert len(ideas["ideas"]) == MOST_IDEAS
    assert ideas["left_out"] == 50
    assert len(json.loads(sections["log"])) == MOST_LINES
    assert sum(map(len, sections.values())) < 250_000
    view.close()


def test_the_page_of_a_run_is_a_process_that_ends_with_it(runs):
    line = [sys.executable, "-m", "autoenvbench.publish.live_server", str(runs[0] / "a-team")]
    server = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    address = server.stdout.readline().strip()
    answer, connection = get(address, urlsplit(address).path)
    assert answer.status == 200
    connection.close()
    server.stdin.close()
    assert server.wait(60) == 0
    missing = subprocess.run([*line[:3], str(runs[0])], input="", capture_output=True, text=True, timeout=60)
    assert missing.returncode == 1
    assert "no live page: no ledger at" in missing.stderr
    assert LOOK_S < 1
