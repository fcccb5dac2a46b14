"""The loop that the search is compared with writes what the engine writes, and the comparison counts right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.tiny import hooks_of, tiny_engine

from benchmarks import search
from trimtab import instructions, learn
from trimtab.prompts.pairs import make_pairs

LOWER = instructions.get("lowercase")
QUERIES = ["name a rocket", "hi", "tell me of the sea"]


@pytest.fixture(scope="module")
def roomy() -> Any:
    """A tiny random Llama with room for the project's own queries, a token per byte."""
    return tiny_engine("llama", max_position_embeddings=1024)


@pytest.mark.parametrize("application", ["add", "set_projection"])
@pytest.mark.parametrize("strength", [0.0, 3.0, -40.0])
def test_the_loop_writes_what_the_engine_writes(tiny_llama: Any, application: Any, strength: float) -> None:
    hooks = hooks_of(tiny_llama.model)  # transformers leaves some where hidden states were asked for
    learned = learn.mean_difference(tiny_llama, make_pairs(QUERIES, LOWER, "learning"), LOWER)
    steering = learned.steering(application, 1, strength)
    for query in QUERIES:
        [expected] = tiny_llama.generate([query], steering=steering, max_new_tokens=8)
        assert (
            search.answer_alone(tiny_llama, learned, (application, 1, strength), query, 8)
            == expected.token_ids
        )
    assert hooks_of(tiny_llama.model) == hooks


def test_all_ways_try_the_same_candidates_and_write_the_same_answers(roomy: Any) -> None:
    loop, grid, halved = search.measure(
        roomy, LOWER, [0, 2], [1.0, 8.0], QUERIES, pairs=6, max_new_tokens=6, first=1, keep=2
    )
    assert (loop.way, grid.way, halved.way) == ("loop", "grid", "search")
    assert loop.answers == grid.answers == 2 * 2 * 2 * len(QUERIES)
    assert halved.answers < grid.answers
    for one in (loop, grid, halved):
        assert one.equal == one.compared == one.answers
    shown = search.table([loop, grid, halved])
    assert f"| {grid.answers} of {grid.answers} | {grid.best} |" in shown


def test_a_share_of_the_answers_is_scaled_up_and_names_no_winner(roomy: Any) -> None:
    loop, grid, _ = search.measure(roomy, LOWER, [1], [1.0], QUERIES, pairs=6, max_new_tokens=4, share=0.5)
    assert (loop.answers, loop.best) == (3, None)
    assert (grid.answers, grid.compared, grid.equal) == (6, 3, 3)


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.running import run

    assert run(search.command, "search", ["--model", str(tmp_path)]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert run(search.command, "search", ["--blocks", "a"]) == 2
    assert capsys.readouterr().err == "error: blocks are numbers separated by commas, not 'a'\n"
    assert run(search.command, "search", ["--strengths", "x"]) == 2
    assert "strengths are numbers" in capsys.readouterr().err
    assert run(search.command, "search", ["--blocks", "77"]) == 2
    assert "no block 77" in capsys.readouterr().err
