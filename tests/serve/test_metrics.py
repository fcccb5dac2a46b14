from __future__ import annotations

import asyncio
from typing import Any

import pytest

prometheus_client = pytest.importorskip("prometheus_client")

from trimtab.serve.metrics import Metrics  # noqa: E402


def value(registry: Any, name: str, **labels: str) -> float | None:
    found: float | None = registry.get_sample_value(name, labels)
    return found


@pytest.fixture
def registry() -> Any:
    return prometheus_client.CollectorRegistry()


def table(**more: int) -> dict[str, int]:
    return {"slots": 8, "in_use": 0, "held": 2, "evictions": 0, "writes": 0, **more}


def test_requests_are_counted_by_outcome(registry: Any) -> None:
    metrics = Metrics(registry)
    assert [
        value(registry, "trimtab_requests_total", outcome=outcome)
        for outcome in ("steered", "unsteered", "refused", "failed")
    ] == [0, 0, 0, 0]
    metrics.request("steered")
    metrics.request("unsteered")
    metrics.request("unsteered")
    metrics.request("failed")
    metrics.refused("unknown")
    assert value(registry, "trimtab_requests_total", outcome="steered") == 1
    assert value(registry, "trimtab_requests_total", outcome="unsteered") == 2
    assert value(registry, "trimtab_requests_total", outcome="refused") == 1
    assert value(registry, "trimtab_requests_total", outcome="failed") == 1
    assert value(registry, "trimtab_refused_total", reason="unknown") == 1


def test_tables_are_told_by_engine_and_counters_only_grow(registry: Any) -> None:
    metrics = Metrics(registry)
    metrics.loaded(3)
    metrics.tables([table(in_use=2, writes=5, evictions=1), table(in_use=1)])
    metrics.tables([table(in_use=0, writes=7, evictions=1), table(in_use=1)])
    assert value(registry, "trimtab_steerings_loaded") == 3
    assert value(registry, "trimtab_steerings_held", engine="0") == 2
    assert value(registry, "trimtab_rows", engine="0") == 8
    assert value(registry, "trimtab_rows_in_use", engine="0") == 0
    assert value(registry, "trimtab_rows_in_use", engine="1") == 1
    assert value(registry, "trimtab_table_writes_total", engine="0") == 7
    assert value(registry, "trimtab_evictions_total", engine="0") == 1
    metrics.tables([table(writes=2)])  # a worker that began anew
    assert value(registry, "trimtab_table_writes_total", engine="0") == 9


def test_the_workers_are_asked_only_while_there_is_steered_traffic(registry: Any) -> None:
    async def scenario() -> None:
        metrics = Metrics(registry)
        asked = 0
        in_use = 0

        async def ask() -> list[dict[str, int]]:
            nonlocal asked
            asked += 1
            if asked == 2:
                raise RuntimeError("the engine is restarting")
            return [table(in_use=in_use)]

        watching = asyncio.create_task(metrics.watch(ask, 0.01))
        await asyncio.sleep(0.1)
        assert asked == 1  # once at the start
        metrics.request("unsteered")
        await asyncio.sleep(0.1)
        assert asked == 1
        metrics.steers()
        await asyncio.sleep(0.1)
        assert asked == 2  # an error ends neither the task nor the server
        in_use = 1
        metrics.steers()
        await asyncio.sleep(0.1)
        assert asked > 4  # as long as a row is in use
        in_use = 0
        await asyncio.sleep(0.1)
        before = asked
        await asyncio.sleep(0.1)
        assert asked == before
        watching.cancel()

    asyncio.run(scenario())
