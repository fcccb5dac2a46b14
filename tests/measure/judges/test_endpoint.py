"""A judge behind a real HTTP server that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.endpoint import Raw, serving

from trimtab.errors import TrimtabError
from trimtab.evaluate.cache import ContentCache
from trimtab.instructions import Question
from trimtab.measure.judges import EndpointJudge
from trimtab.measure.judges.base import AT_ONCE

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


HTML = Raw("<html>\n<h1>Sign in</h1>\n</html>", headers={"Content-Type": "text/html"})
SAYS_IT_FAILED = Raw('{"error": {"message": "model not loaded"}}')


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (HTML, r"does not answer as chat completions do: <html> <h1>Sign in</h1> </html>.*/v1"),
        (Raw('{"choices": [oops'), "its answer is not JSON"),
        (Raw(""), "its answer is not JSON"),
        (Raw("[1, 2]"), "does not answer as chat completions do"),
        (SAYS_IT_FAILED, "model not loaded"),
        (Raw('{"choices": "none"}'), "does not answer as chat completions do"),
        (Raw('{"choices": [{"index": 0, "message": null}]}'), "does not answer as chat completions do"),
        (Raw("<html>\n" + "x" * 5000, 403, {"Content-Type": "text/html"}), "403"),
        (Raw('{"error": {"message": "two\\nlines"}}', 401), "401.*two lines"),
    ],
)
def test_whatever_an_endpoint_says_that_is_no_completion_is_one_line(reply: Raw, message: str) -> None:
    with serving(lambda prompt, body: reply) as endpoint, pytest.raises(TrimtabError) as caught:
        EndpointJudge("wise", base_url=endpoint.url).odds(LOUD, ["Hey!"])
    said = str(caught.value)
    assert said.startswith(f"the judge wise at {endpoint.url} failed: ")
    assert re.search(message, said), said
    assert "\n" not in said
    assert len(said) < 600


@pytest.mark.parametrize(("after", "status"), [("0.01", 429), ("0.01", 503)])
def test_an_endpoint_that_is_busy_is_asked_again_when_it_says(after: str, status: int) -> None:
    busy = Raw('{"error": {"message": "slow down"}}', status, {"Retry-After": after})

    def rule(prompt: str, body: dict[str, Any]) -> Any:
        return "Yes" if len(endpoint.prompts) > 2 else busy

    with serving(rule) as endpoint:
        assert EndpointJudge("wise", base_url=endpoint.url).odds(LOUD, ["Hey!"]) == [4.0]
        assert len(endpoint.prompts) == 3


def test_an_endpoint_that_stays_busy_or_silent_is_one_line() -> None:
    busy = Raw('{"error": {"message": "slow down"}}', 429, {"Retry-After": "0.01"})
    with serving(lambda prompt, body: busy) as endpoint, pytest.raises(TrimtabError) as caught:
        EndpointJudge("wise", base_url=endpoint.url).odds(LOUD, ["Hey!"])
    assert "429 - slow down, after three tries; it asks to wait 0.01 s" in str(caught.value)

    def slow(prompt: str, body: dict[str, Any]) -> str:
        time.sleep(0.3)
        return "Yes"

    with serving(slow) as endpoint, pytest.raises(TrimtabError) as caught:
        EndpointJudge("wise", base_url=endpoint.url, timeout=0.05).odds(LOUD, ["Hey!"])
    assert "no answer within 0.05 s, after three tries; what was judged before is kept" in str(caught.value)


def test_what_was_judged_before_a_failure_is_kept(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(AT_ONCE + 8)]

    def rule(prompt: str, body: dict[str, Any]) -> Any:
        return "Yes" if len(endpoint.prompts) <= AT_ONCE or mended else SAYS_IT_FAILED

    mended = False
    with serving(rule) as endpoint:
        judge = {"base_url": endpoint.url, "store": ContentCache(tmp_path)}
        with pytest.raises(TrimtabError, match="model not loaded"):
            EndpointJudge("wise", **judge).odds(LOUD, texts)
        mended, before = True, len(endpoint.prompts)
        assert EndpointJudge("wise", **judge).odds(LOUD, texts) == [4.0] * len(texts)
        assert len(endpoint.prompts) - before == 8


def test_one_that_says_no_in_two_languages_and_yes_in_another_is_refused_too() -> None:
    question = Question("Is it loud?", ("OH MY", "GO"), ("oh my", "go"))

    def spanish(prompt: str, body: dict[str, Any]) -> str:
        return "S\u00ed." if "OH MY" in prompt or "GO" in prompt else "No."

    with (
        serving(spanish) as endpoint,
        pytest.raises(TrimtabError, match=r"for 2 of 4 .*\(it said 'S\u00ed\.'\)"),
    ):
        EndpointJudge("wise", base_url=endpoint.url).require(question)


@pytest.mark.parametrize("reply", ["Oui, le texte est fort.", "", "Ja."])
def test_one_that_answers_in_another_language_is_refused_with_what_it_said(reply: str) -> None:
    question = Question("Is it loud?", ("OH MY", "GO"), ("oh my", "go"))
    with serving(lambda prompt, body: reply) as endpoint:
        judge = EndpointJudge("wise", base_url=endpoint.url)
        assert judge.odds(LOUD, ["Hey!"]) == [None]
        with pytest.raises(TrimtabError) as caught:
            judge.require(question)
    assert "with neither Yes nor No for 4 of 4 contrast examples" in str(caught.value)
    assert (repr(reply) if reply else "it said nothing") in str(caught.value)


@pytest.mark.parametrize(
    "thought", ["<think>\nIs it? No, it is", "", "<seed:think>hm"], ids=["shown", "apart", "seed"]
)
def test_one_that_thinks_first_gets_room_for_it(thought: str) -> None:
    def rule(prompt: str, body: dict[str, Any]) -> dict[str, Any]:
        if body["max_tokens"] < 100:
            return {
                **likely(**{"<think>": 0.9, "No": 0.01}),
                "message": said(thought),
                "finish_reason": "length",
            }
        closed = {"": "", "<": f"{thought}</think>\n\n", "s": f"{thought}</seed:think>"}
        return {
            "message": said(closed["s" if "seed" in thought else thought[:1]] + "Yes"),
            "finish_reason": "stop",
        }

    def said(text: str) -> dict[str, str]:
        return {"role": "assistant", "content": text}

    with serving(rule) as endpoint:
        assert EndpointJudge("wise", base_url=endpoint.url).odds(LOUD, ["Hey!"]) == [4.0]
        assert len(endpoint.prompts) == 2


def test_newer_endpoints_are_asked_as_they_wish() -> None:
    """They refuse a temperature, likelihoods and the old name of the limit, one after the other."""
    refusals = {
        "max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0.0 with this model.",
        "logprobs": "You are not allowed to request logprobs from this model",
    }

    def rule(prompt: str, body: dict[str, Any]) -> Any:
        for name, message in refusals.items():
            if name in body:
                return Raw(json.dumps({"error": {"message": message}}), 400)
        return "No"

    with serving(rule) as endpoint:
        judge = EndpointJudge("wise", base_url=endpoint.url, workers=1)
        assert judge.odds(LOUD, ["Hey!", "Ho!"]) == [-4.0, -4.0]
        assert len(endpoint.prompts) == 5
        assert endpoint.bodies[-1]["max_completion_tokens"]
