"""What a station's door is started with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from autoenvbench.make_env import is_real
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.stations import Scope, Stations
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.station.client import stop_socket

#: The run itself among a station's clients: it alone halts, pauses and scores, and its stop is a person's.
ADMIN = "admin"


def data_folder(run_dir: Path, member: str, *, sharing: bool, root: str = "data") -> Path:
    """What a member sees read-only as data/: whatever members tried out, or its own alone where they do not share.

    `root`: of the run's folder; another one than data/ is divided likewise, and seen by nobody.
    """
    return run_dir / root if sharing else run_dir / root / member


def places_of(member: str, members: Sequence[str], cells: int, *, own: bool) -> frozenset[int]:
    """Where a member works, of so many cells: on all, or (`own`) on some that no other member has."""
    if not own or member not in members:
        return frozenset(range(cells))
    return frozenset(range(members.index(member), cells, len(members)))


def stop_sockets(socket: Path, run: RunConfig, places: frozenset[int]) -> dict[int, Path]:
    """The stop's own sockets of the cells at these places, beside a station's; of several cells each of which has arms, each has one."""
    if not (run.robots and is_real(run.env)):
        return {0: stop_socket(socket)}
    return {place: stop_socket(socket, place) for place in sorted(places)}


class StationConfig(BaseModel):
    """What a door is started with, over its standard input: it holds secrets.

    Attributes:
        socket: path of the HTTP socket; the stop's own socket is beside it (`client.stop_socket`).
        secret_hex: from which the starts that judge are drawn; 32 bytes in hexadecimal.
        station_scope: whose stations differ (`record.stations`); None where all are the same, or the environment's arguments say which it is.
        private_stations: numbers that stations are drawn from in place of the secret.
        clock_epoch: the monotonic instant at which research time was zero [s].
        clock_stopped_at: where the run's clock stands [s] until the agent is launched.
        tokens: bearer token -> client; the run itself is `ADMIN`.
        cells: how many cells there are; without names (`RunConfig.robots`), more than one only in simulation.
        fingerprint: of the environment, that other machines must have as well: of robots, without the station file, which is each one's own.
    """

    model_config = ConfigDict(extra="forbid")

    run_dir: Path
    socket: Path
    config: RunConfig
    sandbox: Sandbox
    secret_hex: str
    station_scope: Scope | None = None
    private_stations: tuple[int, ...] | None = None
    clock_epoch: float
    clock_stopped_at: float | None = None
    tokens: dict[str, str]
    name: str = "station-1"
    cells: int = Field(default=1, ge=1, le=64)
    fingerprint: str | None = None

    @property
    def members(self) -> list[str]:
        """Its clients but for the run itself, in their order."""
        return [client for client in self.tokens.values() if client != ADMIN]

    def places_of(self, client: str) -> frozenset[int]:
        """The places of the cells on which a client works."""
        return places_of(client, self.members, self.cells, own=self.config.own_stations)

    @property
    def stations(self) -> Stations | None:
        """Where its episodes are, where stations differ."""
        if self.station_scope is None:
            return None
        return Stations(self.station_scope, bytes.fromhex(self.secret_hex), self.private_stations)
