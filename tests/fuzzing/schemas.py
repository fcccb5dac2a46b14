"""The table of schemas of requests: what people and programs send as text or JSON, and what takes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from tests.fuzzing.guard import FaultError
from tests.fuzzing.readers import IDENTITY, SCHEMA, D, refusal_or, steering
from tests.fuzzing.servers import (
    CHATS,
    COMPLETIONS,
    PAGE,
    chat_route,
    completion_route,
    page,
    page_call,
    server,
)

from trimtab.errors import TrimtabError


@dataclass(frozen=True)
class Schema:
    """What is sent, and what takes it.

    Attributes:
        name: What a table calls it.
        base: Sound values, each of which is taken; what is tried are strange ones like these.
        take: Takes one, and goes on with it as a command or a server would.
        slow: Each try takes a good part of a second.
        prepare: Called once before: makes what takes it, which may take longer than a try.
    """

    name: str
    base: tuple[Any, ...]
    take: Callable[[Any], Any]
    slow: bool = False
    prepare: Callable[[], Any] = field(default=lambda: None)


EDIT = {"block": 2, "u": [0.5] * 8, "alpha": 1.0, "p": [0.25] * 8, "tokens": "generated"}
REQUEST = {
    "steerings": [{"name": "json", "strength": 0.8}, {"digest": "sha256:0123456789ab"}],
    "edits": [EDIT],
}
CHAT = {
    "model": "tiny:json*0.5",
    "messages": [{"role": "user", "content": "why?"}],
    "max_tokens": 4,
    "vllm_xargs": {"steering": {"steerings": [{"name": "json", "strength": 0.8}], "edits": [EDIT]}},
}


# --- servers --------------------------------------------------------------------------------------------------------


def _choose(body: Any) -> Any:
    from tests.serve import fakes

    from trimtab.serve.choosing import check_elsewhere, choose

    if not isinstance(body, dict):
        return None  # which the middleware leaves to the server
    held = fakes.library(json=fakes.steering(0))
    served = {"tiny", "tiny:v2"}
    refusal_or(lambda: check_elsewhere("/embed", body, fakes.INTERFACE, served))
    choice = choose("/v1/chat/completions", body, fakes.INTERFACE, served, held)
    str(choice).encode()
    return None if choice.body is None else json.dumps(choice.body)


@cache
def _app() -> Any:
    from fastapi import FastAPI
    from tests.serve import fakes

    from trimtab.serve.routes import attach

    app = FastAPI()
    attach(app)
    app.state.trimtab = fakes.serving(fakes.library(json=fakes.steering(0)), fakes.Engines())
    return app


def _sent(method: str, path: str, body: bytes, kind: bytes = b"application/json") -> int:
    """Sends a request to the routes about steerings; every answer is JSON, and none a failure of the server's own."""
    from tests.serve.fakes import exchange, scope

    connection = scope(path, None, method=method)
    connection |= {"query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http"}
    connection |= {"headers": [(b"content-type", kind)], "raw_path": path.encode("utf-8", "replace")}
    connection |= {"server": ("here", 80), "client": ("there", 1)}
    answer = asyncio.run(exchange(_app(), connection, body))
    if answer.status >= 500:
        raise FaultError(f"status {answer.status}: {answer.json!r:.200}")
    if answer.status >= 400 and not str(answer.json):
        raise FaultError("an error without words")
    return answer.status


def _load_route(value: Any) -> Any:
    return _sent("POST", "/v1/steerings/load", json.dumps(value).encode())


