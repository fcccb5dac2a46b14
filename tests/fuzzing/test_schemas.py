"""Every schema of requests, given strange ones: few trials of each here, many in `python -m benchmarks.bad_days`."""

from __future__ import annotations

import pytest
from tests.fuzzing.schemas import SCHEMAS, Schema
from tests.fuzzing.trials import request_trials

pytest.importorskip("fastapi")


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_what_is_strange_is_refused_or_taken(schema: Schema) -> None:
    if schema.name.startswith("page"):
        pytest.importorskip("gradio")
    counts = request_trials(schema, 10 if schema.slow else 40)
    assert counts["refused"] or counts["read"]
