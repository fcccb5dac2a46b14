"""Instructions and their types: making, comparing, judging, extending."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import instructions
from trimtab.instructions import (
    InstructionError,
    Parameter,
    Phrasings,
    instruction,
)
from trimtab.instructions.loose import variants
from trimtab.instructions.registry import REGISTER


@pytest.fixture
def registered() -> Iterator[list[str]]:
    """Names to forget after the test."""
    names: list[str] = []
    yield names
    for name in names:
        REGISTER.remove(name)


@pytest.mark.parametrize("given", [3, None, b"json", ["json"]])
def test_a_name_that_is_no_text_is_refused(given: Any) -> None:
    with pytest.raises(InstructionError, match="the name of an instruction is a text, not"):
        instructions.get(given)
    for data in (given, {"name": given, "params": {}}):
        with pytest.raises(InstructionError, match="an instruction is given as"):
            instructions.from_dict(data)


def test_parameters_by_position_by_name_and_by_none() -> None:
    include = instructions.get_type("include")
    assert include("rocket") == include(word="rocket", words=None)
    assert include("rocket").label == 'include(word="rocket")'
    assert include("rocket") != include("moon")
    assert include("rocket") != "include"
    assert str(instructions.get("json")) == "json"


def test_defaults_are_filled_in_and_whole_floats_become_numbers() -> None:
    assert instructions.get("concise").params == {"max_words": 50}
    assert instructions.get("bullets", num_bullets=3.0) == instructions.get("bullets", num_bullets=3)
    assert instructions.get("language", language="Spanish").params == {"language": "es"}


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("bullet", {}, "there is no instruction 'bullet'; did you mean bullets"),
        ("json_format", {}, "did you mean detectable_format:json_format"),
        ("qqqqqq", {}, "`trimtab instructions` lists them all"),
        ("bullets", {}, "bullets needs num_bullets: exact number of bullet points"),
        ("bullets", {"number": 3}, "bullets has no parameter 'number'; it takes num_bullets"),
        ("sentences", {}, "sentences needs at_least, at_most or exactly"),
        ("sentences", {"exactly": 1, "at_most": 3}, "exactly cannot be combined"),
        ("words", {"at_least": 9, "at_most": 3}, r"at_least \(9\) is more than at_most \(3\)"),
        ("include", {}, "include needs word"),
        ("language", {"language": "Klingon"}, "must be an ISO 639-1 code or English name"),
        ("letter_frequency", {"letter": "ab", "let_frequency": 1}, "must be a single character, not 'ab'"),
        ("number_words", {"num_words": 3, "relation": "more than"}, 'one of "less than", "at least"'),
    ],
)
def test_mistakes_name_what_was_wrong(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InstructionError, match=message):
        instructions.get(name, **params)


def test_too_many_or_doubled_values_are_refused() -> None:
    bullets = instructions.get_type("bullets")
    with pytest.raises(InstructionError, match="takes 1 parameters, not 2"):
        bullets(3, 4)
    with pytest.raises(InstructionError, match="num_bullets is given twice"):
        bullets(3, num_bullets=4)


@pytest.mark.parametrize("data", [{}, {"name": 3}, {"name": "json", "params": [1]}])
def test_from_dict_refuses_what_is_no_instruction(data: dict[str, Any]) -> None:
    with pytest.raises(InstructionError, match="an instruction is given as"):
        instructions.from_dict(data)


def test_cannot_be_changed() -> None:
    made = instructions.get("json")
    with pytest.raises(AttributeError, match="cannot be changed"):
        made.params = {}
    data = instructions.get("keywords", keywords=["a"]).to_dict()
    data["params"]["keywords"].append("b")
    assert instructions.get("keywords", keywords=["a"]).params == {"keywords": ["a"]}


def test_unknown_split_is_refused() -> None:
    with pytest.raises(InstructionError, match="learning, validation, test"):
        instructions.get("json").phrasings("train")  # type: ignore[arg-type]


def test_repeat_prompt_needs_its_query_and_gets_it() -> None:
    made = instructions.get("repeat_prompt")
    with pytest.raises(InstructionError, match="needs prompt_to_repeat"):
        made.check("What is it? A boat.")
    ready = made.for_query("What is it?")
    assert ready.check("what is it? A boat.")
    assert not ready.check("A boat.")
    assert ready.for_query("Another?") is ready
    assert (
        instructions.get("json").for_query("What is it?") is instructions.get("json").for_query("x") or True
    )
    assert instructions.get("json").for_query("What is it?") == instructions.get("json")


@given(st.text(alphabet="ab*\n ", max_size=30))
def test_the_eight_readings(response: str) -> None:
    readings = list(variants(response))
    assert len(readings) == 8
    assert readings[0] == response
    assert readings[1] == response.replace("*", "")
    lines = response.split("\n")
    assert "\n".join(lines[1:]).strip() in readings
    assert "\n".join(lines[:-1]).strip() in readings
    assert "\n".join(lines[1:-1]).strip().replace("*", "") == readings[7]


def test_loose_forgives_an_opening_line() -> None:
    judged = instructions.get("json").judge('Here you are:\n{"a": 1}')
    assert (judged.strict, judged.loose) == (False, True)


def test_judgement_says_which_splitter_judged() -> None:
    notes = instructions.get("number_sentences", num_sentences=2).judge("One. Two.").notes
    assert notes["splitter"] in ("nltk-punkt", "nltk-punkt-packaged", "punkt", "simple")
    assert instructions.get("json").judge("{}").notes == {}
    assert "langdetect" in instructions.get("lowercase").judge("this is all in english").notes["language"]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=30, unique=True))
def test_divide_keeps_every_phrasing_once(texts: list[str]) -> None:
    parts = Phrasings.divide(texts)
    if len(texts) >= 3:
        assert [*parts.learning, *parts.validation, *parts.test] == texts
    assert parts.learning
    assert parts.validation
    assert parts.test


def test_a_decorated_function_is_an_instruction(registered: list[str]) -> None:
    @instruction(
        phrasings=["Write {count} {count:x/xs}.", "Use {count:word} times x.", "Put x {count} times."]
    )
    def marks(
        count: Annotated[int, Parameter("how often", minimum=1, example=2)], strict: bool = False
    ) -> Any:
        """Has the letter x so often."""
        return lambda response: response.count("x") == count

    registered.append("marks")
    made = instructions.get("marks", count=2)
    assert made == marks(2)
    assert made.params == {"count": 2, "strict": False}
    assert made.phrasings("learning") == ["Write 2 xs."]
    assert made.phrasings("validation") == ["Use two times x."]
    assert made.check("x and x")
    assert not made.check("x")
    assert marks.summary == "Has the letter x so often."
    assert "marks" in instructions.names()


def test_a_taken_name_is_refused_unless_replaced(registered: list[str]) -> None:
    def once() -> None:
        """Has no check."""

    with pytest.raises(InstructionError, match="there is an instruction 'json' already"):
        instruction("json", phrasings=["Be JSON."])(once)
    with pytest.raises(InstructionError, match="punctuation:no_comma' already"):
        instruction("other", phrasings=["No."], ifeval_id="punctuation:no_comma")(once)
    first = instruction("once", phrasings=["Once."])(once)
    registered.append("once")
    assert instruction("once", phrasings=["Twice."], replace=True)(once) is not first
    assert instructions.get("once").phrasings("test") == ["Twice."]


def test_declared_conflicts_become_mutual_and_are_forgotten() -> None:
    instruction("shy", phrasings=["Be shy."], conflicts=["verbose"])(lambda: lambda response: True)
    shy, verbose = instructions.get("shy"), instructions.get("verbose")
    assert shy.conflicts_with(verbose) == verbose.conflicts_with(shy) == "shy cannot go with verbose"
    REGISTER.remove("shy")
    assert verbose.conflicts_with(instructions.get("json")) is None
    assert "shy" not in verbose.type.conflicts


@pytest.mark.parametrize("phrasings", ["Say it.", [], {}])
def test_phrasings_must_be_a_list(phrasings: Any) -> None:
    with pytest.raises(InstructionError, match="phrasings must be a list"):
        instruction("empty", phrasings=phrasings)(lambda: None)


def test_parameters_must_be_annotated() -> None:
    def bare(count) -> None:  # type: ignore[no-untyped-def]
        """Takes anything."""

    def many(*counts: int) -> None:
        """Takes several."""

    def odd(counts: dict[str, int]) -> None:
        """Takes a dictionary."""

    with pytest.raises(InstructionError, match="bare: annotate count as int"):
        instruction(phrasings=["x"])(bare)
    with pytest.raises(InstructionError, match="counts cannot be a parameter"):
        instruction(phrasings=["x"])(many)
    with pytest.raises(InstructionError, match="odd: annotate counts as int"):
        instruction(phrasings=["x"])(odd)


def test_a_template_that_cannot_be_filled_names_its_fields(registered: list[str]) -> None:
    @instruction("wrong", phrasings=["Use {amount}."])
    def wrong(count: int = 1) -> None:
        """Names a field that does not exist."""

    registered.append("wrong")
    with pytest.raises(
        InstructionError, match=r"'Use \{amount\}\.' cannot be filled in .* fields may be count"
    ):
        instructions.get("wrong").phrasings("test")


def test_without_a_check_it_says_so(registered: list[str]) -> None:
    made = instruction("mood", phrasings=["Be cheerful."])(lambda: None)()
    registered.append("mood")
    assert not made.can_check
    with pytest.raises(InstructionError, match="mood has phrasings but no check"):
        made.check("Hooray!")
    with pytest.raises(InstructionError, match="mood has phrasings but no check"):
        made.judge("Hooray!")


def test_importing_the_catalogue_loads_no_checking_library() -> None:
    heavy = ("nltk", "punkt", "langdetect", "jsonschema", "torch")
    code = f"import sys, trimtab.instructions; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
