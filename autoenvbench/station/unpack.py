"""The program that unpacks an upload: run by path as ``python -I -S unpack.py ARCHIVE INTO FILES BYTES``, under limits of its own.

Whatever an archive holds, it costs this process its time and memory, and the station a message: exit code 3 and the reason in words.
"""

from __future__ import annotations

import resource
import sys
import tarfile

_MEMORY = 512 << 20  # bytes of address space: headers of an archive are read into memory whole
_CPU_S = 120
_MAX_DEPTH = 40  # folders in folders
_REFUSED = 3


class Refused(Exception):
    """The archive may not be unpacked; the message says why."""


def unpack(archive: str, into: str, max_files: int, max_bytes: int) -> None:
    """Extract regular files and folders only, within bounds. Raises Refused, OSError, tarfile.TarError, MemoryError."""
    total = 0
    with tarfile.open(
        archive, "r:"
    ) as tar:  # as it is sent, never compressed: what is read is no more than what was sent
        for count, member in enumerate(tar):
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all, and needs none
            total += member.size
            if count >= max_files or total > max_bytes:
                raise Refused(f"it holds over {max_files} files or {max_bytes >> 20} MB")
            try:
                member.name.encode()
            except UnicodeEncodeError:
                raise Refused(f"the name {member.name!r} is not UTF-8; rename the file") from None
            if member.name.count("/") > _MAX_DEPTH:
                raise Refused(f"{member.name[:80]!r}... is more than {_MAX_DEPTH} folders deep")
            if member.isfile() or member.isdir():
                try:
                    tar.extract(member, into, filter="data")
                except (FileExistsError, NotADirectoryError, IsADirectoryError):
                    raise Refused(f"{member.name[:200]!r} lies where another file or folder of it lies") from None


def main() -> None:
    """Unpack within limits; exit code 3 and the reason on standard error where that is refused."""
    archive, into, max_files, max_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        unpack(archive, into, max_files, max_bytes)
    except MemoryError:
        why = f"it takes over {_MEMORY >> 20} MB of memory"
    except Exception as error:
        why = str(error) or type(error).__name__
    else:
        return
    print(why.encode("ascii", "backslashreplace").decode()[:300], file=sys.stderr)
    sys.exit(_REFUSED)


if __name__ == "__main__":
    main()
