"""The load test of a server judges what it says it does; tests/on_vllm/test_server_load.py runs it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from benchmarks.serving.load import __main__ as command
from benchmarks.serving.load import mix, run

from trimtab.errors import TrimtabError

NAMES = [f"s{number:03d}" for number in range(20)]


def test_the_mix_has_every_kind_in_its_share_and_is_repeatable() -> None:
    asked = mix.asks(NAMES, 8, 1200)
    assert asked == mix.asks(NAMES, 8, 1200)
    assert asked != mix.asks(NAMES, 8, 1200, seed=1)
    kinds = Counter(ask.kind for ask in asked)
    assert kinds["malformed"] == 120
    assert 60 < kinds["hang up"] + kinds["hang up streaming"] < 100
    valid = [ask for ask in asked if ask.kind == "valid"]
    steered = [ask for ask in valid if b"nano:" in ask.body or b"vllm_xargs" in ask.body]
    assert 0.7 * len(valid) < len(steered) < len(valid)
    assert {ask.status for ask in asked if ask.kind == "malformed"} == {400, 404}


def test_only_what_names_a_flickering_steering_may_miss_it() -> None:
    for ask in mix.asks(NAMES, 8, 600):
        if ask.kind != "malformed":
            body = json.loads(ask.body)
            said = body["model"] + body.get("vllm_xargs", {}).get("steering", "")
            assert ask.may_miss == any(name in said for name in NAMES[: mix.FLICKERING])


def test_equal_requests_have_one_key_streamed_or_not() -> None:
    one = mix.Ask("valid", mix.CHAT, b'{"model": "nano", "stream": true}', stream=True)
    two = mix.Ask("valid", mix.CHAT, b'{"model": "nano"}')
    assert one.key == two.key
    assert one.key != mix.Ask("valid", mix.COMPLETIONS, two.body).key


def test_memory_is_flat_if_it_stops_growing() -> None:
    def samples(*fifths: float) -> list[tuple[float, int]]:
        return [(place, int(mebibytes * 2**20)) for place, mebibytes in enumerate(fifths) for _ in range(3)]

    # What grows while everything runs for the first time does not count.
    settled = run.memory_of(samples(100, 150, 200, 200, 203))
    assert settled == {
        "start": 100,
        "third fifth": 200,
        "last fifth": 203,
        "growth": pytest.approx(0.015),
        "flat": True,
    }
    assert not run.memory_of(samples(100, 100, 200, 203, 205))["flat"]


GOOD: dict[str, Any] = {
    "requests": 50,
    "steerings": 20,
    "clients": 4,
    "statuses": {"valid": {"200": 45}, "malformed": {"400": 4, "404": 1}},
    "compared": 45,
    "different answers": 30,
    "wrong": [],
    "unexpected": [],
    "seconds": 3.0,
    "memory": {"start": 1.0, "third fifth": 2.0, "last fifth": 2.0, "growth": 0.0, "flat": True},
    "held": 21.0,
    "loaded": 21.0,
    "alive": True,
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"wrong": [{"got": "a", "expected": "b"}]}, "1 wrong answers"),
        ({"unexpected": ["500"]}, "1 unexpected answers"),
        ({"alive": False}, "the server ended"),
        ({"held": 30.0}, "the workers hold 30 steerings, 21 are loaded"),
        ({"memory": {**GOOD["memory"], "growth": 0.5, "flat": False}}, "the memory grew by 50.0%"),
    ],
)
def test_a_fault_is_told_and_is_the_exit_code(
    change: dict[str, Any],
    fault: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "measure", lambda *given: {**GOOD, **change})
    assert command.main(["--markdown", "-"]) == (0 if fault is None else 1)
    printed = capsys.readouterr()
    assert printed.out.startswith("| requests | answered with |\n| --- | ---: |\n| valid | 45 x 200 |\n")
    assert "| malformed | 4 x 400, 1 x 404 |" in printed.out
    assert printed.err == ("" if fault is None else f"problem: {fault}\n")
    without_memory = run.faults({**GOOD, **change}, memory=False)
    assert without_memory == ([] if fault is None or "memory" in fault else [fault])


def test_a_server_that_does_not_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def broken(*given: Any, **options: Any) -> Iterator[None]:
        raise TrimtabError("the server ended with 1: no such model")
        yield

    monkeypatch.setattr(run, "starting", broken)
    assert command.main(["--requests", "50", "--steerings", "10", "--quiet"]) == 2
    assert capsys.readouterr().err == "error: the server ended with 1: no such model\n"
