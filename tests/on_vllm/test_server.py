"""The real server and the real `openai` client: chat, completions, streams, errors, names, loading and unloading.

Every answer is compared with what the transformers engine writes under the same steering.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from benchmarks.serving.server import Server, running
from tests.on_vllm import cases

import trimtab
from trimtab.constraint import Constraint
from trimtab.errors import TrimtabError
from trimtab.steering.steering import Steering

KEY = "the-key"
TOKENS = 24
QUESTIONS = ["What grows in spring?", "Tell me about the lighthouse.", "Who lives by the river?"]
HEADER = "x-trimtab-steering"


@pytest.fixture(scope="module")
def engine(reference: Callable[[str], Any]) -> Any:
    return reference("nano")


@pytest.fixture(scope="module")
def known(engine: Any) -> dict[str, Steering]:
    """Six steerings, all scopes, gated ones too; the last two are not in the server's folder."""
    found = cases.steerings(engine, 6, seed=3)
    return {f"s{number}": steering for number, steering in enumerate(found.values())}


@pytest.fixture(scope="module")
def folder(known: dict[str, Steering], tmp_path_factory: pytest.TempPathFactory) -> Path:
    served = {**dict(list(known.items())[:4]), "json": known["s0"]}  # one of them has two names
    return cases.save(served, tmp_path_factory.mktemp("steerings"))


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    arguments = ["--steerings", str(folder), "--gates", "8"]
    options = ["--api-key", KEY, "--enforce-eager", "--max-num-seqs", "16", "--max-num-batched-tokens", "64"]
    options += ["--enable-scale-out"]  # the routes that take and give tokens
    environment = {"VLLM_LOGGING_LEVEL": "INFO", "OMP_NUM_THREADS": "1"}
    with running("nano", log, arguments, options, environment=environment) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key=KEY, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture
def expected(engine: Any, known: dict[str, Steering]) -> Callable[..., str]:
    """What transformers answers."""

    def answer(question: str, steering: Steering | None = None) -> str:
        (one,) = engine.generate([question], steering=steering, max_new_tokens=TOKENS)
        return str(one.text)

    return answer


def chat(client: openai.OpenAI, question: str, model: str = "nano", **options: Any) -> Any:
    """The raw response, with headers."""
    return client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        **{"max_tokens": TOKENS, "temperature": 0, **options},
    )


def text(raw: Any) -> str:
    return str(raw.parse().choices[0].message.content)


def asks(steering: str, **more: Any) -> dict[str, Any]:
    return {"vllm_xargs": {"steering": steering}, **more}


def request(server: Server, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    """A request without any client library; its answer as JSON or text."""
    sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **headers}
    content = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(server.address + path, content, sent)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        content = answer.read().decode()
        return json.loads(content) if "json" in answer.headers["content-type"] else content


