"""What `/metrics` tells beside steering: tokens, and how many answers are written and wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.server.front import Record
    from trimtab.server.runner import Runner


class Counts:
    """Counters in a registry of `prometheus_client`."""

    def __init__(self, registry: Any, runner: Runner) -> None:
        from prometheus_client import Counter, Gauge

        self._tokens = Counter(
            "trimtab_tokens", "Tokens, of prompts and written.", ["kind"], registry=registry
        )
        for kind in ("prompt", "written"):
            self._tokens.labels(kind)
        under_way = Gauge(
            "trimtab_answers", "Answers that are written, or wait for a place.", registry=registry
        )
        under_way.set_function(lambda: len(runner.writing))

    def count(self, record: Record) -> None:
        """Counts the tokens of a request that is over."""
        self._tokens.labels("prompt").inc(record.prompt)
        self._tokens.labels("written").inc(record.written)
