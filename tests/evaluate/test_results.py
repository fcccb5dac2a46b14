"""The accuracies, row by row and as a whole, are those of lm-evaluation-harness."""

from __future__ import annotations

from typing import Any

import pytest
from tests.evaluate.fakes import FakeEngine
from tests.instructions import reference

from trimtab.engines.base import Generation
from trimtab.evaluate import suites
from trimtab.evaluate.run import evaluate_suite

EMPTY = {"num_bullets": None, "forbidden_words": None, "keywords": None, "end_phrase": None}
ROWS: list[dict[str, Any]] = [
    {
        "key": number,
        "prompt": f"Prompt {number}.",
        "instruction_id_list": [name for name, _ in wanted],
        "kwargs": [{**EMPTY, **params} for _, params in wanted],
    }
    for number, wanted in enumerate(
        [
            [("punctuation:no_comma", {})],
            [("change_case:english_lowercase", {}), ("punctuation:no_comma", {})],
            [("detectable_format:number_bullet_lists", {"num_bullets": 2})],
            [("keywords:forbidden_words", {"forbidden_words": ["river"]}), ("startend:quotation", {})],
            [
                ("detectable_format:json_format", {}),
                ("keywords:existence", {"keywords": ["river"]}),
                ("startend:end_checker", {"end_phrase": "the end."}),
            ],
        ]
    )
]
ANSWERS = [
    "A river, and a sea.",
    "a river and a sea.\nOslo",
    "Sure, here it is:\n* one\n* two",
    '"No such word."',
    '{"river": 1}\nthe end.',
    " ",
]


class Scripted(FakeEngine):
    """Answers prompt `p` with answer `p + shift`."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift

    def generate(self, prompts: Any, **options: Any) -> list[Generation]:
        texts = [ANSWERS[(int(prompt.split()[1][:-1]) + self.shift) % len(ANSWERS)] for prompt in prompts]
        return [Generation(text, tuple(text.encode()), i, True) for i, text in enumerate(texts)]


@pytest.mark.parametrize("shift", range(len(ANSWERS)))
def test_they_are_the_references(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = reference.load(monkeypatch)
    evaluation = evaluate_suite(Scripted(shift), suites.read(ROWS))
    (accuracy,) = evaluation.accuracies()
    judged = [
        harness.process_results(row, [ANSWERS[(number + shift) % len(ANSWERS)]])
        for number, row in enumerate(ROWS)
    ]
    assert [answer.strict for answer in evaluation.answers] == [
        tuple(j["inst_level_strict_acc"]) for j in judged
    ]
    assert [answer.loose for answer in evaluation.answers] == [
        tuple(j["inst_level_loose_acc"]) for j in judged
    ]
    for check in ("strict", "loose"):
        whole = [j[f"prompt_level_{check}_acc"] for j in judged]
        single = harness.agg_inst_level_acc([j[f"inst_level_{check}_acc"] for j in judged])
        assert accuracy.shares[f"prompt_{check}"][0] == pytest.approx(sum(whole) / len(whole))
        assert accuracy.shares[f"instruction_{check}"][0] == pytest.approx(single)
