"""A run's budgets for its model, and what calls in progress have reserved of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from autoenvbench.record.events import TokensEvent
from autoenvbench.record.metrics import headline_tokens
from autoenvbench.record.prices import Price, price_of

#: Output tokens reserved for a call that does not say how many it wants, or wants more than any answer has.
MAX_OUTPUT_TOKENS = 32_000


class BudgetSpent(Exception):
    """A call was asked for when the budget was spent; the text is the budget's name."""


@dataclass
class Allowance:
    """What a run may spend, what it has spent, and the price list. Used in one event loop, and read from any thread.

    Attributes:
        prices: by model.
        tokens: budget in headline tokens (fresh input + output), or None. Calls that were cut count with their estimate.
        cost: budget in US dollars, or None.
        spent_tokens: headline tokens of all calls counted so far.
        spent_cost: of those calls whose model has a price [US dollars].
        unpriced: models that were used and have no price.
    """

    prices: dict[str, Price]
    tokens: int | None = None
    cost: float | None = None
    spent_tokens: int = 0
    spent_cost: float = 0.0
    unpriced: set[str] = field(default_factory=set)
    _reserved: list[tuple[int, float]] = field(default_factory=list)  # (tokens, dollars) of calls in progress
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, call: TokensEvent) -> None:
        """Add a call that has ended to what is spent."""
        self.spent_tokens += headline_tokens(call)
        price = price_of(call.model, self.prices)
        if price is not None:
            self.spent_cost += price.of(call)
        elif call.input or call.output:
            self.unpriced.add(call.model)

    def exhausted_budget(self) -> str | None:
        """The budget that is spent, as a run's stop reason; a cost budget is also spent where it can no longer be known."""
        if self.tokens is not None and self.spent_tokens >= self.tokens:
            return "token_budget"
        if self.cost is not None and (self.spent_cost >= self.cost or self.unpriced):
            return "cost_budget"
        return None

    @contextlib.asynccontextmanager
    async def reserve(self, model: str, size: int, max_output: int | None) -> AsyncIterator[None]:
        """Keep a part of the budgets for a call while it is in progress. Raises BudgetSpent.

        Args:
            size: of the request [bytes].
            max_output: output tokens that it allows, or None if it does not say.

        Calls run side by side only while all of them fit into what is left; otherwise each waits for the others to be
        counted. So a budget is overrun by one call at most, however many are asked for at once.
        """
        need = self._need(model, size, max_output)
        while True:
            if spent := self.exhausted_budget():
                raise BudgetSpent(spent)
            if not self._reserved or self._fits(need):
                break
            self._settled.clear()
            await self._settled.wait()
        self._reserved.append(need)
        try:
            yield
        finally:
            self._reserved.remove(need)
            self._settled.set()

    def _need(self, model: str, size: int, max_output: int | None) -> tuple[int, float]:
        """(tokens, dollars) at most: 3 bytes per token, nothing cached, all of the output."""
        call = TokensEvent(
            model=model, status=200, input=size // 3, output=min(max_output or MAX_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS)
        )
        price = price_of(model, self.prices)
        return headline_tokens(call), price.of(call) if price else 0.0

    def _fits(self, need: tuple[int, float]) -> bool:
        tokens, cost = (sum(column) for column in zip(need, *self._reserved, strict=True))
        return (self.tokens is None or self.spent_tokens + tokens <= self.tokens) and (
            self.cost is None or self.spent_cost + cost <= self.cost
        )
