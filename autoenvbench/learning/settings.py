"""Hyperparameters: fields of frozen dataclasses, each with a sentence about what it does, that a command line can set."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from autoenvbench.errors import UserError

T = TypeVar("T")


def knob(default: Any, what: str) -> Any:
    """A hyperparameter with its default and what it does."""
    return dataclasses.field(default=default, metadata={"what": what})


def parse_settings(kind: type[T], pairs: Sequence[str]) -> T:
    """`["hidden=512", "head=mixture"]` as settings of this kind. Raises UserError."""
    hints, values = get_type_hints(kind), {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(hints)}"
            raise UserError(f"cannot set {pair!r}; write it like NAME=VALUE; {hint}")
        values[name] = _value(name, hints[name], text)
    return kind(**values)


def describe_settings(settings: type) -> list[str]:
    """A line for each: name, default, what it does."""
    return [f"  {f.name}={f.default}  {f.metadata['what']}" for f in dataclasses.fields(settings)]


def _value(name: str, kind: Any, text: str) -> Any:
    if get_origin(kind) is not None:  # Literal
        if text not in get_args(kind):
            raise UserError(f"{name}={text}: choose one of {', '.join(map(str, get_args(kind)))}")
        return text
    try:
        value = text if kind is str else json.loads(text.lower() if kind is bool else text)
    except ValueError:
        value = None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        what = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a text")
        raise UserError(f"{name}={text} is not {what}")
    return value
