"""Bad days: malformed requests, clients that are gone, memory that runs out, a model that fails.

No wrong answer, and no crash.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import torch
from tests.serve.conformance import said, upload

from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

REQUESTS = int(os.environ.get("TRIMTAB_FAULT_REQUESTS", "400"))
PROMPTS = ["Who?", "What is it?", "Where are they now?"]
MALFORMED: list[Any] = [
    b"{",
    b"[]",
    {"messages": "Who?"},
    {"tools": [1]},
    {"max_tokens": -1},
    {"steering": "nope"},
    {"steering": {"edits": [{"block": 0, "u": [1], "alpha": 1}]}},
    {"temperature": "hot"},
    {"stop": [""]},
    {"model": "tiny:s0**2"},
]
TOKENS = 3


@pytest.fixture(scope="module")
def tiny_steerings(tiny_llama: Any) -> dict[str, Steering]:
    numbers = torch.Generator().manual_seed(1)

    def one(name: str, *edits: Edit) -> Steering:
        return Steering(name, edits, Record(tiny_llama.identity))

    vectors = [torch.randn(tiny_llama.identity.width, generator=numbers) * 3 for _ in range(4)]
    return {
        "s0": one("s0", Edit.add(0, vectors[0], 1.0)),
        "s1": one("s1", Edit(1, vectors[1], alpha=0.5, p=vectors[2] / 9)),
        "s2": one("s2", Edit.add(2, vectors[3], 2.0, "generated")),
    }


@pytest.fixture(scope="module")
def tiny_folder(tiny_steerings: dict[str, Steering], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steerings")
    for name, one in tiny_steerings.items():
        one.save(folder / name)
    return folder


def test_a_tenth_of_many_is_malformed(
    run_server: Callable[..., Any],
    tiny_llama: Any,
    tiny_folder: Path,
    tiny_steerings: dict[str, Steering],
) -> None:
    choices: list[tuple[str, Steering | None]] = [("tiny", None)]
    choices += [(f"tiny:{name}", one) for name, one in tiny_steerings.items()]
    choices += [("tiny:s0*0.5+s1", tiny_steerings["s0"] * 0.5 + tiny_steerings["s1"])]
    expected = {
        (model, prompt): tiny_llama.generate([prompt], steering=one, max_new_tokens=TOKENS)[0].text
        for model, one in choices
        for prompt in PROMPTS
    }
    assert len(set(expected.values())) > 5
    chance = random.Random(0)

    async def ask(server: Any, count: int) -> list[str]:
        limits = httpx.Limits(max_connections=48)
        async with httpx.AsyncClient(base_url=server.address, timeout=120, limits=limits) as client:

            async def one(number: int) -> str:
                (model, _), prompt = chance.choice(choices), chance.choice(PROMPTS)
                body: Any = {"model": model, "messages": said(prompt), "max_tokens": TOKENS, "temperature": 0}
                malformed = number % 10 == 0
                if malformed:
                    change = MALFORMED[number // 10 % len(MALFORMED)]
                    body = change if isinstance(change, bytes) else {**body, **change}
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                headers = {"content-type": "application/json"}
                answer = await client.post("/v1/chat/completions", content=content, headers=headers)
                if malformed:
                    return (
                        "" if answer.status_code == 400 and answer.json()["error"]["message"] else answer.text
                    )
                if answer.status_code != 200:
                    return answer.text
                right = expected[model, prompt] == answer.json()["choices"][0]["message"]["content"]
                return "" if right else f"{model} {prompt}: {answer.text}"

            return [wrong for wrong in await asyncio.gather(*map(one, range(count))) if wrong]

    with run_server(tiny_llama, name="tiny", steerings=tiny_folder) as server:
        assert asyncio.run(ask(server, 100)) == []
        before = psutil.Process().memory_info().rss
        assert asyncio.run(ask(server, REQUESTS - 100)) == []
        assert psutil.Process().memory_info().rss - before < 64 * 2**20
        assert server.idle()
        assert len(server.log.lines) == REQUESTS
        told = httpx.get(f"{server.address}/metrics").text
        refused = [line for line in told.splitlines() if line.startswith("trimtab_refused_total")]
        assert (
            sum(float(line.split()[-1]) for line in refused) == REQUESTS / 10 * 0.3
        )  # of what is about steering


def test_clients_that_hang_up_free_their_places(
    run_server: Callable[..., Any], tiny_llama: Any, tiny_folder: Path
) -> None:
    body = {"model": "tiny", "messages": said("Who?"), "max_tokens": 90, "temperature": 0}
    with run_server(tiny_llama, name="tiny", steerings=tiny_folder) as server:
        slow = _slowed(tiny_llama, 0.02)
        try:
            host, port = server.address.removeprefix("http://").split(":")
            for stream in (False, True):
                content = json.dumps({**body, "stream": stream, "structured_outputs": _ENDLESS})
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n"
                sockets = [socket.create_connection((host, int(port))) for _ in range(5)]
                for one in sockets:
                    one.sendall(f"{head}content-type: application/json\r\n\r\n{content}".encode())
                _until(lambda: len(server.embedded.runner.writing) == 5)
                for one in sockets:
                    one.close()
                _until(lambda: not server.embedded.runner.writing)
        finally:
            slow.remove()
        assert (
            sum(
                " 499" in line or ", 11 tokens in" in line or "tokens in" in line for line in server.log.lines
            )
            == 10
        )


_ENDLESS = {"regex": "[a-z]{500}"}


def _slowed(engine: Any, seconds: float) -> Any:
    return engine.model.register_forward_pre_hook(lambda *_: time.sleep(seconds))


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_is_killed(run_server: Callable[..., Any], tiny_llama: Any) -> None:
    body = {"model": "tiny", "messages": said("Who?"), "max_tokens": 90, "stream": True}
    with run_server(tiny_llama, name="tiny") as server:
        slow = _slowed(tiny_llama, 0.02)
        try:
            command = [
                "curl",
                "-sN",
                f"{server.address}/v1/chat/completions",
                "-H",
                "Content-Type: application/json",
            ]
            content = json.dumps({**body, "structured_outputs": _ENDLESS})
            with subprocess.Popen([*command, "-d", content], stdout=subprocess.PIPE) as client:
                assert client.stdout is not None
                assert client.stdout.readline().startswith(b"data:")
                client.send_signal(signal.SIGKILL)
                client.wait()
            _until(lambda: not server.embedded.runner.writing)
        finally:
            slow.remove()


def test_a_steering_replaced_while_it_is_in_use(
    run_server: Callable[..., Any],
    tiny_llama: Any,
    tiny_folder: Path,
    tiny_steerings: dict[str, Steering],
    tmp_path: Path,
) -> None:
    def text(steering: Steering, tokens: int) -> str:
        return str(tiny_llama.generate(["Who?"], steering=steering, max_new_tokens=tokens)[0].text)

    asked: Any = {"messages": said("Who?"), "max_tokens": 60, "temperature": 0}
    with (
        run_server(tiny_llama, name="tiny", steerings=tiny_folder) as server,
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client,
    ):
        slow = _slowed(tiny_llama, 0.01)
        try:
            stream = client.chat.completions.create(model="tiny:s0", **asked, stream=True)
            parts = [next(stream)]
            upload(client, "s0", tiny_steerings["s1"], tmp_path / "a", replace="true")
            new = client.chat.completions.create(model="tiny:s0", **asked)
            parts += list(stream)
        finally:
            slow.remove()
        assert "".join(part.choices[0].delta.content or "" for part in parts) == text(
            tiny_steerings["s0"], 60
        )
        assert new.choices[0].message.content == text(tiny_steerings["s1"], 60)
        # The old one goes once nothing under way may need it.
        _until(lambda: tiny_steerings["s0"].digest() not in server.embedded.backend.held)


def test_memory_that_runs_out_halves_the_batch(run_server: Callable[..., Any], tiny_llama: Any) -> None:
    expected = {prompt: tiny_llama.generate([prompt], max_new_tokens=9)[0].text for prompt in PROMPTS}
    sizes = []

    def refuse(model: Any, args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")

    with run_server(tiny_llama, name="tiny") as server:
        hook = tiny_llama.model.register_forward_pre_hook(refuse, with_kwargs=True)
        try:
            with ThreadPoolExecutor(12) as pool:
                asked = [PROMPTS[number % 3] for number in range(12)]
                found = list(pool.map(lambda prompt: _text(server, prompt), asked))
        finally:
            hook.remove()
    assert found == [expected[prompt] for prompt in asked]
    assert max(sizes) > 2


def _text(server: Any, prompt: str) -> str:
    body = {"model": "tiny", "messages": said(prompt), "max_tokens": 9, "temperature": 0}
    answer = httpx.post(f"{server.address}/v1/chat/completions", json=body, timeout=60)
    return str(answer.json()["choices"][0]["message"]["content"])


def test_a_model_that_fails_in_the_middle(run_server: Callable[..., Any], tiny_llama: Any) -> None:
    [expected] = tiny_llama.generate(["Who?"], max_new_tokens=9)
    passes = 0

    def fail(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 4:
            raise RuntimeError("a secret of this machine")

    asked: Any = {"model": "tiny", "messages": said("Who?"), "max_tokens": 9, "temperature": 0}
    with (
        run_server(tiny_llama, name="tiny") as server,
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client,
    ):
        for stream in (False, True):
            passes = 0
            hook = tiny_llama.model.register_forward_pre_hook(fail)
            try:
                with pytest.raises(
                    openai.APIError, match=r"the model failed while it wrote.*RuntimeError"
                ) as caught:
                    list(client.chat.completions.create(**asked, stream=stream))
            finally:
                hook.remove()
            assert "secret" not in str(caught.value)
        assert _text(server, "Who?") == expected.text
        assert server.idle()


def test_a_batch_that_fails_as_a_whole_is_made_anew(
    run_server: Callable[..., Any], tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimtab.engines.continuous import RunningBatch

    [expected] = tiny_llama.generate(["Who?"], max_new_tokens=9)
    real, failures = RunningBatch.step, []

    def step(self: Any) -> Any:
        if self.waiting and not failures:
            failures.append(1)
            raise ValueError("broken")
        return real(self)

    with run_server(tiny_llama, name="tiny") as server:
        monkeypatch.setattr(RunningBatch, "step", step)
        body = {"model": "tiny", "messages": said("Who?"), "max_tokens": 9, "temperature": 0}
        answer = httpx.post(f"{server.address}/v1/chat/completions", json=body, timeout=60)
        assert answer.status_code == 500
        assert "ValueError" in answer.json()["error"]["message"]
        assert _text(server, "Who?") == expected.text
