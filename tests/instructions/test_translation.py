"""Regular expressions of Python as constraints: what is admitted is what `re.search` finds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trimtab.constraint import Constraint
from trimtab.errors import InstructionError
from trimtab.instructions import load_file
from trimtab.instructions.grammars.translation import found
from trimtab.instructions.registry import REGISTER

INLINE = '{type = "object", required = ["age"], properties = {age = {type = "integer"}}}'
TEXTS = [
    "hello", "Hello there", " hi", "say hello", "hello\n", "othello", "hello_", "3.5", "35", "a-b", "x/y",
    "line\nhello", "hello\nline", "é", "día 7", "[x]", "aaa", "aa", "abab", "\x1c hello", "K", "ſ", "tab\there",
    "end.", "hi", "²",
]  # fmt: skip
SAID = [
    r"hello", r"\A\s*(hello|hi)\b", r"^hello", r"hello$", r"hello\Z", r"\bhello\b", r"^(?:a|b)+$", r"3\.5", r"x/y",
    r"[a-c-]{2,}", r"[^\n]+\nhello", r"\d", r"\W", r"\w+\s\w+", r"a{3}", r"(ab){2}", r"^hi|hello$", r"\[x\]", r".\.",
    r"h.*?o", r"[\w.]+\.$", r"\S\s*$", r"é|ñ", r"[~&#\"-]",
]  # fmt: skip


@pytest.mark.parametrize("pattern", SAID)
@pytest.mark.parametrize("flags", [0, re.IGNORECASE, re.MULTILINE], ids=["", "i", "m"])
def test_admitted_is_what_is_found(pattern: str, flags: int) -> None:
    compiled = re.compile(pattern, flags)
    constraint = found(compiled)
    if constraint is None:
        assert flags == re.IGNORECASE  # with which characters that are not meant cannot be named
        return
    assert constraint.exact
    for text in TEXTS:
        assert constraint.admits(text) == bool(compiled.search(text) and text.strip()), text


@pytest.mark.parametrize(
    "pattern", [r"(?=a)b", r"(?<!a)b", r"(a)\1", r"a\bb", r"\b\W", r"(?i:a)", r"(^a|b)c", r"a\B"]
)
def test_what_no_constraint_can_say_has_none(pattern: str) -> None:
    assert found(re.compile(pattern)) is None
    assert found(re.compile("a", re.ASCII)) is None


def test_files_give_constraints(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    schema = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}
    file.write_text(
        f"""
[hails]
phrasings = ["Greet me."]
regex = '^hello'
ignore_case = true
[looks_ahead]
phrasings = ["Look."]
regex = '(?=a)'
[aged]
phrasings = ["Say your age."]
json_schema = {INLINE}
[both]
phrasings = ["Do."]
regex = 'age'
json_schema = {INLINE}
[given]
phrasings = ["Do."]
constraint = '[a-z]+'
""",
        encoding="utf-8",
    )
    hails, looks, aged, both, given = (kind() for kind in load_file(file))
    try:
        constraint = hails.constraint()
        assert constraint is not None
        assert constraint.admits("HELLO you")
        assert not constraint.admits("Say hello")
        assert looks.constraint() is None
        assert aged.constraint() == Constraint("json_schema", json.dumps(schema), exact=True)
        assert both.constraint() is None
        assert given.constraint() == Constraint.regex("[a-z]+")
    finally:
        for name in ("hails", "looks_ahead", "aged", "both", "given"):
            REGISTER.remove(name)


def test_a_constraint_in_a_file_is_a_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[bad]\nphrasings = ['Do.']\nconstraint = 3\n", encoding="utf-8")
    with pytest.raises(InstructionError, match=r"\[bad\]: constraint must be a text, not 3"):
        load_file(file)
