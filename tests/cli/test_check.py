"""`trimtab check`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab import instructions
from trimtab.instructions import splitting
from trimtab.instructions.registry import REGISTER

Run = Callable[..., Any]


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    file = tmp_path / "answers.jsonl"
    rows = ["One. Two.", "Sure:\nOne. Two.\nThree.", "One. Two. Three.", "with \u2028 and \x85 inside."]
    file.write_text(
        "".join(json.dumps({"response": r}, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8"
    )
    return file


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A TOML file with an instruction that has a check and one that has none."""
    file = tmp_path / "my.toml"
    file.write_text("[two]\nphrasings = ['Say two.']\nregex = 'Two'\n[calm]\nphrasings = ['Be calm.']\n")
    yield file
    for name in {"two", "calm"} & set(instructions.names()):
        REGISTER.remove(name)


def test_prints_one_json_line_for_each_response(run: Run, responses: Path) -> None:
    result = run("check", "sentences", "--params", '{"at_most": 2}', "--responses", responses, "--json", "-")
    assert result.exit_code == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"strict": True, "loose": True},
        {"strict": False, "loose": True, "reason": "has 3 sentences"},
        {"strict": False, "loose": False, "reason": "has 3 sentences"},
        {"strict": True, "loose": True},
    ]
    assert result.stderr == ""


def test_shows_the_reason_of_every_no(run: Run, responses: Path) -> None:
    shown = run("check", "sentences(at_most=2)", "--responses", responses).stdout
    assert [line.split("│")[1].strip() for line in shown.splitlines() if "has 3 sentences" in line] == [
        "line 2",
        "line 3",
    ]
    many = '{"response": "A. B. C."}\n' * 12
    shown = run("check", "sentences(at_most=2)", "--responses", "-", input=many).stdout
    assert shown.count("has 3 sentences") == 10
    assert "and 2 more" in shown
    assert "not followed" not in run("check", "json", "--responses", "-", input='{"response": "{}"}').stdout


