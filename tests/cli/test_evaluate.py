from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.endpoint import serving
from tests.evaluate.fakes import FakeEngine, steering
from tests.report.html_check import check
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.cli.models import EngineChoice
from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS

Run = Callable[..., Any]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """Every model is the fake one."""
    fake = FakeEngine(breaks=3.0)
    monkeypatch.setattr(EngineChoice, "open", lambda loading, output, model, **options: fake)
    return fake


@pytest.fixture
def run(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    steering().save("steerings/lowercase")
    rows = [
        {"query": "What is the River?", "instructions": ["lowercase"]},
        {"query": "Tell me about the River.", "instructions": ["lowercase"], "key": "second"},
        {"query": "Why?", "instructions": ["json"]},
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def invoke(*arguments: str, cached: bool = True) -> Any:
        where = ["--cache", "cache"] if cached else []
        return CliRunner().invoke(app, ["evaluate", *where, *arguments])

    return invoke


def test_a_folder_of_steerings_on_a_file_of_prompts(run: Run) -> None:
    result = run("--suite", "rows.jsonl", "-s", "steerings")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["lowercase", "2", "0.00", "1.00", "1.00", "1.00", "0.500"] in lines
    assert "1 prompt was left out: no steering for all of its instructions." in result.stdout
    assert (
        "steered against baseline: +1.00 of 2 prompts (2 gained, 0 lost; exact McNemar p = 0.500)"
        in result.stdout
    )
    assert "8 answers, 8 of them generated now" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:9])) <= 80
    assert result.stderr == "[   0 s] answering rows\n"


def test_without_steerings_the_model_alone_is_measured(run: Run, engine: FakeEngine) -> None:
    document = json.loads(run("--suite", "rows.jsonl", "--json", "-").stdout)
    assert [row["condition"] for row in document["overall"]] == ["baseline", "instructed"]
    assert [row["label"] for row in document["rows"]] == ["lowercase"] * 2 + ["json"] * 2
    assert document["comparisons"] == []
    assert document["settings"]["steerings"] == "none"


