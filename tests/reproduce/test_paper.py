from __future__ import annotations

from itertools import pairwise

import pytest

from trimtab.errors import TrimtabError
from trimtab.reproduce import paper
from trimtab.reproduce.charts import Chart
from trimtab.reproduce.results import Reproduction, Table, bars, shown


@pytest.mark.parametrize(
    ("name", "blocks", "first", "step"),
    [("phi-3", 32, 6, 2), ("gemma-2-2b", 26, 5, 2), ("gemma-2-9b", 42, 8, 3), ("nano", 5, 1, 1)],
)
def test_the_search_begins_at_a_fifth_of_the_depth(name: str, blocks: int, first: int, step: int) -> None:
    found = paper.MODELS[name].search_blocks(blocks)
    assert found[0] == first
    assert {b - a for a, b in pairwise(found)} == {step}
    assert found[-1] < blocks


@pytest.mark.parametrize(
    ("name", "blocks", "block"),
    [("phi-3", 32, 12), ("gemma-2-9b", 42, 16), ("mistral-7b", 32, 12), ("nano", 5, 1)],
)
def test_the_block_for_length(name: str, blocks: int, block: int) -> None:
    assert paper.MODELS[name].block_for_length(blocks) == block


def test_settings_are_found_by_name_and_fall_back_on_the_first_model() -> None:
    assert paper.settings_for("google/gemma-2-9b-it").name == "gemma-2-9b"
    assert paper.settings_for("google/gemma-2-9b").name == "gemma-2-9b"
    assert paper.settings_for("nano-base").name == "nano"
    assert paper.settings_for("nano").name == "nano"
    assert paper.settings_for("some/other-model").name == "phi-3"
    assert paper.settings_for("some/other-model", "mistral-7b").name == "mistral-7b"
    with pytest.raises(TrimtabError, match="there are phi-3"):
        paper.settings_for("some/other-model", "gpt-9")


def test_a_table_as_markdown_and_json() -> None:
    table = Table("t", ("what", "share", "n"), (("a|b", 0.5, 3), ("c", None, 4)), note="few")
    assert table.to_markdown().splitlines() == [
        "| what | share | n |",
        "|---|---:|---:|",
        "| a\\|b | 0.50 | 3 |",
        "| c | – | 4 |",
    ]
    assert table.to_dict()["rows"][1] == {"what": "c", "share": None, "n": 4}
    assert shown("x") == "x"


def test_bars_take_the_rows_of_a_table_as_groups() -> None:
    table = Table("t", ("what", "share", "words"), (("a", 0.5, "many"), ("b", None, "few")))
    chart = bars("name", "title", "label", table, ["share", "words"])
    assert chart.groups == ("a", "b")
    assert chart.series == {"share": (0.5, None), "words": (None, None)}


def test_the_page_of_a_result_has_its_tables_charts_and_settings() -> None:
    chart = Chart("c", "picture", "bars", {"s": (1.0,)}, "label", ("g",))
    page = Reproduction(
        "length", "m", {"blocks": "1, 2"}, (Table("t", ("a",), ((1,),), form="the bars of length"),), (chart,)
    ).to_markdown()
    assert page.startswith("# length: m\n")
    assert "![picture](length-c.svg)" in page
    assert "- blocks: 1, 2" in page
    assert "the form of the bars of length in the paper" in page
