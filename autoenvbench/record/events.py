"""Ledger event schemas: one payload model per kind of event, each with its version.

A field that is added has a default, and its version stays. Where the meaning of a payload changes, its model's `version` is
raised and `MIGRATIONS` says how an earlier payload becomes one of the next version; so ledgers of any age read as today's, and
none is ever written anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autoenvbench.record.contents import BundleContents
from autoenvbench.record.stations import Source

Purpose = Literal["practice", "learn", "evaluate", "confirm", "compare", "heldout", "score"]
#: What is tried out: robot time, and no evidence about any candidate.
TRIED: tuple[Purpose, ...] = ("practice", "learn")


class Payload(BaseModel):
    """Base of all payloads. Readers ignore fields that they do not know, so that old code can read newer ledgers.

    Attributes:
        version: of the kind's schema, as it was when the event was written; today's once it is read.
    """

    model_config = ConfigDict(extra="ignore")
    version: int = 1


class RunEvent(Payload):
    """A milestone of the run itself.

    `started` holds all that a result says and that nobody could look up later, `resumed` what of it may have changed since,
    `joined` a member that came later, `agents_stopped` why research ended (`detail`), `scored` the answer's held-out score (`detail`, JSON), `finished` the secret
    of the held-out starts. (Ledgers before 25 November 2026 lack what may be None here.)

    Attributes:
        run_id: name of the run's folder.
        config: the run's `RunConfig`, but for the secret.
        members: who works in it from here on, beside those before: each one's name and its agent, as `--agent` names it.
        secret_sha256: the commitment to the secret, in hexadecimal.
        fingerprint: of the environment: what decides its episodes.
        versions: of Python and the packages that decide an outcome.
        hardware, compute_class: the machine in words, and what it is ranked with.
        stations: where the numbers of its stations come from (`record.stations`); None where all stations are the same.
        stations_sha256: of the private ones, as `PrivateStations` says.
        secret: 32 bytes in hexadecimal.
    """

    version: int = 2
    phase: Literal[
        "started", "resumed", "joined", "paused", "unpaused", "deadline", "agents_stopped", "scored", "finished"
    ]
    run_id: str | None = None
    config: dict[str, Any] | None = None
    members: dict[str, str] = Field(default_factory=dict)
    secret_sha256: str | None = None
    stations: Source | None = None
    stations_sha256: str | None = None
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
    """A member's process started or ended. The event's `agent` says which member's.

    Attributes:
        name: the agent's kind. (In ledgers before 30 November 2026, of one agent each, it is the member's name as well.)
        agent_version: as its program tells it.
        model: that was asked for.
        exit_code, reason: of a process that ended; a reason such as `deadline`, `agent_ended` or `memory_limit`.
        session: by which the agent can be sent back to work.
    """

    phase: Literal["started", "exited"]
    name: str
    agent_version: str | None = None
    model: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    session: str | None = None


class IdeaEvent(Payload):
    """A hypothesis that an agent registered before testing it.

    Attributes:
        id: I1, I2, ... in the run's order.
        title: 3 to MAX_TITLE characters in one line.
        parent: the idea that it refines; `inspired_by`: others that it draws on.
        regime: how it means to improve the policy, one of `regimes.REGIMES`.
    """

    id: str
    title: str
    parent: str | None = None
    inspired_by: list[str] = Field(default_factory=list)
    regime: str | None = None


class Borrowed(BaseModel):
    """One commit of another member that a commit has in it.

    Attributes:
        agent, commit: whose, and which.
        idea: that the other member tested with it, if any.
        how: it is an ancestor (merge), has the same patch (patch), the same files (tree), or is only named in a trailer (declared).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str
    commit: str
    idea: str | None = None
    how: Literal["merge", "patch", "tree", "declared"]


class LearnedEvent(Payload):
    """What an idea taught, in its author's words; the newest text of an idea counts.

    Attributes:
        idea: whose author wrote this.
        text: one paragraph.
    """

    idea: str
    text: str


