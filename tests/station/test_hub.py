"""Members of a team see one another's ideas and take them over."""

import pytest
from conftest import ZERO_POLICY
from team_bench import Mate, Team, fresh

from autoenvbench.errors import UserError
from autoenvbench.station.client import StationClient
from autoenvbench.workspace import sharing

pytest_plugins = ["team_bench"]  # its `team`, `ada` and `bob`


def test_peers_and_show_say_what_the_record_holds(team, ada, bob):
    team.tested(ada, team.first, wins=4, n=4, purpose="confirm")
    ada.client.post(f"/ideas/{team.first}/learned", {"text": "More gain\nhelps,   a little."})
    rows = {row["agent"]: row for row in bob.client.get("/peers")}
    assert rows["ada-1"]["best"]["success_rate"] == 1
    assert (rows["ada-1"]["best_idea"], rows["ada-1"]["you"]) == (team.first, False)
    assert (rows["bob-1"]["best"], rows["bob-1"]["you"]) == (None, True)
    shown = bob.client.get(f"/ideas/{team.first}")
    assert (shown["agent"], shown["learned"]) == ("ada-1", "More gain helps, a little.")
    (commit,) = shown["commits"]
    assert [(e["successes"], e["episodes"]) for e in commit["evaluations"]] == [(2, 3), (4, 4)]
    assert commit["confirmed"]["episodes"] == 4
    assert (shown["against"], "+GAIN = 2" in shown["diff"]) == ("the starter", True)
    assert "diff" not in bob.client.get(f"/ideas/{team.first}?diff=no")
    seen = [(p.what, p.idea) for p in team.events("look", "bob-1")]
    assert seen.count(("peers", None)) == seen.count(("show", team.first)) == 1


def test_each_members_status_has_its_own_best_and_the_teams(team, ada, bob):
    mine, others = ada.client.get("/status"), bob.client.get("/status")
    assert mine["best"]["success_rate"] == 1
    assert (others["best"], others["best_pools"], others["team_best"]) == (None, [], mine["best"])
    assert team.admin.get("/status")["best"] == mine["best"]


def test_who_joins_later_is_a_member_as_the_others_are(team, tmp_path):
    eve = Mate("eve-1", tmp_path, team.socket)
    with pytest.raises(UserError, match="does not know you"):
        eve.client.get("/peers")
    eve.token = "e" * 32
    team.admin.post("/members", {"member": "eve-1", "token": eve.token})
    eve.client = StationClient(str(team.socket), eve.token)
    try:
        idea = eve.idea("I am new")
        eve.write("policy.py", ZERO_POLICY + "NEW = 1\n")
        team.tested(eve, idea)
        rows = team.mates[1].client.get("/peers")
        assert [(row["agent"], row["newest_idea"]["id"]) for row in rows if row["agent"] == "eve-1"] == [
            ("eve-1", idea)
        ]
        assert sharing.adopt(team.mates[1].client, fresh(team.mates[1]).repo, idea).agent == "eve-1"
    finally:
        team.station.config.tokens.pop(eve.token)


def test_what_is_adopted_is_a_commit_that_says_so_and_has_no_score(team, ada, bob):
    mine = bob.write("notes.txt", "mine\n")
    taken = sharing.adopt(bob.client, bob.repo, team.first)
    assert (taken.agent, taken.commit, taken.files) == ("ada-1", ada.head, ["policy.py"])
    assert bob.git("rev-list", "--parents", "-n1", "HEAD").split()[1:] == [mine, ada.head]
    assert (
        bob.git("log", "-1", "--format=%an|%(trailers:key=Adopted,valueonly)")
        == f"bob-1|{team.first} {ada.head} by ada-1"
    )
    assert "GAIN = 2" in (bob.repo / "policy.py").read_text()
    assert sharing.adopt(bob.client, bob.repo, team.first).files == []  # it is there already
    sent = bob.send()
    assert team.sources(bob, sent.commit) == [("ada-1", ada.head, team.first, "merge")]
    assert {row["agent"]: row["best"] for row in ada.client.get("/peers")}["bob-1"] is None
    own = bob.write("notes.txt", "more\n")
    bob.send()
    assert team.sources(bob, own) == []  # what it had from others, it had before
    assert team.station.bundles.objects.git("rev-parse", "refs/members/bob-1").strip() == own


def test_a_picked_change_and_equal_files_are_found_without_any_trailer(team, ada, bob):
    bob.write("notes.txt", "mine, too\n")
    sharing.adopt(bob.client, bob.repo, team.first, pick=True)
    bob.git("commit", "-q", "--amend", "-m", "my own idea")
    assert len(bob.git("rev-list", "--parents", "-n1", "HEAD").split()) == 2
    assert team.sources(bob, bob.send().commit) == [("ada-1", ada.head, team.first, "patch")]
    fresh(bob)
    bob.write("policy.py", ZERO_POLICY + "GAIN = 1.5\n")
    bob.write("policy.py", ZERO_POLICY + "GAIN = 2\n", "found it")
    assert team.sources(bob, bob.send().commit) == [("ada-1", ada.head, team.first, "tree")]


