"""A constraint: a grammar that decoding is held to, row by row, so that an answer cannot leave it.

It is written in what llguidance reads: a regular expression, a JSON schema, or a grammar in its dialect of Lark
(https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md), to which the other two are brought. The same text
goes to vLLM's structured outputs. Here it is only text: engines hold rows to it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trimtab.errors import InstructionError

Kind = Literal["regex", "json_schema", "lark"]

_ONE_TERMINAL = "start: ANSWER\nANSWER: "


@dataclass(frozen=True)
class Constraint:
    """What a whole answer must match.

    Attributes:
        kind: In which of three notations the text is.
        text: A regular expression that the whole answer matches (Rust's syntax; `.` is no line break unless `(?s)`
            says so), a JSON schema as JSON (with little white space between, unless its `x-guidance` says otherwise),
            or a Lark grammar with a rule `start`.
        exact: Whether everything that it admits is known to pass the check it stands for.
        other_case: Whether what it forbids is said in the other case of its letters, where that may stand, and not only
            struck out (`engines.casing`). vLLM only strikes out.

    Raises:
        InstructionError: There is no such kind.
    """

    kind: Kind
    text: str
    exact: bool = False
    other_case: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InstructionError(f"a constraint is one of {', '.join(get_args(Kind))}, not {self.kind!r}")

    @classmethod
    def regex(cls, pattern: str, *, exact: bool = False) -> Constraint:
        """What matches a regular expression from its first to its last character."""
        return cls("regex", pattern, exact)

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | bool = True, *, exact: bool = False) -> Constraint:
        """JSON that a schema admits; any JSON by default."""
        return cls("json_schema", json.dumps(schema), exact)

    @classmethod
    def lark(cls, grammar: str, *, exact: bool = False) -> Constraint:
        """What a grammar derives from its rule `start`."""
        return cls("lark", grammar, exact)

    @classmethod
    def terminal(
        cls,
        *expressions: str,
        definitions: Sequence[str] = (),
        exact: bool = False,
        other_case: bool = False,
    ) -> Constraint:
        """What every one of some expressions matches, from its first to its last character.

        Expressions are what Lark allows in a terminal: patterns between slashes, names of other terminals, and these
        put together by ``|``, ``&`` and ``~``. Such constraints can be met with others (see `intersection`).

        Args:
            expressions: Each on one line.
            definitions: The other terminals, as lines such as `STRING: /"[^"]*"/`.
            exact: As in `Constraint`.
            other_case: As in `Constraint`.
        """
        met = expressions[0] if len(expressions) == 1 else " & ".join(f"({each})" for each in expressions)
        return cls("lark", "\n".join([f"{_ONE_TERMINAL}{met}", *definitions]), exact, other_case)

    @property
    def _parts(self) -> tuple[str, list[str]] | None:
        """The one terminal that it is, as an expression and the definitions it needs, or None."""
        if self.kind == "regex":
            return lark_pattern(self.text), []
        if self.kind != "lark" or not self.text.startswith(_ONE_TERMINAL):
            return None
        expression, *definitions = self.text.removeprefix(_ONE_TERMINAL).split("\n")
        return (expression, definitions) if all(line[:1].isupper() for line in definitions) else None

    def within(self, characters: int) -> Constraint | None:
        """What it admits of at most so many characters: a row held to this comes to its end in time.

        None where that cannot be said, of a JSON schema or a grammar with rules.
        """
        return intersection([self, Constraint.regex(f"(?s:.{{0,{characters}}})", exact=True)])

    def admits(self, text: str) -> bool:
        """Whether a text is one of those that match, from its first to its last character.

        Raises:
            InstructionError: The constraint cannot be compiled, or there is no llguidance to do it.
        """
        matcher, encoded = self._matcher(), list(text.encode())
        return bool(matcher.try_consume_tokens(encoded) == len(encoded) and matcher.is_accepting())

    @property
    def possible(self) -> bool:
        """Whether it admits anything at all.

        Raises:
            InstructionError: As `admits`.
        """
        matcher = self._matcher()
        # Where nothing can stand, the end token is what the mask shows.
        return bool(matcher.is_accepting() or any(matcher.compute_bitmask()[:32]))

    def _matcher(self) -> Any:
        """An `llguidance.LLMatcher` over bytes."""
        try:
            from llguidance import LLMatcher
        except ImportError:
            raise InstructionError(
                "constraints take the package llguidance: pip install 'trimtab[constraints]'"
            ) from None
        matcher = LLMatcher(_bytes(), self.grammar, log_level=0, limits=limits())
        if matcher.is_error():
            raise InstructionError(
                f"this constraint ({self.kind}) cannot be used: {matcher.get_error():.300}"
            )
        return matcher

    @property
    def grammar(self) -> str:
        """The same as a Lark grammar of llguidance."""
        if self.kind == "lark":
            return self.text
        if self.kind == "json_schema":
            return f"start: %json {json.dumps(_spaced(json.loads(self.text)))}"
        # A terminal, not a pattern in the rule: only terminals may be put together by & and ~.
        return _ONE_TERMINAL + lark_pattern(self.text)


class _Bytes:
    """A vocabulary of every byte and an end, as llguidance asks for one."""

    tokens = (*(bytes([value]) for value in range(256)), b"<end>")
    eos_token_id, bos_token_id = 256, None
    special_token_ids = (256,)

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def limits() -> Any:
    """How much work llguidance may put into a grammar and into a place of an answer (`LLParserLimits`).

    More than it allows by default: several constraints that are met can take some tenths of a second at their first
    places, and next to nothing later.
    """
    from llguidance import LLParserLimits

    return LLParserLimits(initial_lexer_fuel=10_000_000, step_lexer_fuel=10_000_000)


@functools.cache
def _bytes() -> Any:
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Bytes()))


def _spaced(schema: Any) -> Any:
    """A schema with little white space: where any amount of it is allowed, a small model may never stop writing it."""
    spaces = {"whitespace_flexible": False, "item_separator": r",( |\n {0,16})?", "key_separator": ": ?"}
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    return {"x-guidance": spaces, **schema} if isinstance(schema, dict) else schema


def lark_pattern(pattern: str) -> str:
    """A regular expression as Lark writes it, between slashes."""
    escaped, place = "", 0
    while place < len(pattern):
        if pattern[place] == "\\" and place + 1 < len(pattern):
            escaped += pattern[place : place + 2]
            place += 2
            continue
        escaped += {"/": "\\/", "\n": "\\n"}.get(pattern[place], pattern[place])
        place += 1
    return f"/{escaped}/"


def intersection(constraints: Sequence[Constraint]) -> Constraint | None:
    """What all of them admit, where that can be said.

    It can of regular expressions, of grammars that are one terminal (`Constraint.terminal`), and of equals; else the
    answer is None, as it is of nothing. It may admit nothing: that shows only to who compiles it.
    """
    different = list(dict.fromkeys(constraints))
    if len(different) <= 1:
        return different[0] if different else None
    parts = [one._parts for one in different]
    known = [each for each in parts if each is not None]
    definitions = list(dict.fromkeys(line for _, lines in known for line in lines))
    names = {line.partition(":")[0] for line in definitions}
    if len(known) < len(parts) or len(names) < len(definitions):
        return None
    return Constraint.terminal(
        *(expression for expression, _ in known),
        definitions=definitions,
        exact=all(one.exact for one in different),
        other_case=any(one.other_case for one in different),
    )
