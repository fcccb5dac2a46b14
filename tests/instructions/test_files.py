"""Instructions from TOML files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimtab import instructions
from trimtab.instructions import InstructionError, InstructionType, load_file
from trimtab.instructions.registry import REGISTER

Load = Callable[[str], tuple[InstructionType, ...]]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Write a TOML file and load it; what was registered is forgotten after the test."""
    before = set(instructions.names())

    def write_and_load(text: str) -> tuple[InstructionType, ...]:
        file = tmp_path / "my.toml"
        file.write_text(text, encoding="utf-8")
        return load_file(file)

    yield write_and_load
    for name in set(instructions.names()) - before:
        REGISTER.remove(name)


def test_a_regex(load: Load) -> None:
    (greeting,) = load(
        """
        [greeting]
        summary = "Starts with a greeting."
        family = "manners"
        phrasings = ["Greet me first.", "Start with a greeting.", "Say hello at first."]
        regex = '\\A\\s*(hello|hi)\\b'
        ignore_case = true
        conflicts = ["json"]
        """
    )
    made = instructions.get("greeting")
    assert made.check("HELLO you")
    assert not made.check("Well, hello")
    assert made.check_loose("Sure:\nHi")
    assert (greeting.summary, greeting.family) == ("Starts with a greeting.", "manners")
    assert made.phrasings("validation") == ["Start with a greeting."]
    assert "greeting says" in str(made.conflicts_with(instructions.get("json")))


def test_a_regex_minds_case_by_default(load: Load) -> None:
    load("[ends]\nphrasings = ['End with END.']\nregex = 'END$'")
    assert instructions.get("ends").check("THE END")
    assert not instructions.get("ends").check("the end")
    assert not instructions.get("ends").prefix_closed


def test_what_may_be_cut_off(load: Load) -> None:
    load("[calm]\nphrasings = ['No marks.']\nregex = '\\A[^!]*\\Z'\nprefix_closed = true")
    assert instructions.get("calm").prefix_closed


def test_a_json_schema_in_the_file(load: Load) -> None:
    load(
        """
        [person]
        phrasings = ["Answer as JSON with a name."]
        [person.json_schema]
        type = "object"
        required = ["name"]
        properties.name = { type = "string" }
        """
    )
    person = instructions.get("person")
    assert person.check('```json\n{"name": "Ada"}\n```')
    assert not person.check('{"name": 3}')
    assert not person.check("Ada")


def test_a_json_schema_beside_the_file_and_a_regex_as_well(load: Load, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps({"type": "array", "minItems": 2}))
    load("[list]\nphrasings = ['Answer with a JSON list.']\njson_schema = 'list.json'\nregex = 'a'")
    assert instructions.get("list").check('["a", "b"]')
    assert not instructions.get("list").check('["a"]')
    assert not instructions.get("list").check("[1, 2]")


def test_a_schema_is_never_fetched_from_elsewhere(load: Load) -> None:
    load("[far]\nphrasings = ['x']\njson_schema = { '$ref' = 'https://example.com/schema.json' }")
    with pytest.raises(
        InstructionError, match=r"json_schema points to 'https://example.com/schema.json', which is not"
    ):
        instructions.get("far").check("{}")


