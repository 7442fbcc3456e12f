"""An audit of a real environment's verifier: scenes of known truth, disturbed, judged, counted.

draw a scene -> lay it out -> disturb the view -> the verifier's word -> the truth -> a line in the file, and so on

Everything is drawn from a seed that is itself drawn when the audit begins, so that nobody has tuned on it. A killed audit goes on after
its last whole line.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import yaml
from enpire_envs.cell import CellFault
from enpire_envs.env import ResetFailed
from enpire_real.cameras import CameraLost
from enpire_real.verifier.clips import BadClips, Label, parse_label, read_clip, read_labels, write_clip
from enpire_real.verifier.digest import station_digest, verifier_digest
from enpire_real.verifier.disturb import KINDS, Disturbance
from enpire_real.verifier.subject import Subject, subject_of

from autoenvbench.errors import UserError
from autoenvbench.make_env import is_real, make_env
from autoenvbench.record.certificate import Audit, Case, Certificate, certificate_of
from autoenvbench.record.certificate_store import find, store
from autoenvbench.text import short

ROWS, CERTIFICATE = "audit.jsonl", "certificate.json"
NEAR = 0.5  # share of the cases that are drawn near the threshold
_TWIN_CASES = 32  # with one twin, where twins are drawn
_LAYS = 3  # tries at laying a scene out

OnCase = Callable[[Case, int], None]


def audit(
    env_id: str,
    env_kwargs: dict[str, Any],
    *,
    out: Path,
    n: int,
    labels: Path | None = None,
    draw_twins: bool = False,
    on_case: OnCase = lambda case, planned: None,
) -> Certificate:
    """Audit a verifier, or go on with an audit of `out`; what it comes to is written beside its rows, and kept where stations look for it.
    Raises UserError.

    Args:
        env_kwargs: of the environment, `station` among them.
        n: cases; of labelled clips all there are.
        labels: a folder of clips (`enpire_real.verifier.clips`); None: scenes on the twin.
        draw_twins: judge on twins drawn for it, not on the station's own: says more of the code, and certifies no station.
    """
    _require_real(env_id, env_kwargs)
    marked: str | None = None
    named: list[Label] = []
    with contextlib.closing(_subject(env_id, env_kwargs)) as opened:
        if labels is not None:
            try:
                named, marked = read_labels(labels)
            except BadClips as error:
                raise UserError(str(error)) from None
        elif opened.twin is None:
            raise UserError("arms that are no twin do not know their scene's truth; film scenes and say what they are: "
                            f"autoenvbench verifier label {env_id} ..., then audit with --labels DIR")  # fmt: skip
        first = Audit(
            env=env_id, verifier=verifier_digest(opened.env), station=opened.file.name, station_sha256=station_digest(opened.file),
            kind=opened.kind, truth="twin" if labels is None else "labels", labels_sha256=marked,
            twins="drawn" if draw_twins and labels is None else "own", planned=n if labels is None else len(named),
            seed=secrets.randbits(64), tolerance_mm=opened.subject.tolerance_mm, guard_mm=opened.subject.guard_mm,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        first, done = _begin(out, first)
        cases: Iterator[Case]
        if labels is not None:
            cases = (_clip(opened.subject, labels, label, k) for k, label in enumerate(named[done:], done))
        elif draw_twins:
            cases = _on_drawn_twins(env_id, env_kwargs, opened, first, done)
        else:
            cases = (_case(opened.subject, first.seed, k) for k in range(done, first.planned))
        with (out / ROWS).open("a") as file:
            for case in cases:
                file.write(case.model_dump_json() + "\n")
                file.flush()
                on_case(case, first.planned)
    return conclude(out)


def conclude(out: Path) -> Certificate:
    """What an audit has come to so far, written to its folder. Raises UserError.

    Of a station's own cases, once all are done, it is kept for the station whatever it came to: the audit that began last counts, so that
    none which fails leaves an earlier one in force.
    """
    try:
        text = (out / ROWS).read_text()
        found = certificate_of(text.splitlines())
    except (OSError, ValueError) as error:
        raise UserError(f"{out / ROWS} is no audit: {short(str(error))}; name another --out") from None
    (out / CERTIFICATE).write_text(found.model_dump_json(indent=1) + "\n")
    if found.complete and found.audit.twins == "own":
        try:
            kept, _ = find(found.audit.verifier, found.audit.station_sha256)
            if kept is None or kept.audit.date <= found.audit.date:
                store(found, text)
        except OSError as error:
            raise UserError(
                f"the certificate cannot be kept: {error}; name a folder: export AUTOENVBENCH_CERTIFICATES=DIR"
            ) from None
    return found


def label(env_id: str, env_kwargs: dict[str, Any], folder: Path, row: list[str]) -> Label:
    """Film what the verifier would look at now, and put it into a folder of clips with a line of its list. Raises UserError."""
    _require_real(env_id, env_kwargs)
    try:
        given = parse_label(row, "the label")
        with contextlib.closing(_subject(env_id, env_kwargs)) as opened:
            write_clip(folder, opened.subject.record_clip(), given)
    except FileExistsError:
        raise UserError(f"{folder / row[0]} exists; name another clip") from None
    except (BadClips, CellFault, CameraLost, OSError) as error:
        raise UserError(f"no clip was made: {error}") from None
    return given


# -- parts --------------------------------------------------------------------------------------------------------------------
def _require_real(env_id: str, env_kwargs: dict[str, Any]) -> None:
    """Raises UserError for an environment that does not judge by looking, or that there is not."""
    if not is_real(env_id):
        make_env(env_id, env_kwargs).close()
        raise UserError(
            f"{env_id} judges by what its simulator knows; verifiers that look are those of ENPIRE/...-real-v0"
        )


class _Opened:
    """An environment with its verifier's subject."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env = env
        cell = env.unwrapped.real_cell  # type: ignore[attr-defined]
        self.file, self.kind, self.twin = cell.station.file, cell.kind, cell.station.twin
        try:
            self.subject: Subject = subject_of(env)
        except ValueError:
            env.close()
            name = env.spec.id if env.spec else str(env)
            raise UserError(
                f"results of {name} are not ranked yet: only Push-T's verifier can be audited (real/README.md)"
            ) from None

    def close(self) -> None:
        """Let go of the station."""
        self.subject.close()


