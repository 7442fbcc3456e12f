"""The idea tree of a report: every idea is a link to its card, nothing that others wrote does anything, and the page stays small."""

import re
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
from histories import Author, tell

from autoenvbench.evolution.team import TeamClimb
from autoenvbench.evolution.tree import IdeaTree
from autoenvbench.publish import idea_files
from autoenvbench.publish.idea_page import Extras, idea_section
from autoenvbench.publish.report import POLICY, write_report
from autoenvbench.record.events import AgentEvent, Borrowed, LearnedEvent, ProvenanceEvent
from autoenvbench.record.first_use import FirstUses

ATTACKS = (
    "</script><script>alert(1)</script>", "'><img src=x onerror=alert(1)>", "\" onclick=\"alert(1)", "</text></svg><iframe src=//evil.example>",
    "</title><script>alert(1)</script>", "</pre></details><a href='javascript:alert(1)'>x</a>", "</style><base href=//evil.example>",
    "<!--", "]]><script>alert(1)</script>", "&lt;script&gt;", "\x1b]0;x\x07\u202e<svg/onload=alert(1)>",
)  # fmt: skip
TAGS = {
    "html", "meta", "title", "style", "main", "h1", "h2", "h3", "p", "div", "span", "b", "small", "figure", "figcaption", "table", "tr", "th",
    "td", "details", "summary", "pre", "img", "nav", "article", "a", "svg", "g", "path", "text", "circle", "use", "defs", "clippath", "rect",
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of a page: its tags with their attributes, its ids and its text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(source)
        self.close()
        self.ids = [dict(attributes)["id"] for _, attributes in self.tags if "id" in dict(attributes)]
        self.links = [dict(attributes)["href"] for tag, attributes in self.tags if tag == "a"]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.words.append(data)


def git(folder, *args):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "HOME": str(folder),
           "PATH": "/usr/bin:/bin:/usr/local/bin"}  # fmt: skip
    return subprocess.run(
        ["git", "-C", folder, *args], check=True, capture_output=True, text=True, env=who
    ).stdout.strip()


def commits(run, *contents):
    """A repository as the station keeps it, with a commit for each of these contents of policy.py; returns their hashes."""
    work, found = run / "work", []
    work.mkdir()
    git(work, "init", "-q")
    for content in contents:
        (work / "policy.py").write_text(content)
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", "a change")
        found.append(git(work, "rev-parse", "HEAD"))
    (run / "bundles").mkdir()
    git(work, "clone", "-q", "--bare", ".", run / "bundles/objects.git")
    return found


def test_nothing_that_an_agent_wrote_does_anything(tmp_path):
    first, second = commits(tmp_path, "\n".join(ATTACKS), "\n".join(attack * 2 for attack in ATTACKS))
    with Author.of_ledger(tmp_path / "ledger.sqlite") as author:
        author.begin({attack: attack for attack in ATTACKS[:4]}, agent=f"command:{ATTACKS[1]}", confirm_episodes=4)
        for k, attack in enumerate(ATTACKS):
            name = ATTACKS[k % 4]
            author.write(AgentEvent(phase="started", name=attack), name)
            idea = author.idea(
                name, attack, parent=f"I{k}" if k else None, inspired_by=[f"I{k - 1}"] if k > 1 else [], regime=attack
            )
            author.write(LearnedEvent(idea=idea, text=f"{attack}\n{attack}"), name)
            borrowed = Borrowed(agent=attack, commit=attack, idea="I1", how="merge")
            author.write(ProvenanceEvent(commit=first, sources=[borrowed]), name)
            author.batch(name, (first, second)[k % 2], 3, 4, idea, "confirm", seconds=5.0)
            author.t += 60.0
    source = write_report(tmp_path).read_text()
    page = Page(source)
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attributes in page.tags:
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            assert name not in ("href", "xlink:href") or value.startswith("#"), value
            assert name != "src" or value.startswith("data:image/jpeg;base64,"), value
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", source)
    policy = next(dict(a) for tag, a in page.tags if tag == "meta" and dict(a).get("http-equiv"))
    assert policy["content"] == POLICY
    assert "script-src" not in POLICY  # scripts fall under default-src: none run, wherever they come from
    assert "default-src 'none'" in POLICY
    words = "".join(page.words)
    for attack in ATTACKS[:9]:  # shown, as they are: in titles, what was learnt and diffs
        assert words.count(attack) >= 3, attack


def section(run, events):
    """The part of a report that is about ideas."""
    tree, uses = IdeaTree.of(events), FirstUses()
    for event in events:
        uses.add(event)
    extras = Extras(idea_files.diffs(run, tree, list(tree.ideas)), {})
    return idea_section(tree, TeamClimb.of(events), uses, events[-1].t_run, extras)


def test_every_idea_is_a_node_that_opens_its_card_and_every_link_leads_somewhere(tmp_path):
    author = Author.in_memory()
    tell(author, members=3, ideas=12)
    tree, page = IdeaTree.of(author.sink.events), Page(section(tmp_path, author.sink.events))
    cards = [id for id in page.ids if id.startswith("idea-")]
    assert cards == [f"idea-{k + 1}" for k in range(len(tree.ideas))]
    assert {link for link in page.links if link.startswith("#idea-")} == {f"#{id}" for id in cards}
    assert {link[1:] for link in page.links} <= set(page.ids)
    tabbed = [dict(a).get("href") for tag, a in page.tags if tag == "a" and "tabindex" not in dict(a)]
    assert tabbed[: len(cards)] == [f"#{id}" for id in cards]  # the keyboard meets every node, in the ideas' order


