from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.serve.fakes import Answer, Echo, exchange, library, scope, serving, steering

from trimtab.serve.middleware import SteeringMiddleware
from trimtab.serve.request import parse_request
from trimtab.serve.resolving import resolve
from trimtab.serve.serving import Serving

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def server() -> Serving:
    return serving(library(json=steering(0), lowercase=steering(1), thick=steering(2, gated=2)))


@pytest.fixture
def echo() -> Echo:
    return Echo()


def post(
    echo: Any, server: Serving | None, body: Any, path: str = CHAT, headers: Any = (), most_bytes: int = 10**6
) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    length = (b"content-length", str(len(content)).encode())
    middleware = SteeringMiddleware(echo, most_bytes)
    return asyncio.run(exchange(middleware, scope(path, server, headers=[length, *headers]), content))


def chosen_by(server: Serving, body: bytes) -> Any:
    """What the server behind will make of a body that was passed on."""
    request = parse_request(json.loads(body)["vllm_xargs"]["steering"])
    return resolve(request, server.library).composition


def digest(server: Serving, name: str) -> str:
    return server.library.get(name).digest


# --- what is passed on -----------------------------------------------------------------------------------------------


def test_an_unsteered_body_is_passed_on_byte_by_byte(server: Serving, echo: Echo) -> None:
    body = b' {"model":"tiny",  "messages": [], "x": 1e0, "model":"tiny"}'
    answer = post(echo, server, body)
    assert echo.bodies == [body]
    assert "x-trimtab-steering" not in answer.headers
    assert server.metrics.counts == {"unsteered": 1}


@pytest.mark.parametrize("path", ["/v1/completions", CHAT, "/generate"])
def test_a_model_name_chooses(server: Serving, echo: Echo, path: str) -> None:
    body = {"model": "tiny:json*0.5+lowercase", "messages": MESSAGES, "vllm_xargs": {"session_id": "s"}}
    answer = post(echo, server, body, path)
    passed = json.loads(echo.bodies[0])
    assert (passed["model"], passed["messages"]) == ("tiny", MESSAGES)
    assert passed["vllm_xargs"]["session_id"] == "s"
    expected = sorted([(digest(server, "json"), 0.5), (digest(server, "lowercase"), 1.0)])
    assert list(chosen_by(server, echo.bodies[0])) == expected
    assert echo.headers[b"content-length"] == str(len(echo.bodies[0])).encode()
    (one, of_one), (other, of_other) = [(d, "" if s == 1 else f"*{s:g}") for d, s in expected]
    assert answer.headers["x-trimtab-steering"] == f"{one}{of_one}+{other}{of_other}"
    assert server.metrics.counts == {"steered": 1}


def test_a_model_whose_name_has_a_colon(server: Serving, echo: Echo) -> None:
    post(echo, server, {"model": "tiny:v2"})
    post(echo, server, {"model": "tiny:v2:json"})
    assert json.loads(echo.bodies[0]) == {"model": "tiny:v2"}
    assert json.loads(echo.bodies[1])["model"] == "tiny:v2"
    assert chosen_by(server, echo.bodies[1]) == ((digest(server, "json"), 1.0),)


def test_arguments_choose_and_both_places_add_up(server: Serving, echo: Echo) -> None:
    post(echo, server, {"model": "tiny:json", "vllm_xargs": {"steering": "json*0.5+lowercase*2"}})
    expected = sorted([(digest(server, "json"), 1.5), (digest(server, "lowercase"), 2.0)])
    assert list(chosen_by(server, echo.bodies[0])) == expected


