"""The same text in other code points is the same text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.instructions.text import folded, plain, unclosed, unmarked

SAME = [
    ("café", "cafe\u0301"),
    ("don't", "don’t"),
    ('"no"', "“no”"),
    ("New York", "New\u00a0York"),
    ("New York", "New\r\nYork"),
    ("New York", "New \t York"),
    ("dragon", "dra\u00adgon"),
    ("dragon", "dra\u200bgon"),
    ("dragon", "\ufeffdragon"),
    ("straße", "STRASSE"),
    ("straße", "STRAẞE"),
    ("well-known", "well\u2011known"),
    ("dragon", "ｄｒａｇｏｎ"),
    ("バナナ", "ﾊﾞﾅﾅ"),
    ("fire", "ﬁre"),
    ("Dragon", "𝐃𝐫𝐚𝐠𝐨𝐧"),
    ("istanbul", "İstanbul"),
    ("سلام", "ســـلام"),
    ("شمس", "شَمْس"),
    ("wait...", "wait…"),
    ("замок", "за\u0301мок"),
    ("ещё", "ЕЩЕ"),
    ("\u06cc", "\u064a"),
    ("R&D", "R&amp;D"),
    ("café", "caf&eacute;"),
    ("don't", "don&#39;t"),
    ("dragon", "dra&shy;gon"),
    ("New York", "New&nbsp;York"),
    ("AT&T; now", "AT&T; now"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_reads_the_same_folds_to_the_same(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("cafe", "café"), ("x2", "x²"), ("sık", "sik"), ("a b", "a\n\nb"), ("10", "⑩"), ("a", "&a;")],
)
def test_what_reads_otherwise_folds_to_something_else(one: str, other: str) -> None:
    assert folded(one) != folded(other)


def test_what_entities_spell_is_no_mark_of_markdown_and_unknown_names_stay() -> None:
    assert folded("&#42;a&#42;") == "*a*"
    assert folded("&notaname; &amp;amp;") == "&notaname; &amp;"


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\u2028"])
def test_line_ends_are_line_feeds(ends: str) -> None:
    assert plain(f"a{ends}b{ends}{ends}c") == "a\nb\n\nc"


@pytest.mark.parametrize(
    ("marked", "bare"),
    [
        ("_dragon_", "dragon"),
        ("__dragon__", "dragon"),
        ("**dragon**", "dragon"),
        ("***a** b*", "a b"),
        ("**_dragon_**", "dragon"),
        ("dra**gon**s", "dragons"),
        ("~~dragon~~ `x`", "dragon x"),
        ("the **red\ndragon** flew", "the red\ndragon flew"),
        ("> red\n> dragon", "red\ndragon"),
        ("snake_case_name", "snake_case_name"),
        ("* one\n* two", "* one\n* two"),
        ("3 * 4 * 5", "3 * 4 * 5"),
        ("**a\n\nb**", "**a\n\nb**"),
    ],
)
def test_marks_of_markdown_go_where_they_are_marks(marked: str, bare: str) -> None:
    assert unmarked(marked) == bare


def test_an_emoji_of_several_stays_one() -> None:
    assert plain("👨\u200d👩") == "👨\u200d👩"
    assert plain("क्\u200dष") == "क्ष"


@given(st.text(max_size=60))
def test_folding_twice_changes_nothing_of_plain_words(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert folded(text.upper()).casefold() == folded(text.upper())


@pytest.mark.parametrize(
    "text", ["```json\n{}", "~~~\n{}", "````\n```\n", "a\n```py\nx\n``", "```\na\n```\n```"]
)
def test_a_fence_that_is_not_closed(text: str) -> None:
    assert unclosed(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "```json\n{}\n```",
        "```json\r\n{}\r\n```\r\n",
        "~~~\n```\n~~~",
        "```{}```",
        "```\n{}```",
        "a ```` b",
    ],
)
def test_a_fence_that_is_closed_or_none(text: str) -> None:
    assert not unclosed(text)
