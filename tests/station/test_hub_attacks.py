"""What members forge, flood or send does nothing to the others of their team."""

import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import ZERO_POLICY

from autoenvbench.errors import UserError
from autoenvbench.station import door, hub, ideas, objects
from autoenvbench.workspace import sharing

pytest_plugins = ["team_bench"]  # its `team`, `ada` and `bob`


def test_nobody_writes_what_a_peers_idea_taught_or_counts_a_test_to_it(team, ada, bob):
    with pytest.raises(UserError, match="only its author writes what it taught"):
        bob.client.post(f"/ideas/{team.first}/learned", {"text": "It is worthless"})
    with pytest.raises(UserError, match="an evaluation counts to an idea of your own"):
        team.station.ideas.under_test("bob-1", team.first)
    mine = bob.idea("My own")
    ada.idea("A newer one of another's")
    assert team.station.ideas.under_test("bob-1", None) == mine
    for forged in ({"id": team.first}, {"agent": "ada-1"}, {"id": "I99", "agent": "ada-1"}):
        made = bob.client.post("/ideas", {"title": "Forged", **forged})
        assert team.station.ideas.under_test("bob-1", made["id"]) == made["id"]
    assert {e.agent for e in team.ledger.events("idea") if e.payload.title == "Forged"} == {"bob-1"}
    assert all(p.text != "It is worthless" for p in team.events("learned"))


def test_a_commit_under_a_peers_name_changes_nothing_of_the_peers(team, ada, bob, tmp_path):
    before = ada.head
    bob.write("policy.py", "EVIL = 1\n")
    with pytest.raises(UserError, match=f"HEAD is not {before}"):
        team.upload(bob, claim=before)
    store = team.station.bundles.objects
    assert store.git("rev-parse", f"refs/received/{before}").strip() == before
    assert store.git("for-each-ref", "refs/incoming") == ""
    for ref in ("refs/members/ada-1", f"refs/received/{before}"):
        bob.git("update-ref", ref, "HEAD")
        team.upload(bob, ref)
        assert store.git("rev-parse", "refs/members/ada-1", f"refs/received/{before}").split() == [before, before]
    got = tmp_path / "got"
    bob.client.download(f"/commits/{before}", got, 10**7)
    assert bob.git("bundle", "list-heads", str(got)) == f"{before} refs/received/{before}"


def test_only_what_members_sent_and_tested_is_handed_out(team, ada, bob, tmp_path):
    starter = bob.head
    untested = bob.write("policy.py", ZERO_POLICY + "UNTESTED = 1\n")
    bob.send()
    hidden = team.station.bundles.objects.git("rev-parse", f"{ada.head}^{{tree}}").strip()
    for name in (
        starter,
        untested,
        hidden,
        "HEAD",
        "0" * 40,
        "refs/received",
        "--upload-pack=id",
        "a" * 39,
        f"{ada.head}^",
    ):
        with pytest.raises(UserError):
            ada.client.download(f"/commits/{name}", tmp_path / "x", 10**7)
    digest = team.station.bundles.get(ada.send().digest).digest
    for path in (
        f"/bundles/{'0' * 64}/checkpoints",
        f"/bundles/..%2f{digest}/checkpoints",
        f"/bundles/{bob.send().digest}/checkpoints",
    ):
        with pytest.raises(UserError):
            ada.client.download(path, tmp_path / "x", 10**7)
    with pytest.raises(UserError, match="nothing of I"):
        ada.client.post(f"/adopt/{bob.idea('Never tested')}", {})
    with pytest.raises(UserError, match="is yours"):
        ada.client.post(f"/adopt/{team.first}", {})


def test_a_digest_is_no_way_to_a_peers_bundle(team, ada, bob):
    digest = ada.send().digest
    assert bob.client.get(f"/bundles/{digest}") == {"known": False}
    with pytest.raises(UserError, match="does not have this commit from you"):
        bob.client.post("/submit", {"digest": digest})
    with pytest.raises(UserError, match="does not have this commit from you"):
        bob.client.job("/evaluate", {"digest": digest, "n": 1})
    assert team.events("commit", "bob-1") == [] or all(p.digest != digest for p in team.events("commit", "bob-1"))


