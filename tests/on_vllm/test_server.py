"""The real server and the real `openai` client: chat, completions, streams, errors, names, loading and unloading.

Every answer is compared with what the transformers engine writes under the same steering.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from benchmarks.serving.server import Server, running
from tests.on_vllm import cases
from tests.serve import fixtures
from tests.serve.conformance import (
    GATES,
    HEADER,
    KEY,
    QUESTIONS,
    TOKENS,
    Conformance,
    asks,
    chat,
    refusal,
    request,
    said,
    text,
)

import trimtab
from trimtab.constraint import Constraint
from trimtab.errors import TrimtabError
from trimtab.steering.steering import Steering


@pytest.fixture(scope="session")
def engine(reference: Callable[[str], Any]) -> Any:
    return reference("nano")


known, folder, client, expected = fixtures.known, fixtures.folder, fixtures.client, fixtures.expected


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    arguments = ["--steerings", str(folder), "--gates", str(GATES)]
    options = ["--api-key", KEY, "--enforce-eager", "--max-num-seqs", "16", "--max-num-batched-tokens", "64"]
    options += ["--enable-scale-out"]  # the routes that take and give tokens
    environment = {"VLLM_LOGGING_LEVEL": "INFO", "OMP_NUM_THREADS": "1"}
    with running("nano", log, arguments, options, environment=environment) as started:
        yield started


# --- answers ---------------------------------------------------------------------------------------------------------


class TestConformance(Conformance):
    """What it shares with the embedded server."""


CHOICES: list[dict[str, Any]] = [
    {"model": "nano:s0"},
    {"model": "nano", **asks("s0")},
    {"model": "nano", "steering": "s0"},
]
"""The three ways to choose."""


@pytest.mark.parametrize("choice", CHOICES)
def test_responses(
    client: openai.OpenAI, expected: Callable[..., str], known: Any, choice: dict[str, Any]
) -> None:
    model, extra = choice["model"], {key: value for key, value in choice.items() if key != "model"}
    asked: dict[str, Any] = {"input": QUESTIONS[1], "max_output_tokens": TOKENS, "temperature": 0}
    steered = expected(QUESTIONS[1], known["s0"])
    done = client.responses.with_raw_response.create(model=model, **asked, extra_body=extra)
    assert done.parse().output_text == steered
    assert done.headers[HEADER] == known["s0"].digest()
    parts = client.responses.create(model=model, **asked, extra_body=extra, stream=True)
    assert "".join(part.delta for part in parts if part.type == "response.output_text.delta") == steered
    with pytest.raises(openai.BadRequestError, match="in the background cannot be steered"):
        client.responses.create(model=model, **asked, extra_body=extra, background=True)


@pytest.mark.parametrize("choice", CHOICES)
def test_anthropics_messages(
    server: Server, expected: Callable[..., str], known: Any, choice: dict[str, Any]
) -> None:
    body = {**choice, "max_tokens": TOKENS, "temperature": 0, "messages": said(QUESTIONS[1])}
    steered = expected(QUESTIONS[1], known["s0"])
    assert request(server, "/v1/messages", body)["content"][0]["text"] == steered
    lines = request(server, "/v1/messages", {**body, "stream": True}).splitlines()
    parts = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    pieces = [part["delta"]["text"] for part in parts if part["type"] == "content_block_delta"]
    assert "".join(pieces) == steered
    assert len(pieces) > 1


def test_counting_tokens_takes_the_same_names(server: Server) -> None:
    for path, body in (
        ("/v1/messages/count_tokens", {"messages": said("Hello")}),
        ("/tokenize", {"prompt": "Hello"}),
    ):
        assert request(server, path, {"model": "nano:s0*0.5", **body}) == request(
            server, path, {"model": "nano", **body}
        )


@pytest.mark.parametrize("choice", CHOICES)
def test_batches_and_invocations(
    server: Server, expected: Callable[..., str], known: Any, choice: dict[str, Any]
) -> None:
    asked = {**choice, "max_tokens": TOKENS, "temperature": 0}
    done = request(server, "/v1/chat/completions/batch", {**asked, "messages": list(map(said, QUESTIONS))})
    answers = [one["message"]["content"] for one in sorted(done["choices"], key=lambda one: one["index"])]
    assert answers == [expected(question, known["s0"]) for question in QUESTIONS]
    done = request(server, "/invocations", {**asked, "messages": said(QUESTIONS[2])})
    assert done["choices"][0]["message"]["content"] == answers[2]


def test_a_clients_salt_is_kept_apart(
    client: openai.OpenAI, expected: Callable[..., str], known: Any
) -> None:
    for _ in range(2):
        for name, steering in (("nano", None), ("nano:s0", known["s0"]), ("nano:s1", known["s1"])):
            raw = chat(client, QUESTIONS[2], name, extra_body={"cache_salt": "mine"})
            assert text(raw) == expected(QUESTIONS[2], steering)


def test_the_client_of_the_documentation_runs(
    server: Server, known: dict[str, Steering], capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    (code,) = re.findall(r"python - <<'EOF'\n(.*?)\nEOF", page, re.DOTALL)
    code = code.replace("http://127.0.0.1:8000", server.address).replace('"none"', repr(KEY))
    namespace: dict[str, Any] = {}
    exec(compile(code, "serving.md", "exec"), namespace)
    namespace["client"].close()
    printed = capsys.readouterr().out
    assert known["s0"].digest() in printed
    # The one with an edit of its own may come out the same.
    assert printed.count(namespace["raw"].parse().choices[0].message.content) in (3, 4)


def test_a_constraint_and_a_steering_together(
    client: openai.OpenAI, engine: Any, known: dict[str, Steering]
) -> None:
    """By OpenAI's `response_format` and by vLLM's `structured_outputs`: what the transformers engine writes."""
    pattern = "[a-z ]{30,60}[.]"
    (expected,) = engine.generate(
        [QUESTIONS[0]], steering=known["s0"], constraints=Constraint.regex(pattern), max_new_tokens=TOKENS
    )
    body = asks("s0", structured_outputs={"regex": pattern})
    assert text(chat(client, QUESTIONS[0], extra_body=body)) == expected.text
    assert text(chat(client, QUESTIONS[0], extra_body={"structured_outputs": {"regex": pattern}})) != (
        expected.text
    )
    schema = {"type": "object", "properties": {"town": {"enum": ["Langford"]}}, "required": ["town"]}
    form = {"type": "json_schema", "json_schema": {"name": "town", "schema": schema}}
    answer = chat(client, QUESTIONS[0], response_format=form, extra_body=asks("s1"), max_tokens=200)
    assert answer.headers[HEADER] == known["s1"].digest()
    assert json.loads(text(answer))["town"] == "Langford"


# --- errors ----------------------------------------------------------------------------------------------------------


def test_beams_are_refused_and_the_server_lives(client: openai.OpenAI, server: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="beam search"):
        chat(client, QUESTIONS[0], "nano:s0", n=2, extra_body={"use_beam_search": True})
    assert server.alive


def test_too_many_gates_too_large_and_too_long(
    client: openai.OpenAI,
    server: Server,
    engine: Any,
    known: dict[str, Steering],
    expected: Callable[..., str],
) -> None:
    width = engine.identity.width
    edit = {"block": 0, "u": [0.1] * width, "alpha": 1}
    edits = [{**edit, "p": [number / 100] * width} for number in range(1, 10)]
    with pytest.raises(openai.BadRequestError, match="9 gated edits in one block, and the tables take 8"):
        chat(client, QUESTIONS[0], extra_body=asks(json.dumps({"edits": edits})))
    large = {"model": "nano", "user": "x" * (65 * 2**20), "messages": said(QUESTIONS[0])}
    for path, asked in (
        ("/v1/chat/completions", {"steering": "s0"}),
        ("/v1/chat/completions", asks("s0")),
        ("/invocations", {}),
    ):
        answer = httpx.post(
            server.address + path,
            json={**large, **asked},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        assert (answer.status_code, "not read for its steering" in answer.text) == (413, True)
    with pytest.raises(openai.BadRequestError):  # vLLM's own
        chat(client, "long " * 600, "nano:s0")
    assert server.alive


def test_an_unknown_model_is_vllms_own_answer(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        chat(client, QUESTIONS[0], "other:s0")


def test_paths_past_the_middleware_are_resolved_or_refused_too(
    server: Server, engine: Any, known: dict[str, Steering]
) -> None:
    (prompt,) = cases.prompts_of(engine, [cases.Case(QUESTIONS[0])])
    (steered,) = engine.generate([QUESTIONS[0]], steering=known["s0"], max_new_tokens=TOKENS)

    def body(extra: dict[str, Any]) -> dict[str, Any]:
        sampling = {"max_tokens": TOKENS, "temperature": 0, "extra_args": extra}
        return {"model": "nano", "token_ids": prompt, "sampling_params": sampling}

    done = request(server, "/inference/v1/generate", body({"steering": "s0"}))
    found = done["choices"][0]["token_ids"]
    assert tuple(found[: len(steered.token_ids)]) == steered.token_ids
    for extra in ({"trimtab": {"composition": []}}, {"steering": "nope"}):
        assert refusal(server, "/inference/v1/generate", body(extra))[0] == 400
    asked = {"model": "nano", **asks("s0"), "messages": said(QUESTIONS[0])}
    rendered = request(server, "/v1/chat/completions/render", asked)
    assert rendered["token_ids"] == prompt
    assert rendered["sampling_params"]["extra_args"] == {"steering": "s0"}


@pytest.mark.parametrize("choice", CHOICES)
def test_paths_that_take_no_steering_say_so(server: Server, choice: dict[str, Any]) -> None:
    body = {"query": "Is it", "items": [" one", " two"], "label_token_ids": [5, 6]}
    assert len(request(server, "/generative_scoring", {"model": "nano", **body})["data"]) == 2
    status, says = refusal(server, "/generative_scoring", {**choice, **body})
    assert (status, "takes no steering" in says) == (400, True)


# --- the key ---------------------------------------------------------------------------------------------------------


def test_without_the_key_nothing_is_told(server: Server) -> None:
    body = {"model": "nano:nope", "messages": said("Hello"), "prompt": "Hello", "tokens": [5]}
    for path, content, status in (
        ("/v1/steerings", None, 401),
        ("/v1/models/nano:s0", None, 401),
        ("/v1/chat/completions", body, 401),
        ("/tokenize", body, 400),
        ("/detokenize", body, 400),
        ("/invocations", body, 400),
    ):
        found, says = refusal(server, path, content, authorization="Bearer wrong")
        assert found == status
        assert "s0" not in says


# --- loading and unloading -------------------------------------------------------------------------------------------


def metric(server: Server, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([\d.e+]+)$", request(server, "/metrics"), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


# --- what is told ----------------------------------------------------------------------------------------------------


def test_metrics_and_the_log(client: openai.OpenAI, server: Server, known: dict[str, Steering]) -> None:
    steered = metric(server, 'trimtab_requests_total{outcome="steered"}')
    refused = metric(server, 'trimtab_refused_total{reason="unknown"}')
    raw = chat(client, QUESTIONS[0], "nano:s0", extra_headers={"x-request-id": "find-me"})
    assert "find-me" in raw.parse().id
    with pytest.raises(openai.BadRequestError):
        chat(client, QUESTIONS[0], "nano:nope")
    assert metric(server, 'trimtab_requests_total{outcome="steered"}') == steered + 1
    assert metric(server, 'trimtab_refused_total{reason="unknown"}') == refused + 1
    assert metric(server, "trimtab_steerings_loaded") == 5
    (line,) = [line for line in server.log.read_text().splitlines() if "find-me" in line]
    assert known["s0"].digest() in line
    with ThreadPoolExecutor(20) as pool:  # more rows than there are
        list(pool.map(lambda number: chat(client, "Hi", f"nano:s0*0.{number}", max_tokens=1), range(10, 30)))
    # The workers are asked every few seconds while there is traffic; what was unloaded is forgotten by then.
    for _ in range(40):
        evictions = metric(server, 'trimtab_evictions_total{engine="0"}')
        if metric(server, 'trimtab_steerings_held{engine="0"}') == 4 and evictions >= 4:
            break
        chat(client, QUESTIONS[0], "nano:s0")
        time.sleep(0.5)
    assert metric(server, 'trimtab_steerings_held{engine="0"}') == 4
    assert metric(server, 'trimtab_rows{engine="0"}') == 16
    assert metric(server, 'trimtab_table_writes_total{engine="0"}') > 20
    assert metric(server, 'trimtab_evictions_total{engine="0"}') >= 4


def test_the_servers_processes_are_in_one_group(server: Server) -> None:
    """So that what ends the server, a Ctrl-C say, ends its workers."""
    assert os.getpgid(server.process.pid) == server.process.pid
    assert server.memory() > 100 * 2**20
    assert trimtab.__version__


def test_a_damaged_steering_stops_the_start_with_one_line(known: dict[str, Steering], tmp_path: Path) -> None:
    folder = cases.save({"whole": known["s1"], "damaged": known["s0"]}, tmp_path / "steerings")
    tensors = folder / "damaged" / "steering.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    log = tmp_path / "log.txt"
    with (
        pytest.raises(TrimtabError, match="the server ended with 2"),
        running("nano", log, ["--steerings", str(folder)], ["--enforce-eager"]),
    ):
        pass
    said = log.read_text()
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: 1 of the 2 steerings in ")
