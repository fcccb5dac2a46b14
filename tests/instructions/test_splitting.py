"""Sentences and words: the splitters agree, and the fallbacks stand in where libraries are missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.instructions import cases

from trimtab import instructions
from trimtab.instructions import splitting

PLAIN = "The rocket left. It was late! Was it? Yes."


@pytest.fixture
def fresh() -> Iterator[None]:
    """Choose the splitter anew in the test and again after it."""
    cached = (splitting._splitter, splitting._word_tokenizer, splitting._nltk_words)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_knows_abbreviations() -> None:
    assert splitting.count_sentences("Dr. Smith lives in the U.S. with Mr. Lee. He is fine.") == 2
    assert splitting.count_sentences("") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [("", 0), ("don't stop", 3), ("well-known 3.14", 4), ("नमस्ते दुनिया", 2), ("a_b, c!", 2), ("ロケット", 1)],
)
def test_counts_words_as_ifeval_does(text: str, words: int) -> None:
    assert splitting.count_words(text) == words


@pytest.mark.parametrize(("text", "capitals"), [("NASA and the U.S. WIN A cup", 4), ("A-B I'M", 3), ("", 0)])
def test_counts_capital_words(text: str, capitals: int) -> None:
    assert splitting.count_capital_words(text) == capitals


def test_the_package_alone_agrees_with_nltk_on_prose() -> None:
    ours, alone = splitting.nltk_punkt_packaged(), splitting.packaged_punkt()
    assert ours is not None
    assert alone is not None
    for _, _, text in cases.generate(500, 8):
        # Apart from marks that stand alone between white space, and from runs of different marks: NLTK parts "?!".
        prose = " ".join(word for word in text.split() if any(c.isalnum() for c in word) and "?!" not in word)
        assert ours[1](prose) == alone[1](prose)


@pytest.mark.parametrize(
    ("missing", "name"),
    [((), "nltk-punkt"), (("nltk",), "punkt"), (("punkt",), "simple"), (("nltk", "punkt"), "simple")],
)
@pytest.mark.usefixtures("fresh")
def test_falls_back_and_says_so(missing: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in missing:
        for loaded in [module, *(known for known in sys.modules if known.startswith(f"{module}."))]:
            monkeypatch.setitem(sys.modules, loaded, None)
    if splitting.splitter_name() == "nltk-punkt" and "punkt" in missing:
        pytest.skip("NLTK has its own data here")
    assert splitting.splitter_name().startswith(name)
    assert splitting.count_sentences(PLAIN) == 4
    judged = instructions.get("capital_words", capital_frequency=2).judge("NASA WON. yes")
    assert judged.strict
    assert judged.notes["splitter"].startswith(name)
    assert judged.notes["tokenizer"] == ("simple" if "nltk" in missing else "nltk")


@given(st.lists(st.sampled_from(["Yes.", "No!", '"So?"', "It is 3.5 m (about).", "“Oh!”"]), max_size=6))
def test_the_simple_splitter_counts_plain_sentences(sentences: list[str]) -> None:
    assert splitting.simple_sentences(" ".join(sentences)) == sentences


@given(st.text(max_size=60))
def test_the_simple_splitter_loses_nothing_but_white_space(text: str) -> None:
    assert "".join("".join(splitting.simple_sentences(text)).split()) == "".join(text.split())
