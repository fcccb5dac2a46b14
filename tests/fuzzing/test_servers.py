"""Nothing that a request says is passed over: a field that there is not is refused by its name, wherever it stands."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from tests.fuzzing.servers import CHATS, COMPLETIONS, sent

from trimtab.serve.refusal import RefusedError

FREE = ("metadata", "schema")
"""Objects whose keys are the client's own."""


def _objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path and path[-1] in FREE:
        return
    if isinstance(value, dict):
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _objects(value[key], (*path, key))


CASES = [
    (route, number, path)
    for route, bodies in (("/v1/chat/completions", CHATS), ("/v1/completions", COMPLETIONS))
    for number, body in enumerate(bodies)
    for path in _objects(body)
]


@pytest.mark.parametrize("value", [1, False, ""], ids=repr)
@pytest.mark.parametrize(
    ("route", "number", "path"),
    CASES,
    ids=lambda one: ".".join(map(str, one)) if isinstance(one, tuple) else None,
)
def test_a_field_that_there_is_not_is_refused_by_its_name(
    route: str, number: int, path: tuple[Any, ...], value: Any
) -> None:
    body = copy.deepcopy((CHATS if "chat" in route else COMPLETIONS)[number])
    place = body
    for key in path:
        place = place[key]
    place["unheard_of"] = value
    with pytest.raises(RefusedError, match="unheard_of"):
        sent(route, body)
