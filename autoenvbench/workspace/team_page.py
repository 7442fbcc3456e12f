"""TEAM.md: who a member is and who its peers are. It lies beside the repository's files and in no commit, so that all members' histories
begin with one and the same commit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from autoenvbench.record.run_config import RunConfig

TEAM = "TEAM.md"


def write_team_page(workspace: Path, config: RunConfig, me: str, members: Mapping[str, str]) -> None:
    """Put TEAM.md into a member's workspace, where Git passes it over, in place of what is there: again whenever somebody joins. What the
    member put there, a link perhaps, is not written through. Raises OSError, as where it is a folder.

    Args:
        me: the member's name.
        members: all of the run's, with their agents as `--agent` names them.
    """
    scratch = workspace.parent / f"{TEAM}.part"  # out of the member's reach
    scratch.write_text(team_page(config, me, members))
    os.replace(scratch, workspace / TEAM)


def team_page(config: RunConfig, me: str, members: Mapping[str, str]) -> str:
    """The page as it is with these members."""
    peers = ", ".join(f"`{name}` ({agent.partition(':')[0]})" for name, agent in members.items() if name != me)
    robots = "one robot" if config.cells == 1 else f"{config.cells} robots"
    if config.own_stations:
        shared, place = "the wall-clock and the budgets", list(members).index(me) + 1
        cells = ", ".join(map(str, range(place, config.cells + 1, len(members))))
        work = f"You work on robots of your own: {cells} of {config.cells}. No peer uses them."
    else:
        shared = f"{robots}, the wall-clock and the budgets"
        work = "Jobs of several members take turns, fairly; you may have one at a time."
    how = "`AGENTS.md` says how" if config.team > 1 else "`aeb peers --help`, `aeb show --help`, `aeb adopt --help`"
    ideas = (
        f"You see what the others try and may adopt it: {how}. What you adopt is measured anew by your own evaluations."
        if config.sharing
        else "Members work alone: nobody sees another's ideas or commits."
    )
    return f"""# You are `{me}`

One of {len(members)} members of this run; your {"peer is" if len(members) == 2 else "peers are"} {peers}. Each has a repository and a home of its own. You share {shared}.

{work} {ideas}

What counts of the team is the mean of every member's own confirmed success rate over time, and in the end one answer: each member's is the
commit that it submitted last, or else its confirmed best, and of these the one counts that the station has confirmed best.
"""
