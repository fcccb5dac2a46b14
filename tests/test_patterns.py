"""Whatever pattern a user writes, a search comes to an end."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import InstructionError, SteeringError, TrimtabError
from trimtab.patterns import UserPattern


@pytest.mark.parametrize("pattern", [r"(a|aa)+$", r"(?:(a+)(a+))+\1\2c"])
def test_a_search_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.setattr("trimtab.patterns.SECONDS", 0.05)
    with pytest.raises(
        SteeringError, match=r"took over 0\.05 s on a prompt of 3001 characters; write it with less"
    ):
        UserPattern(pattern, SteeringError).found_in("a" * 3000 + "b", "a prompt")


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?P<a>x)(?P<a>y)[", "\\", "(?<=a+)b("])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InstructionError, match="is not a regular expression"):
        UserPattern(pattern, InstructionError)


@given(
    st.sampled_from(
        [r"\bship\b", "^a.c$", r"\d{2,4}", "[^aeiou]+x", "(?i)moon", "a|b|", r"(\w)\1", r"(?m)^- "]
    ),
    st.text("abcx shipMOON0123- \n", max_size=12),
)
def test_it_finds_what_python_finds(pattern: str, text: str) -> None:
    assert UserPattern(pattern, TrimtabError).found_in(text) == bool(re.search(pattern, text))


def test_letters_in_any_case() -> None:
    assert UserPattern("MOON", ignore_case=True).found_in("a moon")
    assert not UserPattern("MOON").found_in("a moon")
