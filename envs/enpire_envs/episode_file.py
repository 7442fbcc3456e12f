"""One episode on disk: what a `.episode` file is, its writer and its reader. Many of them as one data set: `enpire_envs.episodes`.

The format, version 1
---------------------
A file `NAME.episode` is a safetensors file (https://huggingface.co/docs/safetensors), so many languages read it already:

    8 bytes   length N of the header, unsigned little-endian
    N bytes   header: a JSON object, padded with spaces so that what follows begins at a multiple of 64
    the rest  columns, one after the other, little-endian, C order, widest numbers first (so each is aligned to its own)

The header maps each column's name to `{"dtype", "shape", "data_offsets": [begin, end]}` (offsets from the end of the header),
and `"__metadata__"`, its first key, to `{"crc32": "XXXXXXXX", "episode": META}`: the checksum of the file (hexadecimal, of all its
bytes with these eight digits taken as 0), and the episode's description as JSON text. With T steps the columns are:

    observation, or observation.KEY for each key of a dictionary    (T+1, ...)  the last row is what the last action led to
    action                                                          (T, n)      as it was executed, unclipped
    reward                                                          (T,)
    terminated, truncated                                           (T,)        bool
    time        seconds from the episode's start to the action      (T,)        float64
    source      who chose the action, see `Source`                  (T,)        uint8
    late        the action came after its control period: until     (T,)        bool
                then the last command held
    stage       what the action led to, as an index into META's     (T,)        int64
                `stages`; -1: none of them
    info.NAME   what the environment said of what it led to         (T,)        float64, NaN where it said nothing
    evidence.NAME   images behind the verdict                     (any number of rows)

The last three kinds are there where whoever wrote the file knew them, and meant its readers to. `evidence.frames` shows the episode in a
few pictures, first and last ones included.

Images (height, width, 3) are uint8 RGB columns like any other, or PNG (lossless) or JPEG: then META's `images` maps the column's
name to `{"codec", "shape"}`, and the file has `NAME.bytes`, all files end to end, and `NAME.ends`, where each one ends (int64).

META is an object; what does not apply is left out:

    version, steps          of the format (1); T
    env, env_kwargs, fingerprint, control_hz, task              what was done, where
    observation_space, action_space, names                      see `describe_space`; names of a column's numbers
    stages, frames                                              names of the stages; steps that `evidence.frames` shows
    start, seed, attempt                                        where it began. No seed: its stream is secret
    verdict                 success, score, stage, reason, detail, violations, ... as the environment or the station judged
    provenance              who collected it, with what policy, on which cell, when

Numbers that JSON lacks (NaN, infinities) are null in META; in columns they are kept. Nothing is ever pickled.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import math
import mmap
import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

SUFFIX = ".episode"
VERSION = 1
MAX_HEADER = 1 << 20  # bytes; those of whole stations take a few thousand
MAX_PIXELS = 1 << 26  # of one image: nobody's file makes its reader allocate more
_ALIGN = 64
_BEGIN = '{"__metadata__":'
_FIRST = _BEGIN.encode() + b'{"crc32":"'
_CRC = slice(8 + len(_FIRST), 16 + len(_FIRST))  # where the checksum's digits are
_WIDE = 1 << 14  # bytes of a row; a wider column is read when it is asked for, not with all numbers
_DTYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4",
    "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip
_JSON = json.JSONDecoder()
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
#: Columns that every episode has beside its observations, and the types that a writer gives them.
STEP_COLUMNS = ("action", "reward", "terminated", "truncated", "time", "source", "late")

Codec = Literal["png", "jpeg"]


class Source(enum.IntEnum):
    """Who chose an action."""

    POLICY = 0
    HUMAN = 1  # a person drove the whole time
    INTERVENTION = 2  # a person took over from the policy
    REFERENCE = 3  # a scripted expert: a demonstration
    HELD = 4  # nobody in time: the last command was repeated as a step of its own
    UNKNOWN = 255


class EpisodeError(ValueError):
    """A file that is no whole episode, or episodes that do not go together. The message names the file."""


class EncodedImages(Sequence[np.ndarray]):
    """A column of compressed images, decoded (with OpenCV) when asked for: each (height, width, channels) uint8 RGB.

    Args:
        data, ends: all files end to end, (bytes,) uint8, and where each one ends, (rows,) int64.
        shape: of every image: (height, width, channels).
        where: names the column in errors.
    """

    def __init__(
        self, data: np.ndarray, ends: np.ndarray, codec: Codec, shape: Sequence[int], where: str = "images"
    ) -> None:
        self.data, self.ends, self.codec, self.shape, self._where = data, ends, codec, tuple(shape), where

    @classmethod
    def of(cls, files: Sequence[bytes], where: str = "images") -> EncodedImages:
        """The column of PNG or JPEG files of one size. Raises EpisodeError."""
        codec, shape = _image_header(files[0], where) if files else ("png", (0, 0, 3))
        data = np.frombuffer(b"".join(files), np.uint8)
        return cls(data, np.cumsum([len(file) for file in files], dtype=np.int64), codec, shape, where)

    def __len__(self) -> int:
        return len(self.ends)

    def encoded(self, row: int) -> bytes:
        """The PNG or JPEG file of a row. Raises IndexError, EpisodeError."""
        row = range(len(self))[row]
        begin, end = int(self.ends[row - 1]) if row else 0, int(self.ends[row])
        if not 0 <= begin < end <= len(self.data):
            raise EpisodeError(f"{self._where}: image {row} lies outside its column")
        return self.data[begin:end].tobytes()

    @overload
    def __getitem__(self, row: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[np.ndarray]: ...
    def __getitem__(self, row: int | slice) -> np.ndarray | Sequence[np.ndarray]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        file = self.encoded(row)
        codec, shape = _image_header(file, self._where)
        if shape != self.shape or codec != self.codec:  # looked at before a decoder allocates what it says
            raise EpisodeError(f"{self._where}: image {row} is {codec} {shape}, not {self.codec} {self.shape}")
        import cv2

        image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR if shape[2] == 3 else cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise EpisodeError(f"{self._where}: image {row} is damaged")
        return np.ascontiguousarray(image[..., ::-1]) if shape[2] == 3 else image[..., None]


Column = np.ndarray | EncodedImages


@dataclass(frozen=True)
class Episode:
    """One episode: its description, and its columns by name (arrays, or `EncodedImages` where images are compressed)."""

    meta: dict[str, Any]
    columns: Mapping[str, Column]
    path: Path | None = None

    def __len__(self) -> int:
        """Steps."""
        return len(self.columns["reward"])

    def __getitem__(self, name: str) -> Any:
        try:
            return self.columns[name]
        except KeyError:
            raise KeyError(f"{self.path or 'the episode'} has no {name}; it has: {', '.join(self.columns)}") from None

    @property
    def observation(self) -> Any:
        """(T+1, ...), or a dictionary of such."""
        return nested(self.columns.keys(), self.__getitem__)

    @property
    def success(self) -> bool:
        return self.meta.get("verdict", {}).get("success") is True


# -- writing -----------------------------------------------------------------------------------------------------------
class EpisodeWriter:
    """Collects an episode step by step, and writes it when it is over.

    Observations are arrays or dictionaries of them (also nested); a value of type `bytes` is a PNG or JPEG file.

    Args:
        images: how `write` stores (height, width, 1 or 3) uint8 observations: "raw", or "png", slower and a tenth of the size.
        source: who chooses the actions, where a step does not say.
        note: what of an environment's `info` is kept, as columns' numbers by name.

    Attributes:
        start: where the episode began, as `begin` was told.
    """

    def __init__(
        self,
        images: Literal["raw", "png"] = "raw",
        source: Source = Source.POLICY,
        note: Callable[[Mapping[str, Any]], Mapping[str, float]] = lambda info: {},
    ) -> None:
        self._images, self._source, self._note = images, source, note
        self.start: Any = None
        self._seen: dict[str, list[Any]] = {}
        self._actions: list[np.ndarray] = []
        self._rows: list[tuple[float, bool, bool, float, int, bool]] = []  # reward, terminated, truncated, time, ...
        self._noted: list[Mapping[str, float]] = []

    def __len__(self) -> int:
        """Steps so far."""
        return len(self._actions)

    @property
    def begun(self) -> bool:
        return bool(self._seen)

    def begin(self, observation: Any, start: Any = None) -> None:
        """Start afresh, with what was seen first."""
        self.start = start
        self._seen = {name: [value] for name, value in _flat(observation)}
        self._actions, self._rows, self._noted = [], [], []

    def step(
        self, action: np.ndarray, observation: Any, reward: float, terminated: bool, truncated: bool, *, time: float,
        source: Source | None = None, late: bool = False, info: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Add an action, given at `time` [s since the start], and what it led to, of whose `info` the writer keeps what it was told to."""
        self._noted.append(self._note(info) if info is not None else {})
        self._actions.append(np.array(action))
        self._rows.append(
            (
                float(reward),
                bool(terminated),
                bool(truncated),
                time,
                int(self._source if source is None else source),
                bool(late),
            )
        )
        for name, value in _flat(observation):
            self._seen[name].append(value)

    def see_again(self, observation: Any) -> None:
        """Replace the newest observation by a later look before the next action."""
        for name, value in _flat(observation):
            self._seen[name][-1] = value

    def columns(self, action_shape: Sequence[int] = ()) -> dict[str, Column]:
        """What was collected, as columns. `action_shape` is needed where there was no step."""
        reward, terminated, truncated, times, source, late = zip(*self._rows, strict=True) if self._rows else [()] * 6
        return {
            **{name: self._stacked(name, values) for name, values in self._seen.items()},
            "action": np.stack(self._actions) if self._actions else np.zeros((0, *action_shape)),
            "reward": np.array(reward, np.float64), "terminated": np.array(terminated, np.bool_),
            "truncated": np.array(truncated, np.bool_), "time": np.array(times, np.float64),
            "source": np.array(source, np.uint8), "late": np.array(late, np.bool_), **self._notes(),
        }  # fmt: skip

    def _notes(self) -> dict[str, np.ndarray]:
        names = dict.fromkeys(name for row in self._noted for name in row)
        columns = {name: [row.get(name, np.nan) for row in self._noted] for name in names}
        return {
            name: np.array(values, np.int64 if all(isinstance(v, int) for v in values) else np.float64)
            for name, values in columns.items()
        }

    def write(
        self, path: Path, meta: Mapping[str, Any], *, action_shape: Sequence[int] = (),
        evidence: Mapping[str, Sequence[bytes]] | None = None,
    ) -> int:  # fmt: skip
        """Write it with its description; `evidence`: PNG or JPEG files behind the verdict. Returns the file's bytes.

        Raises EpisodeError for what cannot be kept, OSError.
        """
        shown = {f"evidence.{name}": EncodedImages.of(files) for name, files in (evidence or {}).items()}
        return write_episode(path, meta, {**self.columns(action_shape), **shown})

    def _stacked(self, name: str, values: list[Any]) -> Column:
        if isinstance(values[0], bytes):
            return EncodedImages.of(values, name)
        if self._images == "png" and is_image(values[0]):
            return EncodedImages.of([encode_png(value) for value in values], name)
        return np.stack(values)


