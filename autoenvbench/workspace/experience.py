"""What an earlier run taught (`autoenvbench distill`), given to the members of a new one: a file in each workspace, and a condition of the run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig

EXPERIENCE = "experience.md"  # in a run's folder, and in each workspace
MAX_EXPERIENCE = 64 << 10  # bytes


def with_experience(config: RunConfig) -> tuple[RunConfig, bytes | None]:
    """The configuration with the digest and size of the file that it names, and what the file holds. Raises UserError for what cannot be
    given to members."""
    if config.experience is None:
        return config, None
    try:
        text = Path(config.experience).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {config.experience}: {error.strerror}; autoenvbench distill RUN --out experience.md writes one"
        ) from None
    try:
        shown = text.decode().strip()
    except UnicodeDecodeError:
        shown = ""
    if not shown or len(text) > MAX_EXPERIENCE:
        raise UserError(
            f"{config.experience} is no page of text of at most {MAX_EXPERIENCE >> 10} KB, such as autoenvbench distill RUN writes"
        )
    told = {"experience_sha256": hashlib.sha256(text).hexdigest(), "experience_bytes": len(text)}
    return config.model_copy(update=told), text


def keep_experience(run_dir: Path, text: bytes | None) -> None:
    """File what members are given in the run's folder: one that is taken up again gives the same."""
    if text is not None:
        (run_dir / EXPERIENCE).write_bytes(text)


def kept_experience(run_dir: Path, config: RunConfig) -> Path | None:
    """The file that members are given; None in a run without. Raises UserError where it is no longer what is on record."""
    if config.experience_sha256 is None:
        return None
    file = run_dir / EXPERIENCE
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != config.experience_sha256:
        raise UserError(f"{file} is no longer the experience that this run began with; put it back as it was")
    return file
