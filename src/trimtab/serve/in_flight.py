"""Which HTTP requests are being answered at this moment.

A steering that is unloaded stays with the workers until the last request that may have been promised it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """Counts requests from when they may name a steering until their answer is complete or given up."""

    def __init__(self) -> None:
        self._ends: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._ends)

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request is in flight while this context is open."""
        end = asyncio.get_running_loop().create_future()
        self._ends.add(end)
        try:
            yield
        finally:
            self._ends.discard(end)
            end.set_result(None)

    async def ended(self) -> None:
        """Wait until all requests that are in flight now have ended; later ones do not matter."""
        if self._ends:
            await asyncio.wait(set(self._ends))