def test_the_field_steering_chooses_and_is_not_passed_on(server: Serving, echo: Echo) -> None:
    asked = {"steerings": [{"name": "json", "strength": 0.5}]}
    for said in ("json*0.5", asked, json.dumps(asked)):
        post(echo, server, {"model": "tiny", "steering": said})
        assert "steering" not in json.loads(echo.bodies[-1])
        assert chosen_by(server, echo.bodies[-1]) == ((digest(server, "json"), 0.5),)
    post(echo, server, {"model": "tiny:json", "steering": "json", "vllm_xargs": {"steering": "json*0.5"}})
    assert chosen_by(server, echo.bodies[-1]) == ((digest(server, "json"), 2.5),)
    post(echo, server, {"model": "tiny", "steering": "json"}, "/tokenize")
    assert json.loads(echo.bodies[-1]) == {"model": "tiny"}
    wrong = post(echo, server, {"model": "tiny", "steering": "nope"})
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "steering")
    elsewhere = post(echo, server, {"model": "tiny", "steering": "json"}, "/embed")
    assert (elsewhere.status, elsewhere.json["error"]["param"]) == (400, "steering")
    assert "'/embed' takes no steering by steering; ask elsewhere" in elsewhere.json["error"]["message"]


def test_what_is_passed_on_outlives_the_name(server: Serving, echo: Echo) -> None:
    before = digest(server, "json")
    post(echo, server, {"model": "tiny:json"})
    server.library.add("json", steering(9))
    assert chosen_by(server, echo.bodies[0]) == ((before, 1.0),)
    server.library.remove("json")
    assert chosen_by(server, echo.bodies[0]) == ((before, 1.0),)


def test_own_edits_arrive_to_the_last_bit(server: Serving, echo: Echo) -> None:
    u, p = torch.randn(8), torch.randn(8)
    edits = [{"block": 2, "u": u.tolist(), "alpha": 0.1, "p": p.tolist(), "tokens": "generated"}]
    said = json.dumps({"steerings": [{"name": "json"}], "edits": edits})
    post(echo, server, {"model": "tiny", "vllm_xargs": {"steering": said}})
    passed = parse_request(json.loads(echo.bodies[0])["vllm_xargs"]["steering"])
    (edit,) = passed.edits
    assert torch.equal(edit.u, u)
    assert edit.p is not None
    assert torch.equal(edit.p, p)
    assert (edit.block, edit.alpha, edit.tokens) == (2, 0.1, "generated")
    assert resolve(passed, server.library) == resolve(parse_request(said), server.library)


def test_what_the_header_says_can_be_asked_for(server: Serving, echo: Echo) -> None:
    said = "json*0.1+lowercase*-1e-07"
    answer = post(echo, server, {"model": "tiny", "vllm_xargs": {"steering": said}})
    header = answer.headers["x-trimtab-steering"]
    assert header.count("+") == 1
    post(echo, server, {"model": "tiny", "vllm_xargs": {"steering": header}})
    assert chosen_by(server, echo.bodies[1]) == chosen_by(server, echo.bodies[0])


def test_strength_zero_is_unsteered(server: Serving, echo: Echo) -> None:
    answer = post(echo, server, {"model": "tiny:json*0", "use_beam_search": True})
    assert json.loads(echo.bodies[0]) == {"model": "tiny", "use_beam_search": True}
    assert "x-trimtab-steering" not in answer.headers
    assert server.metrics.counts == {"unsteered": 1}


def test_nothing_is_added_that_the_client_did_not_say(server: Serving, echo: Echo) -> None:
    post(echo, server, {"vllm_xargs": {"steering": "json*0"}})
    assert json.loads(echo.bodies[0]) == {"vllm_xargs": None}
    post(echo, server, {"vllm_xargs": {"steering": "json"}})
    assert "model" not in json.loads(echo.bodies[1])


def test_counting_tokens_needs_no_steering_and_checks_its_name(server: Serving, echo: Echo) -> None:
    post(echo, server, {"model": "tiny:json", "prompt": "Hello"}, "/tokenize")
    assert json.loads(echo.bodies[0]) == {"model": "tiny", "prompt": "Hello"}
    assert post(echo, server, {"model": "tiny:nope", "prompt": "Hello"}, "/tokenize").status == 400
    assert server.metrics.counts == {"unknown": 1}


