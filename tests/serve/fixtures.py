"""What the tests of every server start from: steerings, their folder, a client, and what the engine itself answers.

Whoever takes them has an `engine` for the whole session, and a `server` with an `address`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.serve.conformance import KEY, TOKENS, folder_of, six

from trimtab.steering.steering import Steering


@pytest.fixture(scope="session")
def known(engine: Any) -> dict[str, Steering]:
    """Steerings by name; the last two are not in the folder."""
    return six(engine)


@pytest.fixture(scope="session")
def folder(known: dict[str, Steering], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server is started with."""
    return folder_of(known, tmp_path_factory.mktemp("steerings"))


@pytest.fixture
def client(server: Any) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key=KEY, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture(scope="session")
def expected(engine: Any) -> Callable[..., str]:
    """What `generate` of the engine of transformers answers."""
    answers: dict[Any, str] = {}

    def answer(question: str, steering: Steering | None = None) -> str:
        key = question, None if steering is None else steering.digest()
        if key not in answers:
            (one,) = engine.generate([question], steering=steering, max_new_tokens=TOKENS)
            answers[key] = one.text
        return answers[key]

    return answer
