"""Words and paragraphs as a person counts them."""

from __future__ import annotations

import pytest

from trimtab import instructions
from trimtab.instructions.wordcount import count_paragraphs, count_words

WORDS = [
    ("I don't know the well-known U.S. price of 3.14.", 9),
    ("Wait—what? Red,green (or blue)!", 6),
    ("1,000 men in 2010–2015", 4),
    ("1. Apples\n2. Pears\n\n* Plums", 3),
    ("# Two words\r\n\r\n**Bold** _text_ 🎉 -- & more", 5),
    ("See [the page](https://example.com/a-b) now.", 4),
    ("```python\nprint(1)\n```", 2),
    ("मेरी बिल्ली सो रही है।", 5),
    ("dra\u00adgon\u00a0fire", 2),
    ("나는 고양이를 좋아한다.", 3),
    ("...", 0),
    ("½ cup, ⅔ cup; 1½ cups", 6),
    ("- [x] Buy milk\n- [ ] Sell it", 4),
    ("1️⃣ Buy milk\n2️⃣ Rest", 3),
    ("un<b>believ</b>able<br>news", 2),
    ("<!-- to do:\nmore -->Hello", 1),
    ("See [the docs][1] or [it]\n\n[1]: https://example.com/a 'Here'\n[it]: ./b.md", 5),
    ("See [1][2] and [Bob]: hello", 6),
    (r"Use snake\_case \*here\*", 3),
    ("> 1. [X] Buy milk", 2),
    ("Set a[x] to [x] here", 6),
    ("Fish&nbsp;and chips &mdash; 5 &lt; 6", 5),
    ("Write &lt;b&gt; here", 3),
]


@pytest.mark.parametrize(("text", "count"), WORDS)
def test_words_between_blanks_are_counted(text: str, count: int) -> None:
    assert count_words(text) == (count, count)


def test_where_nothing_parts_words_their_number_is_bounded() -> None:
    text = "今天我和朋友去公园散步，然后一起吃饭。"
    fewest, most = count_words(text)
    assert 6 <= fewest < 11 < most <= 18
    assert instructions.get("words", at_least=6).check(text)
    assert not instructions.get("words", at_least=40).judge(text).undecided
    judged = instructions.get("words", exactly=11).judge(text)
    assert (judged.strict, judged.loose, judged.undecided) == (False, False, True)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a\n\nb", 2),
        ("a\r\n\r\nb\r\nc", 2),
        ("a\n \u200b \nb", 2),
        ("a\n\n---\n\nb", 2),
        ("a\n\n&nbsp;\n\nb", 2),
        ("a\n<br>\nb", 2),
        ("a\n\n* * *\n\nb", 2),
        ("```\na\n\nb\n```\n\nc", 2),
        ("a\nb", 1),
        (" \n", 0),
        # A heading is none, and alone it is no paragraph either.
        ("# Title", 0),
        ("Title\n=====\n\n## Part", 0),
        ("a\n\n<!-- not\n\nseen -->\n\nb", 2),
        ("a\n\n[1]: https://example.com/a\n\n<!-- b -->", 1),
        ("[Bob]: hello", 1),
    ],
)
def test_paragraphs(text: str, count: int) -> None:
    assert count_paragraphs(text) == count
    if count:
        assert instructions.get("paragraphs", exactly=count).check(text)