def test_reads_what_generate_writes(run: Run, model_folder: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("who is it ?\nwhat is it ?\n")
    document, lines = tmp_path / "answers.json", tmp_path / "answers.jsonl"
    asked = ("generate", "--model", model_folder, "--prompts", prompts, "--max-new-tokens", 3)
    assert run(*asked, "--json", document).exit_code == 0
    assert run(*asked, "--out", lines).exit_code == 0
    for file in (document, lines):
        result = run("check", "repeat_prompt", "--responses", file, "--json", "-")
        assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
        assert "response 2" in run("check", "json", "--responses", document).stdout
    document.write_text('{"responses": [{"response": "fine"}, {"text": 1}]}')
    result = run("check", "json", "--responses", document)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert 'answers.json, response 2: has no text "response"' in result.stderr.replace("\n", "")


def test_takes_the_ifeval_id_and_standard_input_and_writes_a_file(
    run: Run, responses: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    params = '{"num_words": 3, "relation": "less than"}'
    result = run(
        "check", "length_constraints:number_words", "--params", params, "--responses", "-", "--json", target,
        input=responses.read_text(encoding="utf-8"),
    )  # fmt: skip
    assert result.exit_code == 0
    assert [json.loads(line)["strict"] for line in target.read_text().splitlines()] == [
        True,
        False,
        False,
        False,
    ]


def test_shows_a_table_that_names_the_splitter(run: Run, responses: Path) -> None:
    result = run("check", "number_sentences(3, less than)", "--responses", responses)
    assert "2 of 4" in result.stdout
    assert "3 of 4" in result.stdout
    assert "splitter: " in result.stdout


def test_says_when_a_simple_rule_judged(run: Run, responses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "_splitter", lambda: ("simple", splitting.simple_sentences))
    arguments = ("check", "number_sentences", "--params", '{"num_sentences": 3}')
    arguments += ("--responses", responses, "--json", "-")
    result = run(*arguments)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4
    assert "a simple rule split the text" in result.stderr
    assert run(*arguments, "--quiet").stderr == ""


def test_quiet_shows_nothing(run: Run, responses: Path) -> None:
    result = run("check", "json", "--responses", responses, "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")


def test_no_responses_is_no_error(run: Run) -> None:
    result = run("check", "json", "--responses", "-", "--json", "-", input="\n \n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 of 0" in run("check", "json", "--responses", "-", input="").stdout


def test_a_query_in_the_line_serves_repeat_prompt(run: Run) -> None:
    lines = '{"query": "Who?", "response": "Who? Me."}\n{"query": "Why?", "response": "Who? Me."}\n'
    result = run("check", "repeat_prompt", "--responses", "-", "--json", "-", input=lines)
    assert [json.loads(line)["strict"] for line in result.stdout.splitlines()] == [True, False]
    result = run("check", "repeat_prompt", "--responses", "-", input='{"response": "Who? Me."}')
    assert result.exit_code == 2
    assert "repeat_prompt needs prompt_to_repeat" in result.stderr


def test_instructions_of_a_file(run: Run, responses: Path, own: Path) -> None:
    result = run("check", "two", "--file", own, "--responses", responses, "--json", "-")
    assert [json.loads(line)["strict"] for line in result.stdout.splitlines()] == [True, True, True, False]


def test_an_instruction_without_a_check_says_so(run: Run, responses: Path, own: Path) -> None:
    result = run("check", "calm", "--file", own, "--responses", responses, "--json", "-")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: calm has phrasings but no check")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3 is not valid JSON"),
        ('"text"', 'line 3: has no text "response"'),
        ('{"answer": "x"}', 'line 3: has no text "response"'),
        ('{"response": 3}', 'line 3: has no text "response"'),
        ('{"response": "x", "query": 3}', 'line 3: "query" must be a text'),
        ('{"response": "x", "prompt": 3}', 'line 3: "prompt" must be a text'),
        ("[" * 100_000, "line 3 is not valid JSON"),
        ("\udcff", "line 3: not UTF-8 text"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_printed(
    run: Run, tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(('{"response": "fine"}\n\n' + line + "\n").encode("utf-8", "surrogateescape"))
    result = run("check", "json", "--responses", file, "--json", "-")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert "bad.jsonl" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sentense",), "there is no instruction 'sentense'; did you mean sentences"),
        (("sentences", "--params", "{at_most: 2}"), "--params is not JSON"),
        (("sentences", "--params", "[2]"), "--params must be a JSON object"),
        (("sentences", "--params", '{"most": 2}'), "sentences has no parameter 'most'"),
        (("bullets",), "bullets needs num_bullets"),
        (
            ("sentences(at_most=999999999999999999999)",),
            "sentences: at_most must be at most 999999999999999999, not 99999999999999999999",
        ),
        (("json", "--file", "none.toml"), "cannot read none.toml"),
    ],
)
def test_mistakes_exit_with_2_and_one_line(
    run: Run, responses: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run("check", *arguments, "--responses", responses)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_file_is_named(run: Run) -> None:
    result = run("check", "json", "--responses", "none.jsonl")
    assert result.exit_code == 2
    assert "there is no file none.jsonl" in result.stderr


def test_parameters_may_be_spelled_with_the_name(run: Callable[..., Any]) -> None:
    spelled = run(
        "check", "sentences(at_most=1)", "--responses", "-", "--json", "-", input='{"response": "A. B."}'
    )
    given = ("sentences", "--params", '{"at_most": 1}')
    assert json.loads(spelled.stdout)["strict"] is False
    assert (
        run("check", *given, "--responses", "-", "--json", "-", input='{"response": "A. B."}').stdout
        == spelled.stdout
    )
    several = run("check", "json,lowercase", "--responses", "-", input="")
    assert several.exit_code == 2
    assert "names 2" in several.stderr


def test_says_what_is_too_short_to_tell(run: Run) -> None:
    lines = '{"response": "Hola."}\n{"response": "El cohete despegó al amanecer sobre el mar."}\n'
    result = run("check", "language(es)", "--responses", "-", "--json", "-", input=lines)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "strict": False,
            "loose": False,
            "undecided": True,
            "reason": "langdetect reads it as Turkish, not Spanish; too short to be sure",
        },
        {"strict": True, "loose": True},
    ]
    shown = run("check", "language(es)", "--responses", "-", input=lines).stdout
    assert [
        line for line in shown.splitlines() if "undecided" in line and "1 of 2" in line and "0.50" in line
    ]
    assert "undecided" not in run("check", "json", "--responses", "-", input=lines).stdout