def _names_route(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode("utf-8", "replace").decode()
    for method, path in (("GET", "/v1/steerings/"), ("GET", "/v1/models/"), ("DELETE", "/v1/steerings/")):
        if method == "DELETE" and text == "json":
            continue
        _sent(method, path + text, b"")


def _upload_route(value: Any) -> Any:
    body = value if isinstance(value, str) else json.dumps(value)
    return _sent("POST", "/v1/steerings", body.encode("utf-8", "replace"), b"multipart/form-data; boundary=B")


FORM = (
    '--B\r\nContent-Disposition: form-data; name="name"\r\n\r\nnew\r\n'
    '--B\r\nContent-Disposition: form-data; name="document"; filename="d"\r\n\r\n{}\r\n'
    '--B\r\nContent-Disposition: form-data; name="tensors"; filename="t"\r\n\r\nabc\r\n--B--\r\n'
)


def _parse_request(value: Any) -> Any:
    from trimtab.serve.request import parse_request

    found = parse_request(value)
    return len(found.parts) + len(found.edits)


# --- instructions ---------------------------------------------------------------------------------------------------

PARAMETERS: tuple[dict[str, Any], ...] = (
    {"name": "sentences", "params": {"at_most": 2}},
    {"name": "include", "params": {"word": "sea"}},
    {"name": "json", "params": {}},
)
TEXTS = ("The sea is deep, and wide.", "", "* one\n* two", '{"a": 1}', "a" * 500)


@cache
def _examples() -> tuple[dict[str, Any], ...]:
    """One instruction of every kind, with its parameters."""
    from trimtab import instructions

    return tuple({"name": kind.name, "params": dict(kind.example or {})} for kind in instructions.catalogue())


def _use(instruction: Any) -> None:
    """What is done with an instruction before a model is asked."""
    instruction.label.encode("utf-8", "surrogatepass")
    refusal_or(lambda: instruction.phrasings("learning"))
    refusal_or(lambda: instruction.constraint())
    for text in TEXTS:
        refusal_or(lambda text=text: instruction.check(text))  # type: ignore[misc]
    json.dumps(instruction.to_dict())


def _from_dict(value: Any) -> Any:
    from trimtab import instructions

    if isinstance(value, dict):  # what reads it has looked
        _use(instructions.from_dict(value))


def _spelled(value: Any) -> Any:
    from trimtab.instructions.spelling import parse_instructions

    for one in parse_instructions(value if isinstance(value, str) else json.dumps(value)):
        _use(one)


def _params_option(value: Any) -> Any:
    from trimtab.cli.options import instruction_named

    _use(instruction_named("sentences", value if isinstance(value, str) else json.dumps(value)))


def _constraint(make: str) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        from trimtab.constraint import Constraint

        if make == "json_schema":
            if not isinstance(value, dict | bool):
                return None
        elif not isinstance(value, str):
            value = json.dumps(value)
        one = getattr(Constraint, make)(value)
        return one.possible and one.admits("sea")

    return take


# --- steerings ------------------------------------------------------------------------------------------------------

WHEN = {
    "kind": "any",
    "parts": [
        {"kind": "matches", "pattern": "\\brocket\\b"},
        {
            "kind": "not",
            "parts": [
                {
                    "kind": "resembles",
                    "block": 1,
                    "threshold": 0.2,
                    "tokens": "last",
                    "measurements": {"f1": 1.0},
                }
            ],
        },
    ],
}


def _when(value: Any) -> Any:
    from trimtab.steering.when.files import read_when

    found = read_when(value, "conditions.0", {"conditions.0.1.0.direction": D}, IDENTITY, "here")
    found.describe().encode("utf-8", "surrogatepass")
    if not found.readings:
        found.holds("a rocket " + "a" * 100, _unread)


def _unread(block: int, tokens: Any) -> Any:
    raise AssertionError("nothing is read")


def _record(value: Any) -> Any:
    from trimtab.steering.record import Record

    if isinstance(value, dict):
        found = Record.from_dict(value)
        str(found.model).encode("utf-8", "surrogatepass")
        return found.out_of_bounds, found.judges
    return None


def _edit(value: Any) -> Any:
    from trimtab.steering.edits import Edit

    if not isinstance(value, dict) or not set(value) <= {"block", "u", "alpha", "p", "tokens"}:
        return None  # Python's own to refuse
    value = {"block": 0, "u": D, **value}
    for name in ("u", "p"):
        if isinstance(value.get(name), list):
            try:
                value[name] = torch.tensor(value[name])
            except (TypeError, ValueError, RuntimeError, OverflowError):
                return None
    one = Edit(**value)
    repr(one)
    return one.scaled(2.0).is_nothing


def _thoughts(value: Any) -> Any:
    from trimtab.thoughts import ThoughtFormat

    if isinstance(value, dict):
        return ThoughtFormat.from_dict(value).answer
    return None


def _tags() -> dict[str, Any]:
    from trimtab.thoughts import ThoughtFormat

    return json.loads(json.dumps(ThoughtFormat.tags("t", "<think>", "</think>").to_dict()))


# --- engines --------------------------------------------------------------------------------------------------------

GENERATE = {
    "max_new_tokens": 2,
    "do_sample": True,
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 5,
    "num_beams": 1,
    "num_return_sequences": 1,
    "seed": 1,
    "batch_size": 1,
    "raw": False,
}
MESSAGES = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "why?"}]},
    {"role": "assistant", "content": "because"},
]