def test_a_pattern_that_takes_too_long_is_an_error_and_no_hang(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.patterns.SECONDS", 0.05)
    load("[slow]\nphrasings = ['x']\nregex = '(a|aa)+$'")
    assert instructions.get("slow").check("aaa")
    with pytest.raises(InstructionError, match="on a response of 61 characters"):
        instructions.get("slow").check("a" * 60 + "b")


def test_mere_phrasings_have_no_check_and_say_so(load: Load) -> None:
    load('[sailor.phrasings]\nlearning = ["Talk like a {sailor}."]\nvalidation = ["Arr."]\ntest = ["Ahoy."]')
    sailor = instructions.get("sailor")
    assert sailor.phrasings("learning") == ["Talk like a {sailor}."]
    assert sailor.phrasings("test") == ["Ahoy."]
    with pytest.raises(InstructionError, match="sailor has phrasings but no check"):
        sailor.check("Ahoy!")


def test_a_file_may_be_loaded_again_and_another_needs_replace(load: Load, tmp_path: Path) -> None:
    load("[calm]\nphrasings = ['Be calm.']\nconflicts = ['json']")
    load("[calm]\nphrasings = ['Be very calm.']")
    assert instructions.get("calm").phrasings("test") == ["Be very calm."]
    assert "calm" not in instructions.get_type("json").conflicts
    other = tmp_path / "other.toml"
    other.write_text("[calm]\nphrasings = ['Keep calm.']")
    with pytest.raises(InstructionError, match="there is an instruction 'calm' already"):
        load_file(other)
    assert [kind.name for kind in load_file(other, replace=True)] == ["calm"]
    assert instructions.get("calm").phrasings("test") == ["Keep calm."]


def test_all_or_nothing(load: Load) -> None:
    with pytest.raises(InstructionError, match="there is an instruction 'json' already"):
        load("[fresh]\nphrasings = ['x']\n[json]\nphrasings = ['y']")
    assert "fresh" not in instructions.names()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no instruction"),
        ("a = [", "is not a TOML file"),
        ("phrasings = ['x']", "phrasings stands outside a table"),
        ("[a]\nphrases = ['x']", r"\[a\]: there is no key 'phrases'; did you mean phrasings?"),
        ("[a]\nzzz = 1", "it may have summary, family, phrasings, regex"),
        ("[a]\nregex = 'x'", "phrasings must be a list of texts, not None"),
        ("[a]\nphrasings = []", "needs phrasings, a list of at least one text"),
        ("[a]\nphrasings = ['x', 3]", "phrasings must be a list of texts"),
        (
            "[a.phrasings]\nlearning = ['x']",
            "phrasings as a table needs the lists learning, validation, test",
        ),
        ("[a.phrasings]\nlearning = ['x']\nvalidation = []\ntest = ['x']", "needs phrasings"),
        ("[a]\nphrasings = ['x']\nregex = '('", "the regex '\\(' is not valid"),
        ("[a]\nphrasings = ['x']\nregex = 3", "regex must be a text, not 3"),
        ("[a]\nphrasings = ['x']\nregex = 'x'\nignore_case = 1", "ignore_case must be true or false, not 1"),
        ("[a]\nphrasings = ['x']\nprefix_closed = 'yes'", "prefix_closed must be true or false, not 'yes'"),
        ("[a]\nphrasings = ['x']\nconflicts = 'json'", "conflicts must be a list of texts"),
        ("[a]\nphrasings = ['x']\njson_schema = { type = 'objekt' }", "json_schema is not a valid schema"),
        ("[a]\nphrasings = ['x']\njson_schema = 'none.json'", "cannot read .*none.json"),
        ("[a]\nphrasings = ['x']\njson_schema = 'my.toml'", "my.toml is not JSON"),
    ],
)
def test_mistakes_in_a_file_are_named(load: Load, text: str, message: str) -> None:
    with pytest.raises(InstructionError, match=message) as caught:
        load(text)
    assert "my.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstructionError, match=r"cannot read .*none\.toml: No such file"):
        load_file(tmp_path / "none.toml")


def test_a_judge_in_the_place_of_a_check(load: Load) -> None:
    load(
        '[gentle]\nphrasings = ["Be gentle.", "Gently.", "Softly."]\njudge = "Is it gentle?"\n'
        'follows = ["There, there."]\nfails = ["Go!"]'
    )
    gentle = instructions.get("gentle")
    assert gentle.question == instructions.Question("Is it gentle?", ("There, there.",), ("Go!",))
    assert not gentle.can_check
    with pytest.raises(InstructionError, match="nobody to answer it"):
        gentle.check("There.")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('judge = "Is it?"\nregex = "a"', r"\[odd\]: a judge takes the place of a check"),
        ('follows = ["a"]', r"\[odd\]: follows holds examples for a judge"),
        ('judge = "Is it?"\nfollows = ["a"]', r"\[odd\]: .*one side only"),
        ("judge = 3", r"\[odd\]: judge must be a text"),
        ('judge = " "', r"\[odd\]: a judge needs a question"),
        ('judge = "Is it?"\nfollows = "a"\nfails = ["b"]', r"\[odd\]: follows must be a list of texts"),
    ],
)
def test_a_judge_that_is_written_wrongly_is_one_line(load: Load, table: str, message: str) -> None:
    with pytest.raises(InstructionError, match=message):
        load(f'[odd]\nphrasings = ["Be odd."]\n{table}')