def test_the_request_id_is_the_clients_or_made(server: Serving, echo: Echo) -> None:
    post(echo, server, {"model": "tiny:json"}, headers=[(b"X-Request-Id", b"mine")])
    assert [value for key, value in echo.scopes[0]["headers"] if key.lower() == b"x-request-id"] == [b"mine"]
    post(echo, server, {"model": "tiny:json"})
    assert len(echo.headers[b"x-request-id"]) == 32


def test_one_line_of_the_log_per_steered_request(
    server: Serving, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "trimtab.serve"):
        post(echo, server, {"model": "tiny"})
        post(echo, server, {"model": "tiny:json"}, headers=[(b"x-request-id", b"abc\x1b[31m")])
    (line,) = [record.getMessage() for record in caplog.records]
    assert "abc" in line
    assert "\x1b" not in line
    assert digest(server, "json") in line


def test_a_long_composition_has_a_short_header(echo: Echo) -> None:
    names = {f"s{number}": steering(number, gated=0) for number in range(8)}
    server = serving(library(**names))
    extra = [
        {"block": 0, "u": [float(number)] * 8, "alpha": 1.0} for number in range(1, 3)
    ]  # one part of its own
    body = {"model": "tiny:" + "+".join(names), "vllm_xargs": {"steering": json.dumps({"edits": extra})}}
    header = post(echo, server, body).headers["x-trimtab-steering"]
    assert header.endswith(" and 1 more")
    assert header.count("sha256:") == 8


# --- what is left to vLLM --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"[1]", b'"text"', b"null", b"\xff\xfe", b"[" * 5000, b'{"model":1}']
)
def test_what_is_no_request_is_left_to_the_server(server: Serving, echo: Echo, body: bytes) -> None:
    assert post(echo, server, body).status == 200
    assert echo.bodies == [body]


@pytest.mark.parametrize("xargs", [None, 3, "text", [1]])
def test_arguments_of_another_kind_are_left_to_the_server(server: Serving, echo: Echo, xargs: Any) -> None:
    post(echo, server, {"model": "tiny", "vllm_xargs": xargs})
    assert json.loads(echo.bodies[0])["vllm_xargs"] == xargs


def test_an_unknown_model_is_left_to_the_server(server: Serving, echo: Echo) -> None:
    post(echo, server, {"model": "other:json"})
    assert json.loads(echo.bodies[0]) == {"model": "other:json"}


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", CHAT, b"application/json"),
        ("POST", "/v1/steerings/load", b"application/json"),
        ("POST", CHAT, b"text/plain"),
    ],
)
def test_other_requests_pass(server: Serving, echo: Echo, method: str, path: str, kind: bytes) -> None:
    connection = scope(path, server, method=method) | {"headers": [(b"content-type", kind)]}
    body = b'{"model": "tiny:nope"}'
    asyncio.run(exchange(SteeringMiddleware(echo), connection, body))
    assert echo.bodies == [body]


def test_a_server_without_steering_is_left_alone(echo: Echo) -> None:
    body = b'{"model": "tiny:json"}'
    post(echo, None, body)
    assert echo.bodies == [body]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_other_connections_pass(server: Serving, echo: Echo, kind: str) -> None:
    connection = {**scope("/x", server), "type": kind}
    del connection["method"]
    asyncio.run(exchange(SteeringMiddleware(echo), connection))
    assert [seen["type"] for seen in echo.scopes] == [kind]


def test_behind_a_proxy_the_path_is_found(server: Serving, echo: Echo) -> None:
    connection = scope(f"/llm{CHAT}", server) | {"root_path": "/llm"}
    asyncio.run(exchange(SteeringMiddleware(echo), connection, b'{"model": "tiny:json"}'))
    assert json.loads(echo.bodies[0])["model"] == "tiny"


