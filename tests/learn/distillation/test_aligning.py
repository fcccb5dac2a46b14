"""Where the tokens of a changed answer stood before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.learn.distillation.aligning import aligned


@pytest.fixture(scope="module")
def tokenizer(engines: Any) -> Any:
    return engines("nano").tokenizer


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def pairs(tokenizer: Any, original: str, changed: str) -> list[tuple[str, str | None]]:
    """Each token of the changed answer, and that of the original it stands for; last, the ends."""
    before, after = ids(tokenizer, original), ids(tokenizer, changed)
    places = aligned(tokenizer, before, after)
    assert len(places) == len(after) + 1
    old = [*map(tokenizer.decode, before), "END"]
    new = [*map(tokenizer.decode, after), "END"]
    return [(one, None if place is None else old[place]) for one, place in zip(new, places, strict=True)]


def test_what_only_changed_its_case_stands_where_it_stood(tokenizer: Any) -> None:
    found = pairs(tokenizer, "The river is long.", "the river is long.")
    assert found[0][1] is not None
    assert found[-1] == ("END", "END")
    assert all(old is None or old.lower()[:1] == new.lower()[:1] for new, old in found)
    assert (
        sum(old is not None for _, old in found) >= len(found) - 2
    )  # split in another way, a word begins once


def test_behind_what_was_left_out_stands_what_stood_behind_it(tokenizer: Any) -> None:
    found = pairs(tokenizer, "The river, so they say, is long.", "The river so they say is long.")
    assert all(old == new for new, old in found)
    assert not any(new == "," for new, _ in found)


def test_what_was_put_in_stood_nowhere(tokenizer: Any) -> None:
    found = pairs(tokenizer, "The river is long.", "The river is long.\n\nP.S. The river is long.")
    inside = found[len(ids(tokenizer, "The river is long.")) :]
    assert inside[0][1] in (None, "END")
    assert inside[1][1] is None


def test_the_end_is_only_the_end_where_the_texts_end_alike(tokenizer: Any) -> None:
    assert pairs(tokenizer, "The river", "The river!")[-1] == ("END", None)
    assert pairs(tokenizer, "The long river", "The river")[-1] == ("END", "END")


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=30))
def test_a_text_stands_where_it_stands(tokenizer: Any, text: str) -> None:
    tokens = ids(tokenizer, text)
    places = aligned(tokenizer, tokens, tokens)
    known = [(place, at) for place, at in enumerate(places) if at is not None]
    assert all(tokens[at : at + 1] == tokens[place : place + 1] or at <= place for place, at in known)
    assert places[0] == 0


@settings(max_examples=50, deadline=None)
@given(original=st.text("aAbB ,.ßİ\u0301日", max_size=20), changed=st.text("aAbB ,.ßİ\u0301日", max_size=20))
def test_places_are_those_of_the_original_and_rise(tokenizer: Any, original: str, changed: str) -> None:
    before, after = ids(tokenizer, original), ids(tokenizer, changed)
    places = [place for place in aligned(tokenizer, before, after) if place is not None]
    assert all(0 <= place <= len(before) for place in places)
    assert places == sorted(set(places))
