"""Instructions without code: a TOML file with phrasings and a regular expression or a JSON schema."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab import arguments
from trimtab.constraint import Constraint, intersection
from trimtab.errors import InstructionError
from trimtab.files import json_value
from trimtab.instructions.grammars.translation import found
from trimtab.instructions.json_text import read_strictly
from trimtab.instructions.judgement import Check, Question
from trimtab.instructions.kinds import InstructionType
from trimtab.instructions.phrasings import SPLITS, Phrasings
from trimtab.instructions.registry import REGISTER
from trimtab.instructions.schemas import conforming
from trimtab.instructions.text import plain
from trimtab.patterns import UserPattern

_KEYS = tuple(
    "summary family phrasings regex ignore_case json_schema judge follows fails constraint prefix_closed "
    "conflicts".split()
)
# What says the same in a schema to jsonschema and to llguidance.
_SAME = frozenset(
    "$schema title description type properties required additionalProperties items enum const anyOf minItems maxItems "
    "minLength maxLength minimum maximum".split()
)


def load_file(path: str | Path, *, replace: bool = False) -> tuple[InstructionType, ...]:
    """Register the instructions of a TOML file.

    Each table is one instruction, named by its heading. It has ``phrasings`` (a list of texts, which is divided
    into learning, validation and test; or a table with these three lists), and optionally a ``summary``, a
    ``family``, ``conflicts`` (names it cannot go with), and what its check asks for: a ``regex`` that occurs in
    the response (``ignore_case`` for any case), a ``json_schema`` (a table, or the path of a JSON file beside this
    one) that the response satisfies as JSON, or both. Or it has a ``judge`` in the place of a check: a question that a
    judge answers with yes or no, best with contrast examples, two lists of responses that it ``follows`` and ``fails``.
    Without any of these it has no check, and says so when asked.

    Its constraint follows from a ``regex`` (where that looks neither ahead nor behind) or a ``json_schema``, if there
    is one of the two; ``constraint``, a regular expression in Rust's syntax that whole responses match, takes its
    place. ``prefix_closed`` says that an answer that was cut off can be judged by what there is of it.

    Args:
        path: The file.
        replace: Replace instructions of the same names that come from elsewhere instead of refusing.

    Returns:
        The new types, in the order of the file. Either all are registered or none.

    Raises:
        InstructionError: If the file cannot be read or holds something that is no instruction.
    """
    arguments.flag(replace, "replace", InstructionError)
    file = arguments.place(path, "path", InstructionError)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InstructionError(f"cannot read {file}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of numbers of thousands of digits
        raise InstructionError(f"{file} is not a TOML file: {error}") from None
    if not tables:
        raise InstructionError(
            f"{file} holds no instruction; write a table such as [greeting] with phrasings"
        )
    made = tuple(_read_table(file, name, table) for name, table in tables.items())
    return REGISTER.add_all(made, replace=replace)


def _read_table(file: Path, name: str, table: Any) -> InstructionType:
    where = f"{file}, [{name}]"
    if not isinstance(table, Mapping):
        raise InstructionError(
            f"{file}: {name} stands outside a table; put it under a heading such as [greeting]"
        )
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(_KEYS)}"
            raise InstructionError(f"{where}: there is no key {key!r}; {hint}")
    checks = []
    constraints: list[Constraint | None] = []
    written = dict(table)
    if "regex" in table:
        compiled, own = _compiled(where, table["regex"], _flag(where, table, "ignore_case"))
        checks.append(_regex_check(own))
        constraints.append(found(compiled))
    if "json_schema" in table:
        written["json_schema"] = _schema(where, table["json_schema"], file.parent)
        checks.append(_schema_check(where, written["json_schema"]))
        constraints.append(_schema_constraint(written["json_schema"]))
    if "constraint" in table:
        constraints = [Constraint.regex(_text(where, "constraint", table["constraint"]))]
    constraint = None if None in constraints else intersection([one for one in constraints if one])
    check: Check | None = (lambda response: all(one(response) for one in checks)) if checks else None
    conflicts = _texts(where, "conflicts", table.get("conflicts", []))
    return InstructionType(
        name,
        # The phrasings are fixed texts: braces in them mean themselves.
        lambda: check,
        {"": _phrasings(where, table.get("phrasings"))},
        summary=_text(where, "summary", table.get("summary", f"From {file.name}.")),
        family=_text(where, "family", table.get("family", "custom")),
        conflicts={other: f"{name} says that it cannot go with {other}" for other in conflicts},
        constraint=lambda params: constraint,
        prefix_closed=_flag(where, table, "prefix_closed"),
        source=str(file.resolve()),
        question=_question(where, table, has_check=bool(checks)),
        written=written,
    )


def _question(where: str, table: Mapping[str, Any], *, has_check: bool) -> Question | None:
    if "judge" not in table:
        if lonely := [key for key in ("follows", "fails") if key in table]:
            raise InstructionError(
                f"{where}: {lonely[0]} holds examples for a judge; give its question: judge"
            )
        return None
    if has_check:
        raise InstructionError(
            f"{where}: a judge takes the place of a check; leave out the judge, or the check"
        )
    examples = [tuple(_texts(where, key, table.get(key, []))) for key in ("follows", "fails")]
    try:
        return Question(_text(where, "judge", table["judge"]), *examples)
    except InstructionError as error:
        raise InstructionError(f"{where}: {error}") from None


def _phrasings(where: str, value: Any) -> Phrasings:
    if isinstance(value, Mapping):
        if set(value) != set(SPLITS):
            raise InstructionError(f"{where}: phrasings as a table needs the lists {', '.join(SPLITS)}")
        parts = [_texts(where, f"phrasings.{split}", value[split]) for split in SPLITS]
    else:
        divided = Phrasings.divide(_texts(where, "phrasings", value))
        parts = [list(divided.learning), list(divided.validation), list(divided.test)]
    if not all(parts):
        raise InstructionError(f"{where}: needs phrasings, a list of at least one text")
    learning, validation, test = (tuple(_literal(text) for text in part) for part in parts)
    return Phrasings(learning, validation, test)


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InstructionError(f"{where}: {key} must be a text, not {value!r}")
    return value


def _texts(where: str, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise InstructionError(f"{where}: {key} must be a list of texts, not {value!r}")
    return value


def _flag(where: str, table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise InstructionError(f"{where}: {key} must be true or false, not {value!r}")
    return value


def _compiled(where: str, pattern: Any, ignore_case: bool) -> tuple[re.Pattern[str], UserPattern]:
    """The pattern as Python reads it, from which its constraint follows, and what searches for it."""
    text = _text(where, "regex", pattern)
    try:
        compiled = re.compile(text, re.IGNORECASE if ignore_case else 0)
        return compiled, UserPattern(text, InstructionError, ignore_case=ignore_case)
    except (re.error, OverflowError, RecursionError, InstructionError) as error:
        raise InstructionError(f"{where}: the regex {pattern!r:.80} is not valid: {error}") from None


def _regex_check(own: UserPattern) -> Check:
    # As it is written, or with line ends and letters written in the one way that patterns expect.
    return lambda response: any(own.found_in(text, "a response") for text in (response, plain(response)))


def _schema_constraint(schema: Any) -> Constraint | None:
    if not isinstance(schema, Mapping):
        return None
    return Constraint.json_schema(schema, exact=_same_to_both(schema))


def _same_to_both(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return isinstance(schema, bool)
    inside = [schema[key] for key in ("items", "additionalProperties") if key in schema]
    inside += [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    return schema.keys() <= _SAME and all(map(_same_to_both, inside))


def _schema(where: str, schema: Any, folder: Path) -> Any:
    """The schema, also where it stands in a file of its own."""
    if not isinstance(schema, str):
        return schema
    try:
        return json_value((folder / schema).read_text(encoding="utf-8"))
    except OSError as error:
        raise InstructionError(f"{where}: cannot read {folder / schema}: {error.strerror}") from None
    except ValueError as error:
        raise InstructionError(f"{where}: {folder / schema} is not JSON: {error}") from None


def _schema_check(where: str, schema: Any) -> Check:
    conforms = conforming(where, schema)

    def check(response: str) -> bool:
        try:
            value = read_strictly(response)
        except ValueError:
            return False
        return conforms(value)

    return check