# --- what is refused -------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"model": "tiny:nope"}, "unknown", "model", "no steering 'nope'"),
    ({"model": "tiny:json+nope"}, "unknown", "model", "nope"),
    ({"model": "tiny:"}, "malformed", "model", "empty"),
    ({"model": "tiny:json*much"}, "malformed", "model", "json\\*much"),
    ({"model": "tiny:json*1e999"}, "malformed", "model", "finite"),
    ({"vllm_xargs": {"steering": "sha256:000000000000"}}, "unknown", "vllm_xargs", "digest"),
    ({"vllm_xargs": {"steering": 3}}, "malformed", "vllm_xargs", "text or an object"),
    ({"vllm_xargs": {"steering": "{"}}, "malformed", "vllm_xargs", "JSON"),
    (
        {"vllm_xargs": {"steering": '{"edits": [{"block": 0, "u": [NaN], "alpha": 1}]}'}},
        "malformed",
        "vllm_xargs",
        "",
    ),
    (
        {"vllm_xargs": {"steering": '{"edits": [{"block": 0, "u": [1], "alpha": 1}]}'}},
        "unsuitable",
        "vllm_xargs",
        "",
    ),
    ({"model": "tiny:json+thick"}, "unsuitable", "model", "3 gated edits"),
    ({"vllm_xargs": {"trimtab": "x"}}, "internal_key", "vllm_xargs", "server's own"),
    ({"model": "tiny:json", "vllm_xargs": {"trimtab": {}}}, "internal_key", "vllm_xargs", "server's own"),
]


@pytest.mark.parametrize(("body", "reason", "parameter", "says"), WRONG)
def test_mistakes_are_one_sentence(
    server: Serving, echo: Echo, body: dict[str, Any], reason: str, parameter: str, says: str
) -> None:
    answer = post(echo, server, {"model": "tiny", **body})
    assert answer.status == 400
    assert echo.bodies == []
    error = answer.json["error"]
    assert (error["type"], error["param"], error["code"]) == ("BadRequestError", parameter, 400)
    assert re.search(says, error["message"])
    assert "\n" not in error["message"]
    assert server.metrics.counts == {reason: 1}


def test_anthropics_clients_get_errors_in_their_shape(server: Serving, echo: Echo) -> None:
    answer = post(echo, server, {"model": "tiny:nope"}, "/v1/messages")
    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert "nope" in answer.json["error"]["message"]


def test_where_it_would_be_answered_unsteered_it_is_refused(server: Serving, echo: Echo) -> None:
    for path, instead in (
        ("/embed", "ask elsewhere"),
        ("/other", "leave it out, or ask at /v1/chat/completions, "),
    ):
        for body in ({"model": "tiny:json"}, {"model": "tiny", "vllm_xargs": {"steering": "json"}}):
            answer = post(echo, server, body, path)
            assert (answer.status, echo.bodies) == (400, [])
            assert f"'{path}' takes no steering" in answer.json["error"]["message"]
            assert instead in answer.json["error"]["message"]
    assert server.metrics.counts == {"elsewhere": 4}
    assert post(echo, server, {"model": "tiny"}, "/embed").status == 200


def test_where_no_key_is_asked_for_no_names_are_told(echo: Echo) -> None:
    server = serving(library(json=steering(0)), has_key=True)
    message = "there is no steering 'nope' here"
    assert post(echo, server, {"model": "tiny:nope"}, "/generate").json["error"]["message"] == message
    assert "json" in post(echo, server, {"model": "tiny:nope"}).json["error"]["message"]
    open_to_all = serving(library(json=steering(0)))
    assert "json" in post(echo, open_to_all, {"model": "tiny:nope"}, "/generate").json["error"]["message"]


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("path", [CHAT, "/generate", "/tokenize", "/elsewhere"])
def test_what_is_too_large_to_be_read_for_its_steering_is_refused(
    server: Serving, echo: Echo, path: str, announced: bool
) -> None:
    parts = [b'{"model": "tiny", "steering": "json", "x": "', b"y" * 600, b"y" * 600, b'"}']
    length = [(b"content-length", str(sum(map(len, parts))).encode())] if announced else []
    middleware = SteeringMiddleware(echo, 1000)
    answer = asyncio.run(exchange(middleware, scope(path, server, headers=length), *parts))
    assert (answer.status, echo.bodies) == (413, [])
    assert "1000 bytes" in answer.json["error"]["message"]
    assert server.metrics.counts == {"too_large": 1}


