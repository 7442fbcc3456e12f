"""How the tools of script policies are set up: what they may see, and whom they ask."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Mode = Literal["canonical", "interactive", "oracle"]
Vision = Literal["images", "vlm", "none"]


@dataclass(frozen=True, slots=True)
class ToolsConfig:
    """Part of what is compared: two results with different tools are two methods.

    Attributes:
        mode: "canonical" is what counts; "interactive" also answers get_task_info, reset_env, reset_to_initial; "oracle" also
            get_oracle_targets.
        vision: "images" (cameras, depth, perception), "vlm" (only answers of a vision-language model), "none".
        planner: whether freespace_move plans around obstacles; without it, it moves straight.
        width, height: of every image [px].
        prompts: "as-given", or "rewritten": the model words each perception prompt anew first.
        vlm: name of the model behind vlm_query, or None for no such tool.
        segmenter_url: an HTTP server that segments by prompt (SAM 3 style); None for the classical eyes.
        planner_url: an HTTP server that plans (cuRobo style); None for OMPL.
        policy_url: a policy server (openpi style, "ws://host:port"; GR00T style, "http://host:port") behind use_policy_output.
    """

    mode: Mode = "canonical"
    vision: Vision = "images"
    planner: bool = True
    width: int = 320
    height: int = 240
    prompts: Literal["as-given", "rewritten"] = "as-given"
    vlm: str | None = None
    segmenter_url: str | None = None
    planner_url: str | None = None
    policy_url: str | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("mode", get_args(Mode)),
            ("vision", get_args(Vision)),
            ("prompts", ("as-given", "rewritten")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"tools: {name} is one of {', '.join(known)}; got {getattr(self, name)!r}")
        if not (16 <= self.width <= 1024 and 16 <= self.height <= 1024):
            raise ValueError(f"tools: images are 16 to 1024 pixels wide and high; got {self.width} x {self.height}")
        if self.policy_url is not None:
            from enpire_envs.tools.servers import policy_server

            policy_server(self.policy_url)
        if self.vlm is None and (self.vision == "vlm" or self.prompts == "rewritten"):
            raise ValueError("tools: vision=vlm and prompts=rewritten need a model; add vlm=MODEL")

    @classmethod
    def of(cls, given: dict[str, Any]) -> ToolsConfig:
        """From a dictionary. Raises ValueError, which says what is wrong."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(given.keys() - known):
            raise ValueError(f"tools: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**given)
