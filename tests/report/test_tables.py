from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console
from tests.evaluate.fakes import FakeEngine, steering

from trimtab import instructions
from trimtab.measure import facts
from trimtab.measure.rows import Row, evaluate_instruction
from trimtab.report.tables import caption_of, constrained_table, facts_table, table_of

QUERIES = ["What is the River?", "Tell me about the River."]


def rows_of(*chosen: instructions.Instruction, facts: float | None = None) -> list[Row]:
    return [
        row
        for one in chosen
        for row in evaluate_instruction(
            FakeEngine(), one, steering(), QUERIES, facts=lambda query, response: facts
        )
    ]


def lines_of(rows: list[Row]) -> list[str]:
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(table_of(rows))
    return capture.get().splitlines()


def test_long_names_and_facts_fit_80_columns() -> None:
    chosen = (instructions.get("include", word="lantern"), instructions.get("lowercase"))
    lines = lines_of(rows_of(*chosen, facts=0.25))
    assert 'include(word="lantern")' in lines[2]
    assert lines[3].split() == ["lowercase", "0.00", "1.00", "1.00", "1.00", "4.48", "0.25"]
    assert lines[4].split() == ["mean", "0.00", "0.50", "0.50", "0.50"]
    assert lines[1].split()[-1] == "facts"


def test_repetition_stands_in_where_facts_cannot_be_judged() -> None:
    lines = lines_of(rows_of(instructions.get("lowercase")))
    assert lines[1].split()[-1] == "repeats"


def test_the_caption_says_what_to_compare_with() -> None:
    caption = caption_of(rows_of(instructions.get("lowercase"), facts=0.5))
    assert "2 test questions each" in caption
    assert "Perplexity and facts are of steered" in caption
    assert "to compare with:\nbaseline 2.72, 0.50; instructed 4.48, 0.50." in caption
    assert "▼" not in caption


def test_another_method_gets_a_column_of_its_own() -> None:
    rows = rows_of(instructions.get("lowercase"), instructions.get("no_commas"))
    beside = [replace(rows[2], method="mean_difference", strict=(True, False))]
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(table_of(rows, beside))
    lines = capture.get().splitlines()
    assert "mean" in lines[0].split()
    assert "diff." in lines[1].split()
    assert lines[-3].split()[1:6] == ["0.00", "1.00", "1.00", "0.50", "1.00"]
    assert lines[-2].split()[1:6] == ["1.00", "1.00", "1.00", "-", "1.00"]
    assert lines[-1].split()[1:6] == ["0.50", "1.00", "1.00", "0.50", "1.00"]


def test_the_constrained_conditions_have_a_table_of_their_own() -> None:
    chosen = (instructions.get("lowercase"), instructions.get("language", language="de"))
    free = rows_of(*chosen)
    assert constrained_table(free) is None
    rows = [
        row
        for one in chosen
        for row in evaluate_instruction(FakeEngine(), one, steering(), QUERIES, constrained=True)
    ]
    assert lines_of(rows) == lines_of(free)
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(constrained_table(rows))
    lines = capture.get().splitlines()
    assert lines[1].split() == ["instruction", "constrained", "away", "+constrained", "away"]
    assert lines[2].split() == ["lowercase", "1.00", "0.50", "1.00", "0.00"]
    assert lines[3].split()[1:] == ["-", "-", "-", "-"]
    assert lines[4].split() == ["mean", "1.00", "0.50", "1.00", "0.00"]


def test_closed_book_facts_have_a_table_and_do_not_pass_for_true_sentences() -> None:
    known = facts.questions("test", 4)
    right = tuple(one.answers[0] for one in known)
    found = {"lowercase": facts.Facts(tuple(known), (*right[:3], "no"), (*right[:1], "no", "no", right[3]))}
    assert facts_table({}) is None
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(facts_table(found))
    lines = capture.get().splitlines()
    assert lines[1].split() == ["lowercase", "4", "0.75", "0.50", "0.25", "0.67"]
    assert lines[2].split() == ["mean", "0.25"]
    rows = [replace(row, closed_book=0.5) for row in rows_of(instructions.get("lowercase"))]
    assert lines_of(rows)[1].split()[-1] == "repeats"


def test_harm_is_marked_and_explained() -> None:
    rows = rows_of(instructions.get("include", word="river"))
    assert "▼" not in "".join(lines_of(rows))
    rows[2] = replace(rows[2], strict=(True, False))
    assert "▼0.50" in lines_of(rows)[2]
    assert "▼" in caption_of(rows)
