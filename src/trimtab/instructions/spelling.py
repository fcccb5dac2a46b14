"""Instructions written on one line: `json,sentences(at_most=2),include("lantern")`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from trimtab.errors import InstructionError
from trimtab.files import json_value
from trimtab.instructions.base import Instruction
from trimtab.instructions.kinds import InstructionType
from trimtab.instructions.registry import get_type

_SPEC = re.compile(r"(?P<name>[\w:.-]+)\s*(?:\((?P<arguments>.*)\))?", re.DOTALL)
_NAMED = re.compile(r"(?P<key>[A-Za-z_]\w*)\s*=\s*(?P<value>.*)", re.DOTALL)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def parse_instructions(text: str) -> list[Instruction]:
    """Reads a list of instructions, each a name with parameters in brackets where it has some.

    A parameter is given by position or as `key=value`. A value is JSON, or a bare word. So every
    `Instruction.label` reads back as its instruction.

    Args:
        text: The instructions, separated by commas.

    Returns:
        The instructions, in order.

    Raises:
        InstructionError: The text is malformed, or names an instruction or parameter that does not exist.
    """
    specs = [spec for spec in _split(text) if spec]
    if not specs:
        raise InstructionError(
            "no instruction is named; give names separated by commas, such as json,lowercase"
        )
    return _each_once([_parse(spec) for spec in specs])


def resolve(wanted: Instruction | str) -> Instruction:
    """The instruction that is meant: itself, or the one that a spelling such as `"sentences(at_most=2)"` names.

    Raises:
        InstructionError: It is neither, or the spelling is malformed, names several, or one that does not exist.
    """
    several = resolve_all(wanted)
    if len(several) != 1:
        raise InstructionError(f"one instruction is wanted here, and {wanted!r} names {len(several)}")
    return several[0]


def resolve_all(wanted: Instruction | str | Sequence[Instruction | str]) -> list[Instruction]:
    """The instructions that are meant, in order; a spelling may name several: `"json,lowercase"`.

    Raises:
        InstructionError: As `resolve`.
    """
    if isinstance(wanted, str):
        return parse_instructions(wanted)
    if isinstance(wanted, Sequence):
        return _each_once([one for each in wanted for one in resolve_all(each)])
    if isinstance(wanted, Instruction):
        return [wanted]
    raise InstructionError(_refusal(wanted))


def _each_once(wanted: list[Instruction]) -> list[Instruction]:
    """Refuses one that is named twice: it would count twice."""
    labels = [one.label for one in wanted]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InstructionError(f"{twice} is named twice; name each instruction once")
    return wanted


def _refusal(wanted: object) -> str:
    if isinstance(wanted, InstructionType):
        return f"{wanted.name} is a kind of instruction; call it to make one: {wanted.name}(...)"
    spelled = "one of the catalogue, or a spelling such as 'sentences(at_most=2)'"
    return f"an instruction is {spelled}, not {type(wanted).__name__}"


def _parse(spec: str) -> Instruction:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InstructionError(f"cannot read the instruction {spec!r}; write it as name or name(key=value)")
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for argument in _split(match["arguments"] or ""):
        if not argument:
            continue
        pair = _NAMED.fullmatch(argument)
        if pair is None:
            positional.append(_value(argument))
        elif pair["key"] in named:
            raise InstructionError(f"{match['name']}: {pair['key']} is given twice")
        else:
            named[pair["key"]] = _value(pair["value"])
    return get_type(match["name"])(*positional, **named)


def _value(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    try:
        return json_value(text)
    except ValueError:
        return text


def _split(text: str) -> list[str]:
    """Splits at the commas that stand outside brackets and quotes.

    A double quote opens a string anywhere, a single one only where a value begins, so that `don't` is a word.
    """
    parts: list[str] = []
    expected: list[str] = []
    start, quote, escaped = 0, "", False
    for i, character in enumerate(text):
        if quote:
            closed = character == quote and not escaped
            escaped = character == "\\" and not escaped
            quote = "" if closed else quote
        elif character == '"' or (character == "'" and text[:i].rstrip()[-1:] in ("", "(", "[", "=", ",")):
            quote = character
        elif character in _CLOSING:
            expected.append(_CLOSING[character])
        elif character in ")]}":
            if not expected or expected.pop() != character:
                raise InstructionError(f"a {character!r} too many in {text!r}")
        elif character == "," and not expected:
            parts.append(text[start:i].strip())
            start = i + 1
    if expected or quote:
        raise InstructionError(f"a {quote or expected[-1]!r} is missing in {text!r}")
    return [*parts, text[start:].strip()]
