"""The program that looks through a bundle for weights: run by path as ``python -I -S bundle_contents.py TREE``, under limits of its own.

It prints the fields of `record.contents.BundleContents` as JSON. Files are known by their bytes, since names are their maker's to choose.
Whatever they hold, it is read in one pass and costs this process its time and memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import stat
import sys
from collections.abc import Iterator
from typing import Any

_MEMORY = 1 << 30  # bytes of address space
_CPU_S = 120
_LONGEST_TEXT = 4 << 20  # bytes: a longer file is no text that somebody wrote
_HEAD = 16  # bytes by which a format is known
_CHECKPOINTS = "checkpoints"  # the folder beside policy.py that comes with a bundle and is in no commit
_NETWORK = (_CHECKPOINTS, "network.onnx")  # `record.regimes.NETWORK`, which this process does not import
_NAMED = 3
_NAME = 80  # characters
_NPY, _ZIP, _HDF5 = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06"), b"\x89HDF\r\n\x1a\n"
_NUMBER = re.compile(rb"(?<![\w.])(?:0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)")
#: What may stand between the numbers of one table.
_BETWEEN = re.compile(rb"[\s,;:|()\[\]{}+\-]{0,64}")
_LONG_WORD = re.compile(rb"[A-Za-z0-9+/=_\\]{40,}")
_DIGITS_OF_CODE = 4  # in a long word: names have fewer


def contents(tree: str) -> dict[str, Any]:
    """What the regular files below a folder hold. Raises OSError."""
    found = dict.fromkeys(
        ("checkpoint_files", "weight_files", "weight_bytes", "binary_files", "binary_bytes", "coded_bytes", "numbers", "table"), 0
    )  # fmt: skip
    weighty: list[tuple[int, str]] = []
    for path in _files(tree):
        size, name = os.path.getsize(path), os.path.relpath(path, tree)
        found["checkpoint_files"] += size > 0 and name.split(os.sep)[0] == _CHECKPOINTS
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            kind = "weight" if _is_weights(head, size) else "text" if size <= _LONGEST_TEXT else "binary"
            text = head + file.read() if kind == "text" else b""
        if kind == "text" and not _is_text(text):
            kind = "binary"
        if kind == "text":
            coded, numbers, table = _measure(text)
            found["coded_bytes"] += coded
            found["numbers"] += numbers
            found["table"] = max(found["table"], table)
            weighty.append((coded + numbers, name))
        elif size:
            found[f"{kind}_files"] += 1
            found[f"{kind}_bytes"] += size
            weighty.append((size + _LONGEST_TEXT, name))  # before any text
    largest = sorted(weighty, key=lambda pair: (-pair[0], pair[1]))[:_NAMED]
    network = os.path.isfile(os.path.join(tree, *_NETWORK))
    return {**found, "network": network, "named": [_name(name) for weight, name in largest if weight]}


def _files(tree: str) -> Iterator[str]:
    for folder, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def _is_weights(head: bytes, size: int) -> bool:
    """Whether a file's first bytes are of a format in which arrays or networks are kept."""
    if head.startswith((_NPY, *_ZIP, _HDF5)):  # NumPy's .npy; .npz, .pt and Stable-Baselines3's .zip; .h5
        return True
    pickled = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5
    # safetensors: the length of a JSON object, and that object
    header = int.from_bytes(head[:8], "little")
    return pickled or (len(head) > 9 and head[8:9] == b"{" and 2 <= header <= size - 8)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _measure(text: bytes) -> tuple[int, int, int]:
    """(bytes of coded words, numbers, most numbers in one table) of a text."""
    coded = sum(len(word) for word in _LONG_WORD.findall(text) if len(re.findall(rb"[0-9]", word)) >= _DIGITS_OF_CODE)
    numbers = table = row = 0
    end: int | None = None
    for match in _NUMBER.finditer(text):
        numbers += 1
        joined = end is not None and _BETWEEN.fullmatch(text, end, match.start()) is not None
        row = row + 1 if joined else 1
        table, end = max(table, row), match.end()
    return coded, numbers, table


def _name(path: str) -> str:
    """A name as it can stand in a ledger, whatever bytes it has."""
    return path.encode("utf-8", "backslashreplace").decode()[:_NAME]


def main() -> None:
    """Print what a tree holds, within limits."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps(contents(sys.argv[1])))


if __name__ == "__main__":
    main()
