"""The chat template is part of which model it is."""

from __future__ import annotations

import re

from tests.tiny import TEMPLATE, tiny_tokenizer

from trimtab.steering.templates import template_digest


def test_the_template_is_named_by_its_text() -> None:
    assert template_digest(tiny_tokenizer(None)) == "plain"
    named = template_digest(tiny_tokenizer())
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", named)
    assert named == template_digest(tiny_tokenizer(TEMPLATE))
    assert named != template_digest(tiny_tokenizer(TEMPLATE + " "))
