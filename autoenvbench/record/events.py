"""What can stand in a ledger: one payload model per kind of event, with a version in each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Purpose = Literal["practice", "evaluate", "confirm", "heldout", "score"]


class Payload(BaseModel):
    """Base of all payloads. Readers ignore fields they do not know, so old code can read newer ledgers."""

    model_config = ConfigDict(extra="ignore")
    version: int = 1


class RunEvent(Payload):
    """A milestone of the run itself. `started` holds all that a result says and that nobody could look up later, `resumed` what
    of it may have changed since, `finished` the secret of the held-out starts. (Ledgers before 25 November 2026 lack what may
    be None here.)"""

    phase: Literal["started", "resumed", "paused", "unpaused", "deadline", "agents_stopped", "scored", "finished"]
    run_id: str | None = None
    config: dict[str, Any] | None = None
    secret_sha256: str | None = None
    known_starts: bool | None = None  # the secret was given beforehand (--held-out-secret), not drawn
    fingerprint: str | None = None
    cell: str | None = None  # where episodes will happen, as the cell itself says
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: str | None = None
    compute_class: str | None = None
    prices: dict[str, dict[str, float]] | None = None  # by which the run's cost is counted
    secret: str | None = None
    detail: str | None = None


class AgentEvent(Payload):
    """An agent process started or ended."""

    phase: Literal["started", "exited"]
    name: str
    agent_version: str | None = None
    model: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    session: str | None = None


class IdeaEvent(Payload):
    """A hypothesis that an agent registered before testing it."""

    id: str
    title: str
    parent: str | None = None
    inspired_by: list[str] = Field(default_factory=list)
    regime: str | None = None


class CommitEvent(Payload):
    """A bundle (commit and checkpoints): the workspace's first one, one that the station took in, or an agent's answer."""

    phase: Literal["starter", "received", "submitted"]
    commit: str
    digest: str
    content: str = ""
    subject: str = ""


class StartEvent(Payload):
    """An episode begins: its scene is ready, and its policy sees it now. A start that no episode follows was interrupted,
    and is judged as it stands: a failure, never run again."""

    evaluation: str
    purpose: Purpose
    index: int
    attempt: int = 0
    cell: str = "sim"
    commit: str
    digest: str
    content: str = ""
    seed: int


class ResetEvent(Payload):
    """A reset that failed (successful ones are part of their episode)."""

    attempts: int
    detail: str


class EpisodeEvent(Payload):
    """One judged episode."""

    evaluation: str
    purpose: Purpose
    index: int
    attempt: int = 0
    cell: str = "sim"  # where it happened, as the cell itself says: sim, twin, real, stand-in
    commit: str
    digest: str
    content: str = ""  # of the candidate: tree and checkpoints, whatever the commit is called
    seed: int
    success: bool
    score: float
    stage: str
    reason: str | None = None
    detail: str | None = None
    violations: list[str] = Field(default_factory=list)
    steps: int
    sim_s: float
    robot_s: float  # station wall-clock with the reset, the episode or a probe under way; pauses are left out
    act_cpu_ms: float | None = None  # mean CPU time per call of act
    reset_attempts: int = 1
    reruns: int = 0
    rerun_because: str | None = None  # the proof that the machine was at fault
    infrastructure: bool = False  # the machine failed twice: no evidence, counted neither as success nor as failure
    scene: str | None = None  # digest of the initial scene: methods are compared where it is the same


class EvaluationEvent(Payload):
    """A batch of episodes of one bundle."""

    phase: Literal["started", "finished", "aborted"]
    id: str
    purpose: Purpose
    commit: str
    digest: str
    content: str = ""
    planned: int
    idea: str | None = None
    episodes: int = 0  # that count; those of a failing machine are `void`
    void: int = 0
    successes: int = 0
    score: float = 0.0
    robot_s: float = 0.0
    beats: str | None = None  # for a confirmation: the evaluation that asked for it


#: Whose calls to a model are a policy's own (`vlm_query`): counted apart from the agents'.
POLICY = "policy"


#: The one call that a run makes before its clock starts, to see that key, model and address are right.
PREFLIGHT = "preflight"
#: Events of these are in no agent's counts.
NOT_AGENTS = (POLICY, PREFLIGHT)


class CallEvent(Payload):
    """A call to a language model has begun. Its `tokens` event follows when it ends; a resumed run writes those that a
    kill has left out. Counts are estimates: 4 bytes a token, and what the provider has seen before counts as cached."""

    id: str
    model: str
    input: int = 0
    cached_input: int = 0


class WaitEvent(Payload):
    """The provider could not answer a call (rate limit, failure, unreachable) and is asked again later."""

    phase: Literal["started", "ended"]  # every failed attempt starts one; the call's last attempt ends it
    call: str
    reason: str = ""
    status: int = 0  # the provider's; 0 if there was no answer
    planned_s: float = 0.0


class RefusalEvent(Payload):
    """What an agent asked of its provider and did not get. Few are written however many there are: see `count`."""

    phase: Literal["refused", "dropped"]  # the whole call, or only these headers and fields
    names: list[str]
    count: int = 1  # calls refused so far


class TokensEvent(Payload):
    """One call to a language model, as the gateway metered it. ``input`` includes cached input."""

    model: str
    status: int
    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    wait_s: float = 0.0
    in_flight: bool = False  # cut off: what the provider had not told by then is estimated (see CallEvent)
    error: str | None = None
    call: str | None = None  # its CallEvent's id


class ComputeEvent(Payload):
    """A sample of the machine; also the heartbeat by which a killed run knows how far it came."""

    cpu: float  # mean utilisation of all cores since the last sample, 0..1
    gpu: float | None = None
    station_busy: bool = False


class NoteEvent(Payload):
    """Free text: what the run or an agent wants remembered."""

    text: str


KINDS: dict[str, type[Payload]] = {
    "run": RunEvent,
    "agent": AgentEvent,
    "idea": IdeaEvent,
    "commit": CommitEvent,
    "start": StartEvent,
    "reset": ResetEvent,
    "episode": EpisodeEvent,
    "evaluation": EvaluationEvent,
    "call": CallEvent,
    "wait": WaitEvent,
    "refusal": RefusalEvent,
    "tokens": TokensEvent,
    "compute": ComputeEvent,
    "note": NoteEvent,
}
_KIND_OF = {model: kind for kind, model in KINDS.items()}


def kind_of(payload: Payload) -> str:
    return _KIND_OF[type(payload)]