def write_episode(path: Path, meta: Mapping[str, Any], columns: Mapping[str, Column]) -> int:
    """Write one file, whole or not at all. `version`, `steps` and `images` of `meta` are filled in. Returns its size [bytes].

    Raises EpisodeError for columns that do not fit together or that the format lacks, OSError.
    """
    described: dict[str, Any] = {**meta, "version": VERSION, "steps": len(columns["reward"]), "images": {}}
    arrays: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        if isinstance(column, EncodedImages):
            described["images"][name] = {"codec": column.codec, "shape": column.shape}
            arrays |= {f"{name}.bytes": column.data, f"{name}.ends": column.ends}
        else:
            arrays[name] = column
    if not described["images"]:
        del described["images"]
    _check_rows({name: len(column) for name, column in columns.items()}, described["steps"], str(path))
    # Widest first, so that all are aligned; images last, so that the numbers of a file are one piece.
    ordered = sorted(
        ((name, _storable(name, array)) for name, array in arrays.items()),
        key=lambda item: (-item[1].dtype.itemsize, item[0].endswith(".bytes") or item[1].ndim > 3, item[0]),
    )
    table, end = {}, 0
    for name, array in ordered:
        table[name] = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(plain(described), allow_nan=False, separators=(",", ":"))
    about = {"__metadata__": {"crc32": "0" * 8, "episode": text}, **table}
    header = json.dumps(about, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % _ALIGN)
    if len(header) > MAX_HEADER:
        raise EpisodeError(f"{path}: the episode's description takes {len(header)} bytes; at most {MAX_HEADER} fit")
    pieces: list[Any] = [struct.pack("<Q", len(header)) + header, *(_bytes_of(array) for _, array in ordered)]
    crc = functools.reduce(lambda crc, piece: zlib.crc32(piece, crc), pieces, 0)
    pieces[0] = pieces[0][: _CRC.start] + f"{crc:08x}".encode() + pieces[0][_CRC.stop :]
    part = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        with part.open("xb") as file:
            file.writelines(pieces)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    return 8 + len(header) + end


