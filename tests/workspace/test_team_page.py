"""TEAM.md while members come: true in every workspace, whatever a member made of its own."""

from autoenvbench.record.clock import RunClock
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.slots import Run, introduce, make_slots
from autoenvbench.workspace.team_page import TEAM


def test_each_page_names_all_members_and_no_link_of_a_members_is_written_through(tmp_path, ledger):
    members = {"cem-1": "cem", "cem-2": "cem", "evolve-1": "evolve", "evolve-2": "evolve"}
    slots = make_slots(tmp_path, members)
    for slot in slots:
        slot.workspace.mkdir(parents=True)
    (victim := tmp_path / "ledger").write_text("mine")
    (slots[0].workspace / TEAM).symlink_to(victim)
    (slots[1].workspace / TEAM).mkdir()
    config = RunConfig(agent="cem,evolve", team=3, env="ENPIRE/PushT-v0", budget_s=60)
    introduce(Run(tmp_path, config, slots, "none", RunClock.start(60), ledger))
    assert victim.read_text() == "mine"
    assert (slots[1].workspace / TEAM).is_dir()  # its own affair, and no peer's loss
    for slot in (slots[0], *slots[2:]):
        page = (slot.workspace / TEAM).read_text()
        assert page.startswith(f"# You are `{slot.id}`\n\nOne of 4 members")
        assert all(f"`{name}` (" in page for name in members if name != slot.id)
        assert list(slot.workspace.iterdir()) == [slot.workspace / TEAM]
