"""Which answers can be lessons."""

from __future__ import annotations

import pytest

from trimtab import instructions
from trimtab.measure.responses import follows


@pytest.mark.parametrize("opened", ['```json\n{"a": 1}', '````\n{"a": 1}\n```'])
def test_an_answer_cut_off_inside_a_fence_is_none(opened: str) -> None:
    json, no_commas = instructions.get("json"), instructions.get("no_commas")
    assert no_commas.check(opened)
    assert not follows(opened, "What is it?", [no_commas])
    assert not follows(opened, "What is it?", [json])
    assert follows('```json\n{"a": 1}\n```', "What is it?", [json, no_commas])


def test_an_undecided_answer_is_none() -> None:
    spanish = instructions.get("language", language="es")
    assert spanish.judge("Hola.").undecided
    assert not follows("Hola.", "Who?", [spanish])
    assert follows("El cohete despegó al amanecer sobre el mar.", "Who?", [spanish])
