"""The authors' own figures: what the package ships of them, and how they stand beside what is measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.reproduce.files import write
from tests.tiny import tiny_engine

from trimtab import reproduce
from trimtab.errors import TrimtabError
from trimtab.measure.rows import CONDITIONS
from trimtab.reproduce import paper, published

SOURCE = "recomputed from the outputs that the authors published (microsoft/llm-steer-instruct, history before a03dcb3)"


def figures(key: str) -> published.Published:
    found = published.of_name(key)
    assert found is not None
    return found


@pytest.mark.parametrize("key", ["phi-3", "gemma-2-2b", "gemma-2-9b", "mistral-7b"])
def test_every_model_of_the_paper_has_its_163_prompts(key: str) -> None:
    found = figures(key)
    by_instruction = found.by_instruction()
    assert sum(int(str(row[1])) for row in by_instruction.rows) == 163
    for number, condition in enumerate(CONDITIONS):
        followed, n = found.experiments["format"]["loose"][condition]
        counted = sum(round(float(str(row[2 + number])) * int(str(row[1]))) for row in by_instruction.rows)
        assert (counted, n) == (followed, 163), condition


def test_some_of_the_figures() -> None:
    rows = {str(row[0]): row[1:] for row in figures("gemma-2-9b").tables("format")[0].rows}
    assert rows["loose: steered"] == (pytest.approx(0.3067, abs=1e-4), 163)
    (table,) = figures("phi-3").tables("length")
    assert table.rows[-1] == ("at most 5: instructed+steered", pytest.approx(0.87), 200)
    (table,) = figures("gemma-2-2b").tables("transfer")
    assert table.rows[-1] == ("with text: cross-model vector", pytest.approx(0.4233, abs=1e-4), 163)
    assert SOURCE in table.note


def test_a_model_is_found_by_its_name_on_the_hub() -> None:
    assert published.of_model("google/gemma-2-2b-it") == figures("gemma-2-2b")
    assert published.of_model("google/gemma-2-2b") is None, "its base answers otherwise"
    assert published.of_model("google/gemma-2-2b", base=True) == figures("gemma-2-2b")
    assert published.of_model("nano") is None


@pytest.mark.parametrize(
    ("key", "experiment", "message"),
    [("nano", "format", "there are some of phi-3"), ("mistral-7b", "length", "there are: format$")],
)
def test_what_was_not_published_is_said(key: str, experiment: str, message: str) -> None:
    with pytest.raises(TrimtabError, match=message):
        published.alone(key, experiment)


MODEL = dataclasses.replace(
    paper.MODELS["phi-3"],
    step=1,
    include=paper.Addition(1, 40.0),
    exclude=paper.Addition(1, -40.0),
    length_weights=(0.0,),
)


@pytest.fixture(scope="module")
def engine() -> Any:
    return tiny_engine("llama", max_position_embeddings=256)


@pytest.mark.parametrize("experiment", ["format", "length", "keywords", "composition"])
def test_every_published_row_stands_beside_what_is_measured(
    engine: Any, tmp_path: Path, experiment: Any
) -> None:
    made = reproduce.prepare(
        MODEL,
        engine,
        data=write(tmp_path),
        limit=1,
        pairs=4,
        validation=2,
        max_new_tokens=6,
        beside="phi-3",
    )
    made = dataclasses.replace(made, degenerate=lambda texts: [False] * len(texts))
    result = reproduce.run(experiment, made)
    (table,) = (one for one in result.tables if one.title.startswith("Beside"))
    assert table.columns == ("answers", "measured", "of", "recomputed", "of answers")
    assert SOURCE in table.note
    assert all(0 <= row[1] <= 1 and row[2] > 0 for row in table.rows)
    assert [row[3:] for row in table.rows] == [row[1:] for row in figures("phi-3").tables(experiment)[0].rows]
    if experiment == "format":
        shown = {row[0]: row[1:3] for row in result.tables[0].rows}
        beside = {row[0]: row[1] for row in table.rows}
        for condition, (loose, strict) in shown.items():
            assert (beside[f"loose: {condition}"], beside[f"strict: {condition}"]) == (loose, strict)


def test_transfer_stands_beside_the_figures_of_the_base(engine: Any, tmp_path: Path) -> None:
    base = tiny_engine("llama", template=None, max_position_embeddings=256)
    made = reproduce.prepare(
        MODEL,
        base,
        data=write(tmp_path),
        source=engine,
        limit=1,
        pairs=4,
        validation=2,
        max_new_tokens=6,
        beside="gemma-2-2b",
    )
    made = dataclasses.replace(made, degenerate=lambda texts: [False] * len(texts))
    table = reproduce.run("transfer", made).tables[-1]
    assert table.title.endswith("the base of Gemma-2-2b-it")
    assert all(row[1] is not None for row in table.rows)


def test_a_model_that_is_not_the_papers_has_nothing_beside_it(engine: Any, tmp_path: Path) -> None:
    made = reproduce.prepare(MODEL, engine, data=write(tmp_path), limit=1, validation=2)
    assert made.published is None
    assert made.beside("format", {}) == []