def test_a_card_says_what_became_of_its_idea(tmp_path):
    first, second = commits(tmp_path, "gain = 1\n", "gain = 2\n")
    author = Author.in_memory()
    author.begin({"a-1": "cem", "b-1": "cem"})
    one = author.idea("a-1", "a first idea")
    for _ in range(10):
        author.batch("a-1", first, 12, 20, one)
    author.batch("a-1", first, 40, 50, one, "confirm", closed=False)
    two = author.idea("b-1", "a second one", parent=one)
    author.write(LearnedEvent(idea=two, text="the gain\nwas too high"), "b-1")
    author.batch("b-1", second, 10, 50, two, "confirm")
    author.idea("b-1", "one more", inspired_by=[one, two])
    source = section(tmp_path, author.sink.events)
    cards = [Page(card) for card in re.findall(r"<article.*?</article>", source, re.DOTALL)]
    texts = ["".join(card.words) for card in cards]
    assert "evaluated 120 of 200 (60.0 % [53, 67])" in texts[0]
    assert "confirm (under way)" in texts[0]
    assert "and 3 before these" in texts[0]
    assert "something of it is in I2, I3" in texts[0]
    assert "raised the team average by 10.0 points" in texts[1]  # 10 of 50, over two members
    assert "the gain\nwas too high" in texts[1]
    assert "what it changed against its parent I1" in texts[1]
    assert "-gain = 1\n+gain = 2" in texts[1]
    assert "Never evaluated." in texts[2]
    assert texts[2].count("is inspired by") == 2
    assert "#idea-1" in cards[1].links


def test_the_configuration_of_a_runs_repository_is_not_heeded(tmp_path):
    """Whoever hands over a run's folder chooses what Git would do in it: here, to fetch by a program what is missing."""
    shas = commits(tmp_path, "a = 1\n", "a = 2\n")
    repository, ran = tmp_path / "bundles/objects.git", tmp_path / "ran"
    author = Author.in_memory()
    author.begin({"a-1": "cem"})
    author.batch("a-1", shas[1], 1, 2, author.idea("a-1"))
    tree = IdeaTree.of(author.sink.events)
    ((diff, against),) = idea_files.diffs(tmp_path, tree, ["I1"]).values()
    assert "-a = 1\n+a = 2" in diff
    assert against == "the commit before it"
    hostile = {"core.repositoryformatversion": "1", "extensions.partialClone": "evil", "remote.evil.promisor": "true",
               "remote.evil.url": f"ext::touch {ran}", "protocol.ext.allow": "always"}  # fmt: skip
    for name, value in hostile.items():
        git(repository, "config", name, value)
    blob = git(repository, "rev-parse", f"{shas[0]}:policy.py")
    (repository / "objects" / blob[:2] / blob[2:]).unlink()
    assert idea_files.diffs(tmp_path, tree, ["I1"]) == {}
    assert not ran.exists()


def test_commits_that_are_none_or_not_there_have_no_diff(tmp_path):
    commits(tmp_path, "a = 1\n")
    author = Author.in_memory()
    author.begin({"a-1": "cem"})
    for commit in ("--output=/tmp/x", "f" * 40, "HEAD"):
        author.batch("a-1", commit, 1, 2, author.idea("a-1"))
    assert idea_files.diffs(tmp_path, IdeaTree.of(author.sink.events), ["I1", "I2", "I3"]) == {}


def test_a_film_of_practice_is_a_strip_and_a_link_to_elsewhere_is_none(tmp_path):
    folder = tmp_path / "data/practice"
    folder.mkdir(parents=True)
    film = cv2.VideoWriter(str(folder / "E1-success.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 64))
    for k in range(10):
        film.write(np.full((64, 64, 3), 25 * k, np.uint8))
    film.release()
    (folder / "E2-success.mp4").symlink_to(folder / "E1-success.mp4")
    author = Author.in_memory()
    author.begin({"a-1": "cem"})
    for _ in range(2):
        author.idea("a-1")
        author.batch("a-1", "x", 1, 1, purpose="practice")
    tree = IdeaTree.of(author.sink.events)
    found = idea_files.strips(tmp_path, tree, list(tree.ideas))
    assert list(found) == ["I1"]
    assert found["I1"].startswith("data:image/jpeg;base64,")


def test_a_hundred_ideas_make_a_page_of_less_than_300_kb(tmp_path, monkeypatch):
    """Their diffs and what they taught are as long as a page lets them be."""
    (tmp_path / "bundles/objects.git/objects").mkdir(parents=True)
    monkeypatch.setattr(idea_files, "_diff", lambda env, base, commit: "+    if a < b and c > d:\n" * 10_000)
    with Author.of_ledger(tmp_path / "ledger.sqlite") as author:
        tell(author, members=8, ideas=110)
        for event in list(author.sink.events("idea")):
            author.write(LearnedEvent(idea=event.payload.id, text="what it taught " * 200), event.agent)
    page = write_report(tmp_path).read_text()
    assert page.count("<article") >= 100
    assert page.count("more characters") >= 90
    assert len(page.encode()) < 300_000
