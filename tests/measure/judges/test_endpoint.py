"""A judge behind a real HTTP server that speaks OpenAI's chat completions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.endpoint import serving

from trimtab.errors import TrimtabError
from trimtab.evaluate.cache import ContentCache
from trimtab.instructions import Question
from trimtab.measure.judges import EndpointJudge

LOUD = Question("Is it loud?")


@pytest.fixture(autouse=True)
def no_key_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def likely(**tokens: float) -> dict[str, Any]:
    """A choice whose first token has these probabilities."""
    top = [{"token": one, "logprob": math.log(p), "bytes": None} for one, p in tokens.items()]
    first = {**max(top, key=lambda one: one["logprob"]), "top_logprobs": top}
    return {
        "message": {"role": "assistant", "content": first["token"]},
        "logprobs": {"content": [first], "refusal": None},
    }


def test_log_odds_of_all_that_begin_like_yes_and_no() -> None:
    with serving(lambda prompt, body: likely(Yes=0.5, yes=0.1, No=0.2, Maybe=0.1)) as endpoint:
        (odds,) = EndpointJudge("wise", base_url=endpoint.url).odds(LOUD, ["Hey!"])
    assert odds == pytest.approx(math.log(0.6 / 0.2))
    (body,) = endpoint.bodies
    assert (body["model"], body["temperature"], body["logprobs"]) == ("wise", 0.0, True)
    assert "Hey!" in endpoint.prompts[0]
    assert "Is it loud? Answer with Yes or No." in endpoint.prompts[0]


def test_of_what_is_not_among_the_likely_tokens_only_a_bound_is_known() -> None:
    with serving(lambda prompt, body: likely(No=0.9, Perhaps=0.01)) as endpoint:
        (odds,) = EndpointJudge("wise", base_url=endpoint.url).odds(LOUD, ["Hey!"])
    assert odds == pytest.approx(math.log(0.01 / 0.9))


def test_without_likelihoods_the_word_decides_and_anything_else_is_no_answer() -> None:
    replies = {"one": "**Yes**, it is.", "two": "no", "three": "It depends."}

    def rule(prompt: str, body: dict[str, Any]) -> str:
        return next(reply for text, reply in replies.items() if text in prompt)

    with serving(rule) as endpoint:
        judge = EndpointJudge("wise", base_url=endpoint.url)
        assert judge.odds(LOUD, list(replies)) == [4.0, -4.0, None]
        assert [judge.passes(LOUD, text) for text in replies] == [True, False, None]


def test_an_endpoint_that_refuses_to_give_likelihoods_is_asked_without() -> None:
    with serving(lambda prompt, body: 400 if "logprobs" in body else "Yes") as endpoint:
        endpoint.refusal = "logprobs are not supported"
        assert EndpointJudge("plain", base_url=endpoint.url, workers=1).odds(LOUD, ["a", "b"]) == [4.0, 4.0]
        assert ["logprobs" in body for body in endpoint.bodies] == [True, False, False]


def test_what_was_said_is_kept_by_endpoint_model_and_question(tmp_path: Path) -> None:
    with serving(lambda prompt, body: "Yes") as endpoint:

        def asked(model: str, question: Question) -> int:
            before = len(endpoint.prompts)
            EndpointJudge(model, base_url=endpoint.url, store=ContentCache(tmp_path)).odds(question, ["Hey!"])
            return len(endpoint.prompts) - before

        assert [asked("wise", LOUD), asked("wise", LOUD)] == [1, 0]
        assert [asked("wiser", LOUD), asked("wise", Question("Is it bold?"))] == [1, 1]


def test_an_endpoint_that_refuses_is_one_line() -> None:
    with (
        serving(lambda prompt, body: 400) as endpoint,
        pytest.raises(TrimtabError, match=r"the judge wise at http.*not today") as caught,
    ):
        EndpointJudge("wise", base_url=endpoint.url).odds(LOUD, ["Hey!"])
    assert "\n" not in str(caught.value)
    with pytest.raises(TrimtabError, match="OPENAI_API_KEY"):
        EndpointJudge("gpt-4o")
