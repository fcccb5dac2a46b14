"""What the middleware makes of requests at vLLM's routes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from tests.serve.fakes import Echo, Engines, library, serving, steering
from tests.serve.test_middleware import CHAT, json_values, post

from trimtab.serve.library import SteeringLibrary
from trimtab.serve.serving import Serving
from trimtab.vllm.server.interface import INTERFACE


def on_vllm(made: SteeringLibrary, *, has_key: bool = False) -> Serving:
    return serving(made, Engines(interface=INTERFACE), has_key=has_key)


@pytest.fixture
def server() -> Serving:
    return on_vllm(library(json=steering(0)))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.mark.parametrize("path", sorted(INTERFACE.generating))
def test_where_a_steering_can_be_had(server: Serving, echo: Echo, path: str) -> None:
    assert "x-trimtab-steering" in post(echo, server, {"model": "tiny:json"}, path).headers
    assert post(echo, server, {"model": "tiny:nope"}, path).status == 400


def test_beams_are_refused_in_a_sentence(server: Serving, echo: Echo) -> None:
    error = post(echo, server, {"model": "tiny:json", "use_beam_search": True}).json["error"]
    assert (error["param"], error["code"], echo.bodies) == ("use_beam_search", 400, [])
    assert "beam search cannot be steered" in error["message"]
    assert server.metrics.counts == {"beam_search": 1}
    answer = post(echo, server, {"model": "tiny:json*0", "use_beam_search": True})
    assert (answer.status, json.loads(echo.bodies[0])) == (200, {"model": "tiny", "use_beam_search": True})


@given(json_values)
def test_whatever_is_said_of_beams_has_an_answer(value: Any) -> None:
    answer = post(Echo(), on_vllm(SHARED), {"model": "tiny:json", "use_beam_search": value})
    assert answer.status in (200, 400)


@pytest.mark.parametrize("value", [True, 1, "true", "on", "Yes", [0]])
def test_all_that_means_beams_is_refused(server: Serving, echo: Echo, value: Any) -> None:
    assert post(echo, server, {"model": "tiny:json", "use_beam_search": value}).status == 400


@pytest.mark.parametrize("value", [False, 0, None, "false", "off"])
def test_what_means_no_beams_is_not(server: Serving, echo: Echo, value: Any) -> None:
    assert post(echo, server, {"model": "tiny:json", "use_beam_search": value}).status == 200


@pytest.mark.parametrize(
    "path", ["/generative_scoring", "/v1/systemone", "/cohere/v2/chat", "/v1/embeddings"]
)
@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"model": "tiny:json"}, "model"),
        ({"model": "tiny:nope"}, "model"),
        ({"vllm_xargs": {"steering": "json"}}, "vllm_xargs"),
        ({"model": "tiny", "vllm_xargs": {"steering": ""}}, "vllm_xargs"),
    ],
)
def test_where_it_would_be_answered_unsteered_it_is_refused(
    server: Serving, echo: Echo, path: str, body: dict[str, Any], parameter: str
) -> None:
    answer = post(echo, server, body, path)
    assert (answer.status, answer.json["error"]["param"], echo.bodies) == (400, parameter, [])
    assert f"'{path}' takes no steering" in answer.json["error"]["message"]
    assert server.metrics.counts == {"elsewhere": 1}
    plain = b' {"model": "tiny", "vllm_xargs": {"steering": null, "session_id": "s"}}'
    assert post(echo, server, plain, path).status == 200
    assert echo.bodies == [plain]


def test_where_steering_is_read_further_on_it_passes(server: Serving, echo: Echo) -> None:
    """The sampling parameters of tokens are resolved in vLLM, and rendering hands the arguments on."""
    generate, render = "/inference/v1/generate", "/v1/chat/completions/render"
    tokens = {"model": "tiny", "token_ids": [1], "sampling_params": {"extra_args": {"steering": "json"}}}
    assert post(echo, server, tokens, generate).status == 200
    said = {"model": "tiny", "vllm_xargs": {"steering": "json"}}
    assert post(echo, server, said, render).status == 200
    assert [json.loads(body) for body in echo.bodies] == [tokens, said]
    assert "extra_args" in post(echo, server, said, generate).json["error"]["message"]
    assert "vllm_xargs" in post(echo, server, {"model": "tiny:json"}, render).json["error"]["message"]


def test_no_steering_in_the_background(server: Serving, echo: Echo) -> None:
    for value, status in ((True, 400), ("yes", 400), (False, 200), (None, 200)):
        body = {"model": "tiny:json", "background": value}
        assert post(echo, server, body, "/v1/responses").status == status
    assert post(echo, server, {"model": "tiny", "background": True}, "/v1/responses").status == 200
    assert post(echo, server, {"model": "tiny:json", "background": True}).status == 200  # means nothing there
    assert server.metrics.counts["background"] == 2


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/invocations"])
def test_where_no_key_is_asked_for_no_names_are_told(echo: Echo, path: str) -> None:
    server = on_vllm(library(json=steering(0)), has_key=True)
    for name in ("jsno", "nope", "sha256:000000000000"):
        answer = post(echo, server, {"model": f"tiny:{name}"}, path)
        assert answer.status == 400
        assert answer.json["error"]["message"] == f"there is no steering '{name}' here"
        assert "json" in post(echo, server, {"model": "tiny:nope"}).json["error"]["message"]
    assert post(echo, server, {"model": "tiny:json"}, path).status == 200
    open_to_all = on_vllm(library(json=steering(0)))
    assert "json" in post(echo, open_to_all, {"model": "tiny:nope"}, path).json["error"]["message"]


@pytest.mark.parametrize(
    "path", [CHAT, "/inference/v1/generate", "/generative_scoring", "/invocations", "/tokenize"]
)
def test_what_is_too_large_to_be_read_is_refused(echo: Echo, path: str) -> None:
    server = on_vllm(library(), has_key=True)
    answer = post(echo, server, {"model": "tiny", "x": "y" * 1000}, path, most_bytes=1000)
    assert (answer.status, echo.bodies) == (413, [])
    assert "1000 bytes" in answer.json["error"]["message"]
    assert server.metrics.counts == {"too_large": 1}


SHARED = library(json=steering(0))
