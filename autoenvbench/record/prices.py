"""What tokens cost: a small table of list prices, and what a call costs by it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.record.events import TokensEvent


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; `input` is what is neither read from nor written to a cache."""

    input: float
    cached_input: float
    cache_write: float
    output: float

    def of(self, call: TokensEvent) -> float:
        """US dollars of one call."""
        fresh = call.input - call.cached_input - call.cache_write
        return (
            fresh * self.input
            + call.cached_input * self.cached_input
            + call.cache_write * self.cache_write
            + call.output * self.output
        ) / 1e6


def load(path: str | Path | None = None) -> dict[str, Price]:
    """Prices by model: the shipped table, and over it the user's own file of the same form. Raises UserError."""
    table = dict(_shipped())
    if path is not None:
        try:
            table |= _parse(Path(path).read_text())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"cannot read the prices in {path}: {error!r}; expected "
                '{"models": {"NAME": {"input": 1.0, "cached_input": 0.1, "cache_write": 1.25, "output": 5.0}}} in dollars per million'
            ) from None
    return table


def price_of(model: str, table: dict[str, Price]) -> Price | None:
    """A model's price; "openai/gpt-5.5" and a dated "claude-opus-4-7-20260416" find theirs."""
    name = model.rpartition("/")[2]
    for candidate in (model, name):
        if candidate in table:
            return table[candidate]
    dated = [known for known in table if name.startswith(known + "-") and name[len(known) + 1 :].isdigit()]
    return table[max(dated, key=len)] if dated else None


@cache
def _shipped() -> dict[str, Price]:
    return _parse(files("autoenvbench.data").joinpath("prices.json").read_text())


def _parse(text: str) -> dict[str, Price]:
    return {model: Price(**prices) for model, prices in json.loads(text)["models"].items()}
