"""What is not served is refused by its name, in OpenAI's form; how much is taken on is bounded."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from tests.serve.conformance import KEY, QUESTIONS, chat, said

from trimtab.errors import ModelError
from trimtab.server.limits import Limits

CHAT: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": [{"type": "function"}]}, "tools", "tools is not served"),
    ({"audio": {"voice": "a"}}, "audio", "audio is not served"),
    ({"modalities": ["text", "audio"]}, "modalities", "modalities is not served"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "logit_bias is not served"),
    ({"best_of": 2}, "best_of", "best_of is not served"),
    ({"presence_penalty": 0.5}, "presence_penalty", "presence_penalty is not served"),
    ({"use_beam_search": True}, "use_beam_search", "use_beam_search is not served"),
    ({"min_p": True}, "min_p", "min_p is not served"),
    ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs", "--template-options"),
    ({"temprature": 1}, "temprature", "there is no field 'temprature' here"),
    ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    ({"max_tokens": 1000}, "max_tokens", "there is room for 512"),
    ({"max_tokens": "5"}, "max_tokens", "valid integer, not '5'"),
    ({"temperature": 3}, "temperature", "less than or equal to 2"),
    ({"top_p": 0}, "top_p", "greater than 0"),
    ({"top_logprobs": 2}, "top_logprobs", "goes with logprobs=true"),
    ({"n": 33}, "n", "may ask for 32 answers"),
    ({"seed": 2**64}, "seed", "seed"),
    ({"stop": ""}, "stop", "none of them empty"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "go with stream=true"),
    ({"response_format": {"type": "xml"}}, "response_format", "text, json_object, json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "a name and a schema"),
    ({"structured_outputs": {"regex": "("}}, "response_format", "cannot be used"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs", "one entry"),
    ({"messages": []}, "messages", "at least 1 item after validation, not 0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages", "messages.0.role is one of"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "messages", "messages.0.role is one of"),
    ({"messages": [{"role": "user", "content": None}]}, "messages", "messages.0.content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages",
        "text alone",
    ),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages", "messages.0.name"),
    (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        "messages",
        "continue_final_message=true",
    ),
]
COMPLETION: list[tuple[dict[str, Any], str, str]] = [
    ({"echo": True}, "echo", "echo is not served"),
    ({"suffix": "x"}, "suffix", "suffix is not served"),
    ({"prompt": []}, "prompt", "there is no prompt"),
    ({"prompt": [99999]}, "prompt", "a prompt of tokens"),
    ({"prompt": {"a": 1}}, "prompt", "prompt"),
    ({"logprobs": True}, "logprobs", "integer"),
]


@pytest.mark.parametrize(("changed", "parameter", "says"), CHAT)
def test_what_a_chat_cannot_have(server: Any, changed: dict[str, Any], parameter: str, says: str) -> None:
    body = {"model": "nano", "messages": said(QUESTIONS[0]), "max_tokens": 4, **changed}
    _is_refused(server, "/v1/chat/completions", body, parameter, says)


@pytest.mark.parametrize(("changed", "parameter", "says"), COMPLETION)
def test_what_a_completion_cannot_have(
    server: Any, changed: dict[str, Any], parameter: str, says: str
) -> None:
    body = {"model": "nano", "prompt": "The lighthouse", "max_tokens": 4, **changed}
    _is_refused(server, "/v1/completions", body, parameter, says)


def _is_refused(server: Any, path: str, body: dict[str, Any], parameter: str, says: str) -> None:
    answer = httpx.post(server.address + path, json=body, headers=_bearer())
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert says in error["message"]
    assert error["param"] == parameter
    assert (error["type"], error["code"]) == ("BadRequestError", 400)


def _bearer(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_what_asks_for_nothing_is_taken(client: openai.OpenAI) -> None:
    nothing = {
        "tools": [],
        "logit_bias": {},
        "best_of": 1,
        "presence_penalty": 0.0,
        "store": False,
        "user": "me",
    }
    more = {"modalities": ["text"], "tool_choice": "none", "parallel_tool_calls": False, "audio": None}
    plain = chat(client, QUESTIONS[0], max_tokens=4).parse().choices[0].message.content
    same = chat(client, QUESTIONS[0], max_tokens=4, extra_body={**nothing, **more}).parse().choices[0]
    assert same.message.content == plain


def test_bodies_and_paths_that_are_none(server: Any) -> None:
    path = f"{server.address}/v1/chat/completions"
    kind = {"content-type": "application/json", **_bearer()}
    for content, headers, status, says in (
        (b"{", kind, 400, "the body is not JSON"),
        (b"[" * 100_000, kind, 400, "the body is not JSON"),
        (b"[1]", kind, 400, "a JSON object"),
        (b"{}", kind, 400, "lacks 'messages'"),
        (b"{}", {**kind, "content-type": "text/plain"}, 415, "Content-Type: application/json"),
    ):
        answer = httpx.post(path, headers=headers, content=content)
        assert answer.status_code == status
        assert says in answer.json()["error"]["message"]
    for method, missing, status in (("POST", "/v1/embeddings", 404), ("GET", "/v1/chat/completions", 405)):
        answer = httpx.request(method, server.address + missing, headers=_bearer())
        assert answer.status_code == status
        assert missing in answer.json()["error"]["message"]
        assert answer.headers["x-request-id"]


def test_steering_elsewhere_is_refused(server: Any) -> None:
    answer = httpx.post(f"{server.address}/v1/embeddings", json={"steering": "s0"}, headers=_bearer())
    assert answer.status_code == 400
    assert "takes no steering by steering" in answer.json()["error"]["message"]


def test_the_key_is_asked_for(server: Any) -> None:
    for key in ("wrong", "x", KEY + "x"):
        answer = httpx.get(f"{server.address}/v1/models", headers=_bearer(key))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    page = httpx.get(f"{server.address}/")
    assert (page.status_code, page.headers["www-authenticate"].split()[0]) == (401, "Basic")
    password = base64.b64encode(f"anyone:{KEY}".encode()).decode()
    assert httpx.get(f"{server.address}/", headers={"authorization": f"Basic {password}"}).status_code == 404


def test_too_many_wait(run_server: Callable[..., Any], engine: Any) -> None:
    with (
        run_server(engine, limits=Limits(rows=1, waiting=1, body_bytes=4096, tokens=300)) as server,
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        streams = [_long(client) for _ in range(2)]
        first = [next(streams[0]) for _ in range(3)]
        assert first
        with pytest.raises(openai.RateLimitError, match="1 answers are waiting already") as caught:
            chat(client, QUESTIONS[0])
        assert int(caught.value.response.headers["retry-after"]) > 0
        for stream in streams:
            stream.close()
        assert server.idle()
        assert chat(client, QUESTIONS[0], max_tokens=2).parse().choices[0].message.content
        with pytest.raises(openai.APIStatusError) as caught_too:
            chat(client, "long " * 2000)
        assert caught_too.value.status_code == 413
        with pytest.raises(openai.BadRequestError, match="there is room for 300"):
            chat(client, QUESTIONS[0], max_tokens=299)


def test_a_prompt_without_end_is_refused_by_its_beginning(client: openai.OpenAI) -> None:
    with pytest.raises(
        openai.BadRequestError, match=r"the first 65536 of them are .* the model's context is 512"
    ):
        chat(client, "lighthouse " * 500_000)


def _long(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(
        model="nano",
        messages=said(QUESTIONS[0]),  # type: ignore[arg-type]
        max_tokens=250,
        temperature=0,
        stream=True,
        # Held to this, it goes on and on.
        extra_body={"structured_outputs": {"regex": "[a-z ]{2000}"}},
    )


def test_nobody_waits_for_ever(run_server: Callable[..., Any], engine: Any) -> None:
    with (
        run_server(engine, limits=Limits(seconds=0.4, body_seconds=0.3)) as server,
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        with pytest.raises(openai.APIError, match=r"not complete after 0.4 seconds"):
            list(_long(client))
        with pytest.raises(openai.InternalServerError, match=r"not complete after 0.4 seconds"):
            chat(
                client,
                QUESTIONS[0],
                max_tokens=250,
                extra_body={"structured_outputs": {"regex": "[a-z ]{2000}"}},
            )
        assert server.idle()
        host, port = server.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            slow.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def test_it_ends_in_order(run_server: Callable[..., Any], engine: Any) -> None:
    with run_server(engine, limits=Limits(grace_seconds=30)) as server:
        client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=60)
        stream = client.chat.completions.create(
            model="nano",
            messages=said(QUESTIONS[0]),  # type: ignore[arg-type]
            max_tokens=40,
            temperature=0,
            stream=True,
        )
        parts = [next(stream)]
        server.uvicorn.should_exit = True
        parts += list(stream)
        assert parts[-1].choices[0].finish_reason is not None
        with pytest.raises(openai.APIError):  # nobody listens, or it says so
            chat(client, QUESTIONS[0])
        client.close()
    [whole] = engine.generate([QUESTIONS[0]], max_new_tokens=40)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole.text

    with run_server(engine, limits=Limits(grace_seconds=0)) as server:
        client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=60)
        stream = _long(client)
        next(stream)
        server.uvicorn.should_exit = True
        begun = time.monotonic()
        with pytest.raises(openai.APIError, match="shutting down"):
            list(stream)
        assert time.monotonic() - begun < 20
        client.close()


def test_limits_that_are_none() -> None:
    for name in ("rows", "waiting", "tokens", "seconds"):
        with pytest.raises(ModelError, match=f"the limit {name} is -1"):
            Limits(**{name: -1})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="the limit rows is 0"):
        Limits(rows=0)
    assert Limits(waiting=0).waiting == 0


def test_other_sites_may_ask_where_they_are_named(run_server: Callable[..., Any], tiny_llama: Any) -> None:
    asks = {"origin": "https://app.example", "access-control-request-method": "POST"}
    for origins, status in (((), 405), (("https://app.example",), 200)):
        with run_server(tiny_llama, origins=origins, key=KEY) as server:
            answer = httpx.options(f"{server.address}/v1/chat/completions", headers=asks)
            assert answer.status_code == status
            assert answer.headers.get("access-control-allow-origin") == (asks["origin"] if origins else None)
