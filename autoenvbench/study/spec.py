"""The study file of `autoenvbench ablate`: a base, and axes of named levels that each change something of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoenvbench.errors import UserError
from autoenvbench.make_env import default_track, is_real
from autoenvbench.record.run_config import Starter
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
        starter, demos: of its workspace, as of `autoenvbench eval`.
        team: agents that work together.
        budget: research wall-clock of each run, such as "2h".
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
    team: int = Field(default=1, ge=1)
    budget: str | None = None
    robot_budget: str | None = None
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
    def policy_folder(self) -> Path | None:
        """The folder of the policy, or None for one with a name and for an agent."""
        return None if self.policy is None or self.policy in NAMED_POLICIES else Path(self.policy)


class Study(BaseModel):
    """A study file.

    Attributes:
        name: of the study and of its folder.
        episodes: of each policy, and held-out ones of each research run.
        protocol: a fixed set of starts, or None for starts drawn from `seed`.
        seeds: of research runs, one run each.
        axes: levels by axis and name; each axis' first level is what the others are compared with.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")
    episodes: int = Field(default=20, ge=1, le=1000)
    protocol: str | None = None
    seed: int = Field(default=0, ge=0)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    base: Condition
    axes: dict[str, dict[str, Condition]] = Field(min_length=1)


def load_study(path: Path) -> Study:
    """Read a study file. Raises UserError, which names the field that is wrong."""
    try:
        study = Study.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise UserError(f"cannot read the study {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; see examples/ablation_vision.yaml"
        ) from None
    names = [figure_name(axis) for axis in study.axes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: the names of two axes both mean {name}; rename one")
    return study


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
    for name in ("policy", "tools_replay", "replay"):
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
    for file in (condition.tools_replay, condition.replay):
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
    if condition.team > 1:
        raise UserError("teams of several agents cannot be run yet; team: 1 can")
    checked_tools(condition.tools, condition.tools_replay, condition.base_url)
