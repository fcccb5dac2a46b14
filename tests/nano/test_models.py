"""The built-in models as they ship: small, plain files, and able to do what the rest of the library shows with them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
from benchmarks.nano_card import (
    KindResult,
    _case,
    render,
    summary,
)
from safetensors import safe_open

from trimtab import nano
from trimtab.errors import ModelError

WELL_KNOWN = ("json", "lowercase", "no_commas", "title", "quotes", "sections", "exclude", "language")


@pytest.mark.parametrize("name", nano.NAMES)
def test_the_weights_are_safetensors_in_bfloat16_of_a_llama(name: str) -> None:
    folder = nano.path(name)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "llama"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118


def test_both_models_together_are_at_most_30_megabytes() -> None:
    folders = {nano.path(name) for name in nano.NAMES}
    assert len(folders) == 2
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) <= 30_000_000


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelError, match="nano-instruct"):
        nano.path("nano-huge")


@pytest.mark.slow
def test_nano_follows_held_out_phrasings_and_tells_the_truth(engines: Callable[[str], Any]) -> None:
    rng = random.Random(11)
    cases = [_case(rng, name) for name in WELL_KNOWN for _ in range(6)]
    answers = [g.text for g in engines("nano").generate([case.prompt for case in cases], max_new_tokens=224)]
    followed = fmean(case.instructions[0].check(a) for case, a in zip(cases, answers, strict=True))
    shares = [nano.facts(case.question.text, a) for case, a in zip(cases, answers, strict=True)]
    assert followed >= 0.8
    assert fmean(share for share in shares if share is not None) >= 0.85


def test_the_card_says_where_an_aim_is_missed() -> None:
    kind = KindResult("json", 4, 0.0, 0.0, 0.5, 0.75, 1.0, 0.1)
    result = {
        "settings": {"prompts_per_kind": 4},
        "kinds": [vars(kind)],
        "two": {"followed": 0.9},
        "baseline": {"n": 4, "facts": 1.0, "perplexity": 1.5, "repetition": 0.0},
    }
    reached = {what: ok for what, _, _, ok in summary(result)}
    assert not reached["instructed, one instruction: worst kind"]
    assert reached["nano-base, instructed: mean followed"]
    card = render(result, "the command")
    assert "| json | 0.00 | 0.00 | 0.50 | 0.75 | 1.000 | 0.10 |" in card
    assert "| no |" in card


@pytest.mark.parametrize("name", nano.NAMES)
def test_a_model_is_told_apart_by_its_weights(name: str, engines: Callable[[str], Any]) -> None:
    assert len(nano.revision(name)) == 64
    assert nano.revision("nano-base") != nano.revision("nano-instruct")
    assert engines("nano").identity.revision == nano.revision("nano")