def test_where_both_changed_the_same_lines_nothing_is_touched_and_it_says_what_to_type(team, ada, bob):
    before = bob.write("policy.py", ZERO_POLICY + "GAIN = 3\n")
    (bob.repo / "mess.txt").write_text("not committed")
    with pytest.raises(
        UserError, match=r"both changed policy\.py; your workspace is as it was\. Type: aeb adopt I1 --theirs"
    ):
        sharing.adopt(bob.client, bob.repo, team.first)
    assert (bob.head, bob.git("status", "--porcelain")) == (before, "?? mess.txt")
    (bob.repo / "policy.py").write_text("half done")
    with pytest.raises(UserError, match="uncommitted changes"):
        sharing.adopt(bob.client, bob.repo, team.first)
    bob.git("checkout", "-q", "policy.py")
    sharing.adopt(bob.client, bob.repo, team.first, theirs=True)
    assert "GAIN = 2" in (bob.repo / "policy.py").read_text()
    assert (bob.repo / "mess.txt").read_text() == "not committed"


def test_an_untracked_file_in_the_way_is_not_lost(team, ada, bob):
    idea = ada.idea("A file of helpers")
    ada.write("helpers.py", "HELP = 1\n")
    team.tested(ada, idea)
    (bob.repo / "helpers.py").write_text("mine")
    before = bob.head
    with pytest.raises(UserError, match=r"helpers\.py"):
        sharing.adopt(bob.client, bob.repo, idea)
    assert (bob.head, (bob.repo / "helpers.py").read_text()) == (before, "mine")


def test_checkpoints_come_only_when_asked_for_and_are_those_that_were_tested(team, ada, bob):
    idea = ada.idea("Weights beside the policy")
    (ada.repo / "checkpoints").mkdir()
    (ada.repo / "checkpoints/w.bin").write_bytes(b"\x01" * 1000)
    head = team.tested(ada, idea)
    assert sharing.adopt(bob.client, bob.repo, idea).checkpoints is False
    assert not (bob.repo / "checkpoints").exists()
    assert sharing.adopt(bob.client, bob.repo, idea, checkpoints=True).checkpoints is True
    assert (bob.repo / "checkpoints/w.bin").read_bytes() == b"\x01" * 1000
    with pytest.raises(UserError, match=r"mv checkpoints checkpoints\.mine"):
        sharing.adopt(bob.client, bob.repo, idea, checkpoints=True)
    weights = team.station.bundles.get(head.digest).path / "checkpoints/w.bin"
    weights.write_bytes(b"\x02" * 1000)  # as if the disk had failed
    fresh(bob)
    with pytest.raises(UserError, match="no longer what was tested"):
        sharing.adopt(bob.client, bob.repo, idea, checkpoints=True)
    weights.write_bytes(b"\x01" * 1000)


def test_an_idea_without_checkpoints_is_adopted_as_it_is(team, ada, bob):
    (bob.repo / "checkpoints").mkdir()
    (bob.repo / "checkpoints/mine").write_text("mine")
    assert sharing.adopt(bob.client, bob.repo, team.first, checkpoints=True).checkpoints is False
    assert (bob.repo / "checkpoints/mine").read_text() == "mine"


def test_members_who_work_alone_see_nothing_of_one_another(tmp_path):
    made = Team(tmp_path, sharing=False)
    try:
        ada, bob = made.mates
        idea = ada.idea("A secret of mine")
        made.tested(ada, idea)
        for ask in (
            lambda: bob.client.get("/peers"),
            lambda: bob.client.get(f"/ideas/{idea}"),
            lambda: bob.client.get("/ideas/I99"),
            lambda: bob.client.post(f"/adopt/{idea}", {}),
            lambda: bob.client.download(f"/commits/{ada.head}", tmp_path / "x", 10**6),
            lambda: bob.idea("Mine", parent=idea),
            lambda: bob.idea("Mine", inspired_by=[idea]),
            lambda: bob.idea("Mine", parent=[idea]),
            lambda: bob.client.post(f"/ideas/{idea}/learned", {"text": "Not mine"}),
        ):
            with pytest.raises(UserError, match=r"work alone \(--no-sharing\)"):
                ask()
        assert bob.client.get("/status")["ideas"] == []
        assert len(ada.client.get("/status")["ideas"]) == 1
        assert ada.client.get(f"/ideas/{idea}")["title"] == "A secret of mine"
        assert made.events("look", "bob-1") == []
    finally:
        made.close()
