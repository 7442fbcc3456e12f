"""The study file of `autoenvbench study`: a base, and what is varied of it.

`axes` hold named levels that each change something, one axis at a time; `grid` holds values of fields, of which every combination
is a level; `controls` are run beside every team.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from autoenvbench.agents.team import parse_team
from autoenvbench.errors import UserError
from autoenvbench.make_env import default_track, is_real
from autoenvbench.record.clock import parse_duration
from autoenvbench.record.goal import Goal
from autoenvbench.record.run_config import Starter, Vision
from autoenvbench.sandbox.cage import Track
from autoenvbench.station.script_rollout import checked_tools
from autoenvbench.study.policies import NAMED_POLICIES
from autoenvbench.study.start_sets import starts


class Condition(BaseModel):
    """What one level of a study is made of; fields that are not given are the base's.

    Attributes:
        policy: a folder (relative to the study file), or "random", "zero-shot", "vla", "reference", "scripted", "naive".
        tools: of script policies (`ToolsConfig`), merged into the base's.
        tools_replay: a script that stands in for the model behind vlm_query.
        agent: instead of a policy: who does research, for `budget`, once per seed.
        regime: the only one that the agent may work in.
        starter, demos, experience: of its workspace, as of `autoenvbench eval`.
        team: agents that work together; None for as many as `agent` names. `sharing`: they see one another's ideas.
        vision, vision_model, vision_url: what agents see, and who answers their questions, as of `autoenvbench eval`.
        stations: robots behind the run's one door; None for one per member. `own_stations`: each member works on its own alone.
        budget: research wall-clock of each run, such as "2h".
        token_budget: headline tokens of each run, all members together. `goal`: ends a run early, as of `autoenvbench eval`.
        track: "open" or "station"; None for the one that its environment is on by default. `pace`: of research, likewise.
        robot_budget: robot time of each run, such as "60m"; None for as much as `budget` allows.
        replay: a script that stands in for the agent's model.
        base_url: address of the model's provider.
    """

    model_config = ConfigDict(extra="forbid")

    env: str | None = None
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    policy: str | None = None
    tools: dict[str, Any] = Field(default_factory=dict)
    tools_replay: str | None = None
    agent: str | None = None
    model: str | None = None
    effort: str | None = None
    regime: str | None = None
    starter: Starter = "plain"
    demos: int = Field(default=0, ge=0, le=10_000)
    experience: str | None = None
    team: int | None = Field(default=None, ge=1, le=64)
    stations: int | None = Field(default=None, ge=1, le=64)
    sharing: bool = True
    own_stations: bool = False
    vision: Vision = "native"
    vision_model: str | None = None
    vision_url: str | None = None
    budget: str | None = None
    robot_budget: str | None = None
    token_budget: int | None = Field(default=None, gt=0)
    goal: str | None = None
    track: Track | None = None
    pace: float | None = Field(default=None, ge=0, le=1)
    replay: str | None = None
    base_url: str | None = None

    @property
    def track_in_force(self) -> Track:
        """The track, whether or not it was named."""
        assert self.env is not None
        return self.track or default_track(self.env)

    @property
    def members(self) -> list[str]:
        """The agents of its team, one per member. Raises UserError."""
        assert self.agent is not None
        return parse_team([self.agent], self.team)

    @property
    def cells(self) -> int:
        """Robots of its runs."""
        return self.stations or len(self.members)

    @property
    def policy_folder(self) -> Path | None:
        """The folder of the policy, or None for one with a name and for an agent."""
        return None if self.policy is None or self.policy in NAMED_POLICIES else Path(self.policy)


Control = Literal["no-sharing", "one-agent", "longer"]


class Study(BaseModel):
    """A study file.

    Attributes:
        name: of the study and of its folder.
        episodes: of each policy, and held-out ones of each research run.
        protocol: a fixed set of starts, or None for starts drawn from `seed`.
        seeds: of research runs, one run each.
        axes: levels by axis and name; each axis' first level is what the others are compared with.
        grid: values by field of a condition; every combination is a level.
        controls: what is run beside each team: the same members without sharing, one agent with the robots of all, and one agent
            with one robot for as many times longer.
        reach: success rates, 0 to 1, of which the study says how long runs take to get there.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")
    episodes: int = Field(default=20, ge=1, le=1000)
    protocol: str | None = None
    seed: int = Field(default=0, ge=0)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    base: Condition
    axes: dict[str, dict[str, Condition]] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    controls: list[Control] = Field(default_factory=list)
    reach: list[float] = Field(default=[0.5, 0.8, 0.95])

    @field_validator("seeds", "controls", "reach")
    @classmethod
    def check_once(cls, values: list[Any]) -> list[Any]:
        """Raises ValueError for what is named twice: a run that is counted twice would make intervals too narrow."""
        if len(set(values)) < len(values):
            raise ValueError(f"{max(values, key=values.count)} is there twice")
        return values

    @field_validator("reach")
    @classmethod
    def check_rates(cls, values: list[float]) -> list[float]:
        """Raises ValueError for what is no success rate."""
        if not all(0 < value <= 1 for value in values):
            raise ValueError("success rates are above 0 and at most 1, such as 0.8")
        return sorted(values)