def test_a_false_trailer_is_a_declaration_and_nonsense_is_nothing(team, ada, bob):
    claim = f"Adopted: {team.first} {ada.head} by ada-1"
    made = bob.write("policy.py", ZERO_POLICY + "OWN = 1\n", f"mine\n\n{claim}\nAdopted: I999 {ada.head} by ada-1\nAdopted: {team.first} "
                     f"{'0' * 40} by ada-1\nAdopted: {team.first} {ada.head} by nobody-1\nAdopted: {team.first} {ada.head} by admin")  # fmt: skip
    bob.send()
    assert team.sources(bob, made) == [("ada-1", ada.head, team.first, "declared")]


def test_words_and_looks_are_bounded_by_member(team, ada, bob, monkeypatch):
    counts = {kind: len(team.events(kind, "bob-1")) for kind in ("idea", "note", "learned", "look")}
    room = max(counts.values()) + 5
    monkeypatch.setattr(ideas, "MAX_WORDS", 2 * room)
    monkeypatch.setattr(hub, "MAX_LOOKS", room)
    monkeypatch.setattr(hub, "LOOK_EVERY_S", 0.0)
    mine = bob.idea("One of my own")
    for kind, ask in {
        "idea": lambda: bob.idea("flood"),
        "note": lambda: bob.client.post("/notes", {"text": "flood"}),
        "learned": lambda: bob.client.post(f"/ideas/{mine}/learned", {"text": "flood"}),
    }.items():
        for _ in range(room - len(team.events(kind, "bob-1"))):
            ask()
        with pytest.raises(UserError, match="which is your share of this run"):
            ask()
        assert len(team.events(kind, "bob-1")) == room
    for _ in range(room + 3):
        bob.client.get("/peers")
    assert len(team.events("look", "bob-1")) == room
    assert ada.idea("There is room for me")
    ada.client.post("/notes", {"text": "and for this"})
    ada.client.get("/peers")
    assert team.events("look", "ada-1")


def test_to_adopt_in_a_loop_writes_one_look_and_hands_out_one_thing_at_a_time(team, ada, bob, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "LOOK_EVERY_S", 3600.0)
    bob.client.post(f"/adopt/{team.first}", {})
    before = len(team.events("look", "bob-1"))
    for _ in range(20):
        bob.client.post(f"/adopt/{team.first}", {})
    assert len(team.events("look", "bob-1")) == before
    at_work, go_on = threading.Event(), threading.Event()

    def slow(commit, into):
        at_work.set()
        assert go_on.wait(60)
        into.write_bytes(b"it")

    monkeypatch.setattr(team.station.hub, "commit", slow)
    asking = threading.Thread(target=bob.client.download, args=(f"/commits/{ada.head}", tmp_path / "first", 100))
    asking.start()
    assert at_work.wait(60)
    for _ in range(3):
        with pytest.raises(UserError, match="one thing at a time"):
            bob.client.download(f"/commits/{ada.head}", tmp_path / "more", 100)
    assert ada.client.get("/peers")  # nobody else waits for it
    go_on.set()
    asking.join(60)
    assert (tmp_path / "first").read_bytes() == b"it"


def test_what_is_not_read_is_handed_out_once_at_a_time(team, ada, bob, monkeypatch, tmp_path):
    """Each file lies on the station's disk until its client has it."""
    monkeypatch.setattr(team.station.hub, "commit", lambda commit, into: into.write_bytes(bytes(32 << 20)))
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(team.socket))
        slow.sendall(
            f"GET /commits/{ada.head} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bob.token}\r\n\r\n".encode()
        )
        assert slow.recv(12) == b"HTTP/1.1 200"
        with pytest.raises(UserError, match="to its end, or hang up"):
            bob.client.download(f"/commits/{ada.head}", tmp_path / "more", 64 << 20)
        ada.client.download(f"/commits/{ada.head}", tmp_path / "mine", 64 << 20)


