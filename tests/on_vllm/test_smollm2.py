"""SmolLM2 served by vLLM: every request has its own steering, and gets what transformers writes under it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from benchmarks.serving.server import Server, running
from tests.on_vllm import cases

import trimtab
from trimtab.steering.steering import Steering

TOKENS = 12
QUESTIONS = ["What makes bread rise?", "Why is the sky blue?"]
NAME = "smollm2"


@pytest.fixture(scope="module")
def engine(smollm2_file: Path) -> Any:
    return trimtab.load("smollm2", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def known(engine: Any) -> dict[str, Steering]:
    """Two steerings of all kinds of edits."""
    return dict(zip(("s0", "s1"), cases.steerings(engine, 2, seed=5, strength=0.3).values(), strict=True))


@pytest.fixture(scope="module")
def server(
    engine: Any, known: dict[str, Steering], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("smollm2")
    steerings = cases.save(known, folder / "steerings")
    options = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "256", "--max-num-seqs", "8"]
    with running(
        "smollm2",
        folder / "log.txt",
        ["--steerings", str(steerings)],
        options,
        environment={"OMP_NUM_THREADS": "1"},
    ) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def settings(name: str | None, question: str) -> dict[str, Any]:
    model = NAME if name is None else f"{NAME}:{name}"
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "max_tokens": TOKENS, "temperature": 0}


def test_requests_at_once_get_each_their_own_steering(
    client: openai.OpenAI, engine: Any, known: dict[str, Steering]
) -> None:
    asked = [(name, question) for name in (None, "s0", "s1", "s0+s1") for question in QUESTIONS]
    of = {None: None, **known, "s0+s1": known["s0"] + known["s1"]}
    expected = engine.generate(
        [question for _, question in asked], steering=[of[name] for name, _ in asked], max_new_tokens=TOKENS
    )
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda one: client.chat.completions.create(**settings(*one)), asked))
    assert [one.choices[0].message.content for one in answers] == [one.text for one in expected]
    assert len({one.text for one in expected}) == len(asked)


def test_a_stream_is_steered(client: openai.OpenAI, engine: Any, known: dict[str, Steering]) -> None:
    [expected] = engine.generate(QUESTIONS[:1], steering=known["s1"], max_new_tokens=TOKENS)
    stream = client.chat.completions.create(**settings("s1", QUESTIONS[0]), stream=True)
    pieces = [part.choices[0].delta.content or "" for part in stream if part.choices]
    assert "".join(pieces) == expected.text
    assert sum(map(bool, pieces)) > 1


def test_a_steering_that_is_not_there_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no steering 's9'"):
        client.chat.completions.create(**settings("s9", QUESTIONS[0]))
