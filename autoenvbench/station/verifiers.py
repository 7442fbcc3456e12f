"""What judges in a real cell, and the certificate that its machine has for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from enpire_envs.contract import contract_of

from autoenvbench.record.certificate import Certificate, uncertified_because
from autoenvbench.record.certificate_store import find
from autoenvbench.record.events import VerifierEvent


@dataclass(frozen=True, slots=True)
class Verifier:
    """A real cell's verifier.

    Attributes:
        env: id; name, station_sha256: of the station; digest: of the code that judges.
        certificate: that lies on this machine and holds; problems: why its verdicts are not ranked, empty where they may be.
    """

    env: str
    name: str
    station_sha256: str
    digest: str
    certificate: Certificate | None
    problems: list[str]

    def event(self) -> VerifierEvent:
        """For the ledger."""
        given = None if self.certificate is None else self.certificate.model_dump(mode="json")
        return VerifierEvent(
            name=self.name, station_sha256=self.station_sha256, verifier=self.digest, certificate=given
        )


def verifier_of(env: gym.Env[Any, Any]) -> Verifier | None:
    """The verifier of a real environment; None for one that judges by what its simulator knows."""
    cell = contract_of(env).real_cell
    if cell is None:
        return None
    from enpire_real.verifier.digest import station_digest, verifier_digest

    assert env.spec is not None, "made by gymnasium.make"
    file, digest = cell.station.file, verifier_digest(env)
    station = station_digest(file)
    found, why_not = find(digest, station)
    problems = uncertified_because(found, env=env.spec.id, verifier=digest, station=file.name, station_sha256=station)
    return Verifier(env.spec.id, file.name, station, digest, found, [*([why_not] if why_not else []), *problems])
