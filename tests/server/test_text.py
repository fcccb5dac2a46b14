"""The text of an answer as its tokens come is that of the whole, wherever it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import tiny_engine

from trimtab.server.text import AnswerText, PlainText
from trimtab.thoughts import Reader


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def told(text: AnswerText, content: bytes) -> tuple[list[str], bool]:
    """The pieces of an answer whose tokens are bytes, and whether it ended at a stop."""
    pieces = []
    for byte in content:
        grown = text.add(byte)
        pieces.append(grown.text)
        if grown.stopped:
            return pieces, True
    grown = text.finish()
    return [*pieces, grown.text], grown.stopped


BYTES: Any = SimpleNamespace(is_trivial=True, text=decode)


@given(st.text())
def test_pieces_are_whole_characters_and_together_all(content: str) -> None:
    plain = PlainText(decode)
    pieces = [plain.add(byte) for byte in content.encode("utf-8", "replace")]
    assert "".join([*pieces, plain.rest()]) == content.encode("utf-8", "replace").decode()
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in content


def test_bytes_that_are_no_character_are_told_at_the_end() -> None:
    plain = PlainText(decode)
    assert [plain.add(byte) for byte in b"a\xf0\x9f"] == ["a", "", ""]
    assert plain.rest() == "\ufffd"


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_an_answer_ends_in_front_of_the_first_stop(content: str, stops: list[str]) -> None:
    pieces, stopped = told(AnswerText(BYTES, None, stops), content.encode())
    ends = [content.find(stop) + len(stop) for stop in stops if stop in content]
    if ends:
        first = content[: min(ends)]  # as far as the model got
        assert stopped
        assert "".join(pieces) == first[: min(first.find(stop) for stop in stops if stop in first)]
    else:
        assert not stopped
        assert "".join(pieces) == content


def test_what_may_begin_a_stop_is_held_back() -> None:
    text = AnswerText(BYTES, None, ["END"])
    assert [text.add(byte).text for byte in b"xENxEN"] == ["x", "", "", "ENx", "", ""]
    assert text.finish().text == "EN"


def test_a_thought_is_told_apart() -> None:
    engine = tiny_engine("llama")
    reader = Reader(engine.tokenizer, "think")
    tokens = engine.tokenizer("<think>why</think>So it is", add_special_tokens=False)["input_ids"]
    text = AnswerText(reader, reader.marks.begin, ["it"])
    grown = []
    for token in tokens:
        grown.append(text.add(token))
        if grown[-1].stopped:
            break
    assert "".join(one.thought for one in grown) == "why"
    assert "".join(one.text for one in grown) == "So "
    assert grown[-1].stopped
    assert text.is_answer
    early = AnswerText(reader, reader.marks.begin)
    assert [early.add(token) for token in tokens[:9]]
    assert not early.is_answer


@pytest.mark.parametrize("text", ["Grüße 🎉 x", "plain"])
def test_the_pieces_of_a_real_tokenizer(engine: Any, text: str) -> None:
    tokens = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    answer = AnswerText(engine.thoughts, None)
    pieces = [answer.add(token).text for token in tokens]
    assert "".join([*pieces, answer.finish().text]) == engine.thoughts.text(tokens)