def test_a_members_commits_take_no_more_of_the_disk_than_its_share(team, ada, bob, monkeypatch):
    monkeypatch.setattr(hub, "MAX_STORE", 64 << 20)
    (bob.repo / "checkpoints").mkdir()

    def send():
        (bob.repo / "checkpoints/w.bin").write_bytes(os.urandom(8 << 20))
        return bob.send()

    assert len({send().digest for _ in range(4)}) == 4
    with pytest.raises(UserError, match="over 32 MB, which is your share"):
        send()
    ada.write("policy.py", ZERO_POLICY + "GAIN = 3\n")
    assert ada.send()


def test_who_floods_the_door_waits_behind_itself_alone(team, ada, bob, monkeypatch):
    """Not the run, which tells the station of its clock at every launch of any member."""
    go_on, answers = threading.Event(), []
    monkeypatch.setattr(team.station, "status", lambda client: go_on.wait(60) and {"client": client})

    def ask():
        try:
            answers.append(bob.client.get("/status"))
        except UserError as error:
            answers.append(str(error))

    asking = [threading.Thread(target=ask) for _ in range(door.MAX_REQUESTS + 4)]
    for thread in asking:
        thread.start()
    while len(answers) < 4:
        time.sleep(0.01)
    assert all("requests under way" in answer for answer in answers)
    team.admin.post("/pause", {"paused": False, "epoch": team.station.jobs.clock.epoch})
    go_on.set()
    for thread in asking:
        thread.join(60)
    assert answers.count({"client": "bob-1"}) == door.MAX_REQUESTS


