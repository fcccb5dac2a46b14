"""What Prometheus is told, on the server's own `/metrics`.

Requests are counted as they come. How full the workers' tables are is asked of them now and then, by a task that is
quiet while nobody is steered: an idle server does nothing for its metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

SECONDS = 5.0
"""How often the workers are asked while there is steered traffic."""


class Metrics:
    """The counters of one server, in a registry of `prometheus_client`; its default one when None."""

    def __init__(self, registry: Any = None) -> None:
        from prometheus_client import REGISTRY, Counter, Gauge

        made: dict[str, Any] = {"registry": REGISTRY if registry is None else registry}
        self._requests = Counter(
            "trimtab_requests",
            "Requests by what became of them: steered, unsteered, refused, failed.",
            ["outcome"],
            **made,
        )
        self._refused = Counter(
            "trimtab_refused", "Requests refused for what they asked of steering.", ["reason"], **made
        )
        self._loaded = Gauge("trimtab_steerings_loaded", "Steerings that can be named.", **made)
        self._gauges = {
            key: Gauge(name, text, ["engine"], **made)
            for key, name, text in (
                ("in_use", "trimtab_rows_in_use", "Rows of the table that running requests use."),
                (
                    "held",
                    "trimtab_steerings_held",
                    "Steerings that the workers hold: those that can be named, and those on their way out.",
                ),
                ("slots", "trimtab_rows", "Rows of the table."),
            )
        }
        self._counters = {
            key: Counter(name, text, ["engine"], **made)
            for key, name, text in (
                ("evictions", "trimtab_evictions", "Rows given up for another steering."),
                ("writes", "trimtab_table_writes", "Rows written."),
            )
        }
        self._seen: dict[tuple[str, str], int] = {}
        self._traffic = False
        for outcome in ("steered", "unsteered", "refused", "failed"):
            self._requests.labels(outcome)  # so that all are there from the start

    def steers(self) -> None:
        """Tell that a steered request is passed on: the tables are worth a look."""
        self._traffic = True

    def request(self, outcome: Literal["steered", "unsteered", "failed"]) -> None:
        """Count a request that was passed on; failed if the server refused it, or nobody waited for the answer."""
        self._requests.labels(outcome).inc()

    def refused(self, reason: str) -> None:
        """Count a request that was refused for what it asked of steering."""
        self._requests.labels("refused").inc()
        self._refused.labels(reason).inc()

    def loaded(self, number: int) -> None:
        """Tell how many steerings can be named."""
        self._loaded.set(number)

    def tables(self, statistics: Sequence[Mapping[str, int]]) -> None:
        """Tell how the tables stand, by the `statistics` of each engine (see `Backend.statuses`)."""
        for number, values in enumerate(statistics):
            engine = str(number)
            for key, gauge in self._gauges.items():
                gauge.labels(engine).set(values[key])
            for key, counter in self._counters.items():
                # A worker that began anew counts from 0 again.
                before = self._seen.get((engine, key), 0)
                grown = values[key] - before if values[key] >= before else values[key]
                counter.labels(engine).inc(grown)
                self._seen[engine, key] = values[key]

    async def watch(
        self, tables: Callable[[], Awaitable[Sequence[Mapping[str, int]]]], seconds: float = SECONDS
    ) -> None:
        """Ask `tables` for the statistics of each engine as long as there is steered traffic, for ever."""
        busy = True
        while True:
            if busy or self._traffic:
                self._traffic = False
                statistics: Sequence[Mapping[str, int]] = ()
                # An engine that is going down answers no question; that is for the server to report.
                with contextlib.suppress(Exception):
                    statistics = await tables()
                self.tables(statistics)
                busy = any(values["in_use"] for values in statistics)
            await asyncio.sleep(seconds)
