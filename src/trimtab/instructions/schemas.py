"""JSON schemas that somebody wrote: a search by their patterns ends, and so do references back to themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from trimtab.errors import InstructionError
from trimtab.patterns import UserPattern

_TOLD = 120
_DEEPEST = 50
"""A value that nests no deeper than this is no reason for a reader to run out of stack: its schema is."""


def conforming(where: str, schema: Any) -> Callable[[Any], bool]:
    """What tells whether a JSON value satisfies a schema.

    Args:
        where: Where the schema stands, for messages.
        schema: The schema.

    Raises:
        InstructionError: It is no schema, refers to itself without end, or has what cannot be searched in time; also
            from what is given back, where a reference leads nowhere or a pattern takes too long.
    """
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import extend, validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
    except ImportError:
        raise InstructionError(
            f"{where}: a json_schema needs the package jsonschema: pip install jsonschema"
        ) from None
    if not isinstance(schema, dict | bool):
        raise InstructionError(
            f"{where}: a json_schema is a table, true or false, not {type(schema).__name__}"
        )
    kind: Any = validator_for(schema)
    endless = f"{where}: json_schema has a reference that leads back to itself without end"
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise InstructionError(f"{where}: json_schema is not a valid schema: {error.message}") from None
    except RecursionError:
        raise InstructionError(f"{where}: json_schema is nested too deeply") from None
    _refuse_unsearchable(where, schema)
    # An empty registry: a schema that points elsewhere is not fetched from the network.
    searching: Any = extend(kind, _searching(kind))  # type: ignore[no-untyped-call]
    validator = searching(schema, registry=Registry())

    def conforms(value: Any) -> bool:
        try:
            return bool(validator.is_valid(value))
        except Unresolvable as error:
            raise InstructionError(
                f"{where}: json_schema points to {error.ref!r}, which is not in it"
            ) from None
        except RecursionError:
            if _depth(value) <= _DEEPEST:
                raise InstructionError(endless) from None
            return False  # deeper than anybody reads

    simplest: tuple[Any, ...] = (None, "", 0, [], {})
    try:
        for simple in simplest:
            validator.is_valid(simple)
    except RecursionError:
        raise InstructionError(endless) from None
    except Unresolvable:
        pass  # told where it matters
    return conforms


def mistake(schema: Any, value: Any) -> str | None:
    """What of a JSON value does not satisfy a schema that `conforming` takes, in a few words; None where all does."""
    from jsonschema.exceptions import best_match
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    kind: Any = validator_for(schema)
    searching: Any = extend(kind, _searching(kind))  # type: ignore[no-untyped-call]
    error = best_match(searching(schema, registry=Registry()).iter_errors(value))
    if error is None:
        return None
    message = error.message if len(error.message) <= _TOLD else f"{error.message[:_TOLD]}..."
    return f"{error.json_path.removeprefix('$.')}: {message}" if error.path else message


def _searching(kind: Any) -> dict[str, Any]:
    """The keywords of a schema that search by patterns, with patterns that come to an end."""
    from jsonschema import ValidationError

    @lru_cache
    def searched(pattern: str) -> UserPattern:
        return UserPattern(pattern, InstructionError)

    def found(pattern: str, text: str) -> bool:
        return searched(pattern).found_in(text)

    def pattern_(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
        if validator.is_type(instance, "string") and not found(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")

    def pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not validator.is_type(instance, "object"):
            return
        for pattern, own in patterns.items():
            for name, value in instance.items():
                if found(pattern, name):
                    yield from validator.descend(value, own, path=name, schema_path=pattern)

    def additional(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
        patterns = schema.get("patternProperties")
        if not patterns or not validator.is_type(instance, "object"):
            yield from kind.VALIDATORS["additionalProperties"](validator, allowed, instance, schema)
            return
        for name, value in instance.items():
            if name in schema.get("properties", {}) or any(found(pattern, name) for pattern in patterns):
                continue
            if validator.is_type(allowed, "object"):
                yield from validator.descend(value, allowed, path=name)
            elif not allowed:
                yield ValidationError(f"{name!r} is one property too many")

    own = {"pattern": pattern_, "patternProperties": pattern_properties, "additionalProperties": additional}
    return {keyword: check for keyword, check in own.items() if keyword in kind.VALIDATORS}


def _refuse_unsearchable(where: str, schema: Any) -> None:
    tables = list(_tables(schema))
    if any("unevaluatedProperties" in one for one in tables) and any(
        "patternProperties" in one for one in tables
    ):
        raise InstructionError(
            f"{where}: a json_schema has patternProperties or unevaluatedProperties, not both; write "
            "additionalProperties"
        )
    if any(isinstance(one.get("$schema"), str) for one in tables[1:]):
        raise InstructionError(f"{where}: $schema stands at the top of a json_schema, and nowhere in it")
    for table in tables:
        if isinstance(pattern := table.get("pattern"), str):
            UserPattern(pattern, InstructionError)


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth
