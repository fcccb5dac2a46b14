"""What the answer of a request is held to, as a constraint: OpenAI's `response_format`, vLLM's `structured_outputs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import regex

from trimtab.constraint import Constraint
from trimtab.files import json_value
from trimtab.serve.refusal import RefusedError

_KINDS = "text, json_object, json_schema"


def constraint_of(
    response_format: Mapping[str, Any] | None, structured_outputs: Mapping[str, Any] | None = None
) -> Constraint | None:
    """The constraint that a request asks for, by one of two fields; None where it asks for none.

    Raises:
        RefusedError: It is not sound, or of a kind that is not served.
    """
    if response_format is not None:
        return _of_format(response_format)
    if structured_outputs is not None:
        return _of_outputs(structured_outputs)
    return None


def _of_format(value: Mapping[str, Any]) -> Constraint | None:
    kind = value.get("type")
    _check_fields(value, ("type", "json_schema") if kind == "json_schema" else ("type",), "response_format")
    if kind == "text":
        return None
    if kind == "json_object":
        return Constraint.json_schema({"type": "object"})
    if kind != "json_schema":
        raise _refused(f"the type of response_format is one of {_KINDS}, not {kind!r:.60}")
    described = value.get("json_schema")
    if not isinstance(described, Mapping) or not isinstance(described.get("schema"), Mapping | bool):
        raise _refused("response_format.json_schema needs a name and a schema, which is an object")
    _check_fields(described, _DESCRIBED, "response_format.json_schema")
    return Constraint.json_schema(described["schema"])


def _of_outputs(value: Mapping[str, Any]) -> Constraint:
    field = "structured_outputs"
    _check_fields(value, tuple(_OUTPUTS), field, field)
    given = {name: one for name, one in value.items() if one is not None}
    if len(given) != 1 or next(iter(given)) not in _OUTPUTS:
        raise _refused(f"{field} has one entry, of {', '.join(_OUTPUTS)}", field)
    [(name, one)] = given.items()
    constraint = _OUTPUTS[name](one)
    if constraint is None:
        raise _refused(f"{field}.{name} cannot be {type(one).__name__} {one!r:.40}", field)
    return constraint


def _json(value: Any) -> Constraint | None:
    if isinstance(value, str):
        try:
            value = json_value(value)
        except ValueError:
            return None
    return Constraint.json_schema(value) if isinstance(value, Mapping) else None


def _regex(value: Any) -> Constraint | None:
    return Constraint.regex(value) if isinstance(value, str) and value else None


def _choice(value: Any) -> Constraint | None:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        return None
    return Constraint.regex("|".join(f"({regex.escape(one, special_only=True)})" for one in value))


def _grammar(value: Any) -> Constraint | None:
    return Constraint.lark(value) if isinstance(value, str) and value else None


def _json_object(value: Any) -> Constraint | None:
    return Constraint.json_schema({"type": "object"}) if value is True else None


_DESCRIBED = ("name", "schema", "strict", "description")
"""What a schema is described by; answers are held to it, strict or not."""
_OUTPUTS: dict[str, Callable[[Any], Constraint | None]] = {
    "json": _json,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
    "json_object": _json_object,
}


def _check_fields(
    value: Mapping[str, Any], names: tuple[str, ...], where: str, parameter: str = "response_format"
) -> None:
    """Refuses what stands beside the fields that there are: it would be passed over."""
    if unread := [name for name, one in value.items() if name not in names and one is not None]:
        raise _refused(f"{where}.{unread[0]:.60} is not served here; leave it out", parameter)


def _refused(message: str, parameter: str = "response_format") -> RefusedError:
    return RefusedError(message, reason="malformed", parameter=parameter)
