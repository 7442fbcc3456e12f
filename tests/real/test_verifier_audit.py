"""Audits of verifiers on the twin: what disturbs the view makes no false success, a killed audit goes on, clips are judged by the same code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import pytest
from certificates import AT, CODE, STATION, rows
from enpire_envs.cell import CellFault
from enpire_real.pusht.audit import PushTSubject
from enpire_real.verifier.clips import BadClips, Label, read_clip, read_labels, write_clip
from enpire_real.verifier.disturb import KINDS, Disturbance
from enpire_real.verifier.subject import subject_of
from scipy.spatial.transform import Rotation

from autoenvbench.errors import UserError
from autoenvbench.record.certificate import certificate_of, uncertified_because
from autoenvbench.record.certificate_store import find
from autoenvbench.study import verifier_audit

REAL = "ENPIRE/PushT-real-v0"


@pytest.fixture(scope="module")
def subject() -> Iterator[PushTSubject]:
    env = gym.make(REAL, disable_env_checker=True)
    made = subject_of(env)
    assert isinstance(made, PushTSubject)
    made._cell.start()
    yield made
    made.close()


def lie(subject: PushTSubject, margin_mm: float) -> None:
    """The T beside the target along x, at rest, its verdict so far from turning."""
    subject._draw = lambda rng, success, near: (subject.tolerance_mm / 1000 - margin_mm / 1000, 0.0, 0.0)  # type: ignore[method-assign]
    subject.lay(np.random.default_rng(0), success=margin_mm > 0, near=True)
    del subject._draw
    assert subject.truth().margin_mm == pytest.approx(margin_mm, abs=0.5)


def test_scenes_are_drawn_on_both_sides_of_the_threshold(subject: PushTSubject) -> None:
    rng = np.random.default_rng(3)
    for success, near, low, high in (
        (True, True, 0, 10),
        (True, False, 10, 20),
        (False, True, -20, 0),
        (False, False, -math.inf, -20),
    ):
        margins = [subject.margin_mm(subject._draw(rng, success, near)) for _ in range(20)]
        assert all(low <= margin <= high for margin in margins)
        assert len(set(margins)) > 10
    for pose in (
        (0.0, 0.0, 0.0),
        (0.0195, 0.0, 0.0),
        (0.0205, 0.0, 0.0),
        (0.0, 0.0, 0.17),
        (0.0, 0.0, 0.18),
        (0.0, 0.0, math.pi),
    ):
        assert (subject.margin_mm(pose) > 0) == subject._task._solved(pose)


def test_a_camera_that_is_knocked_after_the_reset_makes_no_false_success(subject: PushTSubject) -> None:
    """A degree is 17 mm on the mat: with the camera's place as the reset measured it, a T outside would be taken for one inside."""
    lie(subject, -4.0)
    twin, camera = subject._twin, subject._scene.camera
    k = twin.model.camera("top").id
    usual = twin.model.cam_quat[k].copy()
    try:
        fooled = []
        for axis in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)):
            turn = Rotation.from_rotvec(math.radians(1.0) * np.array(axis))
            twin.model.cam_quat[k] = (Rotation.from_quat(usual, scalar_first=True) * turn).as_quat(scalar_first=True)
            fooled.append(subject._task._solved(camera.look()))  # as a verifier without the markers would judge
            assert not subject.judge().success
            twin.model.cam_quat[k] = usual
            camera.locate_mat()
        assert any(fooled)
    finally:
        twin.model.cam_quat[k] = usual


@pytest.mark.parametrize("kind", KINDS)
def test_what_disturbs_the_view_is_put_on_and_taken_off(subject: PushTSubject, kind: str) -> None:
    station = subject._station

    def frame() -> np.ndarray:
        station.clock.sleep(0.1)
        return station.cameras["top"].latest().image.astype(int)

    subject.disturb(None)
    before, seen = frame(), []
    for _ in range(2):
        subject.disturb(Disturbance(kind, 5))
        seen.append(frame())
        subject.disturb(None)
    usual = np.abs(frame() - before).mean()
    assert usual < 2.5  # the cameras' own noise
    assert (np.abs(seen[0] - before).mean() > usual + 0.05) == (kind != "none")
    assert np.abs(seen[0] - seen[1]).mean() < (12 if kind == "noise" else 2.5)  # the same seed, the same disturbance


def test_a_killed_audit_goes_on_and_its_file_is_its_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AUTOENVBENCH_CERTIFICATES", str(tmp_path / "kept"))
    monkeypatch.setattr(PushTSubject, "judge", killed_after(3))
    with pytest.raises(KeyboardInterrupt):
        verifier_audit.audit(REAL, {}, out=tmp_path / "a", n=4)
    monkeypatch.undo()
    monkeypatch.setenv("AUTOENVBENCH_CERTIFICATES", str(tmp_path / "kept"))
    file = tmp_path / "a" / "audit.jsonl"
    first = file.read_text().splitlines()
    assert len(first) == 4
    file.write_text("\n".join(first) + '\n{"case": 3, "pert')  # as a kill in the middle of a line leaves it
    found = verifier_audit.audit(REAL, {}, out=tmp_path / "a", n=4)
    lines = file.read_text().splitlines()
    assert lines[:4] == first
    assert len(lines) == 5
    assert found == certificate_of(lines)
    assert found.outside.false_success == 0
    assert any("lower" in line for line in verifier_audit.table(found))
    digests = found.audit.verifier, found.audit.station_sha256
    assert find(*digests) == (found, None)  # four scenes certify nothing, and are the last word all the same
    assert found.shortcomings()
    with pytest.raises(UserError, match="differs from this one in planned"):
        verifier_audit.audit(REAL, {}, out=tmp_path / "a", n=5)
    file.write_text("nothing\n")
    with pytest.raises(UserError, match="no audit to go on with"):
        verifier_audit.audit(REAL, {}, out=tmp_path / "a", n=4)
    with pytest.raises(UserError, match="by what its simulator knows"):
        verifier_audit.audit("ENPIRE/PushT-v0", {}, out=tmp_path / "b", n=4)
    with pytest.raises(UserError, match=r"did you mean ENPIRE/PushT-real-v0\?"):
        verifier_audit.audit("ENPIRE/PsuhT-real-v0", {}, out=tmp_path / "b", n=4)
    with pytest.raises(UserError, match="results of ENPIRE/TieZipTie-real-v0 are not ranked yet: only Push-T's"):
        verifier_audit.audit("ENPIRE/TieZipTie-real-v0", {}, out=tmp_path / "b", n=4)


def test_an_audit_that_fails_ends_an_earlier_certificate(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AUTOENVBENCH_CERTIFICATES", str(tmp_path / "kept"))

    def conclude(name: str, lines: list[str]) -> list[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "audit.jsonl").write_text("\n".join(lines) + "\n")
        verifier_audit.conclude(tmp_path / name)
        return uncertified_because(find(CODE, STATION)[0], **AT)

    passes, fails = rows(date="2026-12-01"), rows(200, wrong=9, date="2026-12-02")
    assert conclude("passes", passes) == []
    assert conclude("unfinished", fails[:-1]) == []
    assert conclude("drawn", rows(200, wrong=9, date="2026-12-02", twins="drawn")) == []  # of other stations
    assert "true-negative rate" in " ".join(conclude("fails", fails))
    assert "true-negative rate" in " ".join(conclude("passes", passes))  # the old one, typed once more
    assert conclude("again", rows(date="2026-12-03")) == []


def killed_after(n: int):
    judge, left = PushTSubject.judge, [n]

    def judged(self):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return judge(self)

    return judged


def test_clips_are_judged_as_scenes_are(subject: PushTSubject, tmp_path: Path) -> None:
    for name, margin in (("right", 6.0), ("outside", -6.0)):
        lie(subject, margin)
        write_clip(tmp_path, subject.record_clip(), Label(name, margin > 0, margin, "none"))
        assert subject.judge_clip(read_clip(tmp_path / name)).success == (margin > 0)
    rng = np.random.default_rng(0)
    for file in (tmp_path / "right").glob("top-*.png"):
        image = cv2.imread(str(file))
        cv2.imwrite(str(file), rng.integers(80, 100, image.shape, np.uint8))
    with pytest.raises(CellFault, match="mat's 4 markers"):
        subject.judge_clip(read_clip(tmp_path / "right"))
    labels, sha = read_labels(tmp_path)
    assert labels == [Label("right", True, 6.0, "none"), Label("outside", False, -6.0, "none")]
    (tmp_path / "outside" / "top-000.png").write_bytes(b"another")
    assert read_labels(tmp_path)[1] != sha  # a clip that was changed is another audit's
    with pytest.raises(FileExistsError):
        write_clip(tmp_path, read_clip(tmp_path / "right"), labels[0])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a,maybe,,none", "write yes or no"),
        ("a,yes,-3,none", "a success has a positive one"),
        ("a,yes,nan,none", "margin_mm is 'nan'"),
        ("../../etc,yes,,none", "no folder beside labels.csv"),
        ("a,yes,,none\na,no,,none", "lists a clip twice"),
        ("a,yes", "2 values"),
    ],
)
def test_a_wrong_list_of_labels_says_where(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "labels.csv").write_text("clip,success,margin_mm,perturbation\n" + line + "\n")
    with pytest.raises(BadClips, match=why):
        read_labels(tmp_path)


def test_an_empty_folder_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadClips, match="autoenvbench verifier label"):
        read_labels(tmp_path)
    with pytest.raises(BadClips, match="holds no frames"):
        read_clip(tmp_path)