def describe_space(space: Any) -> dict[str, Any]:
    """A Gymnasium Box or Dict as META has it: its shape, dtype and bounds (one number where all are equal, null: none)."""
    if hasattr(space, "spaces"):
        return {"type": "Dict", "spaces": {str(key): describe_space(part) for key, part in space.spaces.items()}}
    if not hasattr(space, "low"):
        return {"type": type(space).__name__, "text": str(space)}
    bounds = [
        bound.flat[0] if bound.size and (bound == bound.flat[0]).all() else bound for bound in (space.low, space.high)
    ]
    return {
        "type": "Box",
        "shape": space.shape,
        "dtype": str(space.dtype),
        "low": plain(bounds[0]),
        "high": plain(bounds[1]),
    }


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays become lists; what is not finite, null; anything unknown, its text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    return str(value)


def is_image(value: Any) -> bool:
    """Whether a value is (height, width, 1 or 3) uint8."""
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] in (1, 3)


def encode_png(image: np.ndarray) -> bytes:
    """An RGB or grey image (height, width, 3 or 1) uint8 as a PNG file. Raises ValueError if there is nothing in it."""
    import cv2

    done, file = cv2.imencode(
        ".png", image[..., ::-1] if image.shape[2] == 3 else image, [cv2.IMWRITE_PNG_COMPRESSION, 1]
    )
    if not done:
        raise ValueError(f"an image of shape {image.shape} cannot be written as PNG")
    return bytes(file)