def raw(mate, kind, content):
    """An object that no porcelain would write."""
    return mate.git("hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=content)


def entry(mode, name, sha):
    return f"{mode} {name}\0".encode() + bytes.fromhex(sha)


#: Commits that are run without what is no file, and are not handed out.
RUN_WITHOUT = ("submodule", "link", "link to a folder")


@pytest.mark.parametrize("case", [".git/hooks", "..", "../x", ".GIT", "git~1", *RUN_WITHOUT])
def test_poisoned_objects_are_refused_or_not_handed_out(team, bob, ada, case):
    blob = raw(bob, "blob", b"#!/bin/sh\ntouch /tmp/never\n")
    policy = raw(bob, "blob", ZERO_POLICY.encode())
    inner = raw(bob, "tree", entry("100755", "post-merge", blob))
    rows = {
        ".git/hooks": [entry("40000", ".git", raw(bob, "tree", entry("40000", "hooks", inner)))],
        "..": [entry("40000", "..", inner)],
        "../x": [entry("100644", "../x", blob)],
        ".GIT": [entry("40000", ".GIT", inner)],
        "git~1": [entry("40000", "git~1", inner)],
        "submodule": [entry("160000", "sub", bob.head)],
        "link": [entry("120000", "out", raw(bob, "blob", b"/etc"))],
        "link to a folder": [entry("120000", "checkpoints", raw(bob, "blob", b"../home"))],
    }[case]
    tree = raw(
        bob,
        "tree",
        b"".join(sorted([*rows, entry("100644", "policy.py", policy)], key=lambda row: row.split(b" ", 1)[1])),
    )
    commit = bob.git("commit-tree", tree, "-p", bob.head, "-m", f"poisoned with {case}")
    bob.git("update-ref", "refs/heads/main", commit)
    idea, before = bob.idea(f"Poison: {case}"), ada.head
    if case in RUN_WITHOUT:
        team.tested(bob, idea, digest=team.upload(bob))
    else:
        with pytest.raises(UserError):
            team.upload(bob)
    with pytest.raises(
        UserError, match="which the station never ran; it is not handed out" if case in RUN_WITHOUT else "nothing of"
    ):
        sharing.adopt(ada.client, ada.repo, idea)
    assert ada.head == before


def test_no_file_of_a_peers_steers_an_agent_or_runs_by_itself(team, ada, bob):
    """Not by Git's own means, and not by those of the agents' programs, which obey files that lie in a workspace."""
    idea, mark = bob.idea("A plan with surprises"), team.dir / "ran"
    before = {p.name for p in ada.repo.iterdir()}
    evil = f"#!/bin/sh\ntouch {mark}\n"
    for name in (".githooks/post-merge", ".githooks/fsmonitor", ".git-hooks/post-checkout", "AGENTS.md", "sub/CLAUDE.md", ".gitattributes", ".envrc", ".mcp.json",
                 ".claude/settings.json", ".codex/config.toml", "sub/.hidden"):  # fmt: skip
        (bob.repo / name).parent.mkdir(exist_ok=True)
        (bob.repo / name).write_text(evil if "hooks" in name else f"*.py filter=evil\n{evil}")
        (bob.repo / name).chmod(0o755)
    bob.git("add", "-f", ".")
    bob.write("plan.py", "PLAN = 1\n")
    team.tested(bob, idea)
    ada.git("config", "core.hooksPath", ".githooks")  # as she may have it, for hooks of her own
    ada.git("config", "filter.evil.smudge", f"touch {mark}; cat")
    ada.git("config", "core.fsmonitor", ".githooks/fsmonitor")
    (ada.repo / ".githooks").mkdir()
    (ada.repo / ".githooks/post-merge").write_text(evil)
    (ada.repo / ".githooks/post-merge").chmod(0o755)
    try:
        mark.unlink(missing_ok=True)
        taken = sharing.adopt(ada.client, ada.repo, idea)
        ran = mark.exists()
    finally:
        for key in ("core.hooksPath", "filter.evil.smudge", "core.fsmonitor"):
            ada.git("config", "--unset", key)
    assert not ran
    assert taken.files == ["plan.py"]
    assert len(taken.left_out) == 11
    assert (ada.repo / "AGENTS.md").read_text() == "how to work\n"
    assert {p.name for p in ada.repo.iterdir()} == before | {"plan.py", ".githooks"}


def test_a_history_without_end_is_refused_and_a_long_one_hides_nothing(team, ada, bob, monkeypatch):
    taken = sharing.adopt(bob.client, bob.repo, team.first)
    monkeypatch.setattr(objects, "MAX_HISTORY", 400)

    def grow(commits):
        stream = [
            b"commit refs/heads/main\ncommitter b <b@b> %d +0000\ndata 1\nx\n%s\n"
            % (10**9 + k, b"" if k else b"from %s\n" % bob.head.encode())
            for k in range(commits)
        ]
        bob.git("fast-import", "--quiet", "--force", stdin=b"".join(stream))
        bob.git("reset", "-q", "--hard")
        team.upload(bob)

    grow(350)
    assert team.sources(bob, bob.head)[0] == ("ada-1", taken.commit, team.first, "merge")
    with pytest.raises(UserError, match="over 400 commits behind this one"):
        grow(100)


def test_a_message_of_megabytes_or_of_control_characters_is_no_message(team, ada, bob):
    words = b"\x1b]0;owned\x07\x1b[2J evil \xe2\x80\xae\n\nAdopted: I1 \x1b[31m\nAdopted: " + b"x" * (10 << 20) + b"\n"
    (bob.repo / "policy.py").write_text(ZERO_POLICY + "LONG = 1\n")
    bob.git("commit", "-qa", "--cleanup=verbatim", "-F", "-", stdin=words)
    idea = bob.idea("Long \x1b[2J words")
    team.tested(bob, idea)
    assert team.sources(bob, bob.head) == []
    assert len(team.events("commit", "bob-1")[-1].subject) <= 200
    done = subprocess.run([sys.executable, "-m", "autoenvbench.workspace.aeb", "show", idea], cwd=ada.repo, env={**os.environ, "HOME": str(ada.home)},
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "LONG = 1" in done.stdout
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", done.stdout)
    taken = sharing.adopt(ada.client, ada.repo, idea, theirs=True)
    message = ada.git("log", "-1", "--format=%B")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", message)
    assert message.endswith(f"Adopted: {idea} {taken.commit} by bob-1")