def refusal(server: Server, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of the answer to such a request that is refused."""
    with pytest.raises(urllib.request.HTTPError) as caught:
        request(server, path, body, **headers)
    with caught.value as error:
        return error.code, error.read().decode()


# --- answers ---------------------------------------------------------------------------------------------------------


def test_chat_by_name_by_argument_and_without(
    client: openai.OpenAI, known: dict[str, Steering], expected: Callable[..., str]
) -> None:
    seen = set()
    for question in QUESTIONS:
        plain = chat(client, question)
        assert text(plain) == expected(question)
        assert HEADER not in plain.headers
        for name in ("s0", "s1", "s2", "s3"):
            steered = expected(question, known[name])
            assert text(chat(client, question, f"nano:{name}")) == steered
            raw = chat(client, question, extra_body=asks(name))
            assert text(raw) == steered
            assert raw.headers[HEADER] == known[name].digest()
            seen.add(steered)
    assert len(seen) > 8


def test_compositions_and_strengths(
    client: openai.OpenAI, known: dict[str, Steering], expected: Callable[..., str]
) -> None:
    both = known["s0"] * 0.5 + known["s1"] * -1.0
    by_name = chat(client, QUESTIONS[0], "nano:s0*0.5+s1*-1")
    assert text(by_name) == expected(QUESTIONS[0], both)
    in_two_places = chat(client, QUESTIONS[0], "nano:s0*0.5", extra_body=asks("s1*-1"))
    assert text(in_two_places) == text(by_name)
    assert in_two_places.headers[HEADER] == by_name.headers[HEADER]
    asked_again = chat(client, QUESTIONS[0], extra_body=asks(by_name.headers[HEADER]))
    assert text(asked_again) == text(by_name)
    assert "*-1" in asked_again.headers[HEADER]
    zero = chat(client, QUESTIONS[0], "nano:s0*0")
    assert text(zero) == expected(QUESTIONS[0])
    assert HEADER not in zero.headers


def test_own_edits(client: openai.OpenAI, known: dict[str, Steering], expected: Callable[..., str]) -> None:
    case = cases.Case(QUESTIONS[0], (("s0", 0.5),), (known["s5"] * 0.7).edits)
    raw = chat(client, QUESTIONS[0], extra_body=asks(json.dumps(case.asks()["steering"])))
    assert text(raw) == expected(QUESTIONS[0], case.steering(known))
    assert raw.headers[HEADER].count("sha256:") == 2


def test_completions(client: openai.OpenAI, engine: Any, known: dict[str, Steering]) -> None:
    prompts = cases.prompts_of(engine, [cases.Case(question) for question in QUESTIONS])
    done = client.completions.create(
        model="nano:s2", prompt=prompts, max_tokens=TOKENS, temperature=0, logprobs=2
    )
    generations = engine.generate(QUESTIONS, steering=known["s2"], max_new_tokens=TOKENS)
    assert [choice.text for choice in done.choices] == [generation.text for generation in generations]
    assert all(len(choice.logprobs.token_logprobs) > 0 for choice in done.choices)


def test_streams_are_the_same_text_in_pieces(
    client: openai.OpenAI, expected: Callable[..., str], known: Any
) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="nano:s1",
        messages=[{"role": "user", "content": QUESTIONS[1]}],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
    ) as raw:
        assert raw.headers[HEADER] == known["s1"].digest()
        pieces = [part.choices[0].delta.content or "" for part in raw.parse() if part.choices]
    assert "".join(pieces) == expected(QUESTIONS[1], known["s1"])
    assert sum(map(bool, pieces)) > 1


def test_several_answers_and_log_probabilities(
    client: openai.OpenAI, expected: Callable[..., str], known: Any
) -> None:
    # vLLM gives several answers to those who sample only; of the most likely token alone, here.
    sampled = {"n": 2, "temperature": 1, "extra_body": {"top_k": 1}}
    done = chat(client, QUESTIONS[0], "nano:s3", logprobs=True, top_logprobs=2, **sampled).parse()
    steered = expected(QUESTIONS[0], known["s3"])
    assert [choice.message.content for choice in done.choices] == [steered] * 2
    own = done.choices[0].logprobs.content
    plain = chat(client, QUESTIONS[0], logprobs=True).parse().choices[0].logprobs.content
    assert own[0].logprob != plain[0].logprob or own[0].token != plain[0].token


CHOICES: list[dict[str, Any]] = [{"model": "nano:s0"}, {"model": "nano", **asks("s0")}]
"""The two ways to choose."""


def said(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


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


def test_forty_at_once_are_as_one_by_one(client: openai.OpenAI) -> None:
    models = ["nano", "nano:s0", "nano:s1", "nano:s2*0.5", "nano:s3+s0", "nano:s3*-1", "nano:s1*0.8+s2"]
    asked = [(QUESTIONS[number % 3], models[number % 7]) for number in range(40)]
    alone = [text(chat(client, *one)) for one in asked]
    assert len(set(alone)) > 15
    with ThreadPoolExecutor(40) as pool:
        for _ in range(2):
            assert list(pool.map(lambda one: text(chat(client, *one)), asked)) == alone


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


# --- models ----------------------------------------------------------------------------------------------------------


def test_models_are_listed_and_found(client: openai.OpenAI, known: dict[str, Steering]) -> None:
    names = {model.id for model in client.models.list()}
    assert {"nano", "nano:s0", "nano:s3"} <= names
    assert client.models.retrieve("nano").id == "nano"
    assert client.models.retrieve("nano:s0").root == known["s0"].digest()  # type: ignore[attr-defined]
    assert client.models.retrieve("nano:s0+s1*0.5").id == "nano:s0+s1*0.5"
    with pytest.raises(openai.NotFoundError, match="no steering 'nope'"):
        client.models.retrieve("nano:nope")


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "nano:nope"}, "there is no steering 'nope' here; there are json, s0"),
    ({"model": "nano:"}, "the steering is empty"),
    ({"model": "nano:s0**2"}, "cannot be read"),
    ({"model": "nano:s0*1e99"}, "the strength of 's0'"),
    ({"extra_body": asks("{nonsense")}, "begins like JSON"),
    ({"extra_body": {"vllm_xargs": {"steering": 3}}}, "text or an object"),
    ({"extra_body": asks('{"edits": [{"block": 0, "u": [1, 2], "alpha": 1}]}')}, "width 2"),
    ({"extra_body": asks('{"edits": [{"block": 99, "u": [1, 2], "alpha": 1}]}')}, "no block 99"),
    ({"extra_body": asks('{"edits": [{"block": 0, "u": [NaN], "alpha": 1}]}')}, "finite"),
    ({"extra_body": asks("sha256:" + "0" * 64)}, "digest"),
    ({"extra_body": {"vllm_xargs": {"trimtab": "{}"}}}, "the server's own"),
    ({"model": "nano:s0", "extra_body": {"use_beam_search": True}, "n": 2}, "beam search"),
]


@pytest.mark.parametrize(("options", "says"), WRONG)
def test_mistakes_are_one_sentence_and_the_server_lives(
    client: openai.OpenAI, server: Server, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=re.escape(says)) as caught:
        chat(client, QUESTIONS[0], **{"model": "nano", **options})
    assert caught.value.status_code == 400
    assert caught.value.type == "BadRequestError"
    assert "\n" not in caught.value.body["message"]  # type: ignore[index]
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
    large = {"user": "x" * (65 * 2**20)}  # is not read, and steered by arguments all the same
    raw = chat(client, QUESTIONS[0], extra_body=asks("s0", **large))
    assert text(raw) == expected(QUESTIONS[0], known["s0"])
    assert HEADER not in raw.headers
    with pytest.raises(openai.NotFoundError):
        chat(client, QUESTIONS[0], "nano:s0", extra_body=large)
    answer = httpx.post(f"{server.address}/invocations", json={"model": "nano", **large}, timeout=60)
    assert (answer.status_code, "cannot be judged" in answer.text) == (413, True)
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


def test_a_page_of_another_site_changes_nothing(client: openai.OpenAI, server: Server) -> None:
    for headers in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
        with pytest.raises(openai.PermissionDeniedError, match="page of another site"):
            client.post(
                "/steerings/load", cast_to=object, body={"folder": "json"}, options={"headers": headers}
            )
    load = "/v1/steerings/load"
    assert refusal(server, load, {"folder": "json"}, **{"content-type": "text/plain"})[0] == 415
    status, says = refusal(server, load, {"hub": "\ud800/x"})
    assert (status, "on the Hub" in says) == (400, True)


# --- loading and unloading -------------------------------------------------------------------------------------------


def upload(client: openai.OpenAI, name: str, steering: Steering, folder: Path, **more: str) -> Any:
    """As the documentation says: the two files of a steering, as a form."""
    steering.save(folder)
    files = {
        "document": (folder / "steering.json").read_bytes(),
        "tensors": (folder / "steering.safetensors").read_bytes(),
    }
    return client.post(
        "/steerings",
        cast_to=object,
        body={"name": name, **more},
        files=files,
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )


def metric(server: Server, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([\d.e+]+)$", request(server, "/metrics"), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_upload_use_unload(
    client: openai.OpenAI,
    server: Server,
    known: dict[str, Steering],
    expected: Callable[..., str],
    tmp_path: Path,
) -> None:
    card = upload(client, "new", known["s4"], tmp_path / "a")
    assert (card["name"], card["digest"]) == ("new", known["s4"].digest())  # type: ignore[index]
    assert "nano:new" in {model.id for model in client.models.list()}
    steered = expected(QUESTIONS[0], known["s4"])
    assert text(chat(client, QUESTIONS[0], "nano:new")) == steered
    assert text(chat(client, QUESTIONS[0], f"nano:{known['s4'].digest()[:30]}")) == steered
    with pytest.raises(openai.ConflictError, match="another steering named 'new'"):
        upload(client, "new", known["s5"], tmp_path / "b")
    upload(client, "new", known["s5"], tmp_path / "b", replace="true")
    assert text(chat(client, QUESTIONS[0], "nano:new")) == expected(QUESTIONS[0], known["s5"])
    client.delete("/steerings/new", cast_to=object)
    for name in ("new", known["s5"].digest(), known["s4"].digest()):
        with pytest.raises(openai.BadRequestError, match="there is no steering"):
            chat(client, QUESTIONS[0], f"nano:{name}")
    with pytest.raises(openai.NotFoundError):
        client.delete("/steerings/new", cast_to=object)


def test_a_request_under_way_keeps_what_is_unloaded(
    client: openai.OpenAI, server: Server, known: dict[str, Steering], engine: Any, tmp_path: Path
) -> None:
    upload(client, "brief", known["s5"], tmp_path)
    (whole,) = engine.generate([QUESTIONS[0]], steering=known["s5"], max_new_tokens=200)
    stream = client.chat.completions.create(
        model="nano:brief",
        messages=[{"role": "user", "content": QUESTIONS[0]}],
        max_tokens=200,
        temperature=0,
        stream=True,
    )
    pieces = [next(stream).choices[0].delta.content or ""]
    client.delete("/steerings/brief", cast_to=object)
    pieces += [part.choices[0].delta.content or "" for part in stream if part.choices]
    assert "".join(pieces) == whole.text
    upload(client, "brief", known["s5"], tmp_path)
    raw = chat(client, QUESTIONS[0], "nano:brief")
    assert whole.text.startswith(text(raw)[:20])
    client.delete("/steerings/brief", cast_to=object)


def test_loading_from_the_servers_folder(
    client: openai.OpenAI, folder: Path, known: dict[str, Steering], expected: Callable[..., str]
) -> None:
    known["s4"].save(folder / "late")
    card = client.post("/steerings/load", cast_to=object, body={"folder": "late"})
    assert card["digest"] == known["s4"].digest()  # type: ignore[index]
    assert text(chat(client, QUESTIONS[1], "nano:late")) == expected(QUESTIONS[1], known["s4"])
    client.delete("/steerings/late", cast_to=object)


def test_damaged_and_foreign_uploads_are_refused(
    client: openai.OpenAI, server: Server, known: dict[str, Steering], tmp_path: Path
) -> None:
    import dataclasses

    original = known["s4"]
    record = original.record
    foreign = dataclasses.replace(
        original, record=dataclasses.replace(record, model=dataclasses.replace(record.model, id="other"))
    )
    with pytest.raises(openai.BadRequestError, match="is for other"):
        upload(client, "bad", foreign, tmp_path / "a")
    good = original.save(tmp_path / "b")
    tensors = good / "steering.safetensors"
    cut = tensors.read_bytes()[:-5]
    with pytest.raises(openai.BadRequestError, match="damaged"):
        client.post(
            "/steerings",
            cast_to=object,
            body={"name": "bad"},
            files={"document": (good / "steering.json").read_bytes(), "tensors": cut},
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
    assert "nano:bad" not in {model.id for model in client.models.list()}
    assert server.alive


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
