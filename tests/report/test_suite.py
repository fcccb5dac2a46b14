from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table
from tests.evaluate.fakes import FakeEngine, steering
from tests.report.html_check import check

from trimtab import instructions
from trimtab.evaluate import suites
from trimtab.evaluate.results import Evaluation
from trimtab.evaluate.run import evaluate_suite
from trimtab.report import svg
from trimtab.report.heatmap import Point, SearchMap
from trimtab.report.page import render, report_of, summary
from trimtab.report.pages import p_value, signed
from trimtab.report.plots import length_histograms, strength_curves
from trimtab.report.suite import section_of
from trimtab.report.tables import instruction_table, overall_table, suite_caption
from trimtab.steering.collection import SteeringSet

QUERIES = [f"What is river {number}?" for number in range(12)]
LOWERCASE = instructions.get("lowercase")
BOTH = [LOWERCASE, instructions.get("sentences", exactly=3)]


def measured(*, strengths: tuple[float, ...] = (1.0,), facts: float | None = None) -> Evaluation:
    return evaluate_suite(
        FakeEngine(breaks=3.0),
        suites.from_queries("river", QUERIES, [LOWERCASE]),
        SteeringSet([steering()]),
        strengths=strengths,
        facts=None if facts is None else lambda query, response: facts,
    )


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return measured(strengths=(0.5, 1.0, 4.0))


@pytest.fixture(scope="module")
def words(evaluation: Evaluation) -> str:
    searches = [SearchMap("no_commas", [Point("add", 2, 4.0, 3, 0.5, accepted=True, chosen=True)])]
    return check(render(report_of(replace(evaluation, left_out={"<no reason>": 3}), searches))).words


def test_the_page_has_the_accuracies_tests_and_remarks(words: str) -> None:
    assert "baseline 0.00 0.00 – 0.24 0.00 0.00 – 0.24" in words
    assert "all prompts steered − baseline 12 12 0 +1.00 [+1.00, +1.00] < 0.001" in words
    assert "lowercase steered − baseline 12 12 0 +1.00 [+1.00, +1.00] < 0.001 < 0.001" in words
    assert "3 prompts were left out: <no reason>." in words
    assert "no_commas add, block 2, strength 4" in words
    assert "95 % bootstrap interval" in words
    assert "12 prompts of river" in words


def test_without_a_sweep_or_a_steering_their_parts_are_left_out() -> None:
    words = check(render(report_of(measured()))).words
    assert "The same steering, stronger and weaker" not in words
    alone = evaluate_suite(FakeEngine(), suites.from_queries("river", QUERIES, BOTH))
    words = check(render(report_of(alone))).words
    assert "Is it more than chance?" not in words
    assert "McNemar" not in words


def test_the_page_does_without_matplotlib(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "find_spec", lambda name: None)
    page = check(render(report_of(evaluation)))
    assert "svg" not in page.tags
    assert "all prompts" in page.words


def test_the_curves_go_through_what_was_measured(evaluation: Evaluation) -> None:
    sweep = section_of(evaluation).sweep
    assert sweep is not None
    followed, perplexity, repetition = strength_curves(sweep).axes
    thick = next(line for line in followed.lines if line.get_linewidth() == 2)
    assert list(thick.get_xdata()) == [0.5, 1.0, 4.0]
    assert list(thick.get_ydata()) == [1.0, 1.0, 1.0]
    assert repetition.get_ylabel() == "repeated 4-grams"
    steered = next(line for line in repetition.lines if line.get_linewidth() == 2)
    assert steered.get_ydata()[2] > 0.5 > steered.get_ydata()[1]
    assert len([line for line in perplexity.lines if line.get_linestyle() == "--"]) == 2
    with_facts = section_of(measured(strengths=(1.0, 2.0), facts=0.5)).sweep
    assert with_facts is not None
    assert strength_curves(with_facts).axes[2].get_ylabel() == "true sentences"


def test_every_answer_is_in_a_bar_of_the_histogram() -> None:
    lengths = {"baseline": [0, 5, 5, 9], "steered": [3] * 400 + [4000]}
    figure = length_histograms(lengths)  # type: ignore[arg-type]
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
    assert counts == [4, 401]
    # One endless answer does not press all others into one bar.
    assert figure.axes[1].get_xlim()[1] < 20
    assert length_histograms({"baseline": [0]}).axes  # type: ignore[dict-item]


def printed(table: Table) -> list[str]:
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_the_tables_fit_a_terminal(evaluation: Evaluation) -> None:
    assert printed(instruction_table(evaluation))[-1].split() == [
        *("lowercase", "12", "0.00", "1.00", "1.00", "1.00"),
        *("<", "0.001"),
    ]
    lines = printed(overall_table(evaluation))
    assert [line.split()[0] for line in lines[1:]] == [
        *("baseline", "instructed", "steered", "steered", "steered", "instructed+steered"),
    ]
    assert "1.00 [0.76, 1.00]" in lines[-1]
    assert "instr., strict" not in lines[0]
    several = suites.read([{"query": "q", "instructions": [one.to_dict() for one in BOTH]}])
    assert "instr., strict" in printed(overall_table(evaluate_suite(FakeEngine(), several)))[0]


def test_a_judge_and_harm_are_shown(evaluation: Evaluation) -> None:
    judged = evaluation.judged_by([0.25] * len(evaluation.answers))
    assert printed(overall_table(judged))[1].split()[-1] == "0.25"
    assert "share of a judge's yes/no questions" in check(render(report_of(judged))).words
    harmed = replace(
        evaluation,
        answers=[
            replace(a, strict=(a.condition != "instructed+steered",), loose=(True,))
            for a in evaluation.answers
        ],
    )
    assert "▼0.00" in printed(instruction_table(harmed))[-1]
    assert "▼ steering does worse" in suite_caption(harmed)
    assert "−1.00" in check(render(report_of(harmed))).words
    with pytest.raises(ValueError, match="zip"):
        evaluation.judged_by([1.0])


def test_the_summary_says_what_the_numbers_say(evaluation: Evaluation) -> None:
    assert summary(evaluation) == (
        "fake answered 12 prompts of river. All instructions of a prompt are followed in 0% when not told to, 100% "
        "when told to, 100% when steered without being told and 100% when told and steered. Steering gains 12 prompts "
        "that the bare question fails, and loses 0."
    )


def test_numbers_as_text() -> None:
    assert [p_value(p) for p in (0.0, 0.0004, 0.001, 0.25, 1.0)] == [
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.250",
        "1.000",
    ]
    assert [signed(x) for x in (-0.5, 0.0, 1.0)] == ["−0.50", "+0.00", "+1.00"]
