"""JSON of the standard alone, and what IFEval takes for JSON beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab import instructions
from trimtab.instructions.json_text import read_strictly

GOOD = [
    '{"a": 1}',
    '```json\n{"a": 1}\n```',
    '```jsonc\n{"a": 1}\n```',
    '```JSON5\r\n{"a": 1}\r\n```\r\n',
    '~~~\n{"a": 1}\n~~~',
    '~~~json\n{"a": 1}\n~~~',
    '```json title="a b"\n{"a": 1}\n```',
    '````\n{"a": 1}\n````',
    '\ufeff{"a": 1}',
    '\ufeff```json\n{"a": 1}```',
]
BAD = [
    '{"a": NaN}',
    '{"a": -Infinity}',
    '```json\n{"a": 1}',
    '~~~\n{"a": 1}',
    '````\n{"a": 1}\n```',
    '{"a": 1}\n```',
    '```json\n{"a": 1}\n~~~',
    'Here: {"a": 1}',
    "",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_json(text: str) -> None:
    assert read_strictly(text) == {"a": 1}
    assert instructions.get("json", strict=True).check(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_strictly(text)
    assert not instructions.get("json", strict=True).check(text)


def test_a_schema_is_asked_of_the_standards_json(tmp_path: Path) -> None:
    file = tmp_path / "count.toml"
    file.write_text('[count]\nphrasings = ["Count."]\njson_schema = { type = "object" }\n')
    (kind,) = instructions.load_file(file)
    try:
        for text in GOOD:
            assert kind().check(text), text
        for text in BAD:
            assert not kind().check(text), text
    finally:
        instructions.registry.REGISTER.remove("count")


def test_without_the_option_json_is_ifevals() -> None:
    plain = instructions.get("json")
    assert plain.label == "json"
    assert plain.check('{"a": NaN}')
    assert plain.check('```json\n{"a": 1}')
    assert not plain.check('~~~\n{"a": 1}\n~~~')
    assert instructions.get("json", strict=False) != instructions.get("json", strict=True)


def test_what_the_constraint_of_json_admits_is_json_of_the_standard() -> None:
    from tests.instructions.walks import walk

    strict = instructions.get("json", strict=True)
    constraint = strict.constraint()
    assert constraint is not None
    for seed in range(8):
        text = walk(constraint, seed)
        assert text is None or strict.check(text), text


def test_a_pattern_is_found_whatever_ends_lines_and_composes_letters(tmp_path: Path) -> None:
    file = tmp_path / "signed.toml"
    file.write_text("[signed]\nphrasings = [\"Sign.\"]\nregex = '(?m)^René$'\n", encoding="utf-8")
    (kind,) = instructions.load_file(file)
    try:
        assert kind().check("Hello\r\nRene\u0301\r\nBye")
        assert not kind().check("Hello\r\nRene\r\n")
    finally:
        instructions.registry.REGISTER.remove("signed")