def test_a_name_that_is_gone_is_refused_and_so_is_its_digest(server: Serving, echo: Echo) -> None:
    entry = server.library.remove("json")
    assert server.library.get(entry.digest) is entry  # for requests under way
    assert post(echo, server, {"model": "tiny:json"}).status == 400
    assert post(echo, server, {"model": f"tiny:{entry.digest}"}).status == 400


@pytest.mark.parametrize("status", [400, 404, 500])
def test_what_the_server_refuses_is_not_steered(server: Serving, status: int) -> None:
    answer = post(Echo(status), server, {"model": "tiny:json"})
    assert answer.status == status
    assert "x-trimtab-steering" not in answer.headers
    assert server.metrics.counts == {"failed": 1}


def test_a_body_in_parts(server: Serving, echo: Echo) -> None:
    asyncio.run(exchange(SteeringMiddleware(echo), scope(CHAT, server), b'{"mod', b'el": "tiny:js', b'on"}'))
    assert chosen_by(server, echo.bodies[0]) == ((digest(server, "json"), 1.0),)


def test_a_client_that_hangs_up_while_sending_is_forgotten(server: Serving, echo: Echo) -> None:
    answer = asyncio.run(exchange(SteeringMiddleware(echo), scope(CHAT, server), b'{"mod', hang_up=True))
    assert (answer.messages, echo.scopes, len(server.in_flight)) == ([], [], 0)


# --- streams and what is in flight ------------------------------------------------------------------------------------


def test_a_stream_is_not_held_back(server: Serving) -> None:
    async def scenario() -> None:
        seen = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await seen.wait()  # the second part is written after the client has the first
            await send({"type": "http.response.body", "body": b"second"})

        got: list[bytes] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                got.append(message["body"])
                assert len(server.in_flight) == 1
                seen.set()

        messages = [{"type": "http.request", "body": b'{"model": "tiny:json"}', "more_body": False}]

        async def receive() -> Any:
            return messages.pop(0)

        await asyncio.wait_for(SteeringMiddleware(app)(scope(CHAT, server), receive, send), 5)
        assert got == [b"first", b"second"]
        assert len(server.in_flight) == 0

    asyncio.run(scenario())


def test_a_hang_up_is_told_to_the_server(server: Serving) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), await receive()])

    asyncio.run(exchange(SteeringMiddleware(app), scope(CHAT, server), b'{"model": "tiny:json"}'))
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("path", [CHAT, "/v1/steerings/load", "/elsewhere"])
def test_a_request_is_in_flight_until_it_ends_also_badly(server: Serving, path: str) -> None:
    counted = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        counted.append(len(server.in_flight))
        raise RuntimeError

    body = b'{"model": "tiny:json"}' if path == CHAT else b"{}"
    with pytest.raises(RuntimeError):
        asyncio.run(exchange(SteeringMiddleware(app), scope(path, server), body))
    assert counted == [1]
    assert len(server.in_flight) == 0
    assert server.metrics.counts["failed"] == (path == CHAT)


# --- whatever comes --------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
expressions = st.text(alphabet="jsonlowercase*+:.- 019e{}[]\"'\n\x00é\ud800", max_size=30)


@given(
    model=st.sampled_from(["tiny", "tiny:json", "tiny:v2:lowercase"])
    | expressions.map("tiny:{}".format)
    | json_values,
    steering_asked=expressions | json_values,
)
def test_whatever_comes_is_passed_on_or_refused_in_a_sentence(model: Any, steering_asked: Any) -> None:
    server, echo = serving(SHARED), Echo()
    body = json.dumps({"model": model, "vllm_xargs": {"steering": steering_asked}})
    answer = post(echo, server, body.encode())
    if answer.status == 200:
        assert len(echo.bodies) == 1
        if "x-trimtab-steering" in answer.headers:
            assert chosen_by(server, echo.bodies[0])
    else:
        assert answer.status == 400
        assert answer.json["error"]["message"]
        assert echo.bodies == []
    assert len(server.in_flight) == 0


SHARED = library(json=steering(0), lowercase=steering(1))
