"""Teams, as `--agent` and `--team` name them: `codex*2,kimi-code`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from autoenvbench.agents.registry import WITH_ARGUMENT, make_agent
from autoenvbench.errors import UserError

MAX_TEAM = 64
_COUNTED = re.compile(r"(.*?)\s*\*\s*(\d{1,9})", re.DOTALL)


def parse_team(texts: Sequence[str], team: int | None = None) -> list[str]:
    """The agents of a run's members, in order, each named as `make_agent` wants it. Raises UserError, for an unknown agent too.

    Args:
        texts: what each `--agent` says: agents, with commas between them and `*N` behind one for N of it. `command:` and `replay:` take
            the rest of their text as it is, so that a program may have commas and stars; another `--agent` names the next member.
        team: how many members there are; of one agent alone, so many work.
    """
    members = [agent for text in texts for agent in _members(text)]
    if not members:
        raise UserError("--agent names nobody; write it like codex, or codex*2,kimi-code")
    if team is not None and team != len(members):
        if len(members) > 1:
            raise UserError(
                f"--agent names {len(members)} members and --team says {team}; leave --team out, or write so many, like codex*2,kimi-code"
            )
        members *= team
    if len(members) > MAX_TEAM:
        raise UserError(f"{len(members)} members are more than the {MAX_TEAM} that a run may have")
    for agent in dict.fromkeys(members):
        make_agent(agent)
    return members


def parse_models(text: str | None, members: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """What `--model` says: one model for all members, or one for each kind of agent, like codex=gpt-x,kimi-code=kimi-y (a kind that is not
    named has its own default). Raises UserError.

    Returns:
        The one, and those by kind; of either there may be none.
    """
    if text is None or "=" not in text:
        return text, {}
    models: dict[str, str] = {}
    for part in text.split(","):
        kind, _, model = (word.strip() for word in part.partition("="))
        if not kind or not model or kind in models:
            raise UserError(
                f"--model {text!r}: write each agent once, with its model, like codex=gpt-x,kimi-code=kimi-y"
            )
        models[kind] = model
    check_models_named(models, members)
    return None, models


def check_models_named(models: Mapping[str, str], members: Sequence[str]) -> None:
    """Raises UserError for a model of a kind of agent that is no member, or asks none."""
    agents = [make_agent(agent) for agent in dict.fromkeys(members)]
    kinds = {agent.name: agent.needs_model for agent in agents}
    asking = [name for name, asks in kinds.items() if asks]
    for kind, model in models.items():
        if kind not in asking:
            why = f"{kind} asks no language model" if kind in kinds else f"no member of this run is {kind!r}"
            there = f"models are for {', '.join(f'{name}=...' for name in asking)}" if asking else "leave --model out"
            raise UserError(f"--model {kind}={model}: {why}; {there}")


def team_name(members: Sequence[str]) -> str:
    """Who works, in one line, whatever the members' order: codex*2,kimi-code; of one agent, its name alone."""
    if len(set(members)) == 1:
        return members[0]
    counted = sorted(Counter(members).items())
    return ",".join(agent if n == 1 else f"{agent}*{n}" for agent, n in counted)


def _members(text: str) -> list[str]:
    """The agents that one `--agent` names."""
    found: list[str] = []
    rest = text.strip()
    while rest:
        kind, colon, _ = rest.partition(":")
        if colon and kind in WITH_ARGUMENT and WITH_ARGUMENT[kind].whole:
            return [*found, rest]
        part, comma, rest = rest.partition(",")
        part, rest = part.strip(), rest.strip()
        if not part or (comma and not rest):
            raise UserError(f"--agent {text!r} has a comma with no agent beside it; write it like codex,claude-code")
        counted = _COUNTED.fullmatch(part)
        name, n = (counted[1], int(counted[2])) if counted else (part, 1)
        if not 1 <= n <= MAX_TEAM:
            raise UserError(f"{part!r}: 1 to {MAX_TEAM} of an agent, like codex*2")
        found += [name] * n
    return found