def test_a_cache_that_cannot_be_written_names_the_options_before_the_work(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("")  # nobody can make a folder in a file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    result = run("--suite", "rows.jsonl", cached=False)
    assert (result.exit_code, result.stderr.count("\n"), engine.generated) == (2, 1, [])
    assert "choose another folder (--cache DIR), or keep no answers (--no-cache)" in result.stderr
    assert run("--suite", "rows.jsonl", "--no-cache", cached=False).exit_code == 0


def test_a_second_run_answers_from_the_cache(run: Run, engine: FakeEngine) -> None:
    first = json.loads(run("--suite", "rows.jsonl", "-s", "steerings/lowercase", "--json", "-").stdout)
    asked = len(engine.generated)
    second = json.loads(run("--suite", "rows.jsonl", "-s", "steerings/lowercase", "--json", "-").stdout)
    assert (first.pop("new_answers"), second.pop("new_answers")) == (8, 0)
    assert len(engine.generated) == asked
    for document in (first, second):
        del document["seconds"]
    assert first == second
    run("--suite", "rows.jsonl", "-s", "steerings", "--no-cache", cached=False)
    assert len(engine.generated) == asked + 2  # the answers, and closed-book facts


def test_the_instructions_of_a_built_in_suite_are_those_of_the_steerings(run: Run) -> None:
    document = json.loads(run("--suite", "base", "-s", "steerings", "--limit", "2", "--json", "-").stdout)
    assert document["items"] == 2
    assert {row["label"] for row in document["rows"]} == {"lowercase"}
    named = run("--suite", "base", "-i", "json,lowercase", "--limit", "2", "--json", "-")
    assert json.loads(named.stdout)["items"] == 4


def test_the_report_shows_it_all(run: Run) -> None:
    candidate = {"application": "add", "block": 2, "strength": 1.0, "n": 3, "good": 1.0, "rejected": False}
    found = {"instruction": {"name": "lowercase", "params": {}}, "candidates": [candidate]}
    Path("steerings/lowercase/search.json").write_text(json.dumps(found), encoding="utf-8")
    result = run(
        "--suite", "rows.jsonl", "-s", "steerings", "--strengths", "0.5,1,4", "--report", "page.html"
    )
    assert result.exit_code == 0, result.output
    assert "steered × 0.5" in result.stdout
    assert "page.html" in result.stdout
    page = check(Path("page.html").read_text(encoding="utf-8"))
    for heading in (
        "Accuracy",
        "Is it more than chance?",
        "Strength",
        "How block and strength were chosen",
        "How long the answers are",
        "Who follows what",
    ):
        assert heading in page.words
    assert "left out: no steering for all of its instructions" in page.words
    assert page.tags.count("svg") == 5
    assert "all prompts" in page.words


def test_a_suite_without_bare_queries_says_so_everywhere(run: Run) -> None:
    row = {
        "key": 1,
        "prompt": "Tell me about the River in lowercase.",
        "instruction_id_list": ["change_case:english_lowercase"],
        "kwargs": [{}],
    }
    Path("inside.jsonl").write_text(json.dumps(row), encoding="utf-8")
    result = run("--suite", "inside.jsonl", "-s", "steerings", "--report", "page.html")
    assert result.exit_code == 0, result.output
    assert "baseline and steered were not measured" in result.stdout
    assert (
        "baseline and steered were not measured" in check(Path("page.html").read_text(encoding="utf-8")).words
    )
    Path("bare.jsonl").write_text('{"key": 1, "model_output": "Tell me about the River."}', encoding="utf-8")
    document = json.loads(
        run("--suite", "inside.jsonl", "--queries", "bare.jsonl", "-s", "steerings", "--json", "-").stdout
    )
    assert [one["condition"] for one in document["overall"]] == list(CONDITIONS)


def test_the_constrained_conditions_on_request(run: Run) -> None:
    result = run(
        "--suite", "rows.jsonl", "-s", "steerings", "--constrained", "--report", "page.html", "--json", "o"
    )
    assert result.exit_code == 0, result.output
    document = json.loads(Path("o").read_text(encoding="utf-8"))
    assert [one["condition"] for one in document["overall"]] == list(ALL_CONDITIONS)
    assert [one["quality"]["taken"] for one in document["overall"]] == [None] * 4 + [0.5, 0.0]
    assert [one["taken"] for one in document["answers"] if one["condition"] == "constrained"] == [0.5] * (
        len(document["answers"]) // 6
    )
    assert "taken" in result.stdout
    page = check(Path("page.html").read_text(encoding="utf-8"))
    assert "taken away" in page.words
    some = json.loads(
        run("--suite", "rows.jsonl", "--conditions", "baseline, constrained", "--json", "-").stdout
    )
    assert {one["condition"] for one in some["overall"]} == {"baseline", "constrained"}


def test_closed_book_facts_are_asked_unless_the_model_is_nano_or_none_are_wanted(
    run: Run, engine: FakeEngine
) -> None:
    result = run(
        "--suite", "rows.jsonl", "-s", "steerings", "--facts", "5", "--report", "page.html", "--json", "o"
    )
    assert result.exit_code == 0, result.output
    [found] = json.loads(Path("o").read_text(encoding="utf-8"))["closed_book"].values()
    assert (found["n"], found["plain"]["right"], found["kept"], len(found["answers"])) == (5, 0.0, None, 5)
    assert "closed-book facts" in result.stdout
    assert "What it still knows" in check(Path("page.html").read_text(encoding="utf-8")).words
    engine.generated.clear()
    none = run("--suite", "rows.jsonl", "-s", "steerings", "--facts", "0", "--json", "-")
    assert json.loads(none.stdout)["closed_book"] == {}
    assert engine.generated == []


def test_a_request_for_constraints_where_there_are_none_says_so(run: Run) -> None:
    Path("free.jsonl").write_text('{"query": "River?", "instructions": ["language(de)"]}', encoding="utf-8")
    result = run("--suite", "free.jsonl", "--constrained")
    assert result.exit_code == 0, result.output
    assert "has no constraint" in " ".join(result.stdout.split())


def test_a_judge_at_an_endpoint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving() as endpoint:
        options = [
            "--suite",
            "rows.jsonl",
            "--judge",
            "wise",
            "--judge-url",
            endpoint.url,
            "--json",
            "out.json",
        ]
        result = run(*options, "--report", "page.html")
        assert result.exit_code == 0, result.output
        count = len(endpoint.prompts)
        assert run(*options).exit_code == 0
        assert len(endpoint.prompts) == count
    document = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert {one["judged"] for one in document["overall"]} == {0.75}
    assert "judge" in result.stdout
    assert "share of a judge's yes/no questions" in check(Path("page.html").read_text(encoding="utf-8")).words


def test_quiet_says_nothing(run: Run) -> None:
    result = run("--suite", "rows.jsonl", "--quiet", "--json", "out.json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert Path("out.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "nono"], "no suite or file 'nono'"),
        (["--suite", "rows.jsonl", "-s", "nowhere"], "no folder nowhere"),
        (["--suite", "rows.jsonl", "--strengths", "1,0"], "numbers other than 0"),
        (["--suite", "rows.jsonl", "--strengths", "much"], "numbers other than 0"),
        (["--suite", "rows.jsonl", "--judge-url", "http://localhost"], "name the model there too"),
        (["--suite", "rows.jsonl", "--conditions", "told"], "not 'told'"),
        (["--suite", "rows.jsonl", "--no-cache"], "exclude each other"),
        (["--suite", "rows.jsonl", "--report", "no/where.html"], "cannot be a file"),
        (["--suite", "nano", "-i", "jsom"], "did you mean json"),
        (["--suite", "nano", "--report", "p.html", "--search", "rows.jsonl"], "holds no search"),
        (["--suite", "nano", "--queries", "rows.jsonl"], "has bare queries already"),
        (["--suite", "rows.jsonl", "-s", "steerings", "-i", "json"], "none of the 1 prompts"),
    ],
)
def test_mistakes_are_told_and_code_2(
    run: Run, engine: FakeEngine, arguments: list[str], message: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert engine.generated == []


def test_a_scorer_adds_columns_and_its_name_to_the_page(run: Run, tmp_path: Path) -> None:
    page, document = tmp_path / "page.html", tmp_path / "result.json"
    options = ("--suite", "rows.jsonl", "-s", "steerings", "--scorer", "nano")
    result = run(*options, "--report", str(page), "--json", str(document))
    assert result.exit_code == 0, result.output
    assert "steered: what it costs" in result.stdout
    assert "scorer" in result.stdout
    assert "▼ out of bounds: " in result.stdout
    assert "scoring answers" in result.stderr
    found = json.loads(document.read_text())
    assert found["settings"]["scorer"].startswith("nano")
    steered = next(row for row in found["rows"] if row["condition"] == "steered")
    assert steered["quality"]["relevance"] is not None
    assert "relevance" in steered["against_plain"]
    assert all(answer["scorer_nll"] > 0 for answer in found["answers"])
    check(page.read_text())
    assert "<b>relevance</b>" in page.read_text()


def test_a_scorer_that_is_not_there_is_said_before_anything_is_asked(run: Run, engine: FakeEngine) -> None:
    result = run("--suite", "rows.jsonl", "--scorer", "./no-such-model")
    assert result.exit_code == 2
    assert "no-such-model" in result.stderr
    assert engine.generated == []