# -- reading -----------------------------------------------------------------------------------------------------------
def read_episode(path: str | Path, *, mapped: bool = True, check: bool = False) -> Episode:
    """Read one file.

    Args:
        mapped: columns are read-only views of the file, read when they are looked at. False for copies, which a file that
            somebody changes meanwhile cannot hurt.
        check: compare the checksum (reads everything).

    Raises EpisodeError if it is no whole episode, OSError.
    """
    path = Path(path)
    with opened(path) as (fd, size):
        head = _read_header(path, fd, size)
        length = head.data + head.size
        buffer: Any = mmap.mmap(fd, length, access=mmap.ACCESS_READ) if mapped else read_bytes(path, fd, 0, length)
    if check and head.crc != zlib.crc32(memoryview(buffer)[_CRC.stop :], zlib.crc32(buffer[: _CRC.start] + b"0" * 8)):
        raise EpisodeError(f"{path} is damaged: its checksum does not match")
    return Episode(head.meta, {name: head.column(name, buffer, head.data) for name in head.columns}, path)


Table = dict[str, tuple[np.dtype[Any], tuple[int, ...], int, int]]


@dataclass(slots=True)
class Head:
    """What stands before the columns. `table`: (dtype, shape, begin, end) of each array; `columns`: names and rows."""

    path: Path
    meta: dict[str, Any]
    crc: int | None  # None: not where it should be
    data: int  # where the columns begin in the file
    size: int  # of all columns [bytes]
    table: Table
    columns: dict[str, int]

    @property
    def steps(self) -> int:
        return self.columns["reward"]

    def array(self, name: str, buffer: Any, offset: int) -> np.ndarray:
        """One array, of a buffer in which the columns begin at `offset`."""
        dtype, shape, begin, _ = self.table[name]
        count = math.prod(shape)
        array = np.frombuffer(buffer, dtype if dtype != np.bool_ else np.uint8, count, offset + begin).reshape(shape)
        return array if dtype != np.bool_ else array != 0  # whatever a byte says, a bool is 0 or 1

    def column(self, name: str, buffer: Any, offset: int) -> Column:
        image = self.meta.get("images", {}).get(name)
        if image is None:
            return self.array(name, buffer, offset)
        data, ends = (self.array(f"{name}.{part}", buffer, offset) for part in ("bytes", "ends"))
        return EncodedImages(data, ends, image["codec"], image["shape"], f"{self.path}: {name}")

    def is_number(self, name: str) -> bool:
        """Whether a column is one to have in memory: neither evidence nor images."""
        if name not in self.table or name.startswith("evidence."):
            return False
        dtype, (_, *shape), _, _ = self.table[name]
        return math.prod(shape) * dtype.itemsize < _WIDE and not (dtype == np.uint8 and shape[2:] in ([1], [3]))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe that nobody writes to keeps nobody waiting
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise EpisodeError(f"{path} is no file")
        yield fd, about.st_size
    finally:
        os.close(fd)


