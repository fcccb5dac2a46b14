"""Beam search on a server that steers by vLLM's own command, where nothing of ours reads the request first."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm")

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.exceptions import VLLMValidationError

from trimtab.vllm.frontend.refusals import refuse_beams

REQUESTS: list[Any] = [
    lambda **more: ChatCompletionRequest(messages=[{"role": "user", "content": "hi"}], model="nano", **more),
    lambda **more: CompletionRequest(prompt="hi", model="nano", **more),
]


@pytest.fixture(autouse=True)
def wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    for request in (ChatCompletionRequest, CompletionRequest):
        monkeypatch.setattr(request, "to_beam_search_params", request.to_beam_search_params)
    refuse_beams()
    refuse_beams()


@pytest.mark.parametrize("make", REQUESTS)
def test_a_steering_is_not_dropped(make: Any) -> None:
    request = make(use_beam_search=True, n=2, vllm_xargs={"steering": "json"})
    with pytest.raises(VLLMValidationError, match="beam search cannot be steered"):
        request.to_beam_search_params(8, {})


@pytest.mark.parametrize("make", REQUESTS)
@pytest.mark.parametrize("said", [None, {"other": 1}])
def test_beams_without_steering_are_as_ever(make: Any, said: Any) -> None:
    request = make(use_beam_search=True, n=2, vllm_xargs=said)
    assert request.to_beam_search_params(8, {}).beam_width == 2
