"""Everything at once at one server: a small load, and the large one of `python -m benchmarks.serving.load`.

The large one takes minutes:

    make test-vllm ARGS="tests/vllm/test_server_load.py -m wide"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.serving.load.run import faults, measure


def check(result: dict[str, Any], *, memory: bool) -> None:
    found = faults(result, memory=memory)
    assert found == [], (result["wrong"][:3], result["unexpected"][:3], result["memory"])
    assert result["compared"] > result["requests"] * 2 / 3
    assert result["different answers"] > result["requests"] / 3
    assert set(result["statuses"]) >= {
        "valid",
        "malformed",
        "hang up",
        "hang up streaming",
        "loads and unloads",
    }


def test_a_hundred_requests_at_once_get_no_wrong_answer(tmp_path: Path) -> None:
    # Over so few requests nothing can be said about memory.
    check(measure(tmp_path, requests=120, steerings=20, clients=16), memory=False)


@pytest.mark.wide
def test_thousands_of_requests_get_no_wrong_answer_and_leave_no_memory_behind(tmp_path: Path) -> None:
    result = measure(tmp_path, requests=2000, steerings=100, clients=32)
    check(result, memory=True)
    missed = result["statuses"]["valid, its steering gone"]
    assert missed["400"] > 0, "no steering was unloaded while it was asked for"