def read_bytes(path: Path, fd: int, begin: int, length: int) -> bytes:
    parts = []
    while length > 0:
        part = os.pread(fd, min(length, 1 << 30), begin)
        if not part:
            raise EpisodeError(f"{path} is cut off")
        parts.append(part)
        begin, length = begin + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_header(path: Path, fd: int, size: int) -> Head:
    first = os.pread(fd, 8192, 0)
    length = int.from_bytes(first[:8], "little")
    if len(first) < 8 or not 2 <= length <= MAX_HEADER or first[8:9] != b"{":
        raise EpisodeError(f"{path} is no episode: it does not begin with the header of a safetensors file")
    if 8 + length > size:
        raise EpisodeError(f"{path} is cut off: its header alone takes {length} bytes")
    text = first[8 : 8 + length] if 8 + length <= len(first) else read_bytes(path, fd, 8, length)
    try:
        head = _parsed(path, text.decode(), 8 + length, size - 8 - length)
        head.crc = int(first[_CRC], 16) if first.startswith(_FIRST, 8) else None
        return head
    except EpisodeError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise EpisodeError(f"{path} is no episode: its header makes no sense ({type(error).__name__})") from None


def _parsed(path: Path, text: str, data: int, available: int) -> Head:
    if text.startswith(_BEGIN):  # as we write it: what follows the metadata is the same in files of equal length
        described, end = _JSON.raw_decode(text, len(_BEGIN))
        rest = text[end:]
    else:
        header = json.loads(text)
        described = header.pop("__metadata__", {})
        rest = "," + json.dumps(header)[1:]
    if "episode" not in described:
        raise EpisodeError(f"{path} is a safetensors file, but no episode: its metadata has no `episode`")
    meta = json.loads(described["episode"])
    if not isinstance(meta["version"], int) or meta["version"] < 1:
        raise EpisodeError(f"{path} is no episode: its version is {meta['version']!r:.20}")
    if meta["version"] > VERSION:
        raise EpisodeError(
            f"{path} has version {meta['version']} of the format; this reads up to {VERSION}: update autoenvbench"
        )
    table, size, wrong = _layout(rest) if len(rest) < 8192 else _layout.__wrapped__(rest)
    if wrong is not None:
        raise EpisodeError(f"{path} is damaged: {wrong:.80} does not lie where its shape says")
    if size != available:
        what = "cut off" if size > available else "damaged"
        raise EpisodeError(f"{path} is {what}: its columns take {size} bytes, there are {available}")
    for key in ("verdict", "provenance", "images"):
        if not isinstance(meta.get(key, {}), dict):
            raise EpisodeError(f"{path} is no episode: its {key} is no object")
    columns = {name: shape[0] for name, (_, shape, _, _) in table.items()}
    for name, image in meta.get("images", {}).items():
        shape = tuple(image["shape"])
        fits = len(shape) == 3 and all(type(n) is int and n >= 0 for n in shape) and math.prod(shape) <= MAX_PIXELS * 3
        data_type, ends_type = (table[f"{name}.{part}"][0] for part in ("bytes", "ends"))
        if image["codec"] not in ("png", "jpeg") or not fits or (data_type, ends_type) != (np.uint8, np.int64):
            raise EpisodeError(f"{path} is no episode: {name:.80} holds no images")
        del columns[f"{name}.bytes"]
        columns[name] = columns.pop(f"{name}.ends")
    if missing := [name for name in STEP_COLUMNS if name not in columns]:
        raise EpisodeError(f"{path} is no episode: it has no {', '.join(missing)}")
    _check_rows(columns, meta["steps"], str(path))
    return Head(path, meta, None, data, size, table, columns)


