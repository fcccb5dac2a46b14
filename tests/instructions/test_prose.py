"""The running text of an answer."""

import pytest

from trimtab.instructions.prose import blocks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One\ntwo.\n\nThree.", ["One\ntwo.", "Three."]),
        ("# Head\n\nText.", ["Text."]),
        ("# Head", ["Head"]),
        ("Do this.\n\n```sh\na. b. c.\n```\n\nThen that.", ["Do this.", "Then that."]),
        ("~~~\na. b. c.\n```\nd.\n~~~\nText.", ["Text."]),
        ("Text.\n```\ncut. off.", ["Text."]),
        ("1. One.\n2) Two.\n(3) Three.", ["One.", "Two.", "Three."]),
        ("- [x] One.\n* Two.\n+ Three.\n• Four.", ["One.", "Two.", "Three.", "Four."]),
        ("> Quoted.\n> > Deeper.", ["Quoted.\nDeeper."]),
        ("Before.\n\n---\n\nAfter.", ["Before.", "After."]),
        ("| a | b |\n|---|---|\n| c. | d. |\n\nText.", ["Text."]),
        ("a | b\n--|--\nc. | d.\n\nText.", ["Text."]),
        ("Fruit:\n- pears\n- plums\n\nThat is all.", ["Fruit:\npears\nplums", "That is all."]),
        ("Steps:\n\n1. Boil it.\n2. Pour it.", ["Steps:\nBoil it.", "Pour it."]),
        ("Dear Ada,\n\nit rained.", ["Dear Ada,\nit rained."]),
        ("J. R. R. Tolkien wrote.", ["J. R. R. Tolkien wrote."]),
        (" \n\n", []),
    ],
)
def test_blocks(text: str, expected: list[str]) -> None:
    assert blocks(text) == expected
