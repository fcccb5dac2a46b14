"""The checks of our own types agree with a reader.

The cases in `readers/` were written from the words of the instructions, not from the code: each line says what a
reader would judge of one answer, and what it tries.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trimtab import instructions

HERE = Path(__file__).parent / "readers"
AGREED = 0.99
"""The share of cases, in every file, in which the check has to agree with the reader."""


def cases(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def agrees(case: dict[str, Any]) -> bool:
    instruction = instructions.get(case["type"], **case["params"])
    return instruction.check(case["answer"]) is case["follows"]


@pytest.mark.parametrize("path", sorted(HERE.glob("*.jsonl")), ids=lambda path: path.stem)
def test_the_check_agrees_with_a_reader(path: Path) -> None:
    judged = cases(path)
    wrong = [case for case in judged if not agrees(case)]
    share = 1 - len(wrong) / len(judged)
    told = "\n".join(json.dumps(case, ensure_ascii=False) for case in wrong)
    assert share >= AGREED, f"{path.stem}: {share:.3f} of {len(judged)} cases\n{told}"


@pytest.mark.parametrize("path", sorted(HERE.glob("*.jsonl")), ids=lambda path: path.stem)
def test_cases_are_distinct_and_balanced(path: Path) -> None:
    judged = cases(path)
    keys = Counter(json.dumps([case["params"], case["answer"]], sort_keys=True) for case in judged)
    assert [key for key, count in keys.items() if count > 1] == []
    assert all(case["type"] == path.stem and case["note"] for case in judged)
    assert 0.4 <= sum(case["follows"] is True for case in judged) / len(judged) <= 0.6
