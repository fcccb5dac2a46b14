"""The clients that people have: OpenAI's own, LangChain's, curl."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.serve.conformance import HEADER, KEY, QUESTIONS, TOKENS, chat, said, text


def test_one_and_many_at_once_by_the_asynchronous_client(
    server: Any, known: Any, expected: Callable[..., str]
) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key=KEY, max_retries=0) as client:

            async def one(question: str) -> str:
                asked: Any = {"messages": said(question), "max_tokens": TOKENS, "temperature": 0}
                stream = await client.chat.completions.create(model="nano:s1", **asked, stream=True)
                return "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])

            return await asyncio.gather(*map(one, QUESTIONS))

    assert asyncio.run(ask()) == [expected(question, known["s1"]) for question in QUESTIONS]


def test_langchain_asks_streams_and_takes_structures(
    server: Any, known: Any, expected: Callable[..., str]
) -> None:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model="nano:s0", base_url=f"{server.address}/v1", api_key=KEY, temperature=0, max_tokens=TOKENS
    )
    steered = expected(QUESTIONS[0], known["s0"])
    assert model.invoke(QUESTIONS[0]).content == steered
    assert "".join(str(part.content) for part in model.stream(QUESTIONS[0])) == steered
    answer = model.invoke(QUESTIONS[0])
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    schema = {
        "title": "Town",
        "type": "object",
        "properties": {"town": {"enum": ["Langford", "Winley"]}},
        "required": ["town"],
        "additionalProperties": False,
    }
    structured = model.with_structured_output(schema, method="json_schema")
    assert structured.invoke(QUESTIONS[0])["town"] in ("Langford", "Winley")  # type: ignore[index]


def test_curl_asks_and_streams(server: Any, known: Any, expected: Callable[..., str]) -> None:
    body = {"model": "nano:s0", "messages": said(QUESTIONS[1]), "max_tokens": TOKENS, "temperature": 0}

    def curl(**more: Any) -> str:
        command = ["curl", "-sN", f"{server.address}/v1/chat/completions", "-d", json.dumps({**body, **more})]
        command += ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {KEY}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    steered = expected(QUESTIONS[1], known["s0"])
    assert json.loads(curl())["choices"][0]["message"]["content"] == steered
    lines = [line for line in curl(stream=True).splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    pieces = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces) == steered
    assert pieces[-1]["choices"][0]["finish_reason"] in ("stop", "length")


def test_a_stream_tells_its_tokens_at_the_end_if_asked(client: openai.OpenAI) -> None:
    asked: Any = {"model": "nano", "messages": said(QUESTIONS[0]), "max_tokens": 5, "temperature": 0}
    *parts, last = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.completion_tokens, {part.usage for part in parts}) == (5, {None})
    whole = client.chat.completions.create(**asked)
    assert whole.usage == last.usage
    assert whole.choices[0].finish_reason == "length"


def test_several_answers_differ_and_a_seed_repeats_them(client: openai.OpenAI) -> None:
    asked: Any = {"model": "nano", "messages": said(QUESTIONS[0]), "max_tokens": 12, "temperature": 1.5}
    first, again = (client.chat.completions.create(**asked, n=3, seed=5) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    stream = client.chat.completions.create(**asked, n=3, seed=5, stream=True)
    parts: dict[int, str] = {}
    for part in stream:
        [choice] = part.choices
        parts[choice.index] = parts.get(choice.index, "") + (choice.delta.content or "")
    assert [parts[number] for number in range(3)] == texts


def test_an_answer_ends_at_a_stop_without_it(client: openai.OpenAI, expected: Callable[..., str]) -> None:
    whole = expected(QUESTIONS[0])
    stop = whole.split()[3]
    for stream in (False, True):
        done: Any = client.chat.completions.create(
            model="nano",
            messages=said(QUESTIONS[0]),  # type: ignore[arg-type]
            max_tokens=TOKENS,
            temperature=0,
            stop=["never there", stop],
            stream=stream,  # type: ignore[call-overload]
        )
        parts = [part for part in done if part.choices] if stream else [done]
        pieces = [
            part.choices[0].delta.content if stream else part.choices[0].message.content for part in parts
        ]
        assert "".join(piece or "" for piece in pieces) == whole[: whole.index(stop)]
        assert parts[-1].choices[0].finish_reason == "stop"


def test_likelihoods_are_those_of_the_steered_model(client: openai.OpenAI, engine: Any, known: Any) -> None:
    done = chat(client, QUESTIONS[0], "nano:s0", logprobs=True, top_logprobs=3).parse().choices[0]
    likely = done.logprobs.content
    mean = -sum(one.logprob for one in likely) / len(likely)
    [generation] = engine.generate([QUESTIONS[0]], steering=known["s0"], max_new_tokens=TOKENS)
    [scored] = engine.score([QUESTIONS[0]], [generation.token_ids], steering=known["s0"])
    assert mean == pytest.approx(scored, abs=1e-3)
    assert b"".join(bytes(one.bytes) for one in likely).decode().startswith(done.message.content)
    assert all(one.top_logprobs[0].logprob >= one.logprob - 1e-6 for one in likely)
    assert all(len(one.top_logprobs) == 3 for one in likely)


def test_completions_take_texts_and_tokens(client: openai.OpenAI, engine: Any) -> None:
    tokens = engine.encoding.prompts(["The lighthouse"], raw=True)
    prompts: list[Any] = ["The lighthouse", tokens[0], tokens, ["The lighthouse", "In spring"]]
    asked: Any = {"model": "nano", "max_tokens": 8, "temperature": 0}
    found = [client.completions.create(prompt=prompt, **asked).choices for prompt in prompts]
    [plain] = engine.generate(["The lighthouse"], raw=True, max_new_tokens=8)
    assert {choices[0].text for choices in found} == {plain.text}
    assert [len(choices) for choices in found] == [1, 1, 1, 2]
    parts = client.completions.create(prompt=["The lighthouse", "In spring"], **asked, stream=True)
    texts = ["", ""]
    for part in parts:
        texts[part.choices[0].index] += part.choices[0].text
    assert texts == [choice.text for choice in found[-1]]


def test_a_chat_of_several_turns_and_parts(client: openai.OpenAI, engine: Any) -> None:
    messages: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": QUESTIONS[0]}]},
        {"role": "assistant", "content": "Roses.", "refusal": None, "tool_calls": None, "audio": None},
        {"role": "user", "content": QUESTIONS[1]},
    ]
    done = client.chat.completions.create(
        model="nano", messages=messages, max_completion_tokens=TOKENS, temperature=0, user="somebody"
    )
    plain = [{"role": one["role"], "content": one["content"]} for one in messages]
    [expected] = engine.generate([plain], max_new_tokens=TOKENS)
    assert done.choices[0].message.content == expected.text
    begun = [*messages[:1], {"role": "assistant", "content": "In the"}]
    on = client.chat.completions.create(
        model="nano",
        messages=begun,
        max_tokens=TOKENS,
        temperature=0,
        extra_body={"continue_final_message": True},
    )
    [expected] = engine.generate([[plain[0], begun[1]]], max_new_tokens=TOKENS)
    assert on.choices[0].message.content == expected.text


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"response_format": {"type": "json_object"}}, r"(?s)\{.*"),
        ({"extra_body": {"structured_outputs": {"regex": "[a-z]{5,9}[.]"}}}, r"[a-z]{5,9}[.]"),
        ({"extra_body": {"structured_outputs": {"choice": ["yes (a)", "no"]}}}, r"yes \(a\)|no"),
        ({"extra_body": {"structured_outputs": {"grammar": 'start: "a" /b+/ "c"'}}}, r"ab+c?"),
        ({"response_format": {"type": "text"}}, r"(?s).+"),
    ],
)
def test_answers_are_held_to_forms(client: openai.OpenAI, asked: dict[str, Any], fits: str) -> None:
    assert re.fullmatch(fits, text(chat(client, QUESTIONS[0], "nano:s0", **asked)))


def test_the_client_of_the_documentation_runs(
    server: Any, known: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    for code in re.findall(r"python - <<'EOF'\n(.*?)\nEOF", page, re.DOTALL):
        code = code.replace("http://127.0.0.1:8000", server.address).replace('"none"', repr(KEY))
        namespace: dict[str, Any] = {}
        exec(compile(code, "serving.md", "exec"), namespace)
        namespace["client"].close()
    assert known["s0"].digest() in capsys.readouterr().out


def test_health_metrics_and_the_log(client: openai.OpenAI, server: Any, known: Any) -> None:
    def metric(name: str) -> float:
        told = httpx.get(f"{server.address}/metrics").text  # no key is asked for
        found = re.search(rf"^{re.escape(name)} ([\d.e+]+)$", told, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    assert httpx.get(f"{server.address}/health").json() == {"status": "ok", "model": "nano"}
    names = ('trimtab_requests_total{outcome="steered"}', 'trimtab_refused_total{reason="unknown"}')
    with pytest.raises(openai.BadRequestError):
        chat(client, QUESTIONS[0], "nano:nope")
    before = [metric(name) for name in (*names, 'trimtab_tokens_total{kind="written"}')]
    raw = chat(client, QUESTIONS[0], "nano:s0", max_tokens=3, extra_headers={"x-request-id": "find-me"})
    with pytest.raises(openai.BadRequestError):
        chat(client, QUESTIONS[0], "nano:nope")
    after = [metric(name) for name in (*names, 'trimtab_tokens_total{kind="written"}')]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 3]
    for name in ("trimtab_rows", "trimtab_rows_in_use", "trimtab_steerings_held", "trimtab_evictions_total"):
        assert metric(f'{name}{{engine="0"}}') >= 0
    assert raw.headers["x-request-id"] == "find-me"
    assert raw.parse().id == "chatcmpl-find-me"
    [line] = [line for line in server.log.lines if "find-me" in line]
    assert known["s0"].digest() in line
    assert "3 out" in line
    assert QUESTIONS[0] not in "".join(server.log.lines)
    odd = chat(client, QUESTIONS[0], max_tokens=1, extra_headers={"x-request-id": "two words"})
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])
    assert odd.headers.get(HEADER) is None