def _subject(env_id: str, env_kwargs: dict[str, Any]) -> _Opened:
    return _Opened(make_env(env_id, env_kwargs))


def _begin(out: Path, first: Audit) -> tuple[Audit, int]:
    """The first line of an audit's file, which is written where there is none, and how many cases it holds."""
    file = out / ROWS
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = file.read_text() if file.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a line that a kill cut short never was
        if not whole:
            file.write_text(first.model_dump_json() + "\n")
            return first, 0
        lines = whole.splitlines()
        found = Audit.model_validate_json(lines[0])
        certificate_of(lines)
        if whole != text:
            file.write_text(whole)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no audit to go on with: {short(str(error))}; name another --out") from None
    loose = {"seed", "date"}
    before, now = found.model_dump(exclude=loose), first.model_dump(exclude=loose)
    if differing := [name for name, value in before.items() if now[name] != value]:
        raise UserError(f"the audit in {out} differs from this one in {', '.join(differing)}; name another --out")
    return found, len(lines) - 1


def _on_drawn_twins(
    env_id: str, env_kwargs: dict[str, Any], opened: _Opened, first: Audit, done: int
) -> Iterator[Case]:
    """The cases on twins whose seeds are drawn, a few on each."""
    with tempfile.TemporaryDirectory(prefix="aeb-") as folder:
        for block in range(done // _TWIN_CASES, -(-first.planned // _TWIN_CASES)):
            seed = int(np.random.default_rng((first.seed, 1, block)).integers(2**31))
            data = opened.file.model_dump(mode="json")
            data["twin"]["seed"] = seed
            station = Path(folder) / f"twin{block}.yaml"
            station.write_text(yaml.safe_dump(data))
            with contextlib.closing(_subject(env_id, {**env_kwargs, "station": str(station)})) as twin:
                for k in range(max(done, block * _TWIN_CASES), min(first.planned, (block + 1) * _TWIN_CASES)):
                    yield _case(twin.subject, first.seed, k)


def _case(subject: Subject, seed: int, k: int) -> Case:
    """Case `k`: what disturbs it takes turns, and so do successes and failures; all else is drawn."""
    kind, success = KINDS[k % len(KINDS)], k // len(KINDS) % 2 == 0
    for attempt in range(_LAYS):
        rng = np.random.default_rng((seed, 0, k, attempt))
        subject.disturb(None)
        try:
            subject.lay(rng, success=success, near=bool(rng.random() < NEAR))
            break
        except (CellFault, ResetFailed) as error:
            problem = str(error)
    else:
        raise UserError(f"case {k} could not be laid out, {_LAYS} times: {problem}; type the same command to go on")
    subject.disturb(Disturbance(kind, int(rng.integers(2**62))))
    try:
        verdict, reason = _word(subject, subject.judge)
        truth = subject.truth()
        took = subject.look()
    finally:
        subject.disturb(None)
    return Case(
        case=k, perturbation=kind, truth=truth.success, margin_mm=truth.margin_mm, verdict=verdict, reason=reason,
        frame_ms=[round(ms, 3) for ms in took],
    )  # fmt: skip


def _clip(subject: Subject, folder: Path, named: Label, k: int) -> Case:
    try:
        clip = read_clip(folder / named.clip)
        verdict, reason = _word(subject, lambda: subject.judge_clip(clip))
        return Case(
            case=k, perturbation=named.perturbation, truth=named.success, margin_mm=named.margin_mm, verdict=verdict, reason=reason
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"clip {named.clip}: {short(str(error))}") from None


def _word(subject: Subject, judge: Callable[[], Any]) -> tuple[bool | None, str]:
    """(verdict, reason) of a verifier; None where it says that it cannot see."""
    try:
        verdict = judge()
    except CellFault as fault:
        return None, str(fault)[:200]
    reason = verdict.reason or ""
    return (None if not verdict.success and reason in subject.abstentions else bool(verdict.success)), reason


# -- for people ---------------------------------------------------------------------------------------------------------------
def table(found: Certificate) -> Iterator[str]:
    """What an audit came to, in lines of Markdown."""
    audit, outside, (tpr, tnr) = found.audit, found.outside, found.bounds
    yield f"{audit.env} on {audit.station} ({audit.kind}; truth: {audit.truth}{', drawn twins' if audit.twins == 'drawn' else ''})"
    yield ""
    yield "| disturbed by | cases | right success | missed success | right failure | FALSE success | abstained |"
    yield "|---|---|---|---|---|---|---|"
    for name, c in [*found.perturbations.items(), ("all", outside), ("inside the guard band", found.guard)]:
        yield f"| {name} | {c.cases} | {c.right_success} | {c.missed_success} | {c.right_failure} | {c.false_success} | {c.abstained} |"
    yield ""
    cases = outside.cases + found.guard.cases
    yield (
        f"one-sided 95 % lower bounds: true-positive rate {tpr:.4f}, true-negative rate {tnr:.4f}; {cases} of {audit.planned} cases, "
        f"{found.near} near misses; guard band {audit.guard_mm:g} mm of {audit.tolerance_mm:g} mm"
    )
    if found.frame_ms_p95 is not None:
        yield f"a look at one frame: {found.frame_ms_p95:.1f} ms of a processor (95th percentile)"
    yield from (f"not certified: {reason}" for reason in found.shortcomings())
    if not found.shortcomings():
        yield f"certified: the verifier {audit.verifier[:12]} for the station {audit.station} ({audit.station_sha256[:12]})"
