from __future__ import annotations

from typing import Any

import pytest

from trimtab.engines.decoding import Settings, SpecialTokens
from trimtab.errors import ModelError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_return_sequences": 2}, "do_sample=True or num_beams"),
        ({"num_return_sequences": 3, "num_beams": 2}, "3 responses"),
        ({"temperature": 0.5}, "temperature set how to sample; say do_sample=True"),
        ({"top_p": 0.5, "top_k": 3}, "top_p and top_k"),
        ({"do_sample": True, "num_return_sequences": 3, "num_beams": 2}, "2 beams cannot give 3"),
        ({"do_sample": True, "temperature": 0.0}, "above 0"),
        ({"do_sample": True, "temperature": float("nan")}, "above 0"),
        ({"do_sample": True, "temperature": float("inf")}, "finite"),
        ({"do_sample": True, "top_p": 1.5}, "at most 1"),
        ({"do_sample": True, "top_k": -1}, "0 for all"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Settings(**settings)


def test_what_is_not_given_stays_the_models_own() -> None:
    assert not {"temperature", "top_p", "top_k"} & Settings().options().keys()
    options = Settings(do_sample=True, top_k=0).options()
    assert options["top_k"] == 0
    assert "temperature" not in options


def test_a_response_ends_before_its_first_end_token() -> None:
    tokens = SpecialTokens(pad=0, ends=(2, 9))
    assert tokens.cut([5, 0, 9, 2, 7]).token_ids == (5, 0)
    assert tokens.cut([5, 9]).finished
    assert not tokens.cut([5, 0]).finished
    assert tokens.cut([]).token_ids == ()