def _generate(value: Any) -> Any:
    from tests.fuzzing.readers import _engine

    if not isinstance(value, dict) or not set(value) <= set(GENERATE):
        return None  # an argument that there is not is Python's own to refuse
    return len(_engine().generate(["why"], **value))


def _prompt(value: Any) -> Any:
    from tests.fuzzing.readers import _engine

    from trimtab.engines.chat import prompt_ids

    return len(prompt_ids(_engine().tokenizer, value))


def _strength(value: Any) -> Any:
    import typer

    from trimtab.cli.options import numbers

    try:
        strengths = numbers(value if isinstance(value, str) else json.dumps(value), "--strength", float)
    except typer.BadParameter as error:
        raise TrimtabError(str(error)) from error
    return (steering() * strengths[0]).digest()


SCHEMAS: tuple[Schema, ...] = (
    Schema("request: steering as an object", (REQUEST, {"steerings": []}), _parse_request),
    Schema("request: steering as text", ("json*0.8+lowercase", json.dumps(REQUEST)), _parse_request),
    Schema("request: body of a chat", (CHAT,), _choose),
    Schema(
        "route: load a steering",
        ({"folder": "json", "name": "a", "replace": True}, {"hub": "a/b@c"}),
        _load_route,
    ),
    Schema("route: upload a steering", (FORM,), _upload_route),
    Schema("route: names in addresses", ("json", "tiny:json*0.5+sha256:0123456789ab"), _names_route),
    Schema("instruction: object", PARAMETERS, _from_dict),
    Schema("instruction: spelling", ("json,sentences(at_most=2)", 'include("sea"),language(de)'), _spelled),
    Schema("instruction: --params", ({"at_most": 2},), _params_option),
    Schema("constraint: regular expression", ("[a-z]+( [a-z]+)*", "(?i)yes|no"), _constraint("regex")),
    Schema("constraint: JSON schema", (SCHEMA,), _constraint("json_schema")),
    Schema("constraint: grammar", ('start: "a" | /[b-z]+/ start',), _constraint("lark")),
    Schema("when a steering acts", (WHEN,), _when),
    Schema("steering's record", (steering().record.to_dict(),), _record),
    Schema("edit", ({"block": 1, "u": [1.0] * 4, "alpha": 1.0, "p": [0.5] * 4, "tokens": "all"},), _edit),
    Schema("format of thoughts", (_tags(),), _thoughts),
    Schema("generation settings", (GENERATE,), _generate, slow=True),
    Schema("prompt: chat", (MESSAGES, "why?"), _prompt),
    Schema("server: chat", (*CHATS, json.dumps(CHATS[0])), chat_route, prepare=server),
    Schema(
        "server: completion", (*COMPLETIONS, json.dumps(COMPLETIONS[0])), completion_route, prepare=server
    ),
    *(
        Schema(f"page: {name}", tuple(map(list, inputs)), page_call(name), slow=True, prepare=page)
        for name, inputs in PAGE.items()
    ),
    Schema("--strength", ("0.5", "1,2"), _strength),
)