class ProvenanceEvent(Payload):
    """What a commit that the station took in has from other members, as its Git history shows or says.

    Attributes:
        commit, content: of the commit that was taken in.
        parents: commits of this run that it was made from, the nearest ones.
        sources: what it has from others.
    """

    commit: str
    content: str = ""
    parents: list[str] = Field(default_factory=list)
    sources: list[Borrowed] = Field(default_factory=list)


class LookEvent(Payload):
    """A member looked at what others do: the list of them, an idea, or it fetched an idea's commit.

    Attributes:
        idea: that it looked at; None for the list.
    """

    what: Literal["peers", "show", "adopt"]
    idea: str | None = None


class JobEvent(Payload):
    """A member asks for robots for a job, has the first of them, or gives back the last. It has one job at a time: from `asked` to
    `began` it waits for others to be done, and a job that found robots free may leave `asked` out.

    Attributes:
        what: the job in words.
    """

    phase: Literal["asked", "began", "ended"]
    what: str = ""


class CommitEvent(Payload):
    """A bundle (commit and checkpoints): the workspace's first one, one that the station took in, or an agent's answer.

    Attributes:
        commit: Git's name of it, 40 hexadecimal digits.
        digest: SHA-256 of the bundle, in hexadecimal; `content`: of its tree and checkpoints alone.
        subject: first line of the commit's message.
    """

    phase: Literal["starter", "received", "submitted"]
    commit: str
    digest: str
    content: str = ""
    subject: str = ""


class ContentsEvent(Payload):
    """What the bundle with this digest holds: by this it is checked that the answer is of its run's regime."""

    digest: str
    contents: BundleContents


class StartEvent(Payload):
    """An episode begins: its scene is ready, and its policy sees it now.

    A start that no episode follows was interrupted, and is judged as it stands: a failure, never run again. (Practice and learning
    have no such events: nothing depends on their outcome.) The fields are those of `EpisodeEvent`.
    """

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
    """A reset whose episode is not on record: it failed after so many `attempts`, was not needed any more, or its practice was ended in
    mid-episode. (Others are part of their episode.)

    Attributes:
        robot_s: as `EpisodeEvent.robot_s`.
    """

    attempts: int
    detail: str
    purpose: Purpose | None = None
    robot_s: float = 0.0


class InterventionEvent(Payload):
    """A person was asked to do something at a station, which does not go on without it (a new pin, say); the run ends until it is resumed.

    Attributes:
        station: its name in the run.
        asked: what, in words.
    """

    station: str
    asked: str
    purpose: Purpose | None = None


class EpisodeEvent(Payload):
    """One judged episode.

    Attributes:
        evaluation: id of the batch that it belongs to.
        index: of its start in the purpose's stream; `attempt`: 0, 1, ... at this start.
        seed: that the start gave, below 2^48.
        score: 0 to 1; staged tasks give a share per stage.
        stage: the last one reached; empty where the policy did nothing.
        reason, detail: why it failed, as one word and in words.
        violations: of the task's safety limits.
        steps: control periods; `sim_s`: the environment's own time [s].
        robot_s: robot time [s]: how long the station had the reset, the episode or a probe under way, pauses left out. Where time is
            simulated as fast as it goes (pace 0), simulated seconds; in ledgers before 1 December 2026 those of the machine.
        weights: SHA-256 of the network that acted, from its first step to its last, where a learner sent it (`learn`).
    """

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
    robot_s: float
    act_cpu_ms: float | None = None  # mean CPU time per call of act
    reset_attempts: int = 1
    reruns: int = 0
    rerun_because: str | None = None  # the proof that the machine was at fault
    infrastructure: bool = False  # the machine failed twice: no evidence, counted neither as success nor as failure
    scene: str | None = None  # digest of the initial scene: methods are compared where it is the same
    weights: str | None = None


