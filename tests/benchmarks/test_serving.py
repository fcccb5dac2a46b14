"""The serving benchmark compares like with like; with vLLM and `-m wide`, a small one is run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks.serving import __main__ as command
from benchmarks.serving import material, rounds
from benchmarks.serving.served import Run

from trimtab.steering.steering import Steering


class Clock:
    """A server that takes as long as it is told, on a machine that grows slower with every run of either."""

    runs = 0

    def __init__(self, seconds: float, answer: str) -> None:
        self.seconds, self.answer = seconds, answer
        self.seen: list[tuple[int, tuple[str, ...]]] = []

    def run(self, seed: int, names: Sequence[str] = ()) -> Run:
        self.seen.append((seed, tuple(names)))
        Clock.runs += 1
        drift = 1 + Clock.runs / 100
        answers = tuple(self.answer if names else "unsteered" for _ in range(2))
        return Run(self.seconds * drift, 2 * self.seconds, answers)


def test_drift_cancels_and_no_prompt_comes_twice() -> None:
    plain, steered = Clock(1.0, "never"), Clock(1.25, "steered")
    ways = [rounds.Way("idle"), rounds.Way("one", ("a",)), rounds.Way("two", ("a", "b"))]
    base = rounds.measure(plain, steered, ways, rounds=4)
    for way in ways:
        assert len(way.runs) == len(way.ratios) == 4
        assert way.ratios == pytest.approx([0.8] * 4, rel=1e-6)
        assert way.cpu_ratios == pytest.approx([0.8] * 4)
    assert [way.changed[0] for way in ways] == [0.0, 1.0, 1.0]
    assert len(base.runs) == 4 * (len(ways) + 1)
    for server in (plain, steered):
        seeds = [seed for seed, _ in server.seen]
        assert len(set(seeds)) == len(seeds)
    # A way and the run before it have the same prompts, and each round begins with another way.
    assert {seed for seed, _ in steered.seen[3:]} < {seed for seed, _ in plain.seen}
    firsts = [names for _, names in steered.seen[3::3]]
    assert firsts == [(), ("a",), ("a", "b"), ()]


def test_the_ways_are_idle_and_every_kind_at_every_number() -> None:
    names = {kind: [f"{kind}{number}" for number in range(4)] for kind in material.KINDS}
    ways = command.ways_of(names, [1, 4])
    assert [way.title for way in ways] == [
        "with the plugin, idle",
        "1 steering, additions",
        "4 steerings, additions",
        "1 steering, gated edits",
        "4 steerings, gated edits",
    ]
    assert [len(way.names) for way in ways] == [0, 1, 4, 1, 4]
    assert ways[4].names == tuple(names["gated edits"])


def test_the_table_shows_medians_and_their_spread() -> None:
    base, way = rounds.Way(rounds.BASE), rounds.Way("idle")
    for seconds in (2.0, 4.0, 5.0):
        base.runs.append(Run(1.0, 1.0, ("a",)))
        way.add(Run(seconds, 2.0, ("b",)), base.runs[0], base.runs[0])
    [header, first, second] = command.rows_of(base, [way], tokens=100)
    assert len(header) == len(first) == len(second)
    assert first[:2] == ["without plugin", "100"]
    assert second == ["idle", "25", "0.250", "0.200", "0.500", "0.500", "1.00"]


def test_the_material_differs_and_fits_the_model(tmp_path: Path) -> None:
    identity = material.make_model(tmp_path / "model", "tiny")
    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    assert material.make_model(tmp_path / "model", "tiny") == identity
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before
    names = material.make_steerings(tmp_path / "steerings", identity, 3)
    assert set(names) == set(material.KINDS)
    loaded = [Steering.load(tmp_path / "steerings" / name) for some in names.values() for name in some]
    assert len({steering.digest() for steering in loaded}) == 6
    for steering in loaded:
        steering.check_model(identity)
        assert steering.blocks == tuple(range(identity.blocks))
        gated = all(edit.p is not None for edit in steering.edits)
        assert gated == steering.name.startswith("gated")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "gpt-5"], "no shape is called 'gpt-5'"),
        (["--steerings", "1,many"], "numbers of steerings are separated by commas"),
        (["--steerings", "1,512"], "a batch of 256 requests has 1 to 256 different steerings"),
        (["--requests", "8", "--steerings", "0"], "1 to 8 different steerings"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.wide
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM has an environment of its own")
def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    few = "--requests 8 --prompt-tokens 8 --new-tokens 4 --steerings 1,8 --rounds 1 --eager --quiet".split()
    assert command.main([*few, "--work", str(tmp_path), "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    assert len(found["ways"]) == 6
    idle, *steered = found["ways"][1:]
    assert idle["changed"] == [0.0]
    assert all(way["changed"][0] > 0.5 for way in steered)