def load_study(path: Path) -> Study:
    """Read a study file. Raises UserError, which names the field that is wrong, and those that are known where it is unknown."""
    try:
        study = Study.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise UserError(f"cannot read the study {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_complaint(error)}; see examples/study_vision.yaml") from None
    if not study.axes and not study.grid:
        raise UserError(f"{path}: nothing is varied; give axes or a grid, see examples/study_vision.yaml")
    names = [figure_name(axis) for axis in (*study.axes, *([GRID] if study.grid else []))]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: the names of two axes both mean {name}; rename one")
    for field, values in study.grid.items():
        if field not in Condition.model_fields:
            raise UserError(f"{path}: grid: unknown key {field!r}; known are {', '.join(Condition.model_fields)}")
        if not values or any(values.count(value) > 1 for value in values):
            raise UserError(f"{path}: grid: {field}: give a list of values that differ")
    return study


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}"
    model = Study if len(first["loc"]) == 1 else Condition
    return f"unknown key {where!r}; known are {', '.join(model.model_fields)}"


#: The axis that the combinations of the grid are on.
GRID = "grid"


def grid_levels(study: Study) -> dict[str, Condition]:
    """The combinations of the grid, by names that say in what they differ. Raises UserError for a value that cannot be."""
    levels: dict[str, Condition] = {}
    for values in itertools.product(*study.grid.values()):
        given = dict(zip(study.grid, values, strict=True))
        try:
            change = Condition.model_validate(given)
        except ValidationError as error:
            raise UserError(f"grid: {_complaint(error)}") from None
        varied = [(field, value) for field, value in given.items() if len(study.grid[field]) > 1] or list(given.items())
        levels[", ".join(_value_name(field, value) for field, value in varied)] = change
    return levels


def _value_name(field: str, value: Any) -> str:
    """Agents, environments and models speak for themselves; of a number or a switch, the field has to be said."""
    if field in ("agent", "policy", "model", "env") and value is not None:
        return str(value).rpartition("/")[2] if field == "env" else str(value)
    return f"{field.replace('_', ' ')} {'none' if value is None else value}"


def control_of(control: Control, team: Condition) -> Condition:
    """What a team is compared with. Robot and token budgets are of all members and robots together, and stay as they are. Raises
    UserError for a team that has no such control."""
    size, members = len(team.members), team.members
    if control == "no-sharing":
        return team.model_copy(update={"sharing": False})
    if len(set(members)) > 1:
        raise UserError(
            f"the control {control} is one agent alone, and the team {team.agent} has several kinds; leave it out"
        )
    alone = {"agent": members[0], "team": 1, "own_stations": False}
    if control == "one-agent":
        return team.model_copy(update={**alone, "stations": team.cells})
    longer = f"{size * parse_duration(team.budget or ''):g}s"
    return team.model_copy(update={**alone, "stations": max(1, team.cells // size), "budget": longer})


def figure_name(axis: str) -> str:
    """The file name of an axis' figure."""
    return "".join(c if c.isalnum() else "_" for c in axis.lower()) + ".png"


def merge(base: Condition, change: Condition, folder: Path) -> Condition:
    """The base with one level's changes. Dictionaries are merged; paths are relative to `folder`, the study file's."""
    given = {name: getattr(change, name) for name in change.model_fields_set}
    for name in ("tools", "env_kwargs"):
        given[name] = {**getattr(base, name), **given.get(name, {})}
    merged = base.model_copy(update=given)
    found: dict[str, Any] = {}
    for name in ("policy", "tools_replay", "replay", "experience"):
        value = getattr(merged, name)
        if value is not None and value not in NAMED_POLICIES:
            found[name] = str((folder / value).resolve())
    return merged.model_copy(update=found)


def check(study: Study, condition: Condition) -> None:
    """Raises UserError for a condition that contradicts itself, names a file that is not there, or cannot be run yet."""
    if condition.env is None:
        raise UserError("no env; name one in `base`")
    if (condition.policy is None) == (condition.agent is None):
        raise UserError("give a policy or an agent, one of the two")
    if condition.policy_folder is not None and not (condition.policy_folder / "policy.py").is_file():
        raise UserError(f"there is no policy.py in {condition.policy}")
    for file in (condition.tools_replay, condition.replay, condition.experience):
        if file is not None and not Path(file).is_file():
            raise UserError(f"there is no {file}")
    if is_real(condition.env) and condition.track == "open":
        raise UserError(f"{condition.env} is on the station track: a robot's simulator is not part of its own station")
    if condition.agent is not None and condition.budget is None:
        raise UserError("research needs a budget, such as 2h")
    if study.protocol is not None:
        if condition.agent is not None:
            raise UserError(f"the protocol {study.protocol} is for policies, not for agents; leave it out")
        starts(condition.env, study.protocol, study.episodes)
    if condition.goal is not None:
        Goal.parse(condition.goal)
    if condition.agent is not None:
        for duration in filter(None, (condition.budget, condition.robot_budget)):
            parse_duration(duration)
        if is_real(condition.env) and condition.cells > 1:
            raise UserError(f"{condition.env} moves the arms of one station; say stations: 1")
    checked_tools(condition.tools, condition.tools_replay, condition.base_url)
