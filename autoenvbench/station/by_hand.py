"""What a person does to a station from any terminal: stop it, acknowledge a stop. Who may write its files may do so."""

from __future__ import annotations

from pathlib import Path

from enpire_real.person_stop import PersonStops, Record, live_stations, read_record, stopped_stations, who

from autoenvbench.errors import UserError


def choose(run: str | None, station_file: str | None, *, stopped: bool) -> Record:
    """The station that is meant: by its run, by its file, else the only one that is up (or, if asked for, stopped).

    Raises UserError that names the ones there are.
    """
    if run is not None and station_file is not None:
        raise UserError("give a run's folder or --station FILE, not both")
    if run is not None:
        record = read_record(Path(run))
        if record is None:
            raise UserError(
                f"{run} is no run on a station with arms; autoenvbench station stop alone finds the one that is up"
            )
        return record
    if station_file is not None:
        return of_file(Path(station_file))
    found = {record.stops: record for record in live_stations()}
    if stopped:
        found = {**{record.stops: record for record in stopped_stations()}, **found}
        found = {stops: record for stops, record in found.items() if PersonStops(Path(stops)).watch() is not None}
    if not found:
        what = "no stop of a person holds" if stopped else "no station is up"
        raise UserError(f"{what} here; name a run's folder, or a station file with --station FILE")
    if len(found) > 1:
        raise UserError("several stations are meant; name one: " + "; ".join(map(_name, found.values())))
    return next(iter(found.values()))


def of_file(path: Path) -> Record:
    """The station that a file describes, whoever moves it. Raises UserError."""
    from enpire_real.build import build_station
    from enpire_real.station_file import StationError, load_station

    try:
        file = load_station(path)
    except StationError as error:
        raise UserError(str(error)) from None
    if file.twin is not None and file.twin.link is None:
        raise UserError(f"{path} is a twin that lives in the process of its run: name the run's folder instead")
    return build_station(file).record()


def stop(record: Record) -> str:
    """Stop its arms; returns what to print. Raises UserError."""
    written = PersonStops(Path(record.stops)).press(who(), "autoenvbench station stop")
    if not written.wait(5.0):
        raise UserError(f"the stop could not be written to {record.stops}: press the emergency stop")
    up = any(other.stops == record.stops for other in live_stations())
    seen = "its arms brake and hold" if up else "no process moves its arms now, and none will"
    return f"{record.name}: stopped; {seen}, until: autoenvbench station acknowledge {_argument(record)}".rstrip()


def acknowledge(record: Record) -> str:
    """End the stops of people; returns what to print. Raises UserError."""
    stops = PersonStops(Path(record.stops))
    if (pressed := record.pressed()) is not None:
        raise UserError(f"{record.name}: not acknowledged: {pressed}; release it first, then acknowledge")
    if stops.watch() is None:
        raise UserError(f"{record.name}: no stop of a person holds")
    try:
        ended = stops.acknowledge(who())
    except OSError as error:
        raise UserError(f"{record.name}: not acknowledged, the stop holds: {error}") from None
    return f"{record.name}: acknowledged {'; '.join(ended)}. Its arms move again with the next reset or move"


def _argument(record: Record) -> str:
    return record.run or ""


def _name(record: Record) -> str:
    return f"{record.run} ({record.name})" if record.run else f"{record.name} (process {record.pid})"