class EvaluationEvent(Payload):
    """A batch of episodes of one bundle began or ended.

    Attributes:
        id: E1, E2, ... in the run's order; `held-out` for the scoring of the answer.
        planned: episodes that were asked for.
        idea: that it tests.
        score: mean over `episodes`, 0 to 1.
        robot_s: robot time of all its episodes [s].
    """

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
    beats: str | None = (
        None  # of a confirmation: the evaluation that asked for it; of a comparison's batch: the comparison
    )


class ComparisonEvent(Payload):
    """Two candidates that their confirmations cannot tell apart meet on shared fresh starts: that began, or ended.

    Attributes:
        id: C1, C2, ... in the run's order; the evaluations of its batches have it in `beats`.
        challenger, incumbent: contents; the incumbent is the one that leads.
        most: shared starts at most; `alpha`: chance of naming a better one where neither is.
        starts: on which both were judged; `wins`, `losses`: of these, which the challenger, or the incumbent, solved alone.
        verdict: a tie is undecided, and so is a comparison that was cut.
    """

    phase: Literal["started", "ended"]
    id: str
    challenger: str
    incumbent: str
    most: int
    alpha: float
    starts: int = 0
    wins: int = 0
    losses: int = 0
    verdict: Literal["challenger", "incumbent", "undecided"] = "undecided"


#: Whose calls to a model are a policy's own (`vlm_query`): counted apart from the agents'.
POLICY = "policy"


#: The one call that a run makes before its clock starts, to see that key, model and address are right.
PREFLIGHT = "preflight"
#: Whose calls to a model are the station's, to answer a member's question about pictures (`--vision tool`).
VISION = "vision"
#: Events of these are in no agent's counts.
NOT_AGENTS = (POLICY, PREFLIGHT, VISION)


class CallEvent(Payload):
    """A call to a language model has begun; its `tokens` event follows when it ends.

    A resumed run writes the `tokens` events that a kill has left out. Counts are estimates: 4 bytes a token, and what the provider
    has seen before counts as cached.

    Attributes:
        member: whose question it answers, of calls by VISION.
    """

    id: str
    model: str
    input: int = 0
    cached_input: int = 0
    member: str | None = None


class WaitEvent(Payload):
    """The provider could not answer a call (rate limit, failure, unreachable) and is asked again later.

    Attributes:
        call: id of its `CallEvent`.
        reason: the provider's words, short.
        planned_s: until the next attempt [s].
    """

    phase: Literal["started", "ended"]  # every failed attempt starts one; the call's last attempt ends it
    call: str
    reason: str = ""
    status: int = 0  # the provider's; 0 if there was no answer
    planned_s: float = 0.0


class RefusalEvent(Payload):
    """What an agent asked of its provider and did not get. Few are written however many there are (see `count`).

    Attributes:
        names: of the headers, fields or tools that were not let through.
    """

    phase: Literal["refused", "dropped"]  # the whole call, or only these headers and fields
    names: list[str]
    count: int = 1  # calls refused so far


class TokensEvent(Payload):
    """One call to a language model that ended, as the gateway metered it; counts are tokens.

    Attributes:
        status: HTTP status of the provider's answer; 0 where there was none.
        input: with what was read from the cache (`cached_input`) and written to it (`cache_write`).
        output: with `reasoning`.
        wait_s: from the request to the answer's end [s].
        error: what went wrong, in the provider's words.
        member: as `CallEvent.member`.
    """

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
    member: str | None = None


class QuestionEvent(Payload):
    """A member asked the vision-language model about pictures that it does not see, and was answered or not.

    Attributes:
        call: id of the `CallEvent`.
        about: what the pictures show, in words; `pictures`: how many there were.
        answer: as the member was told; empty where it was not.
        withheld: why not, for people.
    """

    call: str
    about: str
    pictures: int
    question: str
    answer: str = ""
    withheld: str | None = None


