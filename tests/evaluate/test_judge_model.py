from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.endpoint import diligent, serving

from trimtab.errors import TrimtabError
from trimtab.evaluate import judge_model as judging
from trimtab.evaluate.cache import ContentCache
from trimtab.evaluate.judge_model import Judge, Verdict, _verdicts
from trimtab.measure.judges import client


@pytest.fixture(autouse=True)
def no_key_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_five_questions_for_each_query_asked_of_every_answer() -> None:
    with serving() as endpoint:
        judge = Judge("wise", base_url=endpoint.url)
        scores = judge.score(
            [
                ("What is a river?", "Water."),
                ("What is a sea?", "A perfect one."),
                ("What is a river?", " \n"),
            ]
        )
    # Three times yes, once no, once n/a; all yes; an empty answer is no to everything and nobody is asked.
    assert scores == [0.75, 1.0, 0.0]
    writing = [prompt for prompt in endpoint.prompts if "Judge the answer" not in prompt]
    assert len(writing) == 2
    assert len(endpoint.prompts) == 4
    (judged,) = [prompt for prompt in endpoint.prompts if "Water." in prompt]
    assert [f"{n}. Is 'What is a river?' answered, part {n}?" in judged for n in range(1, 6)] == [True] * 5
    assert {body["model"] for body in endpoint.bodies} == {"wise"}
    assert {body["temperature"] for body in endpoint.bodies} == {0.0}


def test_the_same_answer_is_judged_once_and_kept(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with serving() as endpoint:
        judge = Judge("wise", base_url=endpoint.url, cache=ContentCache(tmp_path))
        cases = [("What is a river?", "Water."), ("What is a river?", "Water.")]
        assert judge.score(cases, progress=lambda stage, done, of=None, note="": told.append((done, of))) == [
            0.75,
            0.75,
        ]
        assert len(endpoint.prompts) == 2
        again = Judge("wise", base_url=endpoint.url, cache=ContentCache(tmp_path))
        assert again.score(cases) == [0.75, 0.75]
        assert len(endpoint.prompts) == 2
        other = Judge("wiser", base_url=endpoint.url, cache=ContentCache(tmp_path))
        other.score(cases)
        assert len(endpoint.prompts) == 4
    assert told == [(1, 2), (2, 2)]


def test_a_suite_may_bring_its_own_questions() -> None:
    with serving() as endpoint:
        judge = Judge("wise", base_url=endpoint.url)
        assert judge.score([("a", "Water.")], questions=[["Is it wet?", "Is it dry?"]]) == [0.5]
    (prompt,) = endpoint.prompts
    assert "1. Is it wet?\n2. Is it dry?" in prompt


def test_too_few_questions_are_asked_for_again_and_then_an_error() -> None:
    replies = iter(["I cannot.", "1. Good?\n2. Better?"])

    def late(prompt: str, body: dict[str, Any]) -> str:
        return next(replies, None) or diligent(prompt, body)

    with serving(late) as endpoint:
        assert len(Judge("slow", base_url=endpoint.url).questions_for("q")) == 5
        assert [body["temperature"] for body in endpoint.bodies] == [0.0, 0.7, 0.7]
    few = serving(lambda prompt, body: "1. Good?\n2. Better?")
    with few as endpoint, pytest.raises(TrimtabError, match="gave 2 questions instead of 5"):
        Judge("poor", base_url=endpoint.url).score([("q", "a")])


def test_what_stays_unanswered_counts_as_neither() -> None:
    with serving(lambda prompt, body: "1. well -> yes\n2. hm") as endpoint:
        judge = Judge("terse", base_url=endpoint.url)
        verdict = judge.verdict("q", "a", ["A?", "B?"])
        assert verdict.answers == (True, None)
        assert verdict.score == 1.0
        assert len(endpoint.prompts) == 3  # it is asked twice more before that
        judge.verdict("q", "a", ["A?", "B?"])
        assert len(endpoint.prompts) == 6  # and again next time: only what is complete is kept
    assert Verdict(("A?",), (None,)).score is None


def test_an_endpoint_that_refuses_or_is_not_there_is_one_line() -> None:
    with serving(lambda prompt, body: 400) as endpoint:
        url = endpoint.url
        with pytest.raises(TrimtabError, match=r"the judge wise at http.*not today.*run it again"):
            Judge("wise", base_url=url).score([("q", "a"), ("r", "b")])
    judge = Judge("wise", base_url=url)
    judge._endpoint._client = judge._endpoint._client.with_options(max_retries=0)
    with pytest.raises(TrimtabError, match="the judge wise at http") as caught:
        judge.score([("q", "a")])
    assert "\n" not in str(caught.value)


def test_what_was_judged_before_a_failure_is_kept(tmp_path: Path) -> None:
    def failing(prompt: str, body: dict[str, Any]) -> str | int:
        return 400 if "second" in prompt else diligent(prompt, body)

    cases = [("one", "first"), ("one", "second")]
    with serving(failing) as endpoint, pytest.raises(TrimtabError, match="not today"):
        Judge("wise", base_url=endpoint.url, cache=ContentCache(tmp_path), workers=1).score(cases)
    assert len(list(tmp_path.rglob("*.json"))) == 2  # the questions, and the first verdict


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrimtabError, match="OPENAI_API_KEY"):
        Judge("gpt-4o")
    with serving() as endpoint:
        Judge("wise", base_url=endpoint.url).questions_for("q")
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        Judge("wise", base_url=endpoint.url).questions_for("q")
        Judge("wise", base_url=endpoint.url, api_key="own").questions_for("q")
    assert endpoint.keys == ["Bearer none", "Bearer secret", "Bearer own"]


def test_an_endpoint_of_the_environment_needs_no_key_and_shares_nothing_with_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving() as one, serving() as other:
        for endpoint in (one, other):
            monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
            judge = Judge("wise", cache=ContentCache(tmp_path))
            assert judge.base_url == endpoint.url
            assert judge.score([("q", "Water.")]) == [0.75]
            assert len(endpoint.prompts) == 2
        Judge("wise", base_url=one.url, cache=ContentCache(tmp_path)).score([("q", "Water.")])
        assert len(one.prompts) == 2
        Judge("wise", base_url=one.url, cache=ContentCache(tmp_path), temperature=1.0).score(
            [("q", "Water.")]
        )
        assert len(one.prompts) == 4
        monkeypatch.setattr(judging, "_PROMPTS", "worded otherwise")
        Judge("wise", base_url=one.url, cache=ContentCache(tmp_path)).score([("q", "Water.")])
        assert len(one.prompts) == 6


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "find_spec", lambda name: None)
    with pytest.raises(TrimtabError, match=r"trimtab\[judge\]"):
        Judge("wise", base_url="http://localhost:1/v1")


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("1. names both causes -> yes", True),
        ("1) it is **No**", False),
        ("**1.** No, there is nothing on it", False),
        ("1: Not applicable", None),
        ("1. does not say yes or no but n/a.", None),
        ("- 1. Answer: YES!", True),
    ],
)
def test_verdicts_are_read_as_judges_write_them(line: str, verdict: bool | None) -> None:
    assert _verdicts(f"Sure:\n{line}\nThat is all.") == {1: verdict}


@given(st.text(max_size=60))
def test_any_text_can_come_back(text: str) -> None:
    assert set(_verdicts(text).values()) <= {True, False, None}
