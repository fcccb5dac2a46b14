"""Schemas of users: their own words, patterns that end, references that end."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import InstructionError
from trimtab.instructions.schemas import conforming


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_reference_to_itself_is_refused_when_it_is_read(schema: Any) -> None:
    with pytest.raises(InstructionError, match="here: json_schema has a reference that leads back to itself"):
        conforming("here", schema)


def test_one_that_only_some_values_meet_is_told_when_they_do() -> None:
    conforms = conforming("here", {"properties": {"a": {"$ref": "#/properties/a"}}})
    assert conforms({"b": 1})
    with pytest.raises(InstructionError, match="leads back to itself"):
        conforms({"a": 1})


def test_a_tree_is_no_loop_and_a_value_that_is_too_deep_does_not_conform() -> None:
    conforms = conforming("here", {"type": "array", "items": {"$ref": "#"}})
    assert conforms([[], [[]]])
    assert not conforms([[1]])
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    assert not conforms(deep)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "(a|aa)+$"}, "a" * 60 + "b"),
        ({"patternProperties": {"(a|aa)+$": {}}}, {"a" * 60 + "b": 1}),
        ({"patternProperties": {"(a|aa)+$": {}}, "additionalProperties": False}, {"a" * 60 + "b": 1}),
        ({"items": {"pattern": "(a|aa)+$"}}, ["a" * 60 + "b"]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"pattern": "(a|aa)+$"}}}, "a" * 60 + "b"),
    ],
)
def test_patterns_come_to_an_end(monkeypatch: pytest.MonkeyPatch, schema: Any, value: Any) -> None:
    monkeypatch.setattr("trimtab.patterns.SECONDS", 0.05)
    with pytest.raises(InstructionError, match="less backtracking"):
        conforming("here", schema)(value)


@given(
    st.sampled_from(
        [
            {"pattern": "^a"},
            {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
            {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
            {
                "properties": {"b": {}},
                "patternProperties": {"^a": {"type": "integer"}},
                "additionalProperties": False,
            },
            {"properties": {"b": {"pattern": "b$"}}, "additionalProperties": False},
        ]
    ),
    st.one_of(
        st.text("ab", max_size=3),
        st.dictionaries(
            st.text("ab", max_size=2), st.one_of(st.integers(0, 3), st.text("ab", max_size=2)), max_size=3
        ),
    ),
)
def test_it_says_what_jsonschema_says(schema: Any, value: Any) -> None:
    assert conforming("here", schema)(value) == jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"pattern": "("}, "not a valid schema|not a regular expression"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "not both"),
        ({"items": {"$schema": "https://json-schema.org/draft/2020-12/schema"}}, "at the top"),
        ([], "a table, true or false, not list"),
        ({"type": "shoe"}, "not a valid schema"),
    ],
)
def test_what_cannot_be_used_is_refused(schema: Any, words: str) -> None:
    with pytest.raises(InstructionError, match=words):
        conforming("here", schema)