@functools.lru_cache(maxsize=1024)
def _layout(rest: str) -> tuple[Table, int, str | None]:
    """Where the columns lie, by what follows the metadata in a header; their bytes in all; and the first one that lies wrong."""
    table: Table = {}
    end = 0
    rows = json.loads("{" + rest.removeprefix(","))
    for name, row in sorted(rows.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = np.dtype(_DTYPES[row["dtype"]]), tuple(row["shape"])
        begin, until = row["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin, until)) and 1 <= len(shape) <= 8
        if not whole or begin != end or until - begin != math.prod(shape) * dtype.itemsize:
            return table, end, name
        table[name], end = (dtype, shape, begin, until), until
    return table, end, None


def _check_rows(rows: Mapping[str, int], steps: int, where: str) -> None:
    for name, n in rows.items():
        expected = n if name.startswith("evidence.") else steps + _is_observation(name)
        if n != expected:
            raise EpisodeError(
                f"{where}: {name:.80} has {n} rows; an episode of {steps!r:.20} steps has {expected!r:.20}"
            )
    if not any(map(_is_observation, rows)):
        raise EpisodeError(f"{where}: there are no observations")


# -- parts -------------------------------------------------------------------------------------------------------------
def read_head(path: Path) -> Head:
    with opened(path) as (fd, size):
        return _read_header(path, fd, size)


def _is_observation(name: str) -> bool:
    return name == "observation" or name.startswith("observation.")


def _flat(observation: Any, name: str = "observation") -> Iterator[tuple[str, Any]]:
    """The columns of an observation and its values, copied: environments may use their arrays again."""
    if isinstance(observation, Mapping):
        for key, part in observation.items():
            yield from _flat(part, f"{name}.{key}")
    else:
        yield name, observation if isinstance(observation, bytes) else np.array(observation)


def nested(names: Iterable[str], column: Callable[[str], Any]) -> Any:
    """The observation's columns as one array, or as a dictionary by key."""
    found = [name for name in names if _is_observation(name)]
    if found == ["observation"]:
        return column("observation")
    return {name.removeprefix("observation."): column(name) for name in found}


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise EpisodeError(f"{name} is of type {array.dtype}; an episode holds: {', '.join(str(t) for t in _NAMES)}")
    return np.ascontiguousarray(array, dtype)


def _bytes_of(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def _image_header(file: bytes, where: str) -> tuple[Codec, tuple[int, int, int]]:
    """Codec and (height, width, channels) of a PNG or JPEG file by its first bytes, without decoding it."""
    if file[:8] == b"\x89PNG\r\n\x1a\n" and file[12:16] == b"IHDR" and len(file) >= 33:
        width, height, depth, colour = struct.unpack(">IIBB", file[16:26])
        channels = {0: 1, 2: 3}.get(colour)
        if depth == 8 and channels is not None and height * width <= MAX_PIXELS:
            return "png", (height, width, channels)
    at = 2 if file[:2] == b"\xff\xd8" else len(file)
    while at + 10 <= len(file) and file[at] == 0xFF:
        marker, length = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width, channels = struct.unpack(">HHB", file[at + 5 : at + 10])
            if channels in (1, 3) and height * width <= MAX_PIXELS:
                return "jpeg", (height, width, channels)
            break
        at += 2 + length
    raise EpisodeError(f"{where}: this is no 8-bit PNG or JPEG image")