class ComputeEvent(Payload):
    """A sample of the machine; also the heartbeat by which a killed run knows how far it came.

    Attributes:
        gpu: mean utilisation of all GPUs now, 0..1; None without one.
    """

    cpu: float  # mean utilisation of all cores since the last sample, 0..1
    gpu: float | None = None
    station_busy: bool = False


class VerifierEvent(Payload):
    """What judges in a real cell, before it judges anything that counts. The event's `station` says which cell it is.

    Attributes:
        name, station_sha256: of the station whose arms it moves, and the digest of its file with its calibration.
        verifier: digest of the code that judges.
        certificate: that its machine has for the two (`record.certificate.Certificate`); None where there is none that holds.
    """

    name: str
    station_sha256: str
    verifier: str
    certificate: dict[str, Any] | None = None


class CanaryEvent(Payload):
    """A station was tried with what its operator knows the outcome of. It is no episode of any agent, and its robot time is nobody's use.

    Attributes:
        probe: `reference`, the task's own policy, which succeeds mostly; `known_bad`, a scene that was just reset, which is no success.
        seed: of its start, drawn for it.
        success: what the verifier said; None where it did not come to that, for which `reason` says why.
        robot_s: robot time [s], in no count of the run's.
        alarm: what is wrong with the station, from here on; None while nothing is.
    """

    probe: Literal["reference", "known_bad"]
    seed: int
    success: bool | None
    reason: str | None = None
    robot_s: float = 0.0
    alarm: str | None = None


class NoteEvent(Payload):
    """Free text: what the run or an agent wants remembered."""

    text: str


KINDS: dict[str, type[Payload]] = {
    "run": RunEvent,
    "agent": AgentEvent,
    "idea": IdeaEvent,
    "learned": LearnedEvent,
    "provenance": ProvenanceEvent,
    "look": LookEvent,
    "job": JobEvent,
    "commit": CommitEvent,
    "contents": ContentsEvent,
    "start": StartEvent,
    "reset": ResetEvent,
    "intervention": InterventionEvent,
    "episode": EpisodeEvent,
    "evaluation": EvaluationEvent,
    "comparison": ComparisonEvent,
    "call": CallEvent,
    "wait": WaitEvent,
    "refusal": RefusalEvent,
    "tokens": TokensEvent,
    "question": QuestionEvent,
    "compute": ComputeEvent,
    "verifier": VerifierEvent,
    "canary": CanaryEvent,
    "note": NoteEvent,
}
_KIND_OF = {model: kind for kind, model in KINDS.items()}


def _name_the_member(run: dict[str, Any]) -> dict[str, Any]:
    """Version 1 of a run's first event does not name its one member: events and folder bear the kind of its agent."""
    config = run.get("config")
    if run.get("phase") != "started" or run.get("members") or not isinstance(config, dict):
        return run
    agent = str(config.get("agent"))
    return {**run, "members": {agent.partition(":")[0]: agent}}


#: How a payload of an earlier version becomes one of the next, by kind and by the version that it has: from 1 on, none left out.
MIGRATIONS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {("run", 1): _name_the_member}


def parse_payload(kind: str, text: str) -> Payload:
    """A payload as it stands in a ledger, brought to today's version of its schema.

    A kind that is not known, as of a later version, gives a bare `Payload`. Raises ValidationError for text that is no payload of
    its kind.
    """
    model = KINDS.get(kind, Payload)
    if (kind, 1) not in MIGRATIONS:
        return model.model_validate_json(text)
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return model.model_validate_json(text)  # which says what is wrong with it
    while (
        isinstance(given, dict)
        and isinstance(version := given.get("version", 1), int)
        and (kind, version) in MIGRATIONS
    ):
        given = {**MIGRATIONS[kind, version](given), "version": version + 1}
    return model.model_validate(given)


def kind_of(payload: Payload) -> str:
    """The kind under which a payload stands in the ledger."""
    return _KIND_OF[type(payload)]
